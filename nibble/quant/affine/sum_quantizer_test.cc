// Sums are rounded as the fixed-point rule rounds them, whatever float32 made of them.
#include "nibble/quant/affine/sum_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace nibble::affine {
namespace {

constexpr CodeGrid kGrid{.scale = 0.037f, .lowest = -100, .highest = 155};

struct Case {
  const char* name;
  double sum_scale;
};

class Sums : public testing::TestWithParam<Case> {};

TEST_P(Sums, AreRoundedByTheRule) {
  const double scale = GetParam().sum_scale;
  const auto quantizer = SumQuantizer::make({scale}, kGrid);
  ASSERT_TRUE(quantizer);
  const FixedPointMultiplier factor = quantize_multiplier(scale / double{kGrid.scale}, Rounding::kSingle);
  EXPECT_EQ(quantizer->factors(), std::vector{factor});
  for (int64_t sum = -300000; sum <= 300000; sum += 7) {
    const float x = static_cast<float>(sum) * static_cast<float>(scale);
    const int64_t code = std::clamp<int64_t>(multiply(sum, factor, Rounding::kSingle), kGrid.lowest, kGrid.highest);
    ASSERT_EQ((*quantizer)(x, 5), static_cast<float>(code) * kGrid.scale) << sum;
  }
}

// All scales are float32, as those of a network are.
INSTANTIATE_TEST_SUITE_P(Scales, Sums,
                         testing::Values(Case{"Small", double{0.000012345f}}, Case{"Middle", double{0.00071f}},
                                         Case{"AboveTheCodes", double{0.5f}}, Case{"Tiny", double{1e-12f}}),
                         [](const auto& info) { return info.param.name; });

TEST(SumQuantizer, RoundsHalvesUp) {
  const auto quantizer = SumQuantizer::make({0.5}, {.scale = 1.0f, .lowest = -10, .highest = 10});
  ASSERT_TRUE(quantizer);
  struct Tie {
    float x, expected;
  };
  for (const auto& [x, expected] :
       {Tie{0.5f, 1.0f}, Tie{1.5f, 2.0f}, Tie{2.5f, 3.0f}, Tie{-0.5f, 0.0f}, Tie{-1.5f, -1.0f}}) {
    EXPECT_EQ((*quantizer)(x, 0), expected) << x;
  }
}

TEST(SumQuantizer, HasAFactorForEachChannelOfATensor) {
  const auto quantizer = SumQuantizer::make({0.01, 0.25, 3.0}, kGrid);
  ASSERT_TRUE(quantizer);
  std::vector<float> x;
  for (int i = 0; i < 30; ++i) x.push_back(static_cast<float>(i - 12) * 0.25f);
  std::vector<float> y(x.size());
  quantizer->quantize(x, y);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], (*quantizer)(x[i], i % 3)) << i;
  EXPECT_NE((*quantizer)(1.0f, 0), (*quantizer)(1.0f, 2));  // 100 sums of 0.01; a third of one is none
}

TEST(SumQuantizer, ClampsWhatIsBeyondAllCodes) {
  const auto quantizer = SumQuantizer::make({1e-9}, kGrid);
  ASSERT_TRUE(quantizer);
  const float infinite = std::numeric_limits<float>::infinity();
  EXPECT_EQ((*quantizer)(infinite, 0), 155.0f * kGrid.scale);
  EXPECT_EQ((*quantizer)(-3e38f, 0), -100.0f * kGrid.scale);
  EXPECT_TRUE(std::isnan((*quantizer)(std::numeric_limits<float>::quiet_NaN(), 0)));
}

TEST(SumQuantizer, IsNoneWhereNoMultiplierHoldsTheFactor) {
  EXPECT_FALSE(SumQuantizer::make({1e10}, {.scale = 1.0f, .lowest = 0, .highest = 1}));
  EXPECT_FALSE(SumQuantizer::make({0.0}, kGrid));
  EXPECT_FALSE(SumQuantizer::make({}, kGrid));
  EXPECT_FALSE(SumQuantizer::make({1.0, -1.0}, kGrid));
  EXPECT_FALSE(SumQuantizer::make({std::numeric_limits<double>::quiet_NaN()}, kGrid));
}

}  // namespace
}  // namespace nibble::affine
