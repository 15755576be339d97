// nibble/quant/quantized_hswish.h
// h(x) = x * min(max(x + relu_shift, 0), relu_upper_bound) / relu_upper_bound, then quantized_bits of h. h is evaluated
// in double and rounded to float once, so that it falls to its lowest point and rises from there, float by float.
// Gradient: dh/dx, times the gradient of quantized_bits.
#pragma once

#include "nibble/quant/quantized_bits.h"

namespace nibble::quant {

struct QuantizedHswishParams {
  int bits = 8;
  int integer = 0;
  bool symmetric = false;
  Alpha alpha = {};
  bool use_stochastic_rounding = false;
  std::optional<IntegerOrList> scale_axis = {};
  Number qnoise_factor = 1.0;
  Number relu_shift = 3;        // > 0
  Number relu_upper_bound = 6;  // > 0
  bool operator==(const QuantizedHswishParams&) const = default;
};

Fields fields(QuantizedHswishParams& params);

class QuantizedHswish final : public Quantizer {
 public:
  using Params = QuantizedHswishParams;
  static constexpr std::string_view kName = "quantized_hswish";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedHswish(QuantizedHswishParams params = {});
  const QuantizedHswishParams& params() const { return params_; }

  std::string_view class_name() const override { return kName; }
  Quantized quantize(const Tensor& x, const QuantizeOptions& options = {}) const override;
  Tensor gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions& options = {}) const override;
  Encoded encode(const Tensor& x) const override;
  NumericFormat format() const override;
  double max() const override;
  double min() const override;
  float lowest_at() const;  // where h is lowest
  std::vector<float> range() const override;
  std::string qkeras_str() const override;
  std::string str() const override;
  nlohmann::json config() const override;
  QuantizerPtr as_weight_quantizer() const override;
  bool is_stochastic() const override { return bits_.is_stochastic(); }

 private:
  Tensor curve(const Tensor& x) const;

  QuantizedHswishParams params_;
  QuantizedBits bits_;
};

}  // namespace nibble::quant
