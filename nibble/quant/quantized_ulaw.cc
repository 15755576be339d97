#include "nibble/quant/quantized_ulaw.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

Fields fields(QuantizedUlawParams& p) {
  return {{"bits", &p.bits}, {"integer", &p.integer}, {"symmetric", ZeroOne{&p.symmetric}}, {"u", &p.u}};
}

namespace {

// The compander of one parameter set.
class Compander {
 public:
  Compander(const QuantizedUlawParams& params, const QuantizeOptions& options)
      : options_(options),
        m_(std::exp2(static_cast<float>(params.bits - 1))),
        mi_(std::exp2(static_cast<float>(params.integer))),
        u_(params.u.real()),
        low_(-1.0f + (params.symmetric ? 1.0f / m_ : 0.0f)),
        high_(1.0f - 1.0f / m_) {}

  // The rounded sigmoid, in [-1, 1].
  float level(float x) const {
    const float p = internal_sigmoid(x / mi_, options_.internal_sigmoid) * m_;
    return 2.0f * through(p, round_half_even(p), options_.reference_arithmetic) / m_ - 1.0f;
  }

  float value(float x) const { return mi_ * clip(companded(level(x)), low_, high_); }

  float gradient(float x) const {
    const float r = level(x);
    if (r == 0.0f) return 0.0f;
    const float inner = 2.0f * internal_sigmoid_gradient(x / mi_, options_.internal_sigmoid) / mi_;
    const float outer = u_ / ((1.0f + u_ * std::abs(r)) * std::log(1.0f + u_));
    return mi_ * clip_gradient(companded(r), low_, high_) * outer * inner;
  }

 private:
  float companded(float r) const { return sign(r) * std::log(1.0f + u_ * std::abs(r)) / std::log(1.0f + u_); }

  const QuantizeOptions& options_;
  float m_, mi_, u_, low_, high_;
};

}  // namespace

QuantizedUlaw::QuantizedUlaw(QuantizedUlawParams params) : params_(std::move(params)) {
  check_range(kName, "bits", params_.bits, 1, 64);
  check_range(kName, "integer", params_.integer, -64, 64);
  check_finite(kName, "u", params_.u);
  if (!(params_.u.real() > 0.0f)) {
    throw InvalidArgument("[{}] u is {}; it must be above 0. 255 is the telephone's.", kName, python_text(params_.u));
  }
}

Quantized QuantizedUlaw::quantize(const Tensor& x, const QuantizeOptions& options) const {
  const Compander compander(params_, options);
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) real[i] = compander.value(x[i]);
  return {std::move(real), Tensor::scalar(1.0f)};
}

Tensor QuantizedUlaw::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options) const {
  check_upstream(kName, x, upstream);
  const Compander compander(params_, options);
  Tensor dx(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) dx[i] = upstream[i] * compander.gradient(x[i]);
  return dx;
}

Encoded QuantizedUlaw::encode(const Tensor&) const {
  throw Unsupported(
      "[{}] encode: companded values are not equally far apart, so no scale fits them. Use quantized_bits "
      "where integer codes are needed.",
      kName);
}

NumericFormat QuantizedUlaw::format() const {
  return {.kind = NumericFormat::Kind::kFixedPoint,
          .bit_width = params_.bits,
          .integer_bits = params_.integer,
          .is_signed = true,
          .max_value = std::nullopt};
}

double QuantizedUlaw::max() const { return params_.bits > 1 ? std::max(1.0, std::exp2(params_.integer)) : 1.0; }

double QuantizedUlaw::min() const { return -max(); }

std::vector<float> QuantizedUlaw::range() const {
  throw InvalidArgument("[{}] range() is not defined for companded values.", kName);
}

std::string QuantizedUlaw::qkeras_str() const {
  std::string text = fmt::format("{},{}", params_.bits, params_.integer);
  const bool has_u = params_.u != Number(255);
  if (params_.symmetric || has_u) text += params_.symmetric ? ",1" : ",0";
  if (has_u) text += fmt::format(",{}", python_text(params_.u));
  return fmt::format("{}({})", kName, text);
}

std::string QuantizedUlaw::str() const {
  QuantizedUlawParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/2);
}

nlohmann::json QuantizedUlaw::config() const {
  QuantizedUlawParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr QuantizedUlaw::as_weight_quantizer() const { return std::make_shared<QuantizedUlaw>(params_); }

}  // namespace nibble::quant
