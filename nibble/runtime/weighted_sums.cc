#include "nibble/runtime/weighted_sums.h"

#include "nibble/core/error.h"

namespace nibble::runtime {
namespace {

void check_sum(const char* where, const WeightedSum& sum, int64_t channels) {
  if (!sum.bias.empty()) check_length(where, "biases", sum.bias.size(), channels);
  check_channels(where, sum.requantizer, channels);
}

int64_t initial_sum(const WeightedSum& sum, int64_t channel) {
  return sum.bias.empty() ? 0 : sum.bias[static_cast<size_t>(channel)];
}

// Product of a weight and an input, both by their place in memory.
int64_t product(const CodeTensor& input, const WeightedSum& sum, int64_t x, int64_t w) {
  return int64_t{sum.weights.codes[static_cast<size_t>(w)]} *
         (int64_t{input.codes[static_cast<size_t>(x)]} - sum.input_zero_point);
}

// Writes finish(batch, y, x, channel) everywhere.
template <class Finish>
void fill(const Shape& shape, std::span<int32_t> output, Finish finish) {
  size_t i = 0;
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t y = 0; y < shape[1]; ++y) {
      for (int64_t x = 0; x < shape[2]; ++x) {
        for (int64_t c = 0; c < shape[3]; ++c) output[i++] = finish(b, y, x, c);
      }
    }
  }
}

}  // namespace

void convolution(const CodeTensor& input, const WeightedSum& sum, Window window, std::span<int32_t> output) {
  constexpr const char* kWhere = "convolution";
  check_tensor(kWhere, input, 4);
  check_tensor(kWhere, sum.weights, 4);
  const Shape &in = input.shape, &w = sum.weights.shape;
  const int64_t depth = w[3], groups = depth > 0 ? in[3] / depth : 0;
  if (groups < 1 || in[3] % depth != 0 || w[0] % groups != 0) {
    throw InvalidArgument("[convolution] {} input channels, filters {}: groups must divide input and output channels.",
                          in[3], w.str());
  }
  check_sum(kWhere, sum, w[0]);
  window.size = {w[1], w[2]};
  const Shape out = windowed_shape(kWhere, in, window, w[0]);
  check_length(kWhere, "results", output.size(), out.elements());
  fill(out, output, [&](int64_t b, int64_t y, int64_t x, int64_t c) {
    const int64_t first = c / (w[0] / groups) * depth;
    int64_t accumulator = initial_sum(sum, c);
    for_each_tap(window, in, y, x, [&](int64_t row, int64_t column, int64_t ky, int64_t kx) {
      const int64_t at = ((b * in[1] + row) * in[2] + column) * in[3] + first;
      const int64_t weight = ((c * w[1] + ky) * w[2] + kx) * depth;
      for (int64_t i = 0; i < depth; ++i) accumulator += product(input, sum, at + i, weight + i);
    });
    return sum.requantizer(accumulator, c);
  });
}

void depthwise_convolution(const CodeTensor& input, const WeightedSum& sum, Window window, std::span<int32_t> output) {
  constexpr const char* kWhere = "depthwise_convolution";
  check_tensor(kWhere, input, 4);
  check_tensor(kWhere, sum.weights, 3);
  const Shape &in = input.shape, &w = sum.weights.shape;
  if (in[3] < 1 || w[2] % in[3] != 0 || w[2] < 1) {
    throw InvalidArgument("[depthwise_convolution] weights {} have no whole number of filters for {} input channels.",
                          w.str(), in[3]);
  }
  check_sum(kWhere, sum, w[2]);
  window.size = {w[0], w[1]};
  const Shape out = windowed_shape(kWhere, in, window, w[2]);
  check_length(kWhere, "results", output.size(), out.elements());
  const int64_t multiplier = w[2] / in[3];
  fill(out, output, [&](int64_t b, int64_t y, int64_t x, int64_t c) {
    int64_t accumulator = initial_sum(sum, c);
    for_each_tap(window, in, y, x, [&](int64_t row, int64_t column, int64_t ky, int64_t kx) {
      const int64_t at = ((b * in[1] + row) * in[2] + column) * in[3] + c / multiplier;
      accumulator += product(input, sum, at, (ky * w[1] + kx) * w[2] + c);
    });
    return sum.requantizer(accumulator, c);
  });
}

void dense(const CodeTensor& input, const WeightedSum& sum, std::span<int32_t> output) {
  constexpr const char* kWhere = "dense";
  check_tensor(kWhere, input, 2);
  check_tensor(kWhere, sum.weights, 2);
  const int64_t in = input.shape[1], out = sum.weights.shape[0];
  if (sum.weights.shape[1] != in) {
    throw InvalidArgument("[dense] weights {} do not fit {} inputs.", sum.weights.shape.str(), in);
  }
  check_sum(kWhere, sum, out);
  check_length(kWhere, "results", output.size(), input.shape[0] * out);
  for (int64_t b = 0; b < input.shape[0]; ++b) {
    for (int64_t c = 0; c < out; ++c) {
      int64_t accumulator = initial_sum(sum, c);
      for (int64_t i = 0; i < in; ++i) accumulator += product(input, sum, b * in + i, c * in + i);
      output[static_cast<size_t>(b * out + c)] = sum.requantizer(accumulator, c);
    }
  }
}

}  // namespace nibble::runtime
