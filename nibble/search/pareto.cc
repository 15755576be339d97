#include "nibble/search/pareto.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

// Area below (x, y) that the points dominate; they need not be sorted.
double area(std::vector<std::pair<double, double>> points, double x, double y) {
  std::sort(points.begin(), points.end());
  double sum = 0;
  double lowest = y;
  for (const auto& [px, py] : points) {
    if (px >= x || py >= lowest) continue;
    sum += (x - px) * (lowest - py);
    lowest = py;
  }
  return sum;
}

// Slices along the last objective: between two neighbouring values the area is that of all points below.
double volume(std::vector<Losses> points, const Losses& reference) {
  std::sort(points.begin(), points.end(), [](const Losses& a, const Losses& b) { return a[2] < b[2]; });
  double sum = 0;
  std::vector<std::pair<double, double>> below;
  for (size_t i = 0; i < points.size() && points[i][2] < reference[2]; ++i) {
    below.emplace_back(points[i][0], points[i][1]);
    const double next = i + 1 < points.size() ? std::min(points[i + 1][2], reference[2]) : reference[2];
    if (next > points[i][2]) sum += area(below, reference[0], reference[1]) * (next - points[i][2]);
  }
  return sum;
}

// Adds the distances of one front's points along one objective.
void add_distances(std::span<const Losses> points, std::vector<size_t> front, size_t objective,
                   std::vector<double>& distances) {
  std::stable_sort(front.begin(), front.end(),
                   [&](size_t a, size_t b) { return points[a][objective] < points[b][objective]; });
  const double range = points[front.back()][objective] - points[front.front()][objective];
  distances[front.front()] = distances[front.back()] = HUGE_VAL;
  if (!(range > 0)) return;
  for (size_t i = 1; i + 1 < front.size(); ++i) {
    distances[front[i]] += (points[front[i + 1]][objective] - points[front[i - 1]][objective]) / range;
  }
}

}  // namespace

bool dominates(const Losses& a, const Losses& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

std::vector<int> nondominated_ranks(std::span<const Losses> points) {
  std::vector<int> ranks(points.size(), -1);
  size_t ranked = 0;
  for (int rank = 0; ranked < points.size(); ++rank) {
    std::vector<size_t> front;
    for (size_t i = 0; i < points.size(); ++i) {
      if (ranks[i] >= 0) continue;
      bool dominated = false;
      for (size_t j = 0; j < points.size() && !dominated; ++j) {
        dominated = ranks[j] < 0 && dominates(points[j], points[i]);
      }
      if (!dominated) front.push_back(i);
    }
    for (const size_t i : front) ranks[i] = rank;
    ranked += front.size();
  }
  return ranks;
}

std::vector<double> crowding_distances(std::span<const Losses> points, std::span<const int> ranks) {
  std::vector<double> distances(points.size(), 0.0);
  if (points.empty()) return distances;
  const int last = *std::max_element(ranks.begin(), ranks.end());
  for (int rank = 0; rank <= last; ++rank) {
    std::vector<size_t> front;
    for (size_t i = 0; i < points.size(); ++i) {
      if (ranks[i] == rank) front.push_back(i);
    }
    for (size_t objective = 0; objective < points[0].size(); ++objective) {
      add_distances(points, front, objective, distances);
    }
  }
  return distances;
}

double hypervolume(std::span<const Losses> points, const Losses& reference) {
  if (reference.empty() || reference.size() > 3) {
    throw InvalidArgument("[hypervolume] {} objectives; it is computed for 1 to 3.", reference.size());
  }
  for (const double value : reference) {
    if (std::isfinite(value)) continue;
    throw InvalidArgument("[hypervolume] a value of the reference is {}; each must be a finite number.", value);
  }
  for (const Losses& point : points) {
    if (point.size() == reference.size()) continue;
    throw InvalidArgument("[hypervolume] a point has {} values, the reference {}; give each the same objectives.",
                          point.size(), reference.size());
  }
  if (reference.size() == 3) return volume({points.begin(), points.end()}, reference);
  std::vector<std::pair<double, double>> pairs;
  for (const Losses& point : points) pairs.emplace_back(point[0], point.size() == 2 ? point[1] : 0.0);
  return area(std::move(pairs), reference[0], reference.size() == 2 ? reference[1] : 1.0);
}

Losses losses_of(const Trial& trial, std::span<const Objective> objectives) {
  if (trial.state != TrialState::kCompleted) return {};
  Losses losses;
  for (const Objective& objective : objectives) {
    const auto found = trial.metrics.find(objective.metric);
    double value = std::nan("");
    if (found != trial.metrics.end()) {
      value = found->second;
    } else if (objective.metric == "score" && trial.score) {
      value = *trial.score;
    }
    if (!std::isfinite(value)) return {};
    losses.push_back(objective.maximise ? -value : value);
  }
  return losses;
}

Losses worst_losses(std::span<const Trial> trials, std::span<const Objective> objectives) {
  Losses worst(objectives.size(), -HUGE_VAL);
  for (const Trial& trial : trials) {
    const Losses losses = losses_of(trial, objectives);
    for (size_t i = 0; i < losses.size(); ++i) worst[i] = std::max(worst[i], losses[i]);
  }
  return worst;
}

Losses default_reference(std::span<const Trial> trials, std::span<const Objective> objectives) {
  constexpr double kMargin = 0.1;
  Losses reference = worst_losses(trials, objectives);
  Losses best(objectives.size(), HUGE_VAL);
  for (const Trial& trial : trials) {
    const Losses losses = losses_of(trial, objectives);
    for (size_t i = 0; i < losses.size(); ++i) best[i] = std::min(best[i], losses[i]);
  }
  for (size_t i = 0; i < reference.size(); ++i) {
    if (!std::isfinite(reference[i])) continue;
    const double range = reference[i] - best[i];
    reference[i] += kMargin * (range > 0 ? range : reference[i] != 0 ? std::abs(reference[i]) : 1.0);
  }
  return reference;
}

std::vector<int> pareto_front(std::span<const Trial> trials, std::span<const Objective> objectives) {
  std::vector<Losses> points;
  std::vector<int> numbers;
  for (const Trial& trial : trials) {
    Losses losses = losses_of(trial, objectives);
    if (losses.empty() || std::find(points.begin(), points.end(), losses) != points.end()) continue;
    points.push_back(std::move(losses));
    numbers.push_back(trial.number);
  }
  std::vector<size_t> front;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto beats = [&](const Losses& other) { return dominates(other, points[i]); };
    if (std::none_of(points.begin(), points.end(), beats)) front.push_back(i);
  }
  std::sort(front.begin(), front.end(), [&](size_t a, size_t b) { return points[a] < points[b]; });
  std::vector<int> result;
  for (const size_t i : front) result.push_back(numbers[i]);
  return result;
}

std::vector<HypervolumeStep> hypervolume_history(std::span<const Trial> trials, std::span<const Objective> objectives,
                                                 const Losses& reference) {
  std::vector<const Trial*> finished;
  for (const Trial& trial : trials) {
    if (trial.state == TrialState::kCompleted) finished.push_back(&trial);
  }
  std::stable_sort(finished.begin(), finished.end(),
                   [](const Trial* a, const Trial* b) { return a->finished_ms < b->finished_ms; });
  std::vector<HypervolumeStep> steps;
  std::vector<Losses> front;
  for (size_t i = 0; i < finished.size(); ++i) {
    Losses losses = losses_of(*finished[i], objectives);
    const auto covers = [&](const Losses& other) { return other == losses || dominates(other, losses); };
    if (losses.empty() || std::any_of(front.begin(), front.end(), covers)) continue;
    std::erase_if(front, [&](const Losses& other) { return dominates(losses, other); });
    front.push_back(std::move(losses));
    const double volume = hypervolume(front, reference);
    if (volume <= (steps.empty() ? 0.0 : steps.back().hypervolume)) continue;
    steps.push_back({static_cast<int>(i) + 1, finished[i]->number, finished[i]->finished_ms, volume});
  }
  return steps;
}

}  // namespace nibble::search
