#include "nibble/search/bayesian_sampler.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/search/encoding.h"
#include "nibble/search/gaussian_process.h"

namespace nibble::search {
namespace {

constexpr int kRandomCandidates = 200;
constexpr int kStarts = 5;      // points from which neighbours are climbed
constexpr int kMostClimbs = 8;  // steps of one climb

std::vector<double> embed(const SearchSpace& space, const Point& point) {
  std::vector<double> x;
  for (size_t p = 0; p < space.size(); ++p) {
    const auto count = static_cast<double>(space[p].candidates.size());
    if (space[p].candidates.size() > 1) x.push_back((point[p] + 0.5) / count);
  }
  return x;
}

// The best half and the latest half of what may be used, by number.
std::vector<Observation> most_telling(std::vector<Observation> all, size_t most) {
  if (all.size() <= most) return all;
  const auto latest = static_cast<std::ptrdiff_t>(most / 2);
  std::stable_sort(all.begin(), all.end() - latest,
                   [](const Observation& a, const Observation& b) { return a.score > b.score; });
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(most) - latest, all.end() - latest);
  return all;
}

// Looks for the unseen point of highest mean + beta * deviation.
class Climber {
 public:
  Climber(const SearchSpace& space, const std::set<Point>& seen, const GaussianProcess& process, double beta)
      : space_(space), seen_(seen), process_(process), beta_(beta) {}

  double value_of(const Point& point) const {
    const GaussianProcess::Prediction at = process_.predict(embed(space_, point));
    return at.mean + beta_ * at.deviation;
  }

  void offer(const Point& point, double value) {
    if (value <= highest_ || seen_.contains(point)) return;
    highest_ = value;
    best_ = point;
  }

  // To the best neighbour (one parameter changed), as long as that is better.
  void climb(Point point, double value) {
    for (int step = 0; step < kMostClimbs; ++step) {
      Point best = point;
      for (size_t p = 0; p < space_.size(); ++p) {
        Point neighbour = point;
        for (size_t choice = 0; choice < space_[p].candidates.size(); ++choice) {
          neighbour[p] = static_cast<int>(choice);
          if (neighbour == point) continue;
          const double height = value_of(neighbour);
          offer(neighbour, height);
          if (height <= value) continue;
          value = height;
          best = neighbour;
        }
      }
      if (best == point) return;
      point = std::move(best);
    }
  }

  const std::optional<Point>& best() const { return best_; }

 private:
  const SearchSpace& space_;
  const std::set<Point>& seen_;
  const GaussianProcess& process_;
  const double beta_;
  double highest_ = -HUGE_VAL;
  std::optional<Point> best_;
};

std::optional<Point> search_highest(Climber& climber, const SearchSpace& space,
                                    std::span<const Observation> observations, RandomStream& stream) {
  std::vector<std::pair<double, Point>> starts;
  for (int i = 0; i < kRandomCandidates; ++i) {
    Point point = draw_point(space, stream);
    const double value = climber.value_of(point);
    climber.offer(point, value);
    starts.emplace_back(value, std::move(point));
  }
  for (const Observation& seen : observations) starts.emplace_back(climber.value_of(seen.point), seen.point);
  std::stable_sort(starts.begin(), starts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; i < std::min<size_t>(kStarts, starts.size()); ++i) {
    climber.climb(starts[i].second, starts[i].first);
  }
  return climber.best();
}

}  // namespace

BayesianSampler::BayesianSampler(uint64_t seed, BayesianOptions options) : seed_(seed), options_(options) {
  if (!(options.alpha > 0) || !(options.beta >= 0) || options.num_initial_points < 0) {
    throw InvalidArgument(
        "[BayesianSampler] alpha {}, beta {}, num_initial_points {}: alpha must be above 0, the others at least 0.",
        options.alpha, options.beta, options.num_initial_points);
  }
}

std::optional<Assignment> BayesianSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  check_candidates(space, "BayesianSampler");
  const std::set<Point> seen = points_of(space, earlier);
  RandomStream stream(
      {.seed = seed_, .purpose = RandomPurpose::kSampler, .layer = 2, .step = static_cast<uint32_t>(earlier.size())});
  const auto dimensions =
      std::count_if(space.begin(), space.end(), [](const Parameter& p) { return p.candidates.size() > 1; });
  const int initial =
      options_.num_initial_points > 0 ? options_.num_initial_points : std::max(3 * static_cast<int>(dimensions), 3);
  std::vector<Observation> observations = observations_of(space, earlier);
  std::optional<Point> chosen;
  if (static_cast<int>(observations.size()) >= initial && dimensions > 0) {
    observations = most_telling(std::move(observations), kMostTrials);
    std::vector<std::vector<double>> x;
    std::vector<double> y;
    for (const Observation& seen_trial : observations) {
      x.push_back(embed(space, seen_trial.point));
      y.push_back(seen_trial.score);
    }
    const GaussianProcess process(std::move(x), y, options_.alpha);
    Climber climber(space, seen, process, options_.beta);
    chosen = search_highest(climber, space, observations, stream);
  }
  if (!chosen) chosen = draw_unseen(space, seen, stream);
  if (!chosen) return std::nullopt;
  return decode(space, *chosen);
}

}  // namespace nibble::search
