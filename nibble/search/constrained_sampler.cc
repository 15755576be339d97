#include "nibble/search/constrained_sampler.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <set>
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

// Gives parameter p the candidate of least excess, the first of `order` that brings the point inside or is nearest to
// it; returns its excess. Inside all are alike: which one then is a matter of the order.
double improve(const SearchSpace& space, const Excess& excess, size_t p, double current,
               const std::vector<size_t>& order, Point& point) {
  Point changed = point;
  for (const size_t choice : order) {
    changed[p] = static_cast<int>(choice);
    const double value = changed == point ? current : excess(decode(space, changed));
    if (value >= current) continue;
    current = value;
    point = changed;
    if (current <= 0) break;
  }
  return current;
}

// Inside, or nothing where no single change helps any more.
std::optional<Point> repair(const SearchSpace& space, const Excess& excess, Point point, RandomStream& stream) {
  double current = excess(decode(space, point));
  while (current > 0) {
    const double before = current;
    for (const size_t p : shuffled(space.size(), stream)) {
      const size_t count = space[p].candidates.size();
      if (count > 1) current = improve(space, excess, p, current, shuffled(count, stream), point);
      if (current <= 0) return point;
    }
    if (current >= before) return std::nullopt;
  }
  return point;
}

// The nearest point inside that was not seen, from one inside on, by changes of one parameter at a time that all lead
// to points inside; nothing if all that is so reached was seen, or takes too long to reach.
std::optional<Point> unseen_around(const SearchSpace& space, const Excess& excess, const Point& inside,
                                   const std::set<Point>& seen, RandomStream& stream) {
  constexpr size_t kMostKnown = 5000;  // a cost takes up to a millisecond, and other workers wait
  std::vector<Point> reached = {inside};
  std::set<Point> known = {inside};
  for (size_t i = 0; i < reached.size() && known.size() < kMostKnown; ++i) {
    const Point from = reached[i];
    for (const size_t p : shuffled(space.size(), stream)) {
      for (const size_t choice : shuffled(space[p].candidates.size(), stream)) {
        Point next = from;
        next[p] = static_cast<int>(choice);
        if (!known.insert(next).second || excess(decode(space, next)) > 0) continue;
        if (!seen.contains(next)) return next;
        reached.push_back(next);
      }
    }
  }
  return std::nullopt;
}

// Where no repair leads: the last earlier trial inside, else what the search for the cheapest finds.
std::optional<Point> known_inside(const SearchSpace& space, const Excess& excess, std::span<const Trial> earlier) {
  for (auto trial = earlier.rbegin(); trial != earlier.rend(); ++trial) {
    std::optional<Point> point = encode(space, trial->values);
    if (point && excess(decode(space, *point)) <= 0) return point;
  }
  const Assignment least = least_excess(space, excess);
  return excess(least) <= 0 ? encode(space, least) : std::nullopt;
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
  std::optional<Point> start = encode(space, *wanted), inside;
  for (int i = 0; i < kMostRepairs && start; ++i) {
    const std::optional<Point> repaired = repair(space, excess_, *start, stream);
    if (repaired && !seen.contains(*repaired)) return decode(space, *repaired);
    if (repaired) inside = repaired;
    start = draw_unseen(space, seen, stream);
  }
  if (!inside) inside = known_inside(space, excess_, earlier);
  if (!inside) return std::nullopt;
  const std::optional<Point> near =
      seen.contains(*inside) ? unseen_around(space, excess_, *inside, seen, stream) : inside;
  return near ? std::optional(decode(space, *near)) : std::nullopt;
}

namespace {

// By changes of one parameter at a time until none helps; returns the excess.
double descend(const SearchSpace& space, const Excess& excess, Point& point) {
  double current = excess(decode(space, point)), before;
  do {
    before = current;
    for (size_t p = 0; p < space.size(); ++p) {
      std::vector<size_t> order(space[p].candidates.size());
      std::iota(order.begin(), order.end(), size_t{0});
      current = improve(space, excess, p, current, order, point);
    }
  } while (current < before && current > 0);
  return current;
}

// The k-th candidate of every parameter, as parameters that must agree (branches of one sum) need it; then any point.
Point start_of(const SearchSpace& space, size_t k, RandomStream& stream) {
  size_t most = 0;
  for (const Parameter& parameter : space) most = std::max(most, parameter.candidates.size());
  if (k >= most) return draw_point(space, stream);
  Point point;
  for (const Parameter& parameter : space) {
    point.push_back(static_cast<int>(std::min(k, parameter.candidates.size() - 1)));
  }
  return point;
}

}  // namespace

Assignment least_excess(const SearchSpace& space, const Excess& excess, int starts) {
  RandomStream stream({.seed = 0, .purpose = RandomPurpose::kSampler, .layer = 5, .step = 0});
  Point best = start_of(space, 0, stream);
  double least = descend(space, excess, best);
  for (int k = 1; k < starts && least > 0; ++k) {
    Point point = start_of(space, static_cast<size_t>(k), stream);
    const double value = descend(space, excess, point);
    if (value >= least) continue;
    least = value;
    best = std::move(point);
  }
  return decode(space, best);
}

}  // namespace nibble::search
