#include "nibble/quant/quantized_hswish.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedHswishParams& p) {
  return {{"bits", &p.bits},
          {"integer", &p.integer},
          {"symmetric", ZeroOne{&p.symmetric}},
          {"alpha", &p.alpha},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"scale_axis", &p.scale_axis},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_variables", Ignored{}},
          {"relu_shift", &p.relu_shift},
          {"relu_upper_bound", &p.relu_upper_bound}};
}

namespace {

QuantizedBits inner_quantizer(const QuantizedHswishParams& p) {
  // Under this class's name.
  check_range(QuantizedHswish::kName, "bits", p.bits, 1, 64);
  check_range(QuantizedHswish::kName, "integer", p.integer, -64, 64);
  check_qnoise_factor(QuantizedHswish::kName, p.qnoise_factor);
  return QuantizedBits({.bits = p.bits,
                        .integer = p.integer,
                        .symmetric = p.symmetric,
                        .alpha = p.alpha,
                        .use_stochastic_rounding = p.use_stochastic_rounding,
                        .scale_axis = p.scale_axis,
                        .qnoise_factor = p.qnoise_factor});
}

}  // namespace

QuantizedHswish::QuantizedHswish(QuantizedHswishParams params)
    : params_(std::move(params)), bits_(inner_quantizer(params_)) {
  params_.symmetric = bits_.params().symmetric;
  check_finite(kName, "relu_shift", params_.relu_shift);
  check_finite(kName, "relu_upper_bound", params_.relu_upper_bound);
  if (params_.relu_shift.value <= 0.0 || params_.relu_upper_bound.value <= 0.0) {
    throw InvalidArgument("[{}] relu_shift is {} and relu_upper_bound {}; both must be above 0.", kName,
                          python_text(params_.relu_shift), python_text(params_.relu_upper_bound));
  }
}

Tensor QuantizedHswish::curve(const Tensor& x) const {
  const double shift = params_.relu_shift.real(), bound = params_.relu_upper_bound.real();
  Tensor h(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const double real = x[i], ramp = std::clamp(real + shift, 0.0, bound);
    // -infinity too: its product with 0 would be NaN
    h[i] = ramp == 0.0 ? 0.0f : static_cast<float>(real * ramp / bound);
  }
  return h;
}

Quantized QuantizedHswish::quantize(const Tensor& x, const QuantizeOptions& options) const {
  return bits_.quantize(curve(x), options);
}

Tensor QuantizedHswish::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options) const {
  const float shift = params_.relu_shift.real(), bound = params_.relu_upper_bound.real();
  Tensor dx = bits_.gradient(x, upstream, options);
  for (int64_t i = 0; i < x.size(); ++i) {
    const float shifted = x[i] + shift;
    const float ramp = shifted > 0.0f && shifted <= bound ? 1.0f : 0.0f;
    dx[i] *= (clip(shifted, 0.0f, bound) + x[i] * ramp) / bound;
  }
  return dx;
}

Encoded QuantizedHswish::encode(const Tensor& x) const { return bits_.encode(curve(x)); }

NumericFormat QuantizedHswish::format() const { return bits_.format(); }

double QuantizedHswish::max() const { return bits_.max(); }

// The lowest point of the parabola x (x + shift) / bound, quantized; the reference cannot say.
double QuantizedHswish::min() const {
  QuantizedHswishParams params = params_;
  if (params.alpha.is_auto()) params.alpha = Alpha();
  return QuantizedHswish(params).quantize(Tensor::scalar(lowest_at())).real[0];
}

// Where the bound cuts the parabola off before its minimum at -shift / 2, the line x takes over.
float QuantizedHswish::lowest_at() const {
  const double shift = params_.relu_shift.real(), bound = params_.relu_upper_bound.real();
  return static_cast<float>(std::max(std::min(-shift / 2.0, bound - shift), -shift));
}

std::vector<float> QuantizedHswish::range() const { return bits_.range(); }

std::string QuantizedHswish::qkeras_str() const {
  std::string text =
      fmt::format("{},{},{},relu_shift={},relu_upper_bound={}", params_.bits, params_.integer,
                  params_.symmetric ? 1 : 0, python_text(params_.relu_shift), python_text(params_.relu_upper_bound));
  if (!params_.alpha.is_none()) text += ",alpha=" + python_text(params_.alpha);
  if (params_.use_stochastic_rounding) text += ",use_stochastic_rounding=1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedHswish::str() const {
  QuantizedHswishParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/3);
}

nlohmann::json QuantizedHswish::config() const {
  QuantizedHswishParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedHswish::as_weight_quantizer() const {
  QuantizedHswishParams params = params_;
  if (params.alpha.is_none()) {
    params.alpha = Alpha("auto_po2");
    params.symmetric = true;
  }
  return std::make_shared<QuantizedHswish>(std::move(params));
}

}  // namespace nibble::quant
