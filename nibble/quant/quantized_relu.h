// nibble/quant/quantized_relu.h
// Rectifier with bits bits, `integer` of them before the binary point; unsigned, or signed with a slope.
//
//   nb = bits - (negative_slope != 0),  m = 2^nb,  mi = 2^integer
//   q = mi * clip(round(x m / mi) / m, 0, 1 - 1/m)
//       + mi * slope * clip(round(slope x m / mi) / (slope m), -1, 0)           for slope > 0
//   use_sigmoid: p = sigmoid(x / mi) m in place of x m / mi, and 2 round(p) / m - 1: steps of 2/m
// Gradient: that of the unquantized path: 0 (slope) for x <= 0, 1 up to the top or the upper bound, 0 above.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedReluParams {
  int bits = 8;     // 1 .. 64
  int integer = 0;  // bits before the binary point, may be negative
  bool use_sigmoid = false;
  Number negative_slope = 0.0;           // 0 or a power of two
  bool use_stochastic_rounding = false;  // training; to half steps, as in the reference
  std::optional<Number> relu_upper_bound = {};
  bool is_quantized_clip = true;  // gradient ends at the largest code; false: at relu_upper_bound
  Number qnoise_factor = 1.0;
  bool use_ste = true;
  bool enable_fast_inference = false;  // no gradient; sigmoid, slope and bound are ignored
  bool operator==(const QuantizedReluParams&) const = default;
};

Fields fields(QuantizedReluParams& params);

class QuantizedRelu final : public Quantizer {
 public:
  using Params = QuantizedReluParams;
  static constexpr std::string_view kName = "quantized_relu";

  explicit QuantizedRelu(QuantizedReluParams params = {});
  const QuantizedReluParams& params() const { return params_; }

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
  bool is_stochastic() const override { return params_.use_stochastic_rounding && !params_.enable_fast_inference; }

  // The input from which on the gradient is 0; infinity if there is none.
  float gradient_end() const;

 private:
  int positive_bits() const { return params_.bits - (params_.negative_slope.value != 0.0 ? 1 : 0); }
  float fast(float x) const;

  QuantizedReluParams params_;
};

}  // namespace nibble::quant
