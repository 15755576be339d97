// nibble/quant/quantized_bits.h
// Fixed point: bits bits, `integer` of them before the binary point (sign not counted).
//
//   m = 2^(bits - keep_negative),  mi = 2^integer
//   q = alpha * mi * clip(round(x * m / mi), keep_negative * (-m + symmetric), m - 1) / m
// With alpha "auto" or "auto_po2" the step is fitted to the data instead:
//   t = x / mi,  z = round half away(t / s) clipped to +-(2^(bits-1) - 1),  q = mi * s * z
// Gradient: 1 everywhere, also where values saturate (1 - qnoise_factor without use_ste).
// docs/quantizers/quantized_bits.md has worked numbers; spec/qkeras.md section 2 the source.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {

struct QuantizedBitsParams {
  int bits = 8;                          // 0 .. 64, sign included
  int integer = 0;                       // bits before the binary point, may be negative
  bool symmetric = false;                // drop the lowest code; always on with a fitted scale
  bool keep_negative = true;             // false: codes start at 0 (fixed alpha only)
  Alpha alpha = {};                      // multiplies the output; "auto", "auto_po2": fitted
  bool use_stochastic_rounding = false;  // training, fixed alpha
  std::optional<IntegerOrList> scale_axis = {};
  Number qnoise_factor = 1.0;                            // 0: x itself, 1: quantized
  bool use_ste = true;                                   // false: gradient 1 - qnoise_factor
  std::optional<IntegerOrList> elements_per_scale = {};  // "auto_po2" only
  std::optional<int> min_po2_exponent = {};              // "auto_po2" only: bounds of the step in units of mi
  std::optional<int> max_po2_exponent = {};
  std::optional<Tensor> post_training_scale = {};  // a frozen scale attribute, with a fitted alpha only
  bool operator==(const QuantizedBitsParams&) const = default;
};

Fields fields(QuantizedBitsParams& params);

class QuantizedBits final : public Quantizer {
 public:
  using Params = QuantizedBitsParams;
  static constexpr std::string_view kName = "quantized_bits";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedBits(QuantizedBitsParams params = {});
  const QuantizedBitsParams& params() const { return params_; }

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
  bool is_stochastic() const override;

 private:
  struct Coded;
  Coded fixed_codes(const Tensor& x, const QuantizeOptions& options) const;
  Coded fitted_codes(const Tensor& x, const QuantizeOptions& options) const;
  Tensor search_step(const Tensor& t) const;
  std::vector<float> fitted_integers(const Tensor& t, const Tensor& step, bool reference) const;
  int unsigned_bits() const { return params_.bits - (params_.keep_negative ? 1 : 0); }

  QuantizedBitsParams params_;
};

}  // namespace nibble::quant
