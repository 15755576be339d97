// nibble/program/program.h
// A quantized network as integer operations.
//
// Every value between two operations is a tensor of integers; integer * scale is the real number
// that the float network has there. A convolution accumulates integers. Everything between an
// accumulator and the next quantizer (bias, batch norm, activation, the quantizer itself) is one
// comparison with thresholds: the quantizer's result is a step function of the
// accumulator, a monotonic one but for curves such as swish, and its steps were found by evaluating the trained float
// arithmetic. So the integers are the trained ones exactly, without a multiplier, a shift or a rounding rule
// (fixed_point_rule.h has those, for hardware that multiplies).
//   Y. Umuroglu et al., "FINN", FPGA 2017, has the thresholds.
//
// Plain data. lowering.h makes it, executor.h runs it, program_file.h keeps it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/program/channel_function.h"
#include "nibble/program/fixed_point_rule.h"
#include "nibble/quant/quantizer.h"

namespace nibble::program {

// Closed interval of integers.
struct Interval {
  int64_t low = 0, high = 0;
  bool operator==(const Interval&) const = default;
};

// Bits of a two's complement integer that holds the interval; unsigned where low >= 0.
int bits_of(const Interval& interval);

// Codes, and whatever is summed, have 32 bits at most. Sums may have more; what only moves them or compares them with
// thresholds takes them as they are. 63 bits, so that the distance of two sums fits 64.
inline constexpr int kNarrowBits = 32, kMostBits = 63;

// One interval for all channels, or one a channel.
inline const Interval& at(const std::vector<Interval>& intervals, int64_t channel) {
  return intervals.size() == 1 ? intervals[0] : intervals[static_cast<size_t>(channel)];
}

// What is known of an operation's result.
struct Value {
  Shape shape;                      // without the batch axis; channels last
  PerChannel scale;                 // real = integer * scale
  std::vector<Interval> intervals;  // one, or one a channel: every integer lies in it, for whatever input

  Interval hull() const;
  int bits() const { return bits_of(hull()); }
  int64_t channels() const { return shape.rank() == 0 ? 1 : shape[-1]; }
};

// Float input to codes: the one operation that sees floats.
struct QuantizeInput {
  quant::QuantizerPtr quantizer;
};

// Windows on [height, width, channels].
struct Window {
  int64_t height = 1, width = 1, stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;  // what lies outside is 0 in sums and ignored in maxima
};

// Convolution, depthwise, grouped and transposed too; a dense layer is a 1x1 convolution over its rows.
struct Accumulate {
  Window window;
  int64_t in_height = 1, in_width = 1, in_channels = 1, out_height = 1, out_width = 1, out_channels = 1, groups = 1;
  // The window slides over the input with its pixels so far apart and zeros in between: a transposed convolution's
  // strides.
  int64_t spread_height = 1, spread_width = 1;
  std::vector<int32_t> weights;  // [height, width, in_channels / groups, out_channels]
  std::vector<int64_t> bias;     // [out_channels]; empty: none
  int weight_bits = 0;           // the widest weight's
  // What the accumulator holds on the way, in any order of the terms.
  Interval partial_sums;
  // The float network computes the same sums without rounding: every partial sum fits float32's 24 bits.
  bool is_exact_in_float = true;

  bool is_spread() const { return spread_height > 1 || spread_width > 1; }
  int accumulator_bits() const { return bits_of({std::min<int64_t>(partial_sums.low, -1), partial_sums.high}); }
};

// values[k] where k thresholds of the channel are <= x; thresholds rise within a channel.
struct Compare {
  std::vector<int64_t> thresholds;  // of all channels
  std::vector<int32_t> values;      // of all channels: one more than thresholds each
  std::vector<int64_t> first;       // [channels + 1]: where a channel's thresholds begin
  std::string quantizer;            // text, for people
  // What the float network rounds, in units of `values`: x * multiplier + offset. A hint for executors, which have to
  // check it; one number or one a channel, empty where the function is no line.
  PerChannel multiplier = {}, offset = {};
  // Where the steps are a multiplication's and not the trained network's.
  std::optional<FixedPointRule> rule = std::nullopt;
};

struct MaxPool {
  Window window;
  std::vector<uint8_t> takes_minimum;  // per channel: what follows falls with x
};
struct SumPool {
  Window window;
  // 0: windows lie inside. Else they may overlap the border, and each sum is multiplied by common / (cells inside), a
  // whole number (window_cells.h).
  int64_t common = 0;
};
struct Scale {
  std::vector<int64_t> factors;  // per channel
};
struct Add {};
struct Concatenate {};  // of the last axis
struct Pad {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};
struct Reshape {};
// Probabilities over the last axis; integer_softmax.h says how.
struct Softmax {
  int32_t multiplier = 0;
  int shift = 0;
};

struct Crop {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};
// Each pixel so many times: upsampling to the nearest.
struct Repeat {
  int64_t height = 1, width = 1;
};
// Axis k of the result is axis order[k] of the input, the batch not counted.
struct Permute {
  std::vector<int64_t> order;
};
// The largest of several tensors' integers, or the smallest.
struct Extremum {
  bool takes_minimum = false;
};

using Action = std::variant<QuantizeInput, Accumulate, Compare, MaxPool, SumPool, Scale, Add, Concatenate, Pad, Reshape,
                            Softmax, Crop, Repeat, Permute, Extremum>;

struct Operation {
  std::string layer;        // the graph's layer that it comes from
  std::vector<int> inputs;  // earlier operations; empty for QuantizeInput
  Action action;
  Value result;
  // result * scale is the layer's value in the float network; before its softmax, where it ends in one.
  bool is_layer_output = false;
};

// The values that it gives need more than kNarrowBits: sums, or sums that were moved.
inline bool is_wide(const Value& value) {
  const Interval hull = value.hull();
  return hull.low < INT32_MIN || hull.high > INT32_MAX;
}
// It only moves integers or chooses among them, so that they may be wide.
bool moves_integers(const Action& action);

// "quantize", "accumulate", "compare", ...
std::string_view name_of(const Action& action);

struct Program {
  std::string name;
  Shape input_shape;
  std::vector<Operation> operations;  // inputs come first
  int output = 0;                     // the operation whose result ends the integers
  ChannelFunction to_real;            // of result * scale: the network's output
  bool softmax = false;               // and then this, in float

  Shape output_shape() const { return operations.at(static_cast<size_t>(output)).result.shape; }
};

// Checks everything that an executor relies on: indices, sizes, shapes.
//   throws  CorruptFile saying what does not fit
void validate(const Program& program);

}  // namespace nibble::program
