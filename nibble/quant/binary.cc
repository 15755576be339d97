#include "nibble/quant/binary.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(BinaryParams& p) {
  return {{"use_01", &p.use_01},
          {"alpha", &p.alpha},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"scale_axis", &p.scale_axis},
          {"elements_per_scale", &p.elements_per_scale},
          {"min_po2_exponent", &p.min_po2_exponent},
          {"max_po2_exponent", &p.max_po2_exponent}};
}

namespace {

ScaleRule scale_rule(const BinaryParams& p) {
  return {p.alpha, p.scale_axis, p.elements_per_scale, p.min_po2_exponent, p.max_po2_exponent};
}

// x as the gradient sees it.
Tensor surrogate(const BinaryParams& params, const Tensor& x) {
  Tensor path = x;
  if (params.alpha.is_none()) {
    for (float& value : path.data()) value = std::tanh(value);
  }
  return path;
}

// Small values are rounded to 0 or away from it; the signs of the zeros are drawn below.
void round_stochastically(Tensor& x, ElementRandom& random) {
  constexpr float kPrecision = 0.125f;
  const Shape blocks = scale_shape(std::nullopt, x.shape());
  const Tensor largest = block_max(x.data(), x.shape(), blocks, /*magnitude=*/true);
  const BlockIndex block(blocks, x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float full = 2.0f * std::min(largest[block[i]], 1.0f);
    if (full > 0.0f) x[i] = full * stochastic_round(x[i] / full, kPrecision, random.uniform(2 * i));
  }
}

}  // namespace

Binary::Binary(BinaryParams params) : params_(std::move(params)) { check_scale_rule(kName, scale_rule(params_)); }

Quantized Binary::quantize(const Tensor& x, const QuantizeOptions& options) const {
  Tensor path = surrogate(params_, x);
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  ElementRandom random(options.random);
  if (draws) round_stochastically(path, random);
  std::vector<float> k(static_cast<size_t>(x.size()));
  for (int64_t i = 0; i < x.size(); ++i) {
    float value = sign_or_one(path[i]);
    if (draws && path[i] == 0.0f) value = random.uniform(2 * i + 1) < 0.5f ? -1.0f : 1.0f;
    k[static_cast<size_t>(i)] = params_.use_01 ? (value + 1.0f) / 2.0f : value;
  }
  Tensor scale = least_squares_scale(scale_rule(params_), path, k);
  const BlockIndex block(scale.shape(), x.shape());
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    real[i] = mix(path[i], scale[block[i]] * k[static_cast<size_t>(i)], 1.0f, true, options.reference_arithmetic);
  }
  return {std::move(real), std::move(scale)};
}

Tensor Binary::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  if (!params_.alpha.is_none()) return upstream;
  Tensor dx = upstream;
  for (int64_t i = 0; i < x.size(); ++i) {
    const float t = std::tanh(x[i]);
    dx[i] *= 1.0f - t * t;
  }
  return dx;
}

Encoded Binary::encode(const Tensor& x) const {
  check_encodable(kName, x, 1);
  std::vector<float> k(static_cast<size_t>(x.size()));
  for (size_t i = 0; i < k.size(); ++i) {
    const float value = sign_or_one(x.data()[i]);
    k[i] = params_.use_01 ? (value + 1.0f) / 2.0f : value;
  }
  return affine_codes(kName, k, quantize(x).scale, /*bit_width=*/1, /*is_signed=*/!params_.use_01);
}

NumericFormat Binary::format() const {
  return {.kind = params_.use_01 ? NumericFormat::Kind::kBinary01 : NumericFormat::Kind::kBinary,
          .bit_width = 1,
          .integer_bits = params_.use_01 ? 1 : 0,
          .is_signed = !params_.use_01,
          .max_value = std::nullopt};
}

double Binary::max() const { return params_.alpha.bound(); }

double Binary::min() const { return params_.use_01 ? 0.0 : -params_.alpha.bound(); }

std::vector<float> Binary::range() const {
  if (params_.alpha.is_auto() || params_.alpha.kind() == Alpha::Kind::kArray) {
    throw InvalidArgument("[{}] range() needs one fixed scale; alpha is {}.", kName, python_text(params_.alpha));
  }
  const float scale = params_.alpha.is_none() ? 1.0f : params_.alpha.number().real();
  if (params_.use_01) return {0.0f, scale};
  return {scale, -scale};
}

std::string Binary::qkeras_str() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (params_.use_01) add("use_01", "1");
  if (!params_.alpha.is_none()) add("alpha", python_text(params_.alpha));
  if (params_.elements_per_scale) add("elements_per_scale", python_text(*params_.elements_per_scale));
  if (params_.scale_axis) add("scale_axis", python_text(*params_.scale_axis));
  if (params_.min_po2_exponent) add("min_po2_exponent", std::to_string(*params_.min_po2_exponent));
  if (params_.max_po2_exponent) add("max_po2_exponent", std::to_string(*params_.max_po2_exponent));
  if (params_.use_stochastic_rounding) add("use_stochastic_rounding", "True");
  return fmt::format("{}({})", kName, text);
}

std::string Binary::str() const {
  BinaryParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/0);
}

nlohmann::json Binary::config() const {
  BinaryParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr Binary::as_weight_quantizer() const {
  BinaryParams params = params_;
  if (params.alpha.is_none()) params.alpha = Alpha("auto_po2");
  return std::make_shared<Binary>(std::move(params));
}

}  // namespace nibble::quant
