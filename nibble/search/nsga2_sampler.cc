#include "nibble/search/nsga2_sampler.h"

#include <algorithm>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/search/encoding.h"

namespace nibble::search {
namespace {

constexpr int kMostChildren = 20;  // bred before a uniform draw stands in, when each is known already

struct Parent {
  Point point;
  int rank = 0;
  double crowding = 0;
};

// Best first, at most `count`.
std::vector<Parent> parents_of(const SearchSpace& space, std::span<const Trial> earlier, const Nsga2Options& options) {
  std::vector<Point> points;
  std::vector<Losses> losses;
  for (const Trial& trial : earlier) {
    Losses values = losses_of(trial, options.objectives);
    auto point = encode(space, trial.values);
    if (values.empty() || !point) continue;
    points.push_back(std::move(*point));
    losses.push_back(std::move(values));
  }
  const std::vector<int> ranks = nondominated_ranks(losses);
  const std::vector<double> crowding = crowding_distances(losses, ranks);
  std::vector<Parent> parents;
  for (size_t i = 0; i < points.size(); ++i) parents.push_back({std::move(points[i]), ranks[i], crowding[i]});
  std::stable_sort(parents.begin(), parents.end(), [](const Parent& a, const Parent& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.crowding > b.crowding;
  });
  if (parents.size() > static_cast<size_t>(options.population)) parents.resize(static_cast<size_t>(options.population));
  return parents;
}

// The better of two: parents are sorted.
const Parent& tournament(std::span<const Parent> parents, RandomStream& stream) {
  const auto count = static_cast<uint32_t>(parents.size());
  const uint32_t a = stream.below(count), b = stream.below(count);
  return parents[std::min(a, b)];
}

Point breed(const SearchSpace& space, std::span<const Parent> parents, const Nsga2Options& options, double mutation,
            RandomStream& stream) {
  Point child = tournament(parents, stream).point;
  if (stream.uniform_double() < options.crossover) {
    const Point& other = tournament(parents, stream).point;
    for (size_t p = 0; p < child.size(); ++p) {
      if (stream.below(2) == 1) child[p] = other[p];
    }
  }
  for (size_t p = 0; p < child.size(); ++p) {
    if (stream.uniform_double() >= mutation) continue;
    child[p] = static_cast<int>(stream.below(static_cast<uint32_t>(space[p].candidates.size())));
  }
  return child;
}

}  // namespace

Nsga2Sampler::Nsga2Sampler(uint64_t seed, Nsga2Options options) : seed_(seed), options_(std::move(options)) {
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  if (options_.objectives.empty() || options_.population < 2 || !is_share(options_.crossover) ||
      !is_share(options_.mutation)) {
    throw InvalidArgument(
        "[Nsga2Sampler] {} objectives, population {}, crossover {}, mutation {}: give an objective, a population of at "
        "least 2, and probabilities from 0 to 1.",
        options_.objectives.size(), options_.population, options_.crossover, options_.mutation);
  }
}

std::optional<Assignment> Nsga2Sampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  check_candidates(space, "Nsga2Sampler");
  const std::set<Point> seen = points_of(space, earlier);
  RandomStream stream(
      {.seed = seed_, .purpose = RandomPurpose::kSampler, .layer = 3, .step = static_cast<uint32_t>(earlier.size())});
  std::optional<Point> chosen;
  if (earlier.size() >= static_cast<size_t>(options_.population)) {
    const std::vector<Parent> parents = parents_of(space, earlier, options_);
    const auto dimensions = std::max<std::ptrdiff_t>(
        1, std::count_if(space.begin(), space.end(), [](const Parameter& p) { return p.candidates.size() > 1; }));
    const double mutation = options_.mutation > 0 ? options_.mutation : 1.0 / static_cast<double>(dimensions);
    for (int i = 0; i < kMostChildren && !parents.empty() && !chosen; ++i) {
      Point child = breed(space, parents, options_, mutation, stream);
      if (!seen.contains(child)) chosen = std::move(child);
    }
  }
  if (!chosen) chosen = draw_unseen(space, seen, stream);
  if (!chosen) return std::nullopt;
  return decode(space, *chosen);
}

}  // namespace nibble::search
