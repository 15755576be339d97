// nibble/quant/quantized_relu_po2.h
// Powers of two without a sign bit, or with one for a slope: 2^E for x >= 0, -2^E of slope * |x| below.
//
//   need = 1 if max_value is None or above 1, else 0;  e = bits - need
//   E = clip(round(log2 min(max(v, 1e-7), max_value)), -2^e, 2^e - 1);  v < 1e-7: E = -2^e
//   v = max(x, 0), or slope * max(-x, 0) for x < 0
// Without slope x <= 0 becomes 2^min, never 0. The other parameters are quantized_po2's.
// Gradient: 0 (slope) for x <= 0, 1 up to max_value, 0 above.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/exponent.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedReluPo2Params {
  int bits = 8;                          // 1 .. 32
  std::optional<Number> max_value = {};  // > 0
  Number negative_slope = 0;             // 0 or a power of two
  bool use_stochastic_rounding = false;
  bool quadratic_approximation = false;
  std::string log2_rounding = "rnd";
  Number qnoise_factor = 1.0;
  bool use_ste = true;
  bool operator==(const QuantizedReluPo2Params&) const = default;
};

Fields fields(QuantizedReluPo2Params& params);

class QuantizedReluPo2 final : public Quantizer {
 public:
  using Params = QuantizedReluPo2Params;
  static constexpr std::string_view kName = "quantized_relu_po2";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedReluPo2(QuantizedReluPo2Params params = {});
  const QuantizedReluPo2Params& params() const { return params_; }

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

  const ExponentRule& exponents() const { return exponents_; }

 private:
  QuantizedReluPo2Params params_;
  ExponentRule exponents_;
};

}  // namespace nibble::quant
