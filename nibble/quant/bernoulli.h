// nibble/quant/bernoulli.h
// 0 or scale, drawn in every phase.
//
//   P(1) = sigmoid(temperature * x / std),  q = scale * b,  scale from alpha and [x >= 0] (scale.h)
// std is 1 for a fixed alpha, else the population deviation of the channel (last axis).
// Gradient: 1. encode() draws with the default key.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct BernoulliParams {
  Alpha alpha = {};
  Number temperature = 6.0;      // steepness of the sigmoid
  bool use_real_sigmoid = true;  // false: QuantizeOptions::internal_sigmoid
  bool operator==(const BernoulliParams&) const = default;
};

Fields fields(BernoulliParams& params);

class Bernoulli final : public Quantizer {
 public:
  using Params = BernoulliParams;
  static constexpr std::string_view kName = "bernoulli";

  // throws InvalidArgument for parameters that do not go together
  explicit Bernoulli(BernoulliParams params = {});
  const BernoulliParams& params() const { return params_; }

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
  BernoulliParams params_;
};

}  // namespace nibble::quant
