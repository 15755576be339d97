#include "nibble/kernels/activation_spec.h"

#include <cmath>
#include <vector>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/kernels/affine_activation.h"

namespace nibble::kernels {
namespace {

class ActivationSpecParity : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(ActivationSpecParity);

const char* const kFast[] = {
    "quantized_relu(4)",
    "quantized_relu(4,2)",
    "quantized_relu(1,0)",
    "quantized_relu(8,-2)",
    "quantized_relu(6,3,is_quantized_clip=False)",
    "quantized_relu(4,2,relu_upper_bound=3.0,is_quantized_clip=False)",
    "quantized_relu(4,2,relu_upper_bound=6.0)",
    "quantized_relu_po2(3)",
    "quantized_relu_po2(4,4)",
    "quantized_relu_po2(4,3)",
    "quantized_relu_po2(4,0.75)",
    "quantized_relu_po2(8)",
    "quantized_relu_po2(32)",
    "quantized_bits(4,0)",
    "quantized_bits(4,1,1)",
    "quantized_bits(8,2,alpha=1.0)",
    "quantized_bits(5,1,alpha=0.3)",
    "quantized_bits(3,1,keep_negative=False)",
    "quantized_bits(2,0)",
    "quantized_linear(4,1)",
    "quantized_linear(4,1,symmetric=0)",
    "quantized_linear(6,2,keep_negative=False)",
    "quantized_linear(4,0,alpha=2.0)",
    "binary()",
    "ternary()",
    "ternary(threshold=0.5)",
};

// Needs random numbers, another gradient, or arithmetic that is not here.
const char* const kGeneral[] = {
    "quantized_relu(4,0,1)",
    "quantized_relu(4,negative_slope=0.25)",
    "quantized_relu(4,use_stochastic_rounding=True)",
    "quantized_relu(4,qnoise_factor=0.5)",
    "quantized_relu(4,relu_upper_bound=0.3,is_quantized_clip=False)",
    "quantized_relu_po2(4,quadratic_approximation=True)",
    "quantized_relu_po2(4,log2_rounding='floor')",
    "quantized_bits(1)",
    "quantized_bits(4,alpha='auto')",
    "quantized_bits(4,use_ste=False)",
    "quantized_linear(4,0,alpha=0.3)",
    "quantized_linear(1)",
    "binary(alpha=1.0)",
    "binary(use_01=1)",
    "ternary(alpha='auto_po2')",
    "stochastic_binary()",
    "quantized_tanh(4)",
};

// Every 1/1024 within +-9, their neighbours, and magnitudes from 2^-30 to 2^30.
std::vector<float> sweep() {
  std::vector<float> x;
  for (int i = -9 * 1024; i <= 9 * 1024; ++i) {
    const float value = static_cast<float>(i) / 1024.0f;
    x.insert(x.end(), {std::nextafter(value, -10.0f), value, std::nextafter(value, 10.0f)});
  }
  for (int exponent = -30; exponent <= 30; ++exponent) {
    for (float significand : {1.0f, 1.3f, 1.4142f, 1.4143f, 1.5f, 1.9f}) {
      x.push_back(std::ldexp(significand, exponent));
      x.push_back(-x.back());
    }
  }
  return x;
}

bool is_po2_tie(float z) {
  const double exponent = std::log2(double{std::abs(z)});
  return std::abs(exponent - std::floor(exponent) - 0.5) < 1e-5;
}

TEST_P(ActivationSpecParity, ForwardIsTheQuantizersValue) {
  const std::vector<float> x = sweep();
  const Shape shape{static_cast<int64_t>(x.size())};
  const std::vector<float> one(1, 1.0f), zero(1, 0.0f);
  for (const char* text : kFast) {
    const auto quantizer = quant::get_quantizer(text);
    const auto spec = activation_spec(*quantizer);
    ASSERT_TRUE(spec) << text;
    const Tensor expected = quantizer->quantize(Tensor(shape, x)).real;
    std::vector<float> y(x.size());
    affine_activation_forward(x.data(), y.data(), nullptr, shape[0], 1, one.data(), zero.data(), *spec, {});
    for (size_t i = 0; i < x.size(); ++i) {
      if (spec->kind == ActivationKind::kQuantizedReluPo2 && x[i] > 0 && is_po2_tie(x[i])) continue;
      ASSERT_EQ(y[i], expected.data()[i]) << text << " of " << x[i];
      ASSERT_EQ(scalar::activation_value(*spec, x[i]), expected.data()[i]) << text << " of " << x[i];
    }
  }
}

TEST_P(ActivationSpecParity, GradientIsTheQuantizersGradient) {
  const std::vector<float> x = sweep();
  const Shape shape{static_cast<int64_t>(x.size())};
  const std::vector<float> one(1, 1.0f), zero(1, 0.0f), upstream(x.size(), 1.0f);
  for (const char* text : kFast) {
    const auto quantizer = quant::get_quantizer(text);
    const auto spec = activation_spec(*quantizer);
    ASSERT_TRUE(spec) << text;
    const Tensor expected = quantizer->gradient(Tensor(shape, x), Tensor(shape, upstream));
    std::vector<float> y(x.size()), dx(x.size());
    std::vector<uint8_t> mask(mask_bytes(x.size()));
    affine_activation_forward(x.data(), y.data(), mask.data(), shape[0], 1, one.data(), zero.data(), *spec, {});
    affine_activation_gradient(upstream.data(), x.data(), mask.data(), dx.data(), shape[0], 1, one.data(), zero.data(),
                               *spec, 0.0f, one.data(), zero.data(), zero.data());
    const float tolerance = has_binary_gradient(spec->kind) ? 0.0f : 5e-7f;  // another formula for tanh
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(dx[i], expected.data()[i], tolerance) << text << " of " << x[i];
      ASSERT_EQ(scalar::activation_gradient(*spec, x[i]), expected.data()[i]) << text << " of " << x[i];
    }
  }
}

TEST(ActivationSpec, IsNothingForGeneralParameters) {
  for (const char* text : kGeneral) EXPECT_FALSE(activation_spec(*quant::get_quantizer(text))) << text;
}

TEST(ActivationSpec, KnowsPlainFunctions) {
  EXPECT_EQ(activation_spec("linear")->kind, ActivationKind::kLinear);
  EXPECT_EQ(activation_spec("relu")->kind, ActivationKind::kRelu);
  EXPECT_FALSE(activation_spec("tanh"));
}

}  // namespace
}  // namespace nibble::kernels
