// nibble/quant/quantized_ulaw.h
// mu-law companding of a value quantized by a sigmoid.
//
//   m = 2^(bits - 1),  r = 2 round(sigmoid(x / 2^integer) m) / m - 1
//   q = 2^integer clip(sign(r) ln(1 + u |r|) / ln(1 + u), -1 + symmetric / m, 1 - 1/m)
// The values are not equally far apart, so they have no affine codes.
// Gradient: 2 sigmoid'(x / 2^integer) * u / ((1 + u |r|) ln(1 + u)) inside the clip, 0 where r is 0.
#pragma once

#include "nibble/quant/arguments.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

struct QuantizedUlawParams {
  int bits = 8;  // 1 .. 64, sign included
  int integer = 0;
  bool symmetric = false;
  Number u = 255.0;  // > 0
  bool operator==(const QuantizedUlawParams&) const = default;
};

Fields fields(QuantizedUlawParams& params);

class QuantizedUlaw final : public Quantizer {
 public:
  using Params = QuantizedUlawParams;
  static constexpr std::string_view kName = "quantized_ulaw";

  // throws InvalidArgument for parameters that do not go together
  explicit QuantizedUlaw(QuantizedUlawParams params = {});
  const QuantizedUlawParams& params() const { return params_; }

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

 private:
  QuantizedUlawParams params_;
};

}  // namespace nibble::quant
