#include "nibble/runtime/pooling.h"

#include <algorithm>
#include <bit>

#include "nibble/core/error.h"

namespace nibble::runtime {
namespace {

int64_t divide_half_away(int64_t sum, int64_t count) {
  return sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
}

int64_t place(const Shape& in, int64_t batch, int64_t row, int64_t column, int64_t channel) {
  return ((batch * in[1] + row) * in[2] + column) * in[3] + channel;
}

// Writes limits(finish(sum or maximum, taps)) for each window. Start and step make a sum or a maximum.
template <class Step, class Finish>
void pool(const char* where, const CodeTensor& input, const Window& window, CodeLimits limits,
          std::span<int32_t> output, int64_t start, Step step, Finish finish) {
  check_tensor(where, input, 4);
  const Shape &in = input.shape, out = windowed_shape(where, in, window, in[3]);
  check_length(where, "results", output.size(), out.elements());
  for (int64_t i = 0; i < out.elements(); ++i) {
    const int64_t c = i % out[3], x = i / out[3] % out[2], y = i / out[3] / out[2] % out[1];
    const int64_t b = i / out[3] / out[2] / out[1];
    int64_t value = start, taps = 0;
    for_each_tap(window, in, y, x, [&](int64_t row, int64_t column, int64_t, int64_t) {
      value = step(value, int64_t{input.codes[static_cast<size_t>(place(in, b, row, column, c))]});
      ++taps;
    });
    if (taps == 0) throw InvalidArgument("[{}] the window at ({}, {}) lies in the padding alone.", where, y, x);
    const int64_t code = finish(value, taps);
    output[static_cast<size_t>(i)] = static_cast<int32_t>(std::clamp<int64_t>(code, limits.lowest, limits.highest));
  }
}

// The factor input_scale / output_scale / count, as TFLite divides the multiplier: integer division after a shift
// that keeps it within 31 bits.
affine::FixedPointMultiplier mean_factor(const Mean& mean, int64_t count) {
  const auto whole = affine::quantize_multiplier(double{mean.input_scale} / double{mean.output.scale}, mean.rounding);
  const int log2 = std::bit_width(static_cast<uint64_t>(count)) - 1;
  const int shift = std::min({log2, 32, 31 + whole.shift});
  return {static_cast<int32_t>((int64_t{whole.multiplier} << shift) / count), whole.shift - shift};
}

}  // namespace

void average_pool(const CodeTensor& input, const Window& window, CodeLimits limits, std::span<int32_t> output) {
  pool(
      "average_pool", input, window, limits, output, 0, [](int64_t a, int64_t b) { return a + b; }, divide_half_away);
}

void max_pool(const CodeTensor& input, const Window& window, CodeLimits limits, std::span<int32_t> output) {
  pool(
      "max_pool", input, window, limits, output, INT64_MIN, [](int64_t a, int64_t b) { return std::max(a, b); },
      [](int64_t value, int64_t) { return value; });
}

void mean(const CodeTensor& input, const Mean& mean, std::span<int32_t> output) {
  check_tensor("mean", input, 4);
  const Shape& in = input.shape;
  const int64_t count = in[1] * in[2];
  if (count < 1) throw InvalidArgument("[mean] an image of shape {} has no mean.", in.str());
  check_length("mean", "results", output.size(), in[0] * in[3]);
  const Requantizer requantize{{mean_factor(mean, count)},
                               mean.rounding,
                               mean.output.zero_point,
                               activation_limits(mean.output, Activation::kNone)};
  for (int64_t b = 0; b < in[0]; ++b) {
    for (int64_t c = 0; c < in[3]; ++c) {
      int64_t sum = -mean.input_zero_point * count;
      for (int64_t i = 0; i < count; ++i) sum += input.codes[static_cast<size_t>((b * count + i) * in[3] + c)];
      output[static_cast<size_t>(b * in[3] + c)] = requantize(sum);
    }
  }
}

}  // namespace nibble::runtime
