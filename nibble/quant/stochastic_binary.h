// nibble/quant/stochastic_binary.h
// -scale or +scale, drawn in training.
//
//   inference:  binary(alpha)
//   training:   P(+1) = sigmoid(temperature * x / std), q = scale * (+-1), scale from alpha and sign(x)
// std is 1 for a fixed alpha, else the population deviation of the channel (last axis).
// Gradient: that of binary in inference (tanh's with alpha None), 1 in training.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct StochasticBinaryParams {
  Alpha alpha = {};
  Number temperature = 6.0;      // steepness of the sigmoid
  bool use_real_sigmoid = true;  // false: QuantizeOptions::internal_sigmoid
  bool operator==(const StochasticBinaryParams&) const = default;
};

Fields fields(StochasticBinaryParams& params);

class StochasticBinary final : public Quantizer {
 public:
  using Params = StochasticBinaryParams;
  static constexpr std::string_view kName = "stochastic_binary";

  // throws InvalidArgument for parameters that do not go together
  explicit StochasticBinary(StochasticBinaryParams params = {});
  const StochasticBinaryParams& params() const { return params_; }

  std::string_view class_name() const override { return kName; }
  Quantized quantize(const Tensor& x, const QuantizeOptions& options = {}) const override;
  Tensor gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options = {}) const override;
  Encoded encode(const Tensor& x) const override;
  NumericFormat format() const override;
  double max() const override;
  double min() const override;
  std::vector<float> range() const override;
  std::string qkeras_str() const override;
  std::string str() const override;
  nlohmann::json config() const override;
  QuantizerPtr as_weight_quantizer() const override;
  bool is_stochastic() const override { return true; }

 private:
  StochasticBinaryParams params_;
};

// The logit temperature * x / std of a stochastic binary draw, per element.
//   std  1 for a fixed alpha, else the channel's population deviation + 1e-7
Tensor sign_logits(const Alpha& alpha, const Number& temperature, const Tensor& x);

// The steeper of two sigmoids: the real one, or the internal one of the options.
float draw_probability(float logit, bool use_real_sigmoid, const QuantizeOptions& options);

}  // namespace nibble::quant
