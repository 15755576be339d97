// nibble/quant/binary.h
// Two values: -scale and +scale, or 0 and scale.
//
//   k = +1 for x >= 0, else -1;  use_01: (k + 1) / 2
//   q = scale * k,  scale from alpha (scale.h)
// Gradient: 1; with alpha None that of tanh, 1 - tanh(x)^2.
// use_stochastic_rounding (training): x is first rounded at random to a multiple of an eighth of 2 min(1, max|x|) and
// zeros get a random sign; element e draws words 2e and 2e + 1.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/scale.h"

namespace nibble::quant {

struct BinaryParams {
  bool use_01 = false;  // values {0, 1} * scale instead of {-1, 1} * scale
  Alpha alpha = {};
  bool use_stochastic_rounding = false;
  std::optional<IntegerOrList> scale_axis = {};
  std::optional<IntegerOrList> elements_per_scale = {};
  std::optional<int> min_po2_exponent = {};
  std::optional<int> max_po2_exponent = {};
  bool operator==(const BinaryParams&) const = default;
};

Fields fields(BinaryParams& params);

class Binary final : public Quantizer {
 public:
  using Params = BinaryParams;
  static constexpr std::string_view kName = "binary";

  explicit Binary(BinaryParams params = {});
  const BinaryParams& params() const { return params_; }

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
  BinaryParams params_;
};

}  // namespace nibble::quant
