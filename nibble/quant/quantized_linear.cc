#include "nibble/quant/quantized_linear.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedLinearParams& p) {
  return {{"bits", &p.bits},
          {"integer", &p.integer},
          {"symmetric", ZeroOne{&p.symmetric}},
          {"keep_negative", &p.keep_negative},
          {"alpha", &p.alpha},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"scale_axis", &p.scale_axis},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_variables", Ignored{}}};
}

QuantizedLinear::QuantizedLinear(QuantizedLinearParams params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 64);
  check_range(kName, "integer", params_.integer, -64, 64);
  check_qnoise_factor(kName, params_.qnoise_factor);
  check_scale_axis(kName, params_.scale_axis);
  const Tensor fixed = params_.alpha.is_auto() ? Tensor::scalar(1.0f) : default_scale();
  if (std::count(fixed.data().begin(), fixed.data().end(), 0.0f) > 0) {
    throw InvalidArgument("[{}] alpha is {}; values are divided by it, so no scale may be 0.", kName,
                          python_text(params_.alpha));
  }
}

float QuantizedLinear::data_type_scale() const {
  return std::exp2(static_cast<float>(params_.integer - params_.bits + (params_.keep_negative ? 1 : 0)));
}

float QuantizedLinear::highest() const {
  if (is_sign_mode()) return 0.5f;
  return std::exp2(static_cast<float>(params_.bits - (params_.keep_negative ? 1 : 0))) - 1.0f;
}

float QuantizedLinear::lowest() const {
  if (is_sign_mode()) return -0.5f;
  if (!params_.keep_negative) return 0.0f;
  return -std::exp2(static_cast<float>(params_.bits - 1)) + (params_.symmetric ? 1.0f : 0.0f);
}

Tensor QuantizedLinear::default_scale() const {
  Tensor scale = least_squares_scale({.alpha = params_.alpha.is_auto() ? Alpha() : params_.alpha}, Tensor(), {});
  for (float& value : scale.data()) value *= data_type_scale();
  return scale;
}

Tensor QuantizedLinear::fitted_scale(const Tensor& x) const {
  constexpr int kMostIterations = 5;
  const Shape blocks = x.shape().rank() < 2 ? x.shape() : scale_shape(params_.scale_axis, x.shape());
  Tensor scale = block_max(x.data(), x.shape(), blocks, /*magnitude=*/params_.keep_negative);
  for (float& value : scale.data()) {
    value = params_.keep_negative ? value * 2.0f / (highest() - lowest()) : value / (highest() - lowest());
    if (value < kEpsilon) value = kEpsilon;
  }
  if (params_.alpha.kind() == Alpha::Kind::kAuto) return scale;
  for (float& value : scale.data()) value = nearest_power_of_two(value);
  std::vector<float> steps(static_cast<size_t>(x.size()));
  for (int i = 0; i < (is_sign_mode() ? 1 : kMostIterations); ++i) {
    const BlockIndex block(scale.shape(), x.shape());
    for (int64_t e = 0; e < x.size(); ++e) {
      const float inside = clip(x[e] / scale[block[e]], lowest(), highest());
      steps[static_cast<size_t>(e)] = round_half_even(inside - shift()) + shift();
    }
    const ScaleRule rule{.alpha = params_.alpha, .scale_axis = params_.scale_axis};
    Tensor refitted = least_squares_scale(rule, x, steps);
    if (refitted == scale) break;
    scale = std::move(refitted);
  }
  return scale;
}

Tensor QuantizedLinear::quantization_scale(const Tensor& x) const {
  return params_.alpha.is_auto() ? fitted_scale(x) : default_scale();
}

Quantized QuantizedLinear::quantize(const Tensor& x, const QuantizeOptions& options) const {
  Tensor step = quantization_scale(x);
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  const BlockIndex block(step.shape(), x.shape());
  const float low = lowest(), high = highest(), middle = shift();
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float scale = step[block[i]], v = clip(x[i] / scale, low, high) - middle;
    const float rounded = draws ? stochastic_round(v, 1.0f, random.uniform(i)) : round_half_even(v);
    const float q = (through(v, rounded, options.reference_arithmetic) + middle) * scale;
    real[i] = mix(x[i], q, params_.qnoise_factor.real(), true, options.reference_arithmetic);
  }
  for (float& value : step.data()) value /= data_type_scale();
  return {std::move(real), std::move(step)};
}

Tensor QuantizedLinear::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  const Tensor step = quantization_scale(x);
  const BlockIndex block(step.shape(), x.shape());
  const float noise = params_.qnoise_factor.real();
  Tensor dx(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    dx[i] = upstream[i] * ((1.0f - noise) + noise * clip_gradient(x[i] / step[block[i]], lowest(), highest()));
  }
  return dx;
}

Encoded QuantizedLinear::encode(const Tensor& x) const {
  check_encodable(kName, x, params_.qnoise_factor);
  Tensor step = quantization_scale(x);
  const BlockIndex block(step.shape(), x.shape());
  std::vector<float> codes(static_cast<size_t>(x.size()));
  for (int64_t i = 0; i < x.size(); ++i) {
    const float code = round_half_even(clip(x[i] / step[block[i]], lowest(), highest()) - shift()) + shift();
    codes[static_cast<size_t>(i)] = is_sign_mode() ? 2.0f * code : code;  // halves become -1 and 1
  }
  if (is_sign_mode()) {
    for (float& value : step.data()) value /= 2.0f;
  }
  return affine_codes(kName, codes, std::move(step), params_.bits, params_.keep_negative);
}

NumericFormat QuantizedLinear::format() const {
  return {.kind = is_sign_mode() ? NumericFormat::Kind::kBinary : NumericFormat::Kind::kFixedPoint,
          .bit_width = params_.bits,
          .integer_bits = params_.integer,
          .is_signed = params_.keep_negative,
          .max_value = std::nullopt};
}

double QuantizedLinear::max() const {
  const Tensor step = default_scale();
  return highest() * *std::max_element(step.data().begin(), step.data().end());
}

double QuantizedLinear::min() const {
  const Tensor step = default_scale();
  return lowest() * *std::max_element(step.data().begin(), step.data().end());
}

std::vector<float> QuantizedLinear::range() const {
  const Tensor step = default_scale();
  if (params_.alpha.is_auto() || step.size() != 1) {
    throw InvalidArgument("[{}] range() needs one fixed scale; alpha is {}.", kName, python_text(params_.alpha));
  }
  if (is_sign_mode()) return {0.5f * step[0], -0.5f * step[0]};
  if (!params_.keep_negative) return unsigned_range(kName, params_.bits, step[0]);
  std::vector<float> values = twos_complement_range(kName, params_.bits, step[0]);
  if (params_.symmetric) values.erase(values.begin() + (std::ptrdiff_t{1} << (params_.bits - 1)));
  return values;
}

std::string QuantizedLinear::qkeras_str() const {
  std::string text = fmt::format("{},{},{}", params_.bits, params_.integer, params_.symmetric ? 1 : 0);
  if (!params_.keep_negative) text += ",keep_negative=False";
  if (!params_.alpha.is_none()) text += ",alpha=" + python_text(params_.alpha);
  if (params_.use_stochastic_rounding) text += ",use_stochastic_rounding=1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedLinear::str() const {
  QuantizedLinearParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/3);
}

nlohmann::json QuantizedLinear::config() const {
  QuantizedLinearParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedLinear::as_weight_quantizer() const {
  QuantizedLinearParams params = params_;
  if (params.alpha.is_none()) {
    params.alpha = Alpha("auto_po2");
    params.symmetric = true;
  }
  return std::make_shared<QuantizedLinear>(std::move(params));
}

}  // namespace nibble::quant
