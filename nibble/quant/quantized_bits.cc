#include "nibble/quant/quantized_bits.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

// Integers and what they are multiplied by: real = scale * (unit * code).
struct QuantizedBits::Coded {
  std::vector<float> codes;
  Tensor scale;  // QKeras' scale attribute
  float unit;    // mi / m
};

Fields fields(QuantizedBitsParams& p) {
  return {{"bits", &p.bits},
          {"integer", &p.integer},
          {"symmetric", ZeroOne{&p.symmetric}},
          {"keep_negative", &p.keep_negative},
          {"alpha", &p.alpha},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"scale_axis", &p.scale_axis},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_ste", &p.use_ste},
          {"use_variables", Ignored{}},
          {"elements_per_scale", &p.elements_per_scale},
          {"min_po2_exponent", &p.min_po2_exponent},
          {"max_po2_exponent", &p.max_po2_exponent},
          {"post_training_scale", &p.post_training_scale}};
}

namespace {

ScaleRule scale_rule(const QuantizedBitsParams& p) {
  return {p.alpha, p.scale_axis, p.elements_per_scale, p.min_po2_exponent, p.max_po2_exponent};
}

void check(const QuantizedBitsParams& p) {
  constexpr std::string_view kName = QuantizedBits::kName;
  check_range(kName, "bits", p.bits, p.keep_negative ? 1 : 0, 64);
  check_range(kName, "integer", p.integer, -64, 64);
  check_qnoise_factor(kName, p.qnoise_factor);
  const bool bounds_scale = p.elements_per_scale || p.min_po2_exponent || p.max_po2_exponent;
  if (bounds_scale && p.alpha.kind() != Alpha::Kind::kAutoPo2) {
    throw InvalidArgument(
        "[{}] elements_per_scale, min_po2_exponent and max_po2_exponent need alpha='auto_po2'; alpha is {}.", kName,
        python_text(p.alpha));
  }
  if (p.post_training_scale && !p.alpha.is_auto()) {
    throw InvalidArgument("[{}] post_training_scale needs alpha='auto' or 'auto_po2'; alpha is {}.", kName,
                          python_text(p.alpha));
  }
  check_scale_rule(kName, scale_rule(p));
}

}  // namespace

QuantizedBits::QuantizedBits(QuantizedBitsParams params) : params_(std::move(params)) {
  check(params_);
  if (params_.alpha.is_auto()) params_.symmetric = true;
}

QuantizedBits::Coded QuantizedBits::fixed_codes(const Tensor& x, const QuantizeOptions& options) const {
  const float m = std::exp2(static_cast<float>(unsigned_bits())), mi = std::exp2(static_cast<float>(params_.integer));
  Coded coded{std::vector<float>(static_cast<size_t>(x.size())), least_squares_scale({.alpha = params_.alpha}, x, {}),
              unsigned_bits() > 0 ? mi / m : 1.0f};
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  const float high = m - 1.0f, low = params_.keep_negative ? -m + (params_.symmetric ? 1.0f : 0.0f) : 0.0f;
  ElementRandom random(options.random);
  for (int64_t i = 0; i < x.size(); ++i) {
    float& code = coded.codes[static_cast<size_t>(i)];
    if (unsigned_bits() == 0) {
      code = params_.keep_negative ? sign_or_one(x[i]) : (sign_or_one(x[i]) + 1.0f) / 2.0f;
      continue;
    }
    const float steps = x[i] * m / mi;
    const float rounded = draws ? stochastic_round(steps, 1.0f, random.uniform(i)) : round_half_even(steps);
    code = clip(through(steps, rounded, options.reference_arithmetic), low, high);
  }
  return coded;
}

// Half away from zero, as the reference rounds here; the largest code stands for all above it.
std::vector<float> QuantizedBits::fitted_integers(const Tensor& t, const Tensor& step, bool reference) const {
  const float largest = std::exp2(static_cast<float>(params_.bits - 1)) - 1.0f;
  const BlockIndex block(step.shape(), t.shape());
  std::vector<float> z(static_cast<size_t>(t.size()));
  for (int64_t i = 0; i < t.size(); ++i) {
    float& code = z[static_cast<size_t>(i)];
    if (params_.bits == 1 && !reference) {
      code = sign_or_one(t[i]);  // the reference has no code but 0 here
      continue;
    }
    const float steps = std::floor(std::abs(t[i]) / step[block[i]] + 0.5f);
    code = sign(t[i]) * (steps < largest ? steps : largest);
  }
  return z;
}

Tensor QuantizedBits::search_step(const Tensor& t) const {
  const float levels = 2.0f * (std::exp2(static_cast<float>(params_.bits - 1)) - 1.0f);
  const Shape blocks = statistics_shape(params_.scale_axis, t.shape());
  Tensor step = block_max(t.data(), t.shape(), blocks, /*magnitude=*/true);
  for (float& value : step.data()) value = value * 2.0f / levels;
  return step;
}

QuantizedBits::Coded QuantizedBits::fitted_codes(const Tensor& x, const QuantizeOptions& options) const {
  constexpr int kIterations = 5;
  const float m = std::exp2(static_cast<float>(unsigned_bits())), mi = std::exp2(static_cast<float>(params_.integer));
  const bool reference = options.reference_arithmetic;
  Tensor t = x;
  for (float& value : t.data()) value = value / mi;
  Tensor step;
  if (params_.post_training_scale) {
    step = *params_.post_training_scale;
    for (float& value : step.data()) value = value / m;
  } else if (params_.bits == 1 && !reference) {
    step = least_squares_scale(scale_rule(params_), t, fitted_integers(t, Tensor(), reference));
  } else {
    step = search_step(t);
    if (params_.alpha.kind() == Alpha::Kind::kAutoPo2) {
      for (float& value : step.data()) value = nearest_power_of_two(value);
      for (int i = 0; i < kIterations; ++i) {
        step = least_squares_scale(scale_rule(params_), t, fitted_integers(t, step, reference));
      }
    }
  }
  Coded coded{fitted_integers(t, step, reference), step, mi / m};
  for (float& value : coded.scale.data()) value = value * m;
  if (params_.post_training_scale) coded.scale = *params_.post_training_scale;
  return coded;
}

Quantized QuantizedBits::quantize(const Tensor& x, const QuantizeOptions& options) const {
  Coded coded = params_.alpha.is_auto() ? fitted_codes(x, options) : fixed_codes(x, options);
  const BlockIndex block(coded.scale.shape(), x.shape());
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float q = coded.scale[block[i]] * (coded.unit * coded.codes[static_cast<size_t>(i)]);
    real[i] = mix(x[i], q, params_.qnoise_factor.real(), params_.use_ste, options.reference_arithmetic);
  }
  return {std::move(real), std::move(coded.scale)};
}

Tensor QuantizedBits::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  Tensor dx = upstream;
  const float factor = mix_gradient(params_.qnoise_factor.real(), params_.use_ste);
  for (float& value : dx.data()) value *= factor;
  return dx;
}

Encoded QuantizedBits::encode(const Tensor& x) const {
  check_encodable(kName, x, params_.qnoise_factor);
  const bool fitted = params_.alpha.is_auto();
  Coded coded = fitted ? fitted_codes(x, {}) : fixed_codes(x, {});
  for (float& value : coded.scale.data()) value *= coded.unit;
  // A fitted scale leaves negative values in place even without keep_negative, as in the reference.
  return affine_codes(kName, coded.codes, std::move(coded.scale), std::max(params_.bits, 1),
                      params_.keep_negative || fitted);
}

NumericFormat QuantizedBits::format() const {
  using Kind = NumericFormat::Kind;
  NumericFormat format{.kind = Kind::kFixedPoint,
                       .bit_width = params_.bits,
                       .integer_bits = params_.integer,
                       .is_signed = params_.keep_negative,
                       .max_value = std::nullopt};
  if (unsigned_bits() == 0) format.kind = params_.keep_negative ? Kind::kBinary : Kind::kBinary01;
  return format;
}

double QuantizedBits::max() const { return unsigned_bits() > 0 ? std::max(1.0, std::exp2(params_.integer)) : 1.0; }

double QuantizedBits::min() const { return params_.keep_negative ? -max() : 0.0; }

std::vector<float> QuantizedBits::range() const {
  const bool is_unscaled =
      params_.alpha.is_none() || (params_.alpha.kind() == Alpha::Kind::kNumber && params_.alpha.number() == Number(1));
  if (params_.symmetric || !params_.keep_negative || !is_unscaled) {
    throw InvalidArgument(
        "[{}] range() is defined for symmetric=0, keep_negative=True and alpha None or 1; this is {}.", kName, str());
  }
  return twos_complement_range(kName, params_.bits, std::exp2(static_cast<float>(params_.integer - params_.bits + 1)));
}

std::string QuantizedBits::qkeras_str() const {
  std::string text = fmt::format("{},{},{}", params_.bits, params_.integer, params_.symmetric ? 1 : 0);
  if (!params_.keep_negative) text += ",keep_negative=False";
  const bool is_zero = params_.alpha.kind() == Alpha::Kind::kNumber && params_.alpha.number() == Number(0);
  if (!params_.alpha.is_none() && !is_zero) text += ",alpha=" + python_text(params_.alpha);
  if (params_.use_stochastic_rounding) text += ",use_stochastic_rounding=1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedBits::str() const {
  QuantizedBitsParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/3);
}

nlohmann::json QuantizedBits::config() const {
  QuantizedBitsParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedBits::as_weight_quantizer() const {
  QuantizedBitsParams params = params_;
  if (params.alpha.is_none()) {
    params.alpha = Alpha("auto_po2");
    params.symmetric = true;
  }
  return std::make_shared<QuantizedBits>(std::move(params));
}

bool QuantizedBits::is_stochastic() const { return params_.use_stochastic_rounding && !params_.alpha.is_auto(); }

}  // namespace nibble::quant
