#include "nibble/program/fast/channel_steps.h"

#include <algorithm>

namespace nibble::program {

int ChannelSteps::direction() const {
  const auto rises = [&](size_t k) { return values[k] > values[k - 1]; };
  if (values.size() < 2) return 1;
  for (size_t k = 2; k < values.size(); ++k) {
    if (rises(k) != rises(1)) return 0;
  }
  return rises(1) ? 1 : -1;
}

namespace {

ChannelSteps steps_of(const Compare& compare, size_t c, const Interval& x) {
  const auto begin = static_cast<size_t>(compare.first[c]), end = static_cast<size_t>(compare.first[c + 1]);
  ChannelSteps steps;
  steps.x = x, steps.values = {compare.values[begin + c]};
  for (size_t t = begin; t < end; ++t) {
    const int64_t threshold = compare.thresholds[t];
    const int32_t value = compare.values[t + c + 1];
    if (threshold > x.high) break;
    const bool replaces = threshold <= x.low || (!steps.last.empty() && steps.last.back() == threshold - 1);
    if (replaces) {
      steps.values.back() = value;
      // A file may name a step that changes nothing, or take one back at the same place.
      if (steps.parts() > 1 && steps.values[steps.parts() - 2] == value) steps.values.pop_back(), steps.last.pop_back();
    } else if (value != steps.values.back()) {
      steps.last.push_back(static_cast<int32_t>(threshold - 1));
      steps.values.push_back(value);
    }
  }
  return steps;
}

}  // namespace

std::vector<ChannelSteps> channel_steps(const Compare& compare, const std::vector<Interval>& x, int64_t channels) {
  std::vector<ChannelSteps> result;
  const bool shared = compare.first.size() == 2;
  for (int64_t c = 0; c < channels; ++c) {
    result.push_back(steps_of(compare, shared ? 0 : static_cast<size_t>(c), at(x, c)));
    if (compare.multiplier.empty()) continue;
    ChannelSteps& steps = result.back();
    steps.has_line = true, steps.multiplier = at(compare.multiplier, c), steps.offset = at(compare.offset, c);
  }
  return result;
}

}  // namespace nibble::program
