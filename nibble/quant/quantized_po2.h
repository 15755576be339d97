// nibble/quant/quantized_po2.h
// Powers of two with a sign: sign(x) * 2^E, E in a range that bits and max_value give.
//
//   need = 1 if max_value is None or above 1, else 0;  e = bits - 1 - need
//   E = clip(round(log2 min(max(|x|, 1e-7), max_value)), -2^e, 2^e - 1);  |x| < 1e-7: E = -2^e
// 0 becomes +2^min, never 0. quadratic_approximation: E = 2 clip(round(log2 sqrt(..)), ..), an even
// exponent of twice the range. log2_rounding "floor": floor in place of round.
// Gradient: 1 everywhere (1 - qnoise_factor without use_ste).
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/exponent.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedPo2Params {
  int bits = 8;                          // 1 .. 32, sign included
  std::optional<Number> max_value = {};  // > 0; bounds |x| before rounding
  bool use_stochastic_rounding = false;  // training: the expected power is |x|
  bool quadratic_approximation = false;  // even exponents only
  std::string log2_rounding = "rnd";     // "rnd" or "floor"
  Number qnoise_factor = 1.0;
  bool use_ste = true;
  bool operator==(const QuantizedPo2Params&) const = default;
};

Fields fields(QuantizedPo2Params& params);

class QuantizedPo2 final : public Quantizer {
 public:
  using Params = QuantizedPo2Params;
  static constexpr std::string_view kName = "quantized_po2";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedPo2(QuantizedPo2Params params = {});
  const QuantizedPo2Params& params() const { return params_; }

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

  // What exponents values can have.
  const ExponentRule& exponents() const { return exponents_; }

 private:
  QuantizedPo2Params params_;
  ExponentRule exponents_;
};

}  // namespace nibble::quant
