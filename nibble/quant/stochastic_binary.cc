#include "nibble/quant/stochastic_binary.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/binary.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/rounding.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {

Fields fields(StochasticBinaryParams& p) {
  return {{"alpha", &p.alpha}, {"temperature", &p.temperature}, {"use_real_sigmoid", &p.use_real_sigmoid}};
}

Tensor sign_logits(const Alpha& alpha, const Number& temperature, const Tensor& x) {
  Tensor deviation = Tensor::scalar(1.0f);
  if (alpha.is_auto()) {
    deviation = block_deviation(x.data(), x.shape(), statistics_shape(std::nullopt, x.shape()));
    for (float& value : deviation.data()) value += kEpsilon;
  }
  const BlockIndex block(deviation.shape(), x.shape());
  Tensor logits(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) logits[i] = temperature.real() * x[i] / deviation[block[i]];
  return logits;
}

float draw_probability(float logit, bool use_real_sigmoid, const QuantizeOptions& options) {
  return internal_sigmoid(logit, use_real_sigmoid ? InternalSigmoid::kReal : options.internal_sigmoid);
}

StochasticBinary::StochasticBinary(StochasticBinaryParams params) : params_(std::move(params)) {
  check_above_zero(kName, "temperature", params_.temperature);
}

Quantized StochasticBinary::quantize(const Tensor& x, const QuantizeOptions& options) const {
  if (options.phase == Phase::kInference) return Binary({.alpha = params_.alpha}).quantize(x, options);
  const Tensor logits = sign_logits(params_.alpha, params_.temperature, x);
  std::vector<float> k(static_cast<size_t>(x.size()));
  for (size_t i = 0; i < k.size(); ++i) k[i] = sign_or_one(x.data()[i]);
  Tensor scale = least_squares_scale({.alpha = params_.alpha}, x, k);
  const BlockIndex block(scale.shape(), x.shape());
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float p = draw_probability(logits[i], params_.use_real_sigmoid, options);
    const float q = std::isnan(p) ? p : (random.uniform(i) < p ? 1.0f : -1.0f);
    real[i] = mix(x[i], scale[block[i]] * q, 1.0f, true, options.reference_arithmetic);
  }
  return {std::move(real), std::move(scale)};
}

Tensor StochasticBinary::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options) const {
  check_upstream(kName, x, upstream);
  if (options.phase == Phase::kTraining) return upstream;
  return Binary({.alpha = params_.alpha}).gradient(x, upstream, options);
}

Encoded StochasticBinary::encode(const Tensor& x) const { return Binary({.alpha = params_.alpha}).encode(x); }

NumericFormat StochasticBinary::format() const { return Binary({.alpha = params_.alpha}).format(); }

double StochasticBinary::max() const { return params_.alpha.bound(); }

double StochasticBinary::min() const { return -params_.alpha.bound(); }

std::vector<float> StochasticBinary::range() const { return Binary({.alpha = params_.alpha}).range(); }

std::string StochasticBinary::qkeras_str() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (!params_.alpha.is_none()) add("alpha", python_text(params_.alpha));
  if (params_.temperature != Number(6)) add("temperature", python_text(params_.temperature));
  if (!params_.use_real_sigmoid) add("use_real_sigmoid", "0");
  return fmt::format("{}({})", kName, text);
}

std::string StochasticBinary::str() const {
  StochasticBinaryParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/0);
}

nlohmann::json StochasticBinary::config() const {
  StochasticBinaryParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr StochasticBinary::as_weight_quantizer() const {
  StochasticBinaryParams params = params_;
  if (params.alpha.is_none()) params.alpha = Alpha("auto_po2");
  return std::make_shared<StochasticBinary>(std::move(params));
}

}  // namespace nibble::quant
