#include "nibble/program/fast/requantization_plan.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "nibble/program/fast/channel_steps.h"
#include "nibble/program/fast/line_fit.h"

namespace nibble::program {

using kernels::RequantizationKind;

namespace {

constexpr size_t kVector = 16;
constexpr size_t kFewSteps = 2;         // fewer comparisons than a multiplication is worth
constexpr size_t kSelectableSteps = 6;  // cheaper than a bisection with gathers
constexpr int64_t kLargestTable = int64_t{1} << 22;

constexpr int64_t kIntegersOfChannel = 16;  // its line, and what is known of it while the plan is made

}  // namespace

int64_t planned_integers(const Compare& compare, int64_t channels) {
  int64_t most = 0;
  for (size_t c = 0; c + 1 < compare.first.size(); ++c) most = std::max(most, compare.first[c + 1] - compare.first[c]);
  // A search by bisection pads each row to a power of two.
  const int64_t row = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(most) + 1)) + kIntegersOfChannel;
  int64_t all = 0;
  if (__builtin_mul_overflow(row, channels, &all)) return INT64_MAX;
  return std::max<int64_t>(0, all - static_cast<int64_t>(compare.thresholds.size()));
}

RequantizationPlan::RequantizationPlan(const Compare& compare, const std::vector<Interval>& x, int64_t channels,
                                       bool is_mixed)
    : padded_(static_cast<int64_t>((static_cast<size_t>(channels) + kVector - 1) / kVector * kVector)) {
  const std::vector<ChannelSteps> steps = channel_steps(compare, x, channels);
  size_t most = 0;
  for (const ChannelSteps& channel : steps) most = std::max(most, channel.last.size());
  if (most > kFewSteps && try_lines(steps, is_mixed)) {
    pad();
    return;
  }
  steps_ = static_cast<int32_t>(most);
  if (most <= kSelectableSteps) {
    select(steps);
  } else {
    search(steps);
  }
  pad();
}

namespace {

// A line a channel, or a guess for the channels of a vector of which one has none.
struct Lines {
  std::vector<Line> lines;
  std::vector<uint8_t> is_line;  // of each vector of channels
  bool are_all = true;
};

std::optional<Lines> lines_of(const std::vector<ChannelSteps>& steps, bool guess_all) {
  Lines result;
  for (size_t begin = 0; begin < steps.size(); begin += kVector) {
    const size_t end = std::min(begin + kVector, steps.size());
    std::vector<Line> lines;
    for (size_t c = begin; c < end && !guess_all; ++c) {
      const std::optional<Line> line = fit_line(steps[c]);
      if (!line) break;
      lines.push_back(*line);
    }
    const bool exact = lines.size() == end - begin;
    if (!exact) lines.clear();
    for (size_t c = begin; c < end && !exact; ++c) {
      const std::optional<Line> guess = fit_guess(steps[c]);
      if (!guess) return std::nullopt;
      lines.push_back(*guess);
    }
    result.lines.insert(result.lines.end(), lines.begin(), lines.end());
    result.is_line.push_back(exact ? 1 : 0);
    result.are_all = result.are_all && exact;
  }
  return result;
}

// The last x whose value is at most v, for each v of the guess's range; values may skip some v.
std::vector<int32_t> corrections(const ChannelSteps& steps, const Line& guess) {
  std::vector<int32_t> last;
  const int direction = steps.direction();
  size_t part = 0;
  for (auto v = static_cast<int32_t>(guess.low); v <= static_cast<int32_t>(guess.high); ++v) {
    while (part + 1 < steps.parts() && direction * steps.values[part + 1] <= v) ++part;
    last.push_back(part + 1 == steps.parts() ? INT32_MAX : steps.last[part]);
  }
  return last;
}

}  // namespace

bool RequantizationPlan::try_lines(const std::vector<ChannelSteps>& steps, bool is_mixed) {
  std::optional<Lines> found = lines_of(steps, /*guess_all=*/false);
  if (found && !found->are_all && !is_mixed) found = lines_of(steps, /*guess_all=*/true);
  if (!found) return false;
  int64_t table = 0;
  for (const Line& line : found->lines) table += static_cast<int64_t>(line.high - line.low) + 1;
  if (!found->are_all && table > kLargestTable) return false;
  kind_ = found->are_all ? RequantizationKind::kLinear : RequantizationKind::kCorrected;
  is_line_ = found->is_line;
  for (size_t c = 0; c < steps.size(); ++c) {
    const Line& line = found->lines[c];
    multiplier_.push_back(line.multiplier), offset_.push_back(line.offset);
    low_.push_back(line.low), high_.push_back(line.high);
    sign_.push_back(steps[c].direction()), first_.push_back(static_cast<int32_t>(last_.size()));
    if (found->is_line[c / kVector] != 0) continue;
    const std::vector<int32_t> last = corrections(steps[c], line);
    last_.insert(last_.end(), last.begin(), last.end());
  }
  return true;
}

void RequantizationPlan::select(const std::vector<ChannelSteps>& steps) {
  kind_ = RequantizationKind::kSelect;
  const auto row = static_cast<size_t>(padded_);
  const auto count = static_cast<size_t>(steps_);
  last_.assign(count * row, INT32_MAX);
  values_.assign((count + 1) * row, 0);
  for (size_t c = 0; c < steps.size(); ++c) {
    for (size_t k = 0; k < steps[c].last.size(); ++k) last_[k * row + c] = steps[c].last[k];
    for (size_t k = 0; k <= count; ++k) {
      values_[k * row + c] = steps[c].values[std::min(k, steps[c].last.size())];
    }
  }
}

void RequantizationPlan::search(const std::vector<ChannelSteps>& steps) {
  kind_ = RequantizationKind::kSearch;
  steps_ = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(steps_) + 1) - 1);
  for (const ChannelSteps& channel : steps) {
    const size_t missing = static_cast<size_t>(steps_) - channel.last.size();
    first_.push_back(static_cast<int32_t>(last_.size()));
    last_.insert(last_.end(), channel.last.begin(), channel.last.end());
    last_.insert(last_.end(), missing, INT32_MAX);
    values_.insert(values_.end(), channel.values.begin(), channel.values.end());
    values_.insert(values_.end(), missing, channel.values.back());
  }
  // Vectors run past the last channel: they read from the first one's steps on.
  values_.insert(values_.end(), 2 * kVector + static_cast<size_t>(steps_), 0);
}

void RequantizationPlan::pad() {
  // Vectors that begin at any channel reach beyond the last one.
  const auto row = static_cast<size_t>(padded_) + kVector;
  if (kind_ == RequantizationKind::kSelect) last_.resize(last_.size() + kVector, INT32_MAX);
  if (kind_ == RequantizationKind::kSelect) values_.resize(values_.size() + kVector, 0);
  for (auto* floats : {&multiplier_, &offset_, &low_, &high_}) floats->resize(row, 0.0f);
  sign_.resize(row, 1);
  first_.resize(row, 0);
}

kernels::Requantization RequantizationPlan::view() const {
  kernels::Requantization view{kind_, multiplier_.data(), offset_.data(), low_.data(), high_.data()};
  view.sign = sign_.data(), view.is_line = is_line_.data(), view.first = first_.data(), view.last = last_.data(),
  view.values = values_.data();
  view.steps = steps_, view.channels = padded_;
  return view;
}

}  // namespace nibble::program
