#include "nibble/search/constrained_sampler.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "nibble/search/encoding.h"

namespace nibble::search {
namespace {

std::vector<size_t> shuffled(size_t count, RandomStream& stream) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[stream.below(static_cast<uint32_t>(i))]);
  return order;
}

// Gives parameter p the candidate of least excess; returns that excess.
double improve(const SearchSpace& space, const Excess& excess, size_t p, double current, Point& point) {
  Point changed = point;
  for (size_t choice = 0; choice < space[p].candidates.size(); ++choice) {
    changed[p] = static_cast<int>(choice);
    const double value = changed == point ? current : excess(decode(space, changed));
    if (value >= current) continue;
    current = value;
    point = changed;
  }
  return current;
}

// Inside, or nothing where no single change helps any more.
std::optional<Point> repair(const SearchSpace& space, const Excess& excess, Point point, RandomStream& stream) {
  double current = excess(decode(space, point));
  while (current > 0) {
    const double before = current;
    for (const size_t p : shuffled(space.size(), stream)) {
      if (space[p].candidates.size() > 1) current = improve(space, excess, p, current, point);
      if (current <= 0) return point;
    }
    if (current >= before) return std::nullopt;
  }
  return point;
}

}  // namespace

ConstrainedSampler::ConstrainedSampler(std::unique_ptr<Sampler> inner, Excess excess, uint64_t seed)
    : inner_(std::move(inner)), excess_(std::move(excess)), seed_(seed) {
  assert(inner_ && "a sampler whose proposals are kept inside");
}

std::optional<Assignment> ConstrainedSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  const std::optional<Assignment> wanted = inner_->propose(space, earlier);
  if (!wanted) return std::nullopt;
  if (excess_(*wanted) <= 0) return wanted;
  const std::set<Point> seen = points_of(space, earlier);
  RandomStream stream(
      {.seed = seed_, .purpose = RandomPurpose::kSampler, .layer = 4, .step = static_cast<uint32_t>(earlier.size())});
  std::optional<Point> start = encode(space, *wanted);
  for (int i = 0; i < kMostRepairs && start; ++i) {
    const std::optional<Point> repaired = repair(space, excess_, *start, stream);
    if (repaired && !seen.contains(*repaired)) return decode(space, *repaired);
    start = draw_unseen(space, seen, stream);
  }
  return std::nullopt;
}

Assignment least_excess(const SearchSpace& space, const Excess& excess) {
  Point point(space.size(), 0);
  double current = excess(decode(space, point));
  for (double before = current + 1; current < before;) {
    before = current;
    for (size_t p = 0; p < space.size(); ++p) current = improve(space, excess, p, current, point);
  }
  return decode(space, point);
}

}  // namespace nibble::search
