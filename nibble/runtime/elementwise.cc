#include "nibble/runtime/elementwise.h"

#include <algorithm>

#include "nibble/core/error.h"

namespace nibble::runtime {
namespace {

void check_lengths(const char* where, size_t left, size_t right, size_t output) {
  if (left != right || left != output) {
    throw InvalidArgument("[{}] {} and {} codes do not fit {} results.", where, left, right, output);
  }
}

// left + sign * right, both on a common fine scale.
void add_signed(const char* where, std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& p,
                int sign, std::span<int32_t> output) {
  check_lengths(where, left.size(), right.size(), output.size());
  const int fine = p.left.bit_width <= 8 && p.right.bit_width <= 8 ? 20 : 15;
  const double common = 2.0 * std::max(double{p.left.scale}, double{p.right.scale});
  const auto of_left = affine::quantize_multiplier(double{p.left.scale} / common, p.rounding);
  const auto of_right = affine::quantize_multiplier(double{p.right.scale} / common, p.rounding);
  const double of_sum = common / (static_cast<double>(int64_t{1} << fine) * double{p.output.scale});
  const Requantizer requantizer{{affine::quantize_multiplier(of_sum, p.rounding)},
                                p.rounding,
                                p.output.zero_point,
                                activation_limits(p.output, p.activation)};
  for (size_t i = 0; i < output.size(); ++i) {
    const int64_t a = (int64_t{left[i]} - p.left.zero_point) * (int64_t{1} << fine);
    const int64_t b = (int64_t{right[i]} - p.right.zero_point) * (int64_t{1} << fine);
    output[i] =
        requantizer(affine::multiply(a, of_left, p.rounding) + sign * affine::multiply(b, of_right, p.rounding));
  }
}

}  // namespace

void add(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& params,
         std::span<int32_t> output) {
  add_signed("add", left, right, params, 1, output);
}

void subtract(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& params,
              std::span<int32_t> output) {
  add_signed("subtract", left, right, params, -1, output);
}

void multiply(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& p,
              std::span<int32_t> output) {
  check_lengths("multiply", left.size(), right.size(), output.size());
  const Requantizer requantizer =
      make_requantizer(p.left.scale, {&p.right.scale, 1}, p.output, p.activation, p.rounding);
  for (size_t i = 0; i < output.size(); ++i) {
    output[i] = requantizer((int64_t{left[i]} - p.left.zero_point) * (int64_t{right[i]} - p.right.zero_point));
  }
}

void requantize(std::span<const int32_t> x, const UnaryParams& p, std::span<int32_t> output) {
  check_lengths("requantize", x.size(), x.size(), output.size());
  constexpr float kOne = 1.0f;
  const Requantizer requantizer = make_requantizer(p.input.scale, {&kOne, 1}, p.output, p.activation, p.rounding);
  for (size_t i = 0; i < output.size(); ++i) output[i] = requantizer(int64_t{x[i]} - p.input.zero_point);
}

void leaky_relu(std::span<const int32_t> x, const UnaryParams& p, float slope, std::span<int32_t> output) {
  check_lengths("leaky_relu", x.size(), x.size(), output.size());
  constexpr float kOne = 1.0f;
  const Requantizer positive = make_requantizer(p.input.scale, {&kOne, 1}, p.output, p.activation, p.rounding);
  Requantizer negative = positive;
  const double factor = double{slope} * double{p.input.scale} / double{p.output.scale};
  negative.factors = {affine::quantize_multiplier(factor, p.rounding)};
  for (size_t i = 0; i < output.size(); ++i) {
    const int64_t v = int64_t{x[i]} - p.input.zero_point;
    output[i] = v >= 0 ? positive(v) : negative(v);
  }
}

void look_up(std::span<const int32_t> x, std::span<const int32_t> table, int32_t lowest, std::span<int32_t> output) {
  check_lengths("look_up", x.size(), x.size(), output.size());
  for (size_t i = 0; i < output.size(); ++i) {
    const int64_t at = int64_t{x[i]} - lowest;
    if (at < 0 || at >= static_cast<int64_t>(table.size())) {
      throw InvalidArgument("[look_up] code {} is not in a table of {} entries from {} on.", x[i], table.size(),
                            lowest);
    }
    output[i] = table[static_cast<size_t>(at)];
  }
}

void concatenate(std::span<const CodeTensor> inputs, int axis, std::span<int32_t> output) {
  if (inputs.empty()) throw InvalidArgument("[concatenate] nothing was given to join.");
  const int rank = inputs[0].shape.rank();
  if (axis < -rank || axis >= rank) {
    throw InvalidArgument("[concatenate] a tensor of shape {} has no axis {}.", inputs[0].shape.str(), axis);
  }
  const int a = axis < 0 ? axis + rank : axis;
  int64_t outer = 1, total = 0;
  for (int i = 0; i < a; ++i) outer *= inputs[0].shape[i];
  for (const CodeTensor& input : inputs) {
    check_tensor("concatenate", input, rank);
    for (int i = 0; i < rank; ++i) {
      if (i == a || input.shape[i] == inputs[0].shape[i]) continue;
      throw InvalidArgument("[concatenate] shapes {} and {} differ outside axis {}.", inputs[0].shape.str(),
                            input.shape.str(), a);
    }
    total += input.shape.elements();
  }
  check_length("concatenate", "results", output.size(), total);
  auto to = output.begin();
  for (int64_t o = 0; o < outer; ++o) {
    for (const CodeTensor& input : inputs) {
      const auto run = static_cast<size_t>(input.shape.elements() / outer);
      to = std::copy_n(input.codes.begin() + static_cast<int64_t>(static_cast<size_t>(o) * run), run, to);
    }
  }
}

}  // namespace nibble::runtime
