#include "nibble/quant/quantized_relu.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedReluParams& p) {
  return {{"bits", &p.bits},
          {"integer", &p.integer},
          {"use_sigmoid", ZeroOne{&p.use_sigmoid}},
          {"negative_slope", &p.negative_slope},
          {"use_stochastic_rounding", &p.use_stochastic_rounding},
          {"relu_upper_bound", &p.relu_upper_bound},
          {"is_quantized_clip", &p.is_quantized_clip},
          {"qnoise_factor", &p.qnoise_factor},
          {"var_name", Ignored{}},
          {"use_ste", &p.use_ste},
          {"use_variables", Ignored{}},
          {"enable_fast_inference", &p.enable_fast_inference}};
}

namespace {

// One element, with everything that does not depend on it worked out before.
class Rectifier {
 public:
  Rectifier(const QuantizedReluParams& params, int positive_bits, const QuantizeOptions& options)
      : params_(params),
        options_(options),
        draws_(params.use_stochastic_rounding && options.phase == Phase::kTraining),
        m_(std::exp2(static_cast<float>(positive_bits))),
        mi_(std::exp2(static_cast<float>(params.integer))),
        slope_(params.negative_slope.real()) {}

  // u uniform in [0, 1), used when drawing
  float quantize(float x, float u) const {
    const float p = params_.use_sigmoid ? internal_sigmoid(x / mi_, options_.internal_sigmoid) * m_ : x * m_ / mi_;
    float q = mi_ * clip(centred(round(p, u) / m_), 0.0f, 1.0f - 1.0f / m_);
    if (slope_ > 0.0f) q += mi_ * slope_ * clip(centred(round(p * slope_, u) / (slope_ * m_)), -1.0f, 0.0f);
    const bool has_bound = params_.relu_upper_bound && params_.relu_upper_bound->value != 0.0;
    if (has_bound && !params_.is_quantized_clip) q = clip(q, -INFINITY, params_.relu_upper_bound->real());
    return q;
  }

  bool draws() const { return draws_; }

 private:
  // A sigmoid goes from 0 to 1; its middle stands for 0.
  float centred(float v) const { return params_.use_sigmoid ? 2.0f * v - 1.0f : v; }

  float round(float p, float u) const {
    constexpr float kPrecision = 0.5f;
    return through(p, draws_ ? stochastic_round(p, kPrecision, u) : round_half_even(p), options_.reference_arithmetic);
  }

  const QuantizedReluParams& params_;
  const QuantizeOptions& options_;
  bool draws_;
  float m_, mi_, slope_;
};

}  // namespace

QuantizedRelu::QuantizedRelu(QuantizedReluParams params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 64);
  check_range(kName, "integer", params_.integer, -64, 64);
  check_slope(kName, params_.negative_slope);
  check_qnoise_factor(kName, params_.qnoise_factor);
  if (params_.relu_upper_bound) check_not_negative(kName, "relu_upper_bound", *params_.relu_upper_bound);
}

float QuantizedRelu::gradient_end() const {
  if (params_.is_quantized_clip) {
    return std::exp2(static_cast<float>(params_.integer)) -
           std::exp2(static_cast<float>(params_.integer - positive_bits()));
  }
  return params_.relu_upper_bound ? params_.relu_upper_bound->real() : INFINITY;
}

float QuantizedRelu::fast(float x) const {
  const float mi = std::exp2(static_cast<float>(params_.integer)), m = std::exp2(static_cast<float>(params_.bits));
  const float steps = x * std::exp2(static_cast<float>(params_.bits - params_.integer));
  return mi * clip(round_half_even(steps) / m, 0.0f, 1.0f - 1.0f / m);
}

Quantized QuantizedRelu::quantize(const Tensor& x, const QuantizeOptions& options) const {
  const Rectifier rectifier(params_, positive_bits(), options);
  const float end = gradient_end(), slope = params_.negative_slope.real();
  ElementRandom random(options.random);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    if (params_.enable_fast_inference) {
      real[i] = fast(x[i]);
      continue;
    }
    const float path = x[i] <= end ? leaky_relu(x[i], slope) : end;
    const float q = rectifier.quantize(x[i], rectifier.draws() ? random.uniform(i) : 0.0f);
    real[i] = mix(path, q, params_.qnoise_factor.real(), params_.use_ste, options.reference_arithmetic);
  }
  return {std::move(real), Tensor::scalar(1.0f)};
}

Tensor QuantizedRelu::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  Tensor dx(x.shape());
  if (params_.enable_fast_inference) return dx;
  const float end = gradient_end(), slope = params_.negative_slope.real();
  const float factor = mix_gradient(params_.qnoise_factor.real(), params_.use_ste);
  for (int64_t i = 0; i < x.size(); ++i) {
    const float path = x[i] <= end ? (x[i] > 0.0f ? 1.0f : slope) : 0.0f;
    dx[i] = upstream[i] * factor * path;
  }
  return dx;
}

Encoded QuantizedRelu::encode(const Tensor& x) const {
  check_encodable(kName, x, params_.enable_fast_inference ? Number(1) : params_.qnoise_factor);
  // A slope below one step makes the negative end, -slope * mi, finer than the positive steps.
  const bool has_slope = params_.negative_slope.value != 0.0 && !params_.enable_fast_inference;
  const float step = std::exp2(static_cast<float>(params_.integer - (has_slope ? positive_bits() : params_.bits)));
  const float negative_end = std::exp2(static_cast<float>(params_.integer)) * params_.negative_slope.real();
  const float unit = has_slope ? std::min(step, negative_end) : step;
  const Tensor real = quantize(x).real;
  std::vector<float> codes(static_cast<size_t>(x.size()));
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = real.data()[i] / unit;
    if (codes[i] != std::floor(codes[i])) {
      throw Unsupported("[{}] encode: relu_upper_bound {} is not a multiple of the step {}. Choose one that is.", kName,
                        python_text(params_.relu_upper_bound.value_or(0.0)), unit);
    }
  }
  const int extra_bits = static_cast<int>(std::log2(step / unit));
  return affine_codes(kName, codes, Tensor::scalar(unit), params_.bits + extra_bits, has_slope);
}

NumericFormat QuantizedRelu::format() const {
  return {.kind = NumericFormat::Kind::kFixedPoint,
          .bit_width = params_.bits,
          .integer_bits = params_.integer,
          .is_signed = params_.negative_slope.value != 0.0,
          .max_value = std::nullopt};
}

double QuantizedRelu::max() const { return positive_bits() > 0 ? std::max(1.0, std::exp2(params_.integer)) : 1.0; }

double QuantizedRelu::min() const {
  if (params_.negative_slope.value == 0.0) return 0.0;
  return positive_bits() > 0 ? -params_.negative_slope.value * std::exp2(params_.integer) : -1.0;
}

std::vector<float> QuantizedRelu::range() const {
  if (params_.use_sigmoid || params_.negative_slope.value != 0.0) {
    throw InvalidArgument("[{}] range() is defined without sigmoid and without slope; this is {}.", kName, str());
  }
  return unsigned_range(kName, params_.bits, std::exp2(static_cast<float>(params_.integer - params_.bits)));
}

std::string QuantizedRelu::qkeras_str() const {
  std::string text = fmt::format("{},{}", params_.bits, params_.integer);
  if (params_.use_sigmoid || params_.use_stochastic_rounding) text += params_.use_sigmoid ? ",1" : ",0";
  if (params_.negative_slope.value != 0.0) text += fmt::format(",{}", python_text(params_.negative_slope));
  if (params_.use_stochastic_rounding) text += ",1";
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedRelu::str() const {
  QuantizedReluParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/2);
}

nlohmann::json QuantizedRelu::config() const {
  QuantizedReluParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedRelu::as_weight_quantizer() const { return std::make_shared<QuantizedRelu>(params_); }

}  // namespace nibble::quant
