#include "nibble/transform/ptq/weight_ranges.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using affine::ChannelLayout;
using affine::Range;

TEST(WeightRanges, AreSymmetricAndPerChannel) {
  const std::vector<float> w = {1, -4, -3, 2, 0.5f, 0};
  EXPECT_EQ(weight_ranges(w, {1, 1, 6}, 8, WeightRule::kLargest), (std::vector<Range>{{-4, 4}}));
  EXPECT_EQ(weight_ranges(w, {3, 2, 1}, 8, WeightRule::kLargest), (std::vector<Range>{{-3, 3}, {-4, 4}}));
}

TEST(WeightRanges, OfZerosAreZero) {
  const std::vector<float> w = {0, 1, 0, 1};
  for (const WeightRule rule : {WeightRule::kLargest, WeightRule::kSquaredError}) {
    EXPECT_EQ(weight_ranges(w, {2, 2, 1}, 4, rule)[0], (Range{0, 0}));
  }
}

double error_of(std::span<const float> w, float limit, int bits) {
  const float highest = std::ldexp(1.0f, bits - 1) - 1.0f, scale = limit / highest;
  double error = 0;
  for (const float v : w) error += std::pow(v - std::clamp(std::round(v / scale), -highest, highest) * scale, 2.0);
  return error;
}

TEST(WeightRanges, SquaredErrorIsNeverWorseAndCutsAtFewBits) {
  const Tensor w = random_samples({4000}, 7);
  const ChannelLayout layout{1, 1, 4000};
  for (const int bits : {2, 3, 4, 5, 6, 8, 12, 16}) {
    const float widest = weight_ranges(w.data(), layout, bits, WeightRule::kLargest)[0].max;
    const float best = weight_ranges(w.data(), layout, bits, WeightRule::kSquaredError)[0].max;
    EXPECT_LE(error_of(w.data(), best, bits), error_of(w.data(), widest, bits)) << bits;
    const float chosen = weight_ranges(w.data(), layout, bits, WeightRule::kAutomatic)[0].max;
    EXPECT_EQ(chosen, bits < 6 ? best : widest) << bits;
  }
  EXPECT_LT(weight_ranges(w.data(), layout, 3, WeightRule::kSquaredError)[0].max, 3.0f);
}

TEST(WeightRanges, RefuseWhatHasNone) {
  const std::vector<float> nan = {1, std::nanf("")};
  EXPECT_THROW(weight_ranges(nan, {1, 1, 2}, 8, WeightRule::kLargest), InvalidArgument);
  const std::vector<float> w = {1, 2};
  EXPECT_THROW(weight_ranges(w, {1, 1, 3}, 8, WeightRule::kLargest), InvalidArgument);
  EXPECT_THROW(weight_ranges(w, {1, 1, 2}, 1, WeightRule::kLargest), InvalidArgument);
  EXPECT_THROW(weight_ranges(w, {1, 1, 2}, 17, WeightRule::kLargest), InvalidArgument);
}

TEST(Sqnr, IsInDecibels) {
  const std::vector<float> x = {10, 10}, y = {9, 11};
  EXPECT_NEAR(sqnr_db(x, y), 20.0, 1e-9);
  EXPECT_EQ(sqnr_db(x, x), kLosslessDb);
  EXPECT_EQ(sqnr_db(std::vector<float>{0, 0}, y), -kLosslessDb);
}

}  // namespace
}  // namespace nibble::ptq
