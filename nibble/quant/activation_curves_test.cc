#include "nibble/quant/activation_curves.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace nibble::quant {
namespace {

struct PointOfCurve {
  const char* name;
  float x;
  double y;  // of the formula, with more digits than a float has
};

class CurveValue : public ::testing::TestWithParam<PointOfCurve> {};

TEST_P(CurveValue, IsTheNearestFloat) {
  const PointOfCurve& row = GetParam();
  EXPECT_EQ(activation_curve(row.name)->value(row.x), static_cast<float>(row.y));
}

constexpr float kInfinite = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    Table, CurveValue,
    ::testing::Values(PointOfCurve{"sigmoid", 1.0f, 0.7310585786300049}, PointOfCurve{"sigmoid", -200.0f, 0.0},
                      PointOfCurve{"sigmoid", kInfinite, 1.0}, PointOfCurve{"tanh", 0.5f, 0.46211715726000975},
                      PointOfCurve{"softplus", 0.0f, 0.6931471805599453}, PointOfCurve{"softplus", 100.0f, 100.0},
                      PointOfCurve{"softsign", -3.0f, -0.75}, PointOfCurve{"elu", -1.0f, -0.6321205588285577},
                      PointOfCurve{"elu", 2.5f, 2.5}, PointOfCurve{"selu", -1.0f, -1.1113307378125625},
                      PointOfCurve{"selu", 1.0f, 1.0507009873554805}, PointOfCurve{"gelu", 1.0f, 0.8413447460685429},
                      PointOfCurve{"swish", 1.0f, 0.7310585786300049}, PointOfCurve{"silu", -kInfinite, 0.0},
                      PointOfCurve{"mish", 1.0f, 0.8650983882673103}, PointOfCurve{"exponential", 1.0f, M_E},
                      PointOfCurve{"hard_sigmoid", 1.0f, 0.7}, PointOfCurve{"hard_sigmoid", 9.0f, 1.0},
                      PointOfCurve{"qkeras.hard_sigmoid", 0.5f, 0.75}, PointOfCurve{"leaky_relu", -1.0f, -0.2f},
                      PointOfCurve{"smooth_tanh", 1.0f, 0.375}, PointOfCurve{"binary_tanh", 0.5f, 1.0}));

// What the integer program's search for steps relies on.
TEST(ActivationCurves, FallBeforeTheirLowestPointAndRiseAfterIt) {
  for (const char* name : {"sigmoid", "tanh", "softplus", "softsign", "elu", "selu", "gelu", "swish", "silu", "mish",
                           "exponential", "hard_sigmoid", "leaky_relu", "qkeras.hard_sigmoid", "smooth_sigmoid",
                           "binary_sigmoid", "hard_tanh", "smooth_tanh", "binary_tanh"}) {
    const ActivationCurve* curve = activation_curve(name);
    ASSERT_NE(curve, nullptr) << name;
    EXPECT_EQ(curve->name, name);
    const float lowest = curve->lowest_at.value_or(-kInfinite);
    float x = -30.0f, before = curve->value(x);
    int wrong = 0;
    while (x < 30.0f) {
      const float next = x + 0x1p-11f, value = curve->value(next);
      if (next <= lowest && value > before) ++wrong;
      if (x >= lowest && value < before) ++wrong;
      x = next, before = value;
    }
    EXPECT_EQ(wrong, 0) << name;
    if (curve->lowest_at) {
      EXPECT_LT(curve->value(lowest), curve->value(lowest - 0.1f)) << name;
      EXPECT_LT(curve->value(lowest), curve->value(lowest + 0.1f)) << name;
    }
  }
  EXPECT_EQ(activation_curve("softmax"), nullptr);
  EXPECT_EQ(activation_curve(""), nullptr);
}

}  // namespace
}  // namespace nibble::quant
