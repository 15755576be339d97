// nibble/program/fast/requantization_plan.h
// A comparison with thresholds in the fastest form that gives the same codes for every accumulator that can arrive.
#pragma once

#include <vector>

#include "nibble/kernels/integer/requantization.h"
#include "nibble/program/program.h"

namespace nibble::program {

// What the plans of a program may hold together, some 8 bytes each.
inline constexpr int64_t kMostPlannedIntegers = int64_t{1} << 28;

// What a plan holds, or takes while it is made, beyond the thresholds that the comparison has itself: an upper bound,
// INT64_MAX where that fits no 64 bits. A plan has a row for each channel, all as long as the longest, and a small file
// may have many channels that share one long row.
int64_t planned_integers(const Compare& compare, int64_t channels);

class RequantizationPlan {
 public:
  // The accumulator itself.
  RequantizationPlan() = default;
  //   x         what is known of the accumulator
  //   is_mixed  some vectors of 16 channels may be lines while others are not; not for kernels whose vectors begin
  //   anywhere
  RequantizationPlan(const Compare& compare, const std::vector<Interval>& x, int64_t channels, bool is_mixed = true);

  // Points into this, which has to stay.
  kernels::Requantization view() const;
  kernels::RequantizationKind kind() const { return kind_; }

 private:
  bool try_lines(const std::vector<struct ChannelSteps>& steps, bool is_mixed);
  void select(const std::vector<struct ChannelSteps>& steps);
  void search(const std::vector<struct ChannelSteps>& steps);
  void pad();

  kernels::RequantizationKind kind_ = kernels::RequantizationKind::kNone;
  std::vector<float> multiplier_, offset_, low_, high_;
  std::vector<int32_t> sign_, first_, last_, values_;
  std::vector<uint8_t> is_line_;
  int32_t steps_ = 0;
  int64_t padded_ = 0;
};

}  // namespace nibble::program
