#include "nibble/program/rule_misses.h"

#include <algorithm>
#include <limits>
#include <span>

#include "nibble/core/error.h"

namespace nibble::program {
namespace {

// A channel's steps: values[k] where k thresholds are <= x.
struct Steps {
  std::span<const int64_t> thresholds;
  const int32_t* values;

  size_t passed(int64_t x) const {
    return static_cast<size_t>(std::upper_bound(thresholds.begin(), thresholds.end(), x) - thresholds.begin());
  }
};

Steps steps_of(const Compare& compare, size_t row) {
  const auto first = static_cast<size_t>(compare.first[row]), end = static_cast<size_t>(compare.first[row + 1]);
  return {std::span(compare.thresholds).subspan(first, end - first), compare.values.data() + first + row};
}

// Sums of 63 bits in many channels are more than 64 bits hold.
void add(uint64_t& total, uint64_t count) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  total = total > kMost - count ? kMost : total + count;
}

// low .. high, both within the interval
uint64_t count_of(int64_t low, int64_t high) { return static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1; }

// Integers of the interval for which the two give different values: from step to step, whichever comes first.
uint64_t count_missed(const Steps& a, const Steps& b, const Interval& interval) {
  uint64_t missed = 0;
  size_t i = a.passed(interval.low), k = b.passed(interval.low);
  for (int64_t x = interval.low;;) {
    const bool ends_a = i == a.thresholds.size(), ends_b = k == b.thresholds.size();
    constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
    const int64_t next = std::min(ends_a ? kNever : a.thresholds[i], ends_b ? kNever : b.thresholds[k]);
    const bool is_last = next > interval.high;
    if (a.values[i] != b.values[k]) add(missed, count_of(x, is_last ? interval.high : next - 1));
    if (is_last) return missed;
    i = a.passed(next), k = b.passed(next);
    x = next;
  }
}

// The integers of both programs; those of the one that follows a missed code may be others.
Interval common_interval(const Value& a, const Value& b, size_t row, bool is_shared) {
  const auto channel = static_cast<int64_t>(row);
  const Interval of_a = is_shared ? a.hull() : at(a.intervals, channel);
  const Interval of_b = is_shared ? b.hull() : at(b.intervals, channel);
  return {std::max(of_a.low, of_b.low), std::min(of_a.high, of_b.high)};
}

[[noreturn]] void refuse() {
  throw InvalidArgument(
      "[compile] the two programs were not made from one model, so their comparisons cannot be compared.");
}

}  // namespace

std::vector<RuleMisses> find_rule_misses(const Program& program, const Program& trained) {
  if (program.operations.size() != trained.operations.size()) refuse();
  std::vector<RuleMisses> result;
  for (size_t i = 0; i < program.operations.size(); ++i) {
    const Operation &ruled = program.operations[i], &known = trained.operations[i];
    const auto* a = std::get_if<Compare>(&ruled.action);
    const auto* b = std::get_if<Compare>(&known.action);
    if (ruled.layer != known.layer || ruled.action.index() != known.action.index()) refuse();
    if (a == nullptr || !a->rule) continue;
    if (a->first.size() != b->first.size() || ruled.inputs != known.inputs) refuse();
    RuleMisses misses{static_cast<int>(i), ruled.layer};
    const auto input = static_cast<size_t>(ruled.inputs[0]);
    for (size_t row = 0; row + 1 < a->first.size(); ++row) {
      const Interval interval = common_interval(program.operations[input].result, trained.operations[input].result, row,
                                                a->first.size() == 2);
      if (interval.low > interval.high) continue;
      add(misses.sums, count_of(interval.low, interval.high));
      add(misses.missed, count_missed(steps_of(*a, row), steps_of(*b, row), interval));
    }
    result.push_back(std::move(misses));
  }
  return result;
}

}  // namespace nibble::program
