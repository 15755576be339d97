#include "nibble/quant/stochastic_ternary.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"
#include "nibble/quant/scale.h"
#include "nibble/quant/stochastic_binary.h"
#include "nibble/quant/ternary.h"

namespace nibble::quant {

Fields fields(StochasticTernaryParams& p) {
  return {{"alpha", &p.alpha},
          {"threshold", &p.threshold},
          {"temperature", &p.temperature},
          {"use_real_sigmoid", &p.use_real_sigmoid},
          {"number_of_unrolls", &p.number_of_unrolls}};
}

namespace {

// What inference does.
Ternary deterministic(const StochasticTernaryParams& p) {
  return Ternary({.alpha = p.alpha,
                  .threshold = p.threshold,
                  .use_stochastic_rounding = false,
                  .number_of_unrolls = p.number_of_unrolls});
}

Tensor fit_scale(const StochasticTernaryParams& params, const Tensor& x) {
  Tensor scale = initial_ternary_scale(params.alpha, x);
  std::vector<float> codes(static_cast<size_t>(x.size()));
  for (int unroll = 0; unroll < params.number_of_unrolls; ++unroll) {
    const BlockIndex block(scale.shape(), x.shape());
    for (int64_t i = 0; i < x.size(); ++i) {
      const bool is_large = std::abs(x[i]) >= scale[block[i]] / 2.0f;
      codes[static_cast<size_t>(i)] = (is_large ? 1.0f : 0.0f) * sign(x[i]);
    }
    scale = least_squares_scale({.alpha = params.alpha}, x, codes);
  }
  return scale;
}

}  // namespace

StochasticTernary::StochasticTernary(StochasticTernaryParams params) : params_(std::move(params)) {
  check_above_zero(kName, "temperature", params_.temperature);
  check_range(kName, "number_of_unrolls", params_.number_of_unrolls, params_.alpha.is_auto() ? 1 : 0, 1000);
  if (params_.threshold && params_.threshold->value == 1.0) {
    throw InvalidArgument(
        "[{}] threshold is 1, which leaves nothing but 0 for weights within +-1. Choose a smaller one.", kName);
  }
}

Quantized StochasticTernary::quantize(const Tensor& x, const QuantizeOptions& options) const {
  if (options.phase == Phase::kInference) return deterministic(params_).quantize(x, options);
  if (!params_.alpha.is_auto()) {
    throw InvalidArgument("[{}] training needs alpha='auto' or 'auto_po2'; alpha is {}.", kName,
                          python_text(params_.alpha));
  }
  Tensor deviation = block_deviation(x.data(), x.shape(), statistics_shape(std::nullopt, x.shape()));
  for (float& value : deviation.data()) value += kEpsilon;
  Tensor scale = fit_scale(params_, x);
  const BlockIndex deviation_of(deviation.shape(), x.shape()), scale_of(scale.shape(), x.shape());
  const float temperature = params_.temperature.real();
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float d = deviation[deviation_of[i]], s = scale[scale_of[i]];
    const float centred = x[i] / d, threshold = s / (2.0f * d);
    const float p0 = draw_probability(temperature * (centred - threshold), params_.use_real_sigmoid, options);
    const float p1 = draw_probability(temperature * (centred + threshold), params_.use_real_sigmoid, options);
    const float q0 = random.uniform(2 * i) < p0 ? 1.0f : -1.0f, q1 = random.uniform(2 * i + 1) < p1 ? 1.0f : -1.0f;
    const float q = std::isnan(x[i]) ? x[i] : (q0 + q1) / 2.0f;
    real[i] = mix(x[i], s * q, 1.0f, true, options.reference_arithmetic);
  }
  return {std::move(real), std::move(scale)};
}

Tensor StochasticTernary::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options) const {
  check_upstream(kName, x, upstream);
  if (options.phase == Phase::kTraining) return upstream;
  return deterministic(params_).gradient(x, upstream, options);
}

Encoded StochasticTernary::encode(const Tensor& x) const { return deterministic(params_).encode(x); }

NumericFormat StochasticTernary::format() const { return Ternary({.alpha = params_.alpha}).format(); }

double StochasticTernary::max() const { return params_.alpha.bound(); }

double StochasticTernary::min() const { return -params_.alpha.bound(); }

std::vector<float> StochasticTernary::range() const { return deterministic(params_).range(); }

std::string StochasticTernary::qkeras_str() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (!params_.alpha.is_none()) add("alpha", python_text(params_.alpha));
  if (params_.threshold) add("threshold", python_text(*params_.threshold));
  if (params_.temperature != Number(8)) add("temperature", python_text(params_.temperature));
  if (!params_.use_real_sigmoid) add("use_real_sigmoid", "0");
  if (params_.number_of_unrolls != 5) add("number_of_unrolls", std::to_string(params_.number_of_unrolls));
  return fmt::format("{}({})", kName, text);
}

std::string StochasticTernary::str() const {
  StochasticTernaryParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/0);
}

nlohmann::json StochasticTernary::config() const {
  StochasticTernaryParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr StochasticTernary::as_weight_quantizer() const {
  StochasticTernaryParams params = params_;
  if (params.alpha.is_none()) params.alpha = Alpha("auto_po2");
  return std::make_shared<StochasticTernary>(std::move(params));
}

}  // namespace nibble::quant
