// nibble/program/fast/channel_steps.h
// One channel's comparison with thresholds, cut to what can arrive: the definition that every faster form is checked
// against.
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/program/program.h"

namespace nibble::program {

// values[k] for the x in (last[k - 1], last[k]]; the first part begins at x.low, the last ends at x.high.
struct ChannelSteps {
  Interval x;                   // fits 32 bits
  std::vector<int32_t> last;    // rising
  std::vector<int32_t> values;  // one more; neighbours differ
  // Compare's hint.
  bool has_line = false;
  float multiplier = 0.0f, offset = 0.0f;

  size_t parts() const { return values.size(); }
  int32_t part_low(size_t k) const { return k == 0 ? static_cast<int32_t>(x.low) : last[k - 1] + 1; }
  int32_t part_high(size_t k) const { return k == last.size() ? static_cast<int32_t>(x.high) : last[k]; }

  // 1 where values rise from part to part (or there is one), -1 where they fall, 0 where they do neither.
  int direction() const;
};

//   x  what is known of the accumulator, one interval or one a channel
std::vector<ChannelSteps> channel_steps(const Compare& compare, const std::vector<Interval>& x, int64_t channels);

}  // namespace nibble::program
