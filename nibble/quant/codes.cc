#include "nibble/quant/codes.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/quant/arguments.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {
namespace {

constexpr int kLargestRangeBits = 20;  // a million values: more is a mistake, not a table

}  // namespace

void check_upstream(std::string_view class_name, const Tensor& x, const Tensor& upstream) {
  if (x.shape() == upstream.shape()) return;
  throw InvalidArgument("[{}] the upstream gradient has shape {}, but x has shape {}; they must be equal.", class_name,
                        upstream.shape().str(), x.shape().str());
}

void check_encodable(std::string_view class_name, const Tensor& x, const Number& qnoise_factor) {
  if (qnoise_factor != Number(1)) {
    throw Unsupported("[{}] encode: with qnoise_factor {} values are not on the grid of codes; set it to 1 first.",
                      class_name, python_text(qnoise_factor));
  }
  if (std::any_of(x.data().begin(), x.data().end(), [](float value) { return std::isnan(value); })) {
    throw InvalidArgument("[{}] encode: the tensor holds a NaN, which has no code. Did training diverge?", class_name);
  }
}

Encoded affine_codes(std::string_view class_name, std::span<const float> integers, Tensor scale, int bit_width,
                     bool is_signed) {
  Encoded encoded{.kind = Encoded::Kind::kAffine,
                  .codes = {},
                  .signs = {},
                  .scale = std::move(scale),
                  .zero_point = 0,
                  .bit_width = bit_width,
                  .is_signed = is_signed,
                  .scale_is_power_of_two = true};
  encoded.codes.reserve(integers.size());
  for (float integer : integers) {
    if (!(std::abs(integer) < 0x1p31f)) {
      throw Unsupported("[{}] encode: code {} does not fit 32 bits. Use fewer bits.", class_name, integer);
    }
    encoded.codes.push_back(static_cast<int32_t>(integer));
  }
  encoded.scale_is_power_of_two = are_powers_of_two(encoded.scale);
  return encoded;
}

Tensor decode(const Encoded& encoded, const Shape& shape) {
  const BlockIndex block(encoded.scale.shape(), shape);
  Tensor real(shape);
  for (int64_t i = 0; i < real.size(); ++i) {
    const auto e = static_cast<size_t>(i);
    const float scale = encoded.scale[block[i]];
    real[i] = encoded.kind == Encoded::Kind::kPowerOfTwo
                  ? static_cast<float>(encoded.signs[e]) * std::ldexp(scale, encoded.codes[e])
                  : scale * static_cast<float>(encoded.codes[e] - encoded.zero_point);
  }
  return real;
}

std::vector<float> unsigned_range(std::string_view class_name, int bits, float step) {
  check_range(class_name, "bits (for range)", bits, 0, kLargestRangeBits);
  std::vector<float> values;
  for (int code = 0; code < (1 << bits); ++code) values.push_back(static_cast<float>(code) * step);
  return values;
}

std::vector<float> twos_complement_range(std::string_view class_name, int bits, float step) {
  check_range(class_name, "bits (for range)", bits, 1, kLargestRangeBits);
  std::vector<float> values = unsigned_range(class_name, bits - 1, step);
  for (int code = -(1 << (bits - 1)); code < 0; ++code) values.push_back(static_cast<float>(code) * step);
  return values;
}

}  // namespace nibble::quant
