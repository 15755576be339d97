#include "nibble/quant/bernoulli.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/rounding.h"
#include "nibble/quant/scale.h"
#include "nibble/quant/stochastic_binary.h"

namespace nibble::quant {

Fields fields(BernoulliParams& p) {
  return {{"alpha", &p.alpha}, {"temperature", &p.temperature}, {"use_real_sigmoid", &p.use_real_sigmoid}};
}

namespace {

struct Drawn {
  std::vector<float> bits;  // 0 or 1
  Tensor scale;
};

Drawn draw(const BernoulliParams& params, const Tensor& x, const QuantizeOptions& options) {
  const Tensor logits = sign_logits(params.alpha, params.temperature, x);
  std::vector<float> is_positive(static_cast<size_t>(x.size())), bits(is_positive.size());
  ElementRandom random(options.random);
  for (int64_t i = 0; i < x.size(); ++i) {
    const auto e = static_cast<size_t>(i);
    is_positive[e] = x[i] >= 0.0f ? 1.0f : 0.0f;
    const float p = draw_probability(logits[i], params.use_real_sigmoid, options);
    bits[e] = std::isnan(p) ? p : (random.uniform(i) < p ? 1.0f : 0.0f);
  }
  Tensor scale = least_squares_scale({.alpha = params.alpha}, x, is_positive);
  return {std::move(bits), std::move(scale)};
}

}  // namespace

Bernoulli::Bernoulli(BernoulliParams params) : params_(std::move(params)) {
  check_above_zero(kName, "temperature", params_.temperature);
}

Quantized Bernoulli::quantize(const Tensor& x, const QuantizeOptions& options) const {
  Drawn drawn = draw(params_, x, options);
  const BlockIndex block(drawn.scale.shape(), x.shape());
  Tensor real(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float q = drawn.scale[block[i]] * drawn.bits[static_cast<size_t>(i)];
    real[i] = mix(x[i], q, 1.0f, true, options.reference_arithmetic);
  }
  return {std::move(real), std::move(drawn.scale)};
}

Tensor Bernoulli::gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const {
  check_upstream(kName, x, upstream);
  return upstream;
}

Encoded Bernoulli::encode(const Tensor& x) const {
  check_encodable(kName, x, 1);
  Drawn drawn = draw(params_, x, {});
  return affine_codes(kName, drawn.bits, std::move(drawn.scale), /*bit_width=*/1, /*is_signed=*/false);
}

NumericFormat Bernoulli::format() const {
  return {.kind = NumericFormat::Kind::kBinary01,
          .bit_width = 1,
          .integer_bits = 1,
          .is_signed = false,
          .max_value = std::nullopt};
}

double Bernoulli::max() const { return params_.alpha.bound(); }

double Bernoulli::min() const { return 0.0; }

std::vector<float> Bernoulli::range() const {
  if (params_.alpha.is_auto() || params_.alpha.kind() == Alpha::Kind::kArray) {
    throw InvalidArgument("[{}] range() needs one fixed scale; alpha is {}.", kName, python_text(params_.alpha));
  }
  return {0.0f, params_.alpha.is_none() ? 1.0f : params_.alpha.number().real()};
}

std::string Bernoulli::qkeras_str() const {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (!params_.alpha.is_none()) add("alpha", python_text(params_.alpha));
  if (params_.temperature != Number(6)) add("temperature", python_text(params_.temperature));
  if (!params_.use_real_sigmoid) add("use_real_sigmoid", "0");
  return fmt::format("{}({})", kName, text);
}

std::string Bernoulli::str() const {
  BernoulliParams params = params_, defaults;
  return write_call(kName, fields(params), fields(defaults), /*leading=*/0);
}

nlohmann::json Bernoulli::config() const {
  BernoulliParams params = params_;
  return write_config(fields(params));
}

QuantizerPtr Bernoulli::as_weight_quantizer() const {
  BernoulliParams params = params_;
  if (params.alpha.is_none()) params.alpha = Alpha("auto_po2");
  return std::make_shared<Bernoulli>(std::move(params));
}

}  // namespace nibble::quant
