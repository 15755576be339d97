#include "nibble/quant/quantized_relu_po2.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedReluPo2Params& p) {
  return {{"bits", &p.bits},
          {"max_value", &p.max_value},
          {"negative_slope", &p.negative_slope},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"quadratic_approximation", &p.quadratic_approximation},
          {"log2_rounding", &p.log2_rounding},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_ste", &p.use_ste},
          {"use_variables", Ignored{}}};
}

namespace {

float rectified(float x) { return leaky_relu(x, 0.0f); }

// Negative inputs have a power of their own only with a slope.
bool is_negative(float x, float slope) { return x < 0.0f && slope != 0.0f; }

float magnitude(float x, float slope) { return is_negative(x, slope) ? slope * rectified(-x) : rectified(x); }

}  // namespace

QuantizedReluPo2::QuantizedReluPo2(QuantizedReluPo2Params params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 32);
  check_slope(kName, params_.negative_slope);
  check_finite(kName, "qnoise_factor", params_.qnoise_factor);
  exponents_ =
      exponent_rule(kName, params_.bits, params_.max_value, params_.quadratic_approximation, params_.log2_rounding);
}

Quantized QuantizedReluPo2::quantize(const Tensor& x, const QuantizeOptions& options) const {
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  const float slope = params_.negative_slope.real();
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float value = magnitude(x[i], slope);
    const float exponent = draws ? exponents_.random_exponent(value, random.uniform(i))
                                 : exponents_.exponent(value, options.reference_arithmetic);
    const float q = (is_negative(x[i], slope) ? -1.0f : 1.0f) * std::exp2(exponent);
    const bool is_capped = exponents_.max_value && x[i] > *exponents_.max_value;
    const float path = is_capped ? *exponents_.max_value : leaky_relu(x[i], slope);
    real[i] = mix(path, q, params_.qnoise_factor.real(), params_.use_ste, options.reference_arithmetic);
  }
  return {std::move(real), Tensor::scalar(1.0f)};
}

Tensor QuantizedReluPo2::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  const float factor = mix_gradient(params_.qnoise_factor.real(), params_.use_ste);
  Tensor dx(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const bool is_capped = exponents_.max_value && x[i] > *exponents_.max_value;
    const float path = is_capped ? 0.0f : (x[i] <= 0.0f ? params_.negative_slope.real() : 1.0f);
    dx[i] = upstream[i] * factor * path;
  }
  return dx;
}

Encoded QuantizedReluPo2::encode(const Tensor& x) const {
  check_encodable(kName, x, params_.qnoise_factor);
  const float slope = params_.negative_slope.real();
  std::vector<float> exponents;
  std::vector<int8_t> signs;
  for (float value : x.data()) {
    exponents.push_back(exponents_.exponent(magnitude(value, slope), false));
    signs.push_back(is_negative(value, slope) ? int8_t{-1} : int8_t{1});
  }
  return power_of_two_codes(kName, exponents, std::move(signs), params_.bits, slope != 0.0f);
}

NumericFormat QuantizedReluPo2::format() const {
  NumericFormat format{.kind = NumericFormat::Kind::kPowerOfTwo,
                       .bit_width = params_.bits,
                       .integer_bits = 0,
                       .is_signed = params_.negative_slope.value != 0.0,
                       .max_value = std::nullopt};
  if (params_.max_value) format.max_value = params_.max_value->value;
  return format;
}

double QuantizedReluPo2::max() const { return largest_power(exponents_); }

double QuantizedReluPo2::min() const {
  const double smallest = std::exp2(exponents_.lowest);
  if (params_.negative_slope.value == 0.0) return smallest;
  return params_.bits > 1 ? std::min(smallest, -params_.negative_slope.value * std::exp2(params_.bits - 1)) : -1.0;
}

std::vector<float> QuantizedReluPo2::range() const {
  return power_of_two_range(kName, exponents_, params_.negative_slope.value != 0.0);
}

std::string QuantizedReluPo2::qkeras_str() const {
  std::string text = std::to_string(params_.bits);
  if (params_.max_value) text += fmt::format(",{:.0f}", std::trunc(params_.max_value->value));
  if (params_.negative_slope.value != 0.0) text += fmt::format(",{}", python_text(params_.negative_slope));
  // Without max_value the reference cannot print this; by name it is unambiguous.
  if (params_.use_stochastic_rounding) text += params_.max_value ? ",1" : ",use_stochastic_rounding=1";
  if (params_.quadratic_approximation) text += ",quadratic_approximation=1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedReluPo2::str() const {
  QuantizedReluPo2Params params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/1);
}

nlohmann::json QuantizedReluPo2::config() const {
  QuantizedReluPo2Params params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedReluPo2::as_weight_quantizer() const { return std::make_shared<QuantizedReluPo2>(params_); }

}  // namespace nibble::quant
