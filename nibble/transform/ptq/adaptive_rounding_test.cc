#include "nibble/transform/ptq/adaptive_rounding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

// Inputs whose features move together, as those of a trained network do: errors of neighbours can cancel.
Patches correlated(const KernelMatrix& matrix, int64_t rows, uint64_t seed) {
  const Tensor common = random_samples({rows, matrix.groups}, seed);
  const Tensor own = random_samples({rows, matrix.row_length()}, seed + 1);
  Patches patches{.matrix = matrix, .rows = rows, .values = {}};
  for (int64_t i = 0; i < own.size(); ++i) {
    patches.values.push_back(std::abs(common[i / matrix.fan_in]) + 0.3f * own[i]);
  }
  return patches;
}

struct Row {
  const char* name;
  KernelMatrix matrix;
  int bit_width;
  bool is_rectified;
};

class AdaptiveRounding : public ::testing::TestWithParam<Row> {
 protected:
  struct Case {
    Tensor kernel;
    std::vector<float> scale, bias;
    Patches inputs;
  };
  Case make() const {
    const KernelMatrix& m = GetParam().matrix;
    Case c{random_samples({m.fan_in, m.outputs}, 1),
           {},
           std::vector<float>(static_cast<size_t>(m.outputs), 0.1f),
           correlated(m, 400, 2)};
    c.scale.assign(static_cast<size_t>(m.outputs), 2.5f / (std::ldexp(1.0f, GetParam().bit_width - 1) - 1.0f));
    return c;
  }
  RoundedKernel run(const Case& c) const {
    return round_adaptively({.kernel = c.kernel.data(),
                             .scale = c.scale,
                             .bias = c.bias,
                             .bit_width = GetParam().bit_width,
                             .is_rectified = GetParam().is_rectified,
                             .float_inputs = &c.inputs,
                             .quantized_inputs = &c.inputs},
                            {.steps = 400, .batch_rows = 32});
  }
};

TEST_P(AdaptiveRounding, IsOnTheGridAndBeatsTheNearest) {
  const Case c = make();
  const RoundedKernel rounded = run(c);
  EXPECT_LT(rounded.error, 0.8 * rounded.nearest_error);
  EXPECT_GT(rounded.changed, 0.0);
  const float highest = std::ldexp(1.0f, GetParam().bit_width - 1) - 1.0f;
  for (size_t i = 0; i < rounded.kernel.size(); ++i) {
    const float code = rounded.kernel[i] / c.scale[0], wanted = c.kernel[static_cast<int64_t>(i)] / c.scale[0];
    EXPECT_NEAR(code, std::round(code), 1e-3);
    EXPECT_LE(std::abs(code), highest + 1e-3f);
    if (std::abs(wanted) < highest) {
      EXPECT_LT(std::abs(code - wanted), 1.001f) << i;  // up or down, no further
    }
  }
  EXPECT_EQ(run(c).kernel, rounded.kernel);  // the same again
}

INSTANTIATE_TEST_SUITE_P(Rows, AdaptiveRounding,
                         ::testing::Values(Row{"FourBits", {1, 24, 6}, 4, false},
                                           Row{"FourBitsBeforeRelu", {1, 24, 6}, 4, true},
                                           Row{"ThreeBits", {1, 16, 4}, 3, false},
                                           Row{"DepthwiseGroups", {4, 9, 4}, 4, false}),
                         [](const auto& row) { return row.param.name; });

TEST(AdaptiveRoundingLimits, KernelsOnTheGridStay) {
  const std::vector<float> kernel = {1, -2, 3, 0, 7, -7}, scale = {1, 1};
  const Patches inputs = correlated({1, 3, 2}, 50, 3);
  const RoundedKernel rounded = round_adaptively({.kernel = kernel,
                                                  .scale = scale,
                                                  .bias = {},
                                                  .bit_width = 4,
                                                  .float_inputs = &inputs,
                                                  .quantized_inputs = &inputs},
                                                 {.steps = 50});
  EXPECT_EQ(rounded.kernel, kernel);
  EXPECT_EQ(rounded.error, 0.0);
}

TEST(AdaptiveRoundingLimits, RefusesWithASentence) {
  const std::vector<float> kernel(6), scale = {1, 1};
  const Patches inputs = correlated({1, 3, 2}, 5, 3), none{.matrix = {1, 3, 2}, .rows = 0, .values = {}};
  RoundingProblem problem{
      .kernel = kernel, .scale = scale, .bias = {}, .float_inputs = &inputs, .quantized_inputs = &inputs};
  EXPECT_THROW(round_adaptively(problem, {.steps = 0}), InvalidArgument);
  problem.float_inputs = problem.quantized_inputs = &none;
  EXPECT_THROW(round_adaptively(problem, {}), InvalidArgument);
  problem.float_inputs = problem.quantized_inputs = &inputs;
  problem.scale = std::span(scale).first(1);
  EXPECT_THROW(round_adaptively(problem, {}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::ptq
