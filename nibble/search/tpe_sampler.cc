#include "nibble/search/tpe_sampler.h"

#include <algorithm>
#include <cmath>

#include "nibble/search/encoding.h"

namespace nibble::search {
namespace {

constexpr int kMostBest = 25;

// Probability of each candidate of each parameter.
using Densities = std::vector<std::vector<double>>;

Densities densities_of(const SearchSpace& space, std::span<const Observation> observations) {
  Densities densities;
  for (size_t p = 0; p < space.size(); ++p) {
    const size_t count = space[p].candidates.size();
    std::vector<double> density(count, 1.0 / static_cast<double>(count));
    for (const Observation& seen : observations) density[static_cast<size_t>(seen.point[p])] += 1.0;
    for (double& value : density) value /= static_cast<double>(observations.size()) + 1.0;
    densities.push_back(std::move(density));
  }
  return densities;
}

Point draw_from(const Densities& densities, RandomStream& stream) {
  Point point;
  for (const std::vector<double>& density : densities) {
    double rest = stream.uniform_double();
    size_t choice = 0;
    while (choice + 1 < density.size() && rest >= density[choice]) rest -= density[choice++];
    point.push_back(static_cast<int>(choice));
  }
  return point;
}

double value_of(const Point& point, const Densities& best, const Densities& others) {
  double value = 0;
  for (size_t p = 0; p < point.size(); ++p) {
    const auto choice = static_cast<size_t>(point[p]);
    value += std::log(best[p][choice]) - std::log(others[p][choice]);
  }
  return value;
}

}  // namespace

std::optional<Assignment> TpeSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  check_candidates(space, "TpeSampler");
  const std::set<Point> seen = points_of(space, earlier);
  RandomStream stream(
      {.seed = seed_, .purpose = RandomPurpose::kSampler, .layer = 1, .step = static_cast<uint32_t>(earlier.size())});
  std::vector<Observation> observations = observations_of(space, earlier);
  std::optional<Point> chosen;
  if (static_cast<int>(observations.size()) >= kStartup) {
    std::stable_sort(observations.begin(), observations.end(),
                     [](const Observation& a, const Observation& b) { return a.score > b.score; });
    const size_t best_count = std::min<size_t>(kMostBest, (observations.size() + 9) / 10);
    const std::span<const Observation> all = observations;
    const Densities best = densities_of(space, all.first(best_count));
    const Densities others = densities_of(space, all.subspan(best_count));
    double highest = -HUGE_VAL;
    for (int i = 0; i < kCandidates; ++i) {
      Point point = draw_from(best, stream);
      const double value = value_of(point, best, others);
      if (value <= highest || seen.contains(point)) continue;
      highest = value;
      chosen = std::move(point);
    }
  }
  if (!chosen) chosen = draw_unseen(space, seen, stream);
  if (!chosen) return std::nullopt;
  return decode(space, *chosen);
}

}  // namespace nibble::search
