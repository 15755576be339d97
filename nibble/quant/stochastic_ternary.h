// nibble/quant/stochastic_ternary.h
// -scale, 0 or +scale, drawn in training.
//
//   inference:  ternary(alpha, threshold, number_of_unrolls)
//   training:   d = deviation of the channel + 1e-7, s the ternary scale fitted number_of_unrolls times,
//               T = s / (2 d); two draws with P(+1) = sigmoid(temperature (x/d -+ T)); q = s * their mean
// Element e draws words 2e and 2e + 1. Training needs alpha "auto" or "auto_po2".
// Gradient: that of ternary in inference, 1 in training.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct StochasticTernaryParams {
  Alpha alpha = {};
  std::optional<Number> threshold = {};  // as ternary's, inference only
  Number temperature = 8.0;              // steepness of the sigmoid
  bool use_real_sigmoid = true;          // false: QuantizeOptions::internal_sigmoid
  int number_of_unrolls = 5;
  bool operator==(const StochasticTernaryParams&) const = default;
};

Fields fields(StochasticTernaryParams& params);

class StochasticTernary final : public Quantizer {
 public:
  using Params = StochasticTernaryParams;
  static constexpr std::string_view kName = "stochastic_ternary";

  // throws InvalidArgument for parameters that do not go together
  explicit StochasticTernary(StochasticTernaryParams params = {});
  const StochasticTernaryParams& params() const { return params_; }

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
  StochasticTernaryParams params_;
};

}  // namespace nibble::quant
