// DoReFa's gradients (spec/ptq-qat-experiments.md, 5.4).
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/quant/affine/pact_dorefa.h"

namespace nibble::affine {
namespace {

using Doubles = std::vector<double>;

struct Row {
  const char* name;
  int bit_width;
  int64_t samples;
  Doubles g, noise, q;
};

class GradientRows : public ::testing::TestWithParam<Row> {};

TEST_P(GradientRows, AreQuantized) {
  const Row& row = GetParam();
  Doubles q(row.g.size());
  dorefa_quantize_gradient<double>(row.g, row.noise, row.samples, row.bit_width, q);
  for (size_t i = 0; i < q.size(); ++i) EXPECT_NEAR(q[i], row.q[i], 1e-12) << i;  // rounding of the steps
}

INSTANTIATE_TEST_SUITE_P(
    Rows, GradientRows,
    ::testing::Values(
        // 3 steps: r = 1, 0, 3/4, 5/8 are levels 3, 0, 2.25, 1.875.
        Row{"ToTheNearestWithoutNoise", 2, 1, {4, -4, 2, 1}, {0, 0, 0, 0}, {4, -4, 4.0 / 3, 4.0 / 3}},
        Row{"NoiseMovesWhatLiesBetween", 2, 1, {4, -4, 2, 1}, {0.4, -0.4, 0.4, -0.4}, {4, -4, 4, -4.0 / 3}},
        Row{"EndsStayEnds", 2, 1, {4, -4}, {-0.49, 0.49}, {4, -4}},
        Row{"EachSampleHasItsReach", 2, 2, {4, 2, 0.04, 0.02}, {0, 0, 0, 0}, {4, 4.0 / 3, 0.04, 0.04 / 3}},
        Row{"OneBitIsASign", 1, 1, {2, -2, 1, -1}, {0, 0, 0, 0}, {2, -2, 2, -2}},
        Row{"ZerosStay", 4, 2, {0, 0, 1, -1}, {0.3, -0.3, 0, 0}, {0, 0, 1, -1}}, Row{"Nothing", 4, 3, {}, {}, {}}),
    [](const auto& row) { return row.param.name; });

// Over all noise the mean is the gradient itself.
TEST(DorefaGradient, IsUnbiased) {
  constexpr int kDraws = 20000;
  const Doubles g = {1.0, 0.9, 0.37, 0.01, 0.0, -0.2, -0.77, -1.0};
  for (const int bits : {1, 2, 4, 8}) {
    Doubles sum(g.size()), noise(g.size()), q(g.size());
    RandomStream random({.seed = 1, .purpose = RandomPurpose::kTest, .layer = static_cast<uint32_t>(bits)});
    for (int draw = 0; draw < kDraws; ++draw) {
      for (double& u : noise) u = random.uniform_double() - 0.5;
      dorefa_quantize_gradient<double>(g, noise, 1, bits, q);
      for (size_t i = 0; i < g.size(); ++i) sum[i] += q[i];
    }
    // A step is 2 / (2^k - 1); a mean of rounded values deviates by half of one, over the root of the draws, at most.
    const double deviation = 1.0 / ((1 << bits) - 1) / std::sqrt(kDraws);
    for (size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(sum[i] / kDraws, g[i], 5 * deviation) << bits << ", " << g[i];
  }
}

// A diverged training is not taken for one without gradients.
TEST(DorefaGradient, NaNStays) {
  const double nan = std::nan("");
  for (const Doubles& g : {Doubles{nan, nan}, Doubles{0, nan}, Doubles{1, nan}}) {
    Doubles q(2);
    dorefa_quantize_gradient<double>(g, Doubles{0, 0}, 1, 4, q);
    EXPECT_TRUE(std::isnan(q[1])) << g[0];
  }
}

TEST(DorefaGradient, Refuses) {
  const Doubles g(6), noise(6), few(5);
  Doubles q(6);
  EXPECT_THROW(dorefa_quantize_gradient<double>(g, few, 1, 4, q), InvalidArgument);
  EXPECT_THROW(dorefa_quantize_gradient<double>(g, noise, 4, 4, q), InvalidArgument);
  EXPECT_THROW(dorefa_quantize_gradient<double>(g, noise, 0, 4, q), InvalidArgument);
  EXPECT_THROW(dorefa_quantize_gradient<double>(g, noise, 1, 17, q), InvalidArgument);
}

}  // namespace
}  // namespace nibble::affine
