#include "nibble/quant/quantized_tanh.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedTanhParams& p) {
  return {{"bits", &p.bits},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"symmetric", &p.symmetric},
          {"use_real_tanh", &p.use_real_tanh}};
}

namespace {

// m codes a unit, clipped to [low, high].
struct Grid {
  float m, low, high;
};

Grid make_grid(const QuantizedTanhParams& params) {
  const float m = std::exp2(static_cast<float>(params.bits - 1));
  return {m, -1.0f + (params.symmetric ? 1.0f / m : 0.0f), 1.0f - 1.0f / m};
}

float curve(float x, const QuantizedTanhParams& params, const QuantizeOptions& options) {
  if (params.use_real_tanh) return std::tanh(x);
  return 2.0f * internal_sigmoid(x, options.internal_sigmoid) - 1.0f;
}

float slope(float x, const QuantizedTanhParams& params, const QuantizeOptions& options) {
  if (!params.use_real_tanh) return 2.0f * internal_sigmoid_gradient(x, options.internal_sigmoid);
  const float t = std::tanh(x);
  return 1.0f - t * t;
}

}  // namespace

QuantizedTanh::QuantizedTanh(QuantizedTanhParams params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 64);
}

Quantized QuantizedTanh::quantize(const Tensor& x, const QuantizeOptions& options) const {
  constexpr float kPrecision = 0.5f;
  const bool draws = params_.use_stochastic_rounding && options.phase == Phase::kTraining;
  const Grid grid = make_grid(params_);
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float p = curve(x[i], params_, options) * grid.m;
    const float rounded = draws ? stochastic_round(p, kPrecision, random.uniform(i)) : round_half_even(p);
    real[i] = clip(through(p, rounded, options.reference_arithmetic) / grid.m, grid.low, grid.high);
  }
  return {std::move(real), Tensor::scalar(1.0f)};
}

Tensor QuantizedTanh::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options) const {
  check_upstream(kName, x, upstream);
  const Grid grid = make_grid(params_);
  Tensor dx(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    // The deterministic rounding decides what is inside the clip in both phases.
    const float rounded = round_half_even(curve(x[i], params_, options) * grid.m) / grid.m;
    dx[i] = upstream[i] * clip_gradient(rounded, grid.low, grid.high) * slope(x[i], params_, options);
  }
  return dx;
}

Encoded QuantizedTanh::encode(const Tensor& x) const {
  check_encodable(kName, x, 1);
  const Grid grid = make_grid(params_);
  const Tensor real = quantize(x).real;
  std::vector<float> codes(static_cast<size_t>(x.size()));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = real.data()[i] * grid.m;
  return affine_codes(kName, codes, Tensor::scalar(1.0f / grid.m), params_.bits, true);
}

NumericFormat QuantizedTanh::format() const {
  return {.kind = NumericFormat::Kind::kFixedPoint,
          .bit_width = params_.bits,
          .integer_bits = 0,
          .is_signed = true,
          .max_value = std::nullopt};
}

double QuantizedTanh::max() const { return make_grid(params_).high; }

double QuantizedTanh::min() const { return make_grid(params_).low; }

std::vector<float> QuantizedTanh::range() const {
  const float step = std::exp2(1.0f - static_cast<float>(params_.bits));
  std::vector<float> values = twos_complement_range(kName, params_.bits, step);
  if (params_.symmetric) values.erase(values.begin() + (std::ptrdiff_t{1} << (params_.bits - 1)));
  return values;
}

std::string QuantizedTanh::qkeras_str() const {
  // The reference prints the flags that are set and nothing in the place of the others.
  std::string text = std::to_string(params_.bits);
  if (params_.use_stochastic_rounding) text += ",1";
  if (params_.symmetric) text += ",1";
  if (params_.use_real_tanh) text += ",1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedTanh::str() const {
  QuantizedTanhParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/1);
}

nlohmann::json QuantizedTanh::config() const {
  QuantizedTanhParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedTanh::as_weight_quantizer() const { return std::make_shared<QuantizedTanh>(params_); }

}  // namespace nibble::quant
