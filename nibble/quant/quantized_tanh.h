// nibble/quant/quantized_tanh.h
// tanh(x) on a grid of 2^(1 - bits).
//
//   m = 2^(bits - 1),  p = tanh(x), or 2 sigmoid(x) - 1 with the internal sigmoid (hard: clip(x, -1, 1))
//   q = clip(round(p m) / m, -1 + symmetric / m, 1 - 1/m)
// Gradient: dp/dx where the rounded value is inside the clip, ends included.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedTanhParams {
  int bits = 8;  // 1 .. 64, sign included
  bool use_stochastic_rounding = false;
  bool symmetric = false;
  bool use_real_tanh = false;
  bool operator==(const QuantizedTanhParams&) const = default;
};

Fields fields(QuantizedTanhParams& params);

class QuantizedTanh final : public Quantizer {
 public:
  using Params = QuantizedTanhParams;
  static constexpr std::string_view kName = "quantized_tanh";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedTanh(QuantizedTanhParams params = {});
  const QuantizedTanhParams& params() const { return params_; }

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
  bool is_stochastic() const override { return params_.use_stochastic_rounding; }

 private:
  QuantizedTanhParams params_;
};

}  // namespace nibble::quant
