#include "nibble/kernels/affine_quantizers.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "hwy/tests/hwy_gtest.h"
#include "nibble/core/philox.h"

namespace nibble::kernels {
namespace {

class AffineQuantizers : public hwy::TestWithParamTarget {};
HWY_TARGET_INSTANTIATE_TEST_SUITE_P(AffineQuantizers);

constexpr size_t kLengths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 1000, 5000};

// Numbers around the range, its ends and ties; with `specials` NaN and infinities too.
std::vector<float> samples(size_t count, float scale, bool specials) {
  RandomStream random({.seed = 9});
  std::vector<float> x(count);
  for (float& v : x) {
    const uint32_t draw = random.below(32);
    v = (random.uniform() - 0.5f) * 24.0f * scale;
    if (draw < 8) v = static_cast<float>(static_cast<int>(random.below(41)) - 20) * 0.5f * scale;  // ties
    if (draw == 8) v = -0.0f;
    if (!specials) continue;
    if (draw == 9) v = std::numeric_limits<float>::quiet_NaN();
    if (draw == 10) v = std::numeric_limits<float>::infinity();
    if (draw == 11) v = -std::numeric_limits<float>::infinity();
  }
  return x;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<affine::NudgedRange> ranges() {
  std::vector<affine::NudgedRange> result;
  for (const affine::Range range : {affine::Range{-6, 6}, {0, 3}, {-1, 0}, {-0.37f, 2.9f}, {0, 0}}) {
    for (const int bits : {2, 4, 8, 16}) result.push_back(affine::nudge(range, {.bit_width = bits}));
  }
  return result;
}

TEST_P(AffineQuantizers, FakeQuantIsTheScalarOne) {
  for (const size_t n : kLengths) {
    for (const affine::NudgedRange& range : ranges()) {
      for (const auto rule : {affine::StepRule::kDivide, affine::StepRule::kMultiply}) {
        const std::vector<float> x = samples(n, range.is_zero ? 1.0f : range.scale, true);
        std::vector<float> y(n), expected(n);
        affine::fake_quant(x, {1, 1, static_cast<int64_t>(n)}, {&range, 1}, rule, expected);
        fake_quant(x.data(), range, rule, y.data(), n);
        EXPECT_TRUE(same_bits(y, expected)) << n << " " << range.scale;
      }
    }
  }
}

TEST_P(AffineQuantizers, FakeQuantGradientIsTheScalarOne) {
  for (const size_t n : kLengths) {
    for (const affine::NudgedRange& range : ranges()) {
      const std::vector<float> x = samples(n, range.is_zero ? 1.0f : range.scale * 40, true);
      const std::vector<float> g = samples(n, 1.0f / 16, false);
      std::vector<float> dx(n), expected(n);
      const auto sums = affine::fake_quant_gradient(x, g, {1, 1, static_cast<int64_t>(n)}, {&range, 1}, expected);
      const RangeSums found = fake_quant_gradient(x.data(), g.data(), range, dx.data(), n);
      EXPECT_TRUE(same_bits(dx, expected)) << n;
      // Sums of up to 5000 numbers near 1 in float.
      EXPECT_NEAR(found.min, static_cast<double>(sums.min[0]), 2e-4);
      EXPECT_NEAR(found.max, static_cast<double>(sums.max[0]), 2e-4);
    }
  }
}

TEST_P(AffineQuantizers, LearnedStepIsTheScalarOne) {
  for (const size_t n : kLengths) {
    for (const float step : {0.01f, 0.3f}) {
      for (const float offset : {0.0f, -0.17f}) {
        for (const affine::StepLimits limits : {affine::StepLimits{8, 7}, {0, 15}, {127, 127}}) {
          const affine::ChannelLayout layout{1, 1, static_cast<int64_t>(n)};
          const affine::LearnedStep<float> learned{{&step, 1}, {&offset, 1}, limits};
          const std::vector<float> x = samples(n, step, true), g = samples(n, 1.0f / 16, false);
          std::vector<float> y(n), dx(n), expected(n);
          affine::learned_step_quantize<float>(x, layout, learned, expected);
          learned_step(x.data(), {step, offset, limits}, y.data(), n);
          EXPECT_TRUE(same_bits(y, expected)) << n;

          const std::vector<float> finite = samples(n, step, false);
          const auto sums = affine::learned_step_gradient<float>(finite, g, layout, learned, expected);
          const StepSums found = learned_step_gradient(finite.data(), g.data(), {step, offset, limits}, dx.data(), n);
          EXPECT_TRUE(same_bits(dx, expected)) << n;
          const double scale = static_cast<double>(limits.qp) * static_cast<double>(n);
          EXPECT_NEAR(found.step, static_cast<double>(sums.step[0]), 1e-6 * scale);
          EXPECT_NEAR(found.offset, static_cast<double>(sums.offset[0]), 2e-4);
        }
      }
    }
  }
}

TEST_P(AffineQuantizers, ExtremesSeeEveryElement) {
  for (const size_t n : kLengths) {
    for (const size_t at : {size_t{0}, n / 2, n - 1}) {
      std::vector<float> x(n, 0.25f);
      x[at] = -3.0f;
      EXPECT_EQ(extremes(x.data(), n).min, -3.0f);
      x[at] = 7.0f;
      EXPECT_EQ(extremes(x.data(), n).max, 7.0f);
      EXPECT_TRUE(extremes(x.data(), n).is_finite);
      for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
        x[at] = odd;
        EXPECT_FALSE(extremes(x.data(), n).is_finite) << n << " " << at;
      }
    }
  }
}

}  // namespace
}  // namespace nibble::kernels
