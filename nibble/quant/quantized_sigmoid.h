// nibble/quant/quantized_sigmoid.h
// sigmoid(x) on a grid of 2^-bits.
//
//   m = 2^bits,  p = the real or the internal sigmoid of x
//   q = clip(round(p m) / m, symmetric / m, 1 - 1/m)
// Gradient: dp/dx where the rounded value is inside the clip, ends included.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedSigmoidParams {
  int bits = 8;  // 1 .. 64
  bool symmetric = false;
  bool use_real_sigmoid = false;
  bool use_stochastic_rounding = false;
  bool operator==(const QuantizedSigmoidParams&) const = default;
};

Fields fields(QuantizedSigmoidParams& params);

class QuantizedSigmoid final : public Quantizer {
 public:
  using Params = QuantizedSigmoidParams;
  static constexpr std::string_view kName = "quantized_sigmoid";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedSigmoid(QuantizedSigmoidParams params = {});
  const QuantizedSigmoidParams& params() const { return params_; }

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
  QuantizedSigmoidParams params_;
};

}  // namespace nibble::quant
