// What every quantizer must do, run for one list of texts: codes decode exactly, texts and configurations read
// back, bounds hold, gradients are those of the value where it has one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {
namespace {

const std::vector<std::string> kTexts = {
    "quantized_bits",
    "quantized_bits(4,0,1)",
    "quantized_bits(4,2,0,alpha=0.3)",
    "quantized_bits(3,-2,0,keep_negative=False)",
    "quantized_bits(1,0,1,alpha=0.7)",
    "quantized_bits(4,1,0,alpha=[0.5 0.3 1])",
    "quantized_bits(4,0,0,alpha=[1 2 3 4],alpha_shape=[4 1])",
    "quantized_bits(4,0,1,alpha='auto')",
    "quantized_bits(4,1,1,alpha='auto_po2')",
    "quantized_bits(1,0,1,alpha='auto')",
    "quantized_bits(1,0,1,alpha='auto_po2')",
    "quantized_bits(5,0,1,alpha='auto_po2',scale_axis=0,elements_per_scale=2)",
    "quantized_bits(5,0,1,alpha='auto_po2',scale_axis=-1,min_po2_exponent=-3,max_po2_exponent=0)",
    "quantized_bits(4,0,1,alpha='auto',post_training_scale=[0.1 0.2 0.3])",
    "quantized_bits(4,0,0,use_stochastic_rounding=True)",
    "quantized_linear",
    "quantized_linear(1,0,1)",
    "quantized_linear(4,1,0,alpha=0.3)",
    "quantized_linear(4,0,1,alpha='auto')",
    "quantized_linear(4,0,1,keep_negative=False,alpha='auto_po2',scale_axis=0)",
    "binary",
    "binary(use_01=True,alpha=0.3)",
    "binary(alpha='auto',scale_axis=[0 1])",
    "binary(alpha='auto_po2')",
    "stochastic_binary",
    "stochastic_binary(alpha='auto',temperature=3,use_real_sigmoid=False)",
    "ternary",
    "ternary(alpha=0.3,threshold=0.1)",
    "ternary(alpha='auto')",
    "ternary(alpha='auto_po2',number_of_unrolls=2,use_stochastic_rounding=True)",
    "stochastic_ternary(alpha='auto')",
    "stochastic_ternary(threshold=0.2,temperature=4.5)",
    "bernoulli",
    "bernoulli(alpha='auto_po2')",
    "quantized_relu(4,1)",
    "quantized_relu(3,-1)",
    "quantized_relu(4,2,negative_slope=0.25)",
    "quantized_relu(1,0,negative_slope=0.125)",
    "quantized_relu(4,2,use_sigmoid=1)",
    "quantized_relu(4,2,use_sigmoid=1,negative_slope=0.5)",
    "quantized_relu(6,3,relu_upper_bound=6.0,is_quantized_clip=False)",
    "quantized_relu(4,0,enable_fast_inference=True)",
    "quantized_relu(4,0,use_stochastic_rounding=True)",
    "quantized_po2(4)",
    "quantized_po2(1)",
    "quantized_po2(4,0.5,log2_rounding='floor')",
    "quantized_po2(5,2,quadratic_approximation=True)",
    "quantized_relu_po2(4)",
    "quantized_relu_po2(4,4,0.25)",
    "quantized_relu_po2(6,2048)",
    "quantized_tanh(4)",
    "quantized_tanh(4,symmetric=True,use_real_tanh=True)",
    "quantized_sigmoid(4)",
    "quantized_sigmoid(4,symmetric=True,use_real_sigmoid=True)",
    "quantized_hswish(6,2,0)",
    "quantized_hswish(6,2,0,relu_shift=2,relu_upper_bound=4.5)",
    "quantized_ulaw(4,1)",
    "quantized_ulaw(4,1,symmetric=1,u=100)",
};

Tensor normal_tensor(const Shape& shape, float deviation, uint64_t seed) {
  RandomStream random({.seed = seed});
  Tensor x(shape);
  for (float& value : x.data()) value = deviation * random.normal();
  return x;
}

// Ordinary values, exact zeros, ties and values far outside, in a shape that per-axis scales fit.
Tensor probe() {
  Tensor x = normal_tensor(Shape{4, 3}, 1.0f, 11);
  x[0] = 0.0f;
  x[1] = 0.5f;
  x[2] = -1e10f;
  x[5] = 7.25f;
  return x;
}

class Contract : public ::testing::TestWithParam<std::string> {
 protected:
  const QuantizerPtr quantizer_ = get_quantizer(GetParam());
};

TEST_P(Contract, CodesDecodeToTheQuantizedValuesExactly) {
  for (const Tensor& x : {probe(), normal_tensor(Shape{4, 3}, 0.1f, 12), Tensor(Shape{4, 3})}) {
    if (quantizer_->class_name() == "quantized_ulaw") {
      EXPECT_THROW(quantizer_->encode(x), Unsupported);
      continue;
    }
    const Encoded encoded = quantizer_->encode(x);
    EXPECT_EQ(decode(encoded, x.shape()), quantizer_->quantize(x).real);
    EXPECT_EQ(encoded.codes.size(), static_cast<size_t>(x.size()));
  }
}

// Binary codes are -1 and 1: one bit of information, two's complement or not.
TEST_P(Contract, CodesFitTheirBitWidth) {
  if (quantizer_->class_name() == "quantized_ulaw") return;
  const Encoded encoded = quantizer_->encode(probe());
  if (encoded.kind == Encoded::Kind::kPowerOfTwo || encoded.bit_width == 1) return;
  const int64_t half = int64_t{1} << (encoded.bit_width - 1);
  const auto [low, high] = std::minmax_element(encoded.codes.begin(), encoded.codes.end());
  EXPECT_GE(*low, encoded.is_signed ? -half : 0);
  EXPECT_LE(*high, encoded.is_signed ? half - 1 : 2 * half - 1);
}

TEST_P(Contract, TextAndConfigurationReadBackToAnEqualQuantizer) {
  const std::string text = quantizer_->str();
  EXPECT_TRUE(*get_quantizer(text) == *quantizer_) << text;
  EXPECT_EQ(get_quantizer(text)->str(), text);
  EXPECT_TRUE(*quantizer_from_config(quantizer_->class_name(), quantizer_->config()) == *quantizer_);
  const auto reparsed = nlohmann::json::parse(quantizer_->config().dump());
  EXPECT_TRUE(*quantizer_from_config(quantizer_->class_name(), reparsed) == *quantizer_);
  EXPECT_FALSE(quantizer_->qkeras_str().empty());
}

// What encode() and format() say of one another, and of the scale that quantize() reports.
TEST_P(Contract, CodesScaleBitsAndFormatAgree) {
  if (quantizer_->class_name() == "quantized_ulaw") return;
  const Encoded encoded = quantizer_->encode(probe());
  for (float scale : encoded.scale.data()) EXPECT_TRUE(scale >= 0.0f && std::isfinite(scale)) << scale;
  EXPECT_EQ(encoded.zero_point, 0);  // none of QKeras' quantizers shifts its codes
  EXPECT_GE(encoded.bit_width, 1);
  EXPECT_EQ(quantizer_->bit_width(), quantizer_->format().bit_width);
  EXPECT_EQ(quantizer_->is_signed(), quantizer_->format().is_signed);
  EXPECT_LE(quantizer_->min(), quantizer_->max());
  if (encoded.kind == Encoded::Kind::kPowerOfTwo) {
    EXPECT_EQ(encoded.signs.size(), encoded.codes.size());
    EXPECT_EQ(quantizer_->format().kind, NumericFormat::Kind::kPowerOfTwo);
  }
}

TEST_P(Contract, ValuesAreInTheRangeWhereThereIsOne) {
  std::vector<float> range;
  try {
    range = quantizer_->range();
  } catch (const InvalidArgument&) {
    return;  // fitted to data, or not equally spaced
  }
  if (quantizer_->bit_width() > 1 || quantizer_->class_name() != "quantized_bits") {  // see docs/differences.md
    const Tensor real = quantizer_->quantize(probe()).real;
    for (float value : real.data()) {
      EXPECT_NE(std::find(range.begin(), range.end(), value), range.end()) << value;
    }
  }
}

TEST_P(Contract, SameKeyDrawsTheSameAndAnotherKeyDiffers) {
  const Tensor x = normal_tensor(Shape{100, 3}, 0.3f, 13);
  if (GetParam().find("elements_per_scale") != std::string::npos || GetParam().find("_shape") != std::string::npos)
    return;
  if (GetParam() == "stochastic_binary" || GetParam().find("stochastic_ternary(threshold") == 0) return;
  QuantizeOptions one{.phase = Phase::kTraining}, two{.phase = Phase::kTraining};
  two.random.step = 1;
  EXPECT_EQ(quantizer_->quantize(x, one).real, quantizer_->quantize(x, one).real);
  if (quantizer_->is_stochastic()) {
    EXPECT_NE(quantizer_->quantize(x, one).real, quantizer_->quantize(x, two).real);
  } else {
    EXPECT_EQ(quantizer_->quantize(x, one).real, quantizer_->quantize(x, {}).real);
  }
}

TEST_P(Contract, InfinitiesSaturateAndNaNStays) {
  if (quantizer_->config().value("alpha", nlohmann::json()).is_string()) return;  // the fit itself is infinite
  Tensor x(Shape{4, 3}, 0.25f);
  x[0] = INFINITY;
  x[1] = -INFINITY;
  x[2] = NAN;
  const Tensor y = quantizer_->quantize(x).real;
  EXPECT_TRUE(std::isfinite(y[0]) && std::isfinite(y[1])) << y[0] << " " << y[1];
  EXPECT_TRUE(std::isnan(y[2])) << y[2];
  if (quantizer_->class_name() != "quantized_ulaw") {
    EXPECT_THROW(quantizer_->encode(x), InvalidArgument);
  }
}

TEST_P(Contract, GradientNeedsTheShapeOfX) {
  EXPECT_THROW(quantizer_->gradient(Tensor(Shape{4, 3}), Tensor(Shape{3, 4})), InvalidArgument);
}

TEST_P(Contract, WeightFormIsAQuantizerOfTheSameClass) {
  if (quantizer_->config().value("threshold", nlohmann::json()).is_number()) return;  // thresholds need a fixed alpha
  const QuantizerPtr weight = quantizer_->as_weight_quantizer();
  EXPECT_EQ(weight->class_name(), quantizer_->class_name());
  const nlohmann::json config = quantizer_->config();
  if (config.contains("alpha") && config.at("alpha").is_null()) {
    EXPECT_EQ(weight->config().at("alpha"), "auto_po2");
  } else {
    EXPECT_TRUE(*weight == *quantizer_);
  }
}

std::string readable(const ::testing::TestParamInfo<std::string>& info) {
  std::string name;
  for (char c : info.param) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Quantizers, Contract, ::testing::ValuesIn(kTexts), readable);

TEST(ContractList, NamesEveryQuantizer) {
  for (const std::string& name : known_quantizers()) {
    const bool listed = std::any_of(kTexts.begin(), kTexts.end(),
                                    [&](const std::string& text) { return get_quantizer(text)->class_name() == name; });
    EXPECT_TRUE(listed) << name;
  }
}

// With qnoise_factor 0 the unquantized path comes out, whose derivative the gradient must be.
class UnquantizedPath : public ::testing::TestWithParam<std::string> {};
TEST_P(UnquantizedPath, HasTheGradientOfItsValue) {
  const QuantizerPtr quantizer = get_quantizer(GetParam());
  constexpr float kStep = 1.0f / 1024;
  for (float at : {-9.3f, -2.1f, -0.4f, 0.3f, 0.6f, 1.7f, 5.2f}) {
    const float above = quantizer->quantize(Tensor::scalar(at + kStep)).real[0];
    const float below = quantizer->quantize(Tensor::scalar(at - kStep)).real[0];
    const float numeric = (above - below) / (2.0f * kStep);
    EXPECT_NEAR(quantizer->gradient(Tensor::scalar(at), Tensor::scalar(1.0f))[0], numeric, 2e-3) << at;
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, UnquantizedPath,
    ::testing::Values("quantized_bits(4,qnoise_factor=0.0)", "quantized_relu(4,0,qnoise_factor=0.0)",
                      "quantized_relu(4,2,negative_slope=0.25,qnoise_factor=0.0)",
                      "quantized_relu(4,2,relu_upper_bound=1.5,is_quantized_clip=False,qnoise_factor=0.0)",
                      "quantized_po2(4,qnoise_factor=0.0)", "quantized_relu_po2(4,4,0.5,qnoise_factor=0.0)",
                      "quantized_hswish(4,2,0,qnoise_factor=0.0)", "quantized_linear(4,2,0,qnoise_factor=0.0)"));

// With very many bits the rounding vanishes and the gradient is that of the function itself.
struct Curve {
  const char* text;
  InternalSigmoid sigmoid = InternalSigmoid::kHard;
};

class FineGrid : public ::testing::TestWithParam<Curve> {};
TEST_P(FineGrid, HasTheGradientOfTheCurve) {
  const QuantizerPtr quantizer = get_quantizer(GetParam().text);
  const QuantizeOptions options{.internal_sigmoid = GetParam().sigmoid};
  constexpr float kStep = 1.0f / 64;
  const auto value = [&](float x) { return quantizer->quantize(Tensor::scalar(x), options).real[0]; };
  for (float at : {-2.1f, -0.4f, 0.3f, 0.6f, 1.7f}) {
    EXPECT_NEAR(quantizer->gradient(Tensor::scalar(at), Tensor::scalar(1.0f), options)[0],
                (value(at + kStep) - value(at - kStep)) / (2.0f * kStep), 2e-3)
        << at;
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, FineGrid,
    ::testing::Values(
        Curve{"quantized_tanh(20)"}, Curve{"quantized_tanh(20)", InternalSigmoid::kSmooth},
        Curve{"quantized_tanh(20)", InternalSigmoid::kReal}, Curve{"quantized_tanh(20,use_real_tanh=True)"},
        Curve{"quantized_sigmoid(20)"}, Curve{"quantized_sigmoid(20)", InternalSigmoid::kSmooth},
        Curve{"quantized_sigmoid(20)", InternalSigmoid::kReal}, Curve{"quantized_sigmoid(20,use_real_sigmoid=True)"},
        Curve{"quantized_ulaw(20)"}, Curve{"quantized_ulaw(20)", InternalSigmoid::kSmooth},
        Curve{"quantized_ulaw(20)", InternalSigmoid::kReal}, Curve{"quantized_ulaw(20,1,u=10)", InternalSigmoid::kReal},
        Curve{"quantized_linear(20,2,0)"}, Curve{"quantized_hswish(20,3,0)"},
        Curve{"quantized_hswish(20,3,0,relu_shift=2,relu_upper_bound=4.5)"}));

// The binary ones have the gradient of the hard ones that they round.
struct Plain {
  const char* name;
  const char* curve;
};

class PlainFunctionRow : public ::testing::TestWithParam<Plain> {};
TEST_P(PlainFunctionRow, HasTheGradientOfItsCurve) {
  const auto function = plain_function(GetParam().name), curve = plain_function(GetParam().curve);
  ASSERT_TRUE(function && curve);
  constexpr float kStep = 1.0f / 64;
  for (float at : {-9.3f, -2.4f, -0.7f, 0.1f, 0.6f, 1.7f, 3.1f}) {
    EXPECT_NEAR(function->derivative(at), (curve->value(at + kStep) - curve->value(at - kStep)) / (2.0f * kStep), 1e-4)
        << at;
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, PlainFunctionRow,
                         ::testing::Values(Plain{"hard_sigmoid", "hard_sigmoid"}, Plain{"hard_tanh", "hard_tanh"},
                                           Plain{"smooth_sigmoid", "smooth_sigmoid"},
                                           Plain{"smooth_tanh", "smooth_tanh"}, Plain{"binary_sigmoid", "hard_sigmoid"},
                                           Plain{"binary_tanh", "hard_tanh"}));

TEST(TanhSurrogate, IsTheGradientOfTanh) {
  for (const char* text : {"binary", "ternary"}) {
    const Tensor x(Shape{3}, {-0.7f, 0.1f, 1.2f}), g(Shape{3}, {1.0f, 2.0f, -1.0f});
    const Tensor dx = get_quantizer(text)->gradient(x, g);
    for (int64_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(dx[i], g[i] / (std::cosh(x[i]) * std::cosh(x[i])), 1e-6) << text;
    }
  }
}

}  // namespace
}  // namespace nibble::quant
