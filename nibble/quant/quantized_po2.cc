#include "nibble/quant/quantized_po2.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedPo2Params& p) {
  return {{"bits", &p.bits},
          {"max_value", &p.max_value},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"quadratic_approximation", &p.quadratic_approximation},
          {"log2_rounding", &p.log2_rounding},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_ste", &p.use_ste},
          {"use_variables", Ignored{}}};
}

QuantizedPo2::QuantizedPo2(QuantizedPo2Params params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 32);
  check_qnoise_factor(kName, params_.qnoise_factor);
  exponents_ =
      exponent_rule(kName, params_.bits - 1, params_.max_value, params_.quadratic_approximation, params_.log2_rounding);
}

Quantized QuantizedPo2::quantize(const Tensor& x, const QuantizeOptions& options) const {
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float magnitude = std::abs(x[i]);
    const float exponent = draws ? exponents_.random_exponent(magnitude, random.uniform(i))
                                 : exponents_.exponent(magnitude, options.reference_arithmetic);
    const float q = sign_or_one(x[i]) * std::exp2(exponent);
    real[i] = mix(x[i], q, params_.qnoise_factor.real(), params_.use_ste, options.reference_arithmetic);
  }
  return {std::move(real), Tensor::scalar(1.0f)};
}

Tensor QuantizedPo2::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  Tensor dx = upstream;
  const float factor = mix_gradient(params_.qnoise_factor.real(), params_.use_ste);
  for (float& value : dx.data()) value *= factor;
  return dx;
}

Encoded QuantizedPo2::encode(const Tensor& x) const {
  check_encodable(kName, x, params_.qnoise_factor);
  std::vector<float> exponents;
  std::vector<int8_t> signs;
  for (float value : x.data()) {
    exponents.push_back(exponents_.exponent(std::abs(value), false));
    signs.push_back(value < 0.0f ? int8_t{-1} : int8_t{1});
  }
  return power_of_two_codes(kName, exponents, std::move(signs), params_.bits, /*is_signed=*/true);
}

NumericFormat QuantizedPo2::format() const {
  NumericFormat format{.kind = NumericFormat::Kind::kPowerOfTwo,
                       .bit_width = params_.bits,
                       .integer_bits = 0,
                       .is_signed = true,
                       .max_value = std::nullopt};
  if (params_.max_value) format.max_value = params_.max_value->value;
  return format;
}

double QuantizedPo2::max() const { return largest_power(exponents_); }

double QuantizedPo2::min() const { return -max(); }

std::vector<float> QuantizedPo2::range() const { return power_of_two_range(kName, exponents_, /*is_signed=*/true); }

std::string QuantizedPo2::qkeras_str() const {
  std::string text = std::to_string(params_.bits);
  if (params_.max_value) text += fmt::format(",{:.0f}", std::trunc(params_.max_value->value));
  // Without max_value the reference cannot print this; by name it is unambiguous.
  if (params_.use_stochastic_rounding) text += params_.max_value ? ",1" : ",use_stochastic_rounding=1";
  if (params_.quadratic_approximation) text += ",quadratic_approximation=1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedPo2::str() const {
  QuantizedPo2Params params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/1);
}

nlohmann::json QuantizedPo2::config() const {
  QuantizedPo2Params params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedPo2::as_weight_quantizer() const { return std::make_shared<QuantizedPo2>(params_); }

}  // namespace nibble::quant
