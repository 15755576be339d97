#include "nibble/quant/affine/least_error.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::affine {
namespace {

std::vector<float> normal(size_t count, uint32_t number) {
  RandomStream stream({4, RandomPurpose::kTest, number, 0});
  std::vector<float> x(count);
  for (float& v : x) v = stream.normal();
  return x;
}

Range ends_of(std::span<const float> x) {
  Range ends;
  for (const float v : x) ends = {std::min(ends.min, v), std::max(ends.max, v)};
  return ends;
}

double error_of(std::span<const float> x, Range range, CodeFormat format) {
  const NudgedRange nudged = nudge(range, format);
  double sum = 0.0;
  for (const float v : x) {
    sum += std::pow(static_cast<double>(v) - static_cast<double>(fake_quant(v, nudged, StepRule::kDivide)), 2.0);
  }
  return sum;
}

TEST(SquaredError, IsThatOfFakeQuantization) {
  for (const size_t count : {0u, 1u, 3u, 4u, 63u, 64u, 65u, 200u}) {
    const std::vector<float> x = normal(count, 1);
    for (const int bits : {2, 3, 4, 8, 16}) {
      for (const Range range : {Range{-1.5f, 1.5f}, Range{0.0f, 2.0f}, Range{-3.0f, 0.25f}, Range{}}) {
        for (const bool narrow : {false, true}) {
          const double expected = error_of(x, range, {bits, narrow});
          // A sum in another order.
          EXPECT_NEAR(squared_error(x, nudge(range, {bits, narrow})), expected, 1e-12 * expected)
              << count << " values, " << bits << " bits, [" << range.min << ", " << range.max << "]";
        }
      }
    }
  }
}

TEST(LeastErrorPercent, IsFoundByFewFactorsToo) {
  for (int wanted = 20; wanted <= 100; ++wanted) {
    for (const auto& [search, most] : {std::pair(ErrorSearch::kEvery, 81), std::pair(ErrorSearch::kCoarseToFine, 17)}) {
      int looked = 0;
      const auto error = [&](int percent) {
        ++looked;
        EXPECT_GE(percent, 20);
        EXPECT_LE(percent, 100);
        return std::abs(percent - wanted);
      };
      EXPECT_EQ(least_error_percent(error, search), wanted);
      EXPECT_LE(looked, most);
    }
  }
  EXPECT_EQ(least_error_percent([](int) { return 1.0; }, ErrorSearch::kCoarseToFine), 100) << "nothing is better";
}

TEST(LeastErrorRange, OfFewFactorsIsNearTheBest) {
  const std::vector<float> x = normal(5000, 2);
  const Range widest = ends_of(x);
  for (const int bits : {2, 3, 4, 5}) {
    const CodeFormat format{bits, false};
    const Range best = least_error_range(x, widest, format, ErrorSearch::kEvery);
    const Range found = least_error_range(x, widest, format, ErrorSearch::kCoarseToFine);
    EXPECT_LT(found.max, widest.max) << bits;
    EXPECT_LE(error_of(x, found, format), 1.05 * error_of(x, best, format)) << bits;
    EXPECT_LT(error_of(x, found, format), error_of(x, widest, format)) << bits;
  }
}

// Whatever the layout: each channel as if it were alone.
TEST(LeastErrorRanges, AreOfTheirChannels) {
  const CodeFormat format{3, true};
  for (const ChannelLayout& layout : {ChannelLayout{50, 4, 1}, ChannelLayout{1, 5, 40}, ChannelLayout{7, 3, 11}}) {
    const std::vector<float> x = normal(static_cast<size_t>(layout.elements()), 3);
    std::vector<std::vector<float>> channels(static_cast<size_t>(layout.channels));
    for_each_element(layout, [&](size_t i, size_t c) { channels[c].push_back(x[i]); });
    std::vector<Range> widest, expected;
    for (const std::vector<float>& channel : channels) {
      const Range ends = ends_of(channel);
      const float reach = std::max(-ends.min, ends.max);
      widest.push_back({-reach, reach});
      expected.push_back(least_error_range(channel, widest.back(), format, ErrorSearch::kCoarseToFine));
    }
    EXPECT_EQ(least_error_ranges(x, layout, widest, format), expected);
  }
}

TEST(LeastErrorRanges, OfManyValuesAreFoundOnSomeAlwaysTheSame) {
  const std::vector<float> x = normal(1 << 18, 4);
  const CodeFormat format{4, false};
  for (const ChannelLayout& layout : {ChannelLayout{1, 1, 1 << 18}, ChannelLayout{1 << 16, 4, 1}}) {
    const std::vector<Range> widest(static_cast<size_t>(layout.channels), ends_of(x));
    const std::vector<Range> found = least_error_ranges(x, layout, widest, format);
    EXPECT_EQ(least_error_ranges(x, layout, widest, format), found);
    const Range best = least_error_range(x, widest[0], format, ErrorSearch::kEvery);
    for (const Range& range : found) {
      EXPECT_LE(error_of(x, range, format), 1.05 * error_of(x, best, format)) << range.max;
    }
  }
}

// A ReLU that lets one value through: samples of zeros alone say nothing against what was seen.
TEST(LeastErrorRanges, OfZerosAndOneValueIsTheWholeRange) {
  std::vector<float> x(1 << 18);
  x[100000] = 5.0f;
  const std::vector<Range> widest = {{0.0f, 5.0f}};
  EXPECT_EQ(least_error_ranges(x, {1, 1, 1 << 18}, widest, {4, false}), widest);
  const std::vector<float> zeros(10);
  EXPECT_EQ(least_error_ranges(zeros, {1, 1, 10}, std::vector<Range>(1), {4, false}), std::vector<Range>(1));
}

TEST(LeastErrorRanges, RefuseWhatDoesNotFit) {
  const std::vector<float> x(6);
  EXPECT_THROW(least_error_ranges(x, {3, 2, 1}, std::vector<Range>(3), {4, false}), InvalidArgument);
  EXPECT_THROW(least_error_ranges(x, {4, 2, 1}, std::vector<Range>(2), {4, false}), InvalidArgument);
}

TEST(RangeRule, IsLeastErrorBelowSixBits) {
  EXPECT_EQ(usual_range_rule(2), RangeRule::kMse);
  EXPECT_EQ(usual_range_rule(5), RangeRule::kMse);
  EXPECT_EQ(usual_range_rule(6), RangeRule::kExtremes);
  EXPECT_EQ(usual_range_rule(8), RangeRule::kExtremes);
  EXPECT_EQ(name(RangeRule::kMse), "mse");
  EXPECT_EQ(name(RangeRule::kExtremes), "extremes");
}

}  // namespace
}  // namespace nibble::affine
