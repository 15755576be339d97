#include "nibble/search/encoding.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

constexpr int kMostDraws = 1000;

// The k-th point in lexicographic order.
Point point_at(const SearchSpace& space, int64_t k) {
  Point point(space.size());
  for (size_t i = space.size(); i-- > 0;) {
    const auto count = static_cast<int64_t>(space[i].candidates.size());
    point[i] = static_cast<int>(k % count);
    k /= count;
  }
  return point;
}

}  // namespace

std::optional<Point> encode(const SearchSpace& space, const Assignment& values) {
  Point point;
  for (const Parameter& parameter : space) {
    const auto value = values.find(parameter.name);
    if (value == values.end()) return std::nullopt;
    const auto found = std::find(parameter.candidates.begin(), parameter.candidates.end(), value->second);
    if (found == parameter.candidates.end()) return std::nullopt;
    point.push_back(static_cast<int>(found - parameter.candidates.begin()));
  }
  return point;
}

Assignment decode(const SearchSpace& space, const Point& point) {
  Assignment values;
  for (size_t i = 0; i < space.size(); ++i) {
    values[space[i].name] = space[i].candidates[static_cast<size_t>(point[i])];
  }
  return values;
}

void check_candidates(const SearchSpace& space, const char* sampler) {
  for (const Parameter& parameter : space) {
    if (!parameter.candidates.empty()) continue;
    throw InvalidArgument("[{}] parameter '{}' has no candidates; give it at least one.", sampler, parameter.name);
  }
}

Point draw_point(const SearchSpace& space, RandomStream& stream) {
  Point point;
  for (const Parameter& parameter : space) {
    point.push_back(static_cast<int>(stream.below(static_cast<uint32_t>(parameter.candidates.size()))));
  }
  return point;
}

std::set<Point> points_of(const SearchSpace& space, std::span<const Trial> earlier) {
  std::set<Point> seen;
  for (const Trial& trial : earlier) {
    if (auto point = encode(space, trial.values)) seen.insert(std::move(*point));
  }
  return seen;
}

std::optional<Point> draw_unseen(const SearchSpace& space, const std::set<Point>& seen, RandomStream& stream) {
  const int64_t size = size_of(space);
  if (static_cast<int64_t>(seen.size()) >= size) return std::nullopt;
  for (int i = 0; i < kMostDraws; ++i) {
    Point point = draw_point(space, stream);
    if (!seen.contains(point)) return point;
  }
  if (size > kMostEnumerated) return std::nullopt;
  const int64_t first = stream.below(static_cast<uint32_t>(size));
  for (int64_t i = 0; i < size; ++i) {
    Point point = point_at(space, (first + i) % size);
    if (!seen.contains(point)) return point;
  }
  return std::nullopt;
}

std::vector<Observation> observations_of(const SearchSpace& space, std::span<const Trial> earlier) {
  std::vector<Observation> observations;
  std::vector<size_t> failed;
  double worst = 0;
  bool has_score = false;
  for (const Trial& trial : earlier) {
    const bool completed = trial.state == TrialState::kCompleted && trial.score && std::isfinite(*trial.score);
    if (!completed && trial.state != TrialState::kFailed) continue;
    auto point = encode(space, trial.values);
    if (!point) continue;
    if (completed) {
      worst = has_score ? std::min(worst, *trial.score) : *trial.score;
      has_score = true;
    } else {
      failed.push_back(observations.size());
    }
    observations.push_back({std::move(*point), completed ? *trial.score : 0.0, &trial});
  }
  for (const size_t i : failed) observations[i].score = worst;
  return observations;
}

}  // namespace nibble::search
