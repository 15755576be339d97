#include "nibble/runtime/curves.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/runtime/fixed_point_functions.h"

namespace nibble::runtime {
namespace {

using affine::doubling_high_multiply;
using affine::rounding_divide_by_power;

constexpr int64_t kLongestRow = 4095;

CurveInput input_of(double factor, int integer_bits) {
  const double limited = std::min(factor, 0x1p31 - 1.0);
  if (!(limited >= 1.0)) {
    throw Unsupported(
        "[curve] the input scale gives a factor of {}; below 1 its fixed-point rule loses the input. "
        "Requantize to a scale above 1e-8 first.",
        limited);
  }
  CurveInput input{affine::quantize_multiplier(limited), 0};
  const double range =
      static_cast<double>((int64_t{1} << integer_bits) - 1) * static_cast<double>(int64_t{1} << (31 - integer_bits));
  input.radius = static_cast<int64_t>(std::floor(std::ldexp(range, -input.factor.shift)));
  return input;
}

int32_t clamp8(int64_t code) { return static_cast<int32_t>(std::clamp<int64_t>(code, -128, 127)); }

void check_int8(const char* where, std::span<const int32_t> x) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] < -128 || x[i] > 127) throw InvalidArgument("[{}] code {} at {} is no int8.", where, x[i], i);
  }
}

//   curve     Q4 to Q0
//   bits      to drop from Q0
template <class Curve>
void apply(const char* where, std::span<const int32_t> x, const affine::AffineParams& params, std::span<int32_t> output,
           int32_t at_bottom, int32_t bits, int32_t zero_point, Curve curve) {
  check_length(where, "results", output.size(), static_cast<int64_t>(x.size()));
  check_int8(where, x);
  const CurveInput input = curve_input(params.scale);
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t v = int64_t{x[i]} - params.zero_point;
    if (v != 0 && std::abs(v) >= input.radius) {
      output[i] = v > 0 ? 127 : at_bottom;
      continue;
    }
    const auto q4 = static_cast<int32_t>(affine::multiply(v, input.factor, affine::Rounding::kGemmlowpDouble));
    output[i] = clamp8(int64_t{rounding_divide_by_power(curve(q4), bits)} + zero_point);
  }
}

// exp(code - maximum) in Q0, or nothing where it is too small to count.
bool row_exponential(int64_t difference, const CurveInput& input, int32_t& e) {
  if (difference < -input.radius) return false;
  const int64_t scaled = difference * (int64_t{1} << input.factor.shift);
  e = exp_of_negative(doubling_high_multiply(static_cast<int32_t>(scaled), input.factor.multiplier), 5);
  return true;
}

void softmax_row(std::span<const int32_t> x, const CurveInput& input, std::span<int32_t> output) {
  const int64_t maximum = *std::max_element(x.begin(), x.end());
  uint32_t sum = 0;  // Q12
  int32_t e = 0;
  for (const int32_t code : x) {
    if (row_exponential(code - maximum, input, e)) sum += static_cast<uint32_t>(rounding_divide_by_power(e, 12));
  }
  const int headroom = std::countl_zero(sum);
  const auto fraction = static_cast<int32_t>((int64_t{sum} << headroom) - (int64_t{1} << 31));
  const int32_t reciprocal = reciprocal_of_one_plus(fraction);
  for (size_t i = 0; i < x.size(); ++i) {
    const bool counts = row_exponential(x[i] - maximum, input, e);
    const int exponent = 12 - headroom + 31 - 8;
    output[i] = counts
                    ? clamp8(int64_t{rounding_divide_by_power(doubling_high_multiply(reciprocal, e), exponent)} - 128)
                    : -128;
  }
}

}  // namespace

CurveInput curve_input(float input_scale) { return input_of(double{input_scale} * 0x1p27, 4); }

CurveInput softmax_input(float input_scale, float beta) {
  return input_of(double{beta} * double{input_scale} * 0x1p26, 5);
}

void logistic(std::span<const int32_t> x, const affine::AffineParams& input, std::span<int32_t> output) {
  apply("logistic", x, input, output, -128, 23, -128, logistic_q4);
}

void tanh(std::span<const int32_t> x, const affine::AffineParams& input, std::span<int32_t> output) {
  apply("tanh", x, input, output, -128, 24, 0, tanh_q4);
}

void softmax(const CodeTensor& input, float input_scale, float beta, std::span<int32_t> output) {
  check_tensor("softmax", input, std::max(input.shape.rank(), 1));
  check_length("softmax", "results", output.size(), input.shape.elements());
  check_int8("softmax", input.codes);
  const int64_t row = input.shape[-1];
  if (row < 1 || row > kLongestRow) {
    throw Unsupported("[softmax] a row of {} codes; 1 .. {} are possible with an 8-bit softmax.", row, kLongestRow);
  }
  const CurveInput curve = softmax_input(input_scale, beta);
  const auto length = static_cast<size_t>(row);
  for (size_t at = 0; at < input.codes.size(); at += length) {
    softmax_row(input.codes.subspan(at, length), curve, output.subspan(at, length));
  }
}

}  // namespace nibble::runtime
