// nibble/quant/ternary.h
// Three values: -scale, 0, +scale.
//
//   alpha None, number, array:  q = scale * sign(x) where |x| >= threshold, else 0
//   alpha "auto", "auto_po2":   s = 2/3 max|x|, then number_of_unrolls times
//                                 k = sign(x) where |x / s| rounds to 1 or more, else 0
//                                 s = least squares scale of x and k (scale.h)
//                               q = s * k
// The threshold is absolute: alpha does not scale it.
// Gradient: 1; with alpha None that of tanh, 1 - tanh(x)^2.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {

struct TernaryParams {
  Alpha alpha = {};
  std::optional<Number> threshold = {};  // None: 0.33; only with a fixed alpha
  bool use_stochastic_rounding = false;  // training, fitted alpha: x / s is rounded at random to thirds
  int number_of_unrolls = 5;             // fitted alpha: how often scale and codes are refitted, >= 1
  bool operator==(const TernaryParams&) const = default;
};

Fields fields(TernaryParams& params);

class Ternary final : public Quantizer {
 public:
  using Params = TernaryParams;
  static constexpr std::string_view kName = "ternary";
  static constexpr double kDefaultThreshold = 0.33;

  explicit Ternary(TernaryParams params = {});
  const TernaryParams& params() const { return params_; }

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
  struct Coded;
  Coded codes(const Tensor& x, const QuantizeOptions& options) const;
  Coded fitted_codes(const Tensor& x, const QuantizeOptions& options) const;

  TernaryParams params_;
};

// Two thirds of the largest magnitude of each channel (last axis): the first guess of a ternary scale,
// rounded to a power of two where alpha asks for it.
Tensor initial_ternary_scale(const Alpha& alpha, const Tensor& x);

}  // namespace nibble::quant
