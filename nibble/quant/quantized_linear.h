// nibble/quant/quantized_linear.h
// Fixed point whose gradient is masked where values saturate.
//
//   Q = alpha * 2^(integer - bits + keep_negative);  "auto": 2 max|x| / (hi - lo) per channel
//   q = Q * (round(clip(x / Q, lo, hi) - shift) + shift)
//   lo = keep_negative * (-2^(bits - keep_negative) + symmetric),  hi = 2^(bits - keep_negative) - 1
// One signed bit is the sign mode: lo, hi = -1/2, 1/2 and shift = 1/2, values +-Q/2. "auto_po2" refits Q
// by least squares at most 5 times. result = x + qnoise_factor * (q - x).
// Gradient: (1 - qnoise_factor) + qnoise_factor * [lo <= x/Q <= hi].
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {

struct QuantizedLinearParams {
  int bits = 8;           // 1 .. 64, sign included
  int integer = 0;        // bits before the binary point, may be negative
  bool symmetric = true;  // drop the lowest code
  bool keep_negative = true;
  Alpha alpha = {};
  bool use_stochastic_rounding = false;
  std::optional<IntegerOrList> scale_axis = {};
  Number qnoise_factor = 1.0;
  bool operator==(const QuantizedLinearParams&) const = default;
};

Fields fields(QuantizedLinearParams& params);

class QuantizedLinear final : public Quantizer {
 public:
  using Params = QuantizedLinearParams;
  static constexpr std::string_view kName = "quantized_linear";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedLinear(QuantizedLinearParams params = {});
  const QuantizedLinearParams& params() const { return params_; }

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

  // Q / scale: the step of a fixed-point number of this format.
  float data_type_scale() const;
  float lowest() const;   // lo
  float highest() const;  // hi
  // Q for x: a scalar, or x's rank with 1 on the reduced axes.
  Tensor quantization_scale(const Tensor& x) const;

 private:
  bool is_sign_mode() const { return params_.bits == 1 && params_.keep_negative; }
  float shift() const { return is_sign_mode() ? 0.5f : 0.0f; }
  Tensor default_scale() const;
  Tensor fitted_scale(const Tensor& x) const;

  QuantizedLinearParams params_;
};

}  // namespace nibble::quant
