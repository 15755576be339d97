#include "nibble/quant/ternary.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

struct Ternary::Coded {
  std::vector<float> codes;  // -1, 0, 1
  Tensor scale;
};

Fields fields(TernaryParams& p) {
  return {{"alpha", &p.alpha},
          {"threshold", &p.threshold},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"number_of_unrolls", &p.number_of_unrolls}};
}

Tensor initial_ternary_scale(const Alpha& alpha, const Tensor& x) {
  const Shape blocks = statistics_shape(std::nullopt, x.shape());
  Tensor scale = block_max(x.data(), x.shape(), blocks, /*magnitude=*/true);
  for (float& value : scale.data()) {
    value = 2.0f * value / 3.0f;
    if (alpha.kind() == Alpha::Kind::kAutoPo2) value = nearest_power_of_two(value);
  }
  return scale;
}

Ternary::Ternary(TernaryParams params) : params_(std::move(params)) {
  check_range(kName, "number_of_unrolls", params_.number_of_unrolls, params_.alpha.is_auto() ? 1 : 0, 1000);
  if (params_.threshold) check_not_negative(kName, "threshold", *params_.threshold);
  if (params_.alpha.is_auto() && params_.threshold) {
    throw InvalidArgument(
        "[{}] threshold {} is given with alpha {}, which finds its own. Leave the threshold out, or fix alpha, e.g. "
        "alpha=1.0 (layers turn alpha None of their weights into 'auto_po2').",
        kName, python_text(*params_.threshold), python_text(params_.alpha));
  }
  if (!params_.alpha.is_auto() && params_.use_stochastic_rounding) {
    throw InvalidArgument("[{}] use_stochastic_rounding needs alpha='auto' or 'auto_po2'; alpha is {}.", kName,
                          python_text(params_.alpha));
  }
}

Ternary::Coded Ternary::fitted_codes(const Tensor& x, const QuantizeOptions& options) const {
  constexpr float kPrecision = 1.0f / 3.0f;
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  Coded coded{std::vector<float>(static_cast<size_t>(x.size())), initial_ternary_scale(params_.alpha, x)};
  for (int unroll = 0; unroll < params_.number_of_unrolls; ++unroll) {
    const BlockIndex block(coded.scale.shape(), x.shape());
    ElementRandom random(options.random);
    for (int64_t i = 0; i < x.size(); ++i) {
      const float s = coded.scale[block[i]], steps = x[i] / s;
      const float rounded = draws ? stochastic_round(steps, kPrecision, random.uniform(i)) : round_half_even(steps);
      const float v = s * through(steps, rounded, options.reference_arithmetic);
      const bool is_large = std::abs(v) >= s / 2.0f;
      coded.codes[static_cast<size_t>(i)] = (is_large ? 1.0f : 0.0f) * sign(x[i]);
    }
    coded.scale = least_squares_scale({.alpha = params_.alpha}, x, coded.codes);
  }
  return coded;
}

Ternary::Coded Ternary::codes(const Tensor& x, const QuantizeOptions& options) const {
  if (params_.alpha.is_auto()) return fitted_codes(x, options);
  const float threshold = params_.threshold.value_or(kDefaultThreshold).real();
  std::vector<float> codes(static_cast<size_t>(x.size()));
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = (std::abs(x.data()[i]) >= threshold ? 1.0f : 0.0f) * sign(x.data()[i]);
  }
  Tensor scale = least_squares_scale({.alpha = params_.alpha}, x, codes);
  return {std::move(codes), std::move(scale)};
}

Quantized Ternary::quantize(const Tensor& x, const QuantizeOptions& options) const {
  Coded coded = codes(x, options);
  const BlockIndex block(coded.scale.shape(), x.shape());
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float path = params_.alpha.is_none() ? std::tanh(x[i]) : x[i];
    const float q = coded.scale[block[i]] * coded.codes[static_cast<size_t>(i)];
    real[i] = mix(path, q, 1.0f, true, options.reference_arithmetic);
  }
  return {std::move(real), std::move(coded.scale)};
}

Tensor Ternary::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  if (!params_.alpha.is_none()) return upstream;
  Tensor dx = upstream;
  for (int64_t i = 0; i < x.size(); ++i) {
    const float t = std::tanh(x[i]);
    dx[i] *= 1.0f - t * t;
  }
  return dx;
}

Encoded Ternary::encode(const Tensor& x) const {
  check_encodable(kName, x, 1);
  Coded coded = codes(x, {});
  return affine_codes(kName, coded.codes, std::move(coded.scale), /*bit_width=*/2, /*is_signed=*/true);
}

NumericFormat Ternary::format() const {
  return {.kind = NumericFormat::Kind::kTernary,
          .bit_width = 2,
          .integer_bits = 1,
          .is_signed = true,
          .max_value = std::nullopt};
}

double Ternary::max() const { return params_.alpha.bound(); }

double Ternary::min() const { return -params_.alpha.bound(); }

std::vector<float> Ternary::range() const {
  if (params_.alpha.is_auto() || params_.alpha.kind() == Alpha::Kind::kArray) {
    throw InvalidArgument("[{}] range() needs one fixed scale; alpha is {}.", kName, python_text(params_.alpha));
  }
  const float scale = params_.alpha.is_none() ? 1.0f : params_.alpha.number().real();
  return {0.0f, scale, -scale};
}

std::string Ternary::qkeras_str() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (!params_.alpha.is_none()) add("alpha", python_text(params_.alpha));
  if (params_.threshold) add("threshold", python_text(*params_.threshold));
  if (params_.use_stochastic_rounding) add("use_stochastic_rounding", "1");
  if (params_.number_of_unrolls != 5) add("number_of_unrolls", std::to_string(params_.number_of_unrolls));
  return fmt::format("{}({})", kName, text);
}

std::string Ternary::str() const {
  TernaryParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/0);
}

nlohmann::json Ternary::config() const {
  TernaryParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr Ternary::as_weight_quantizer() const {
  TernaryParams params = params_;
  if (params.alpha.is_none()) params.alpha = Alpha("auto_po2");
  return std::make_shared<Ternary>(std::move(params));
}

}  // namespace nibble::quant
