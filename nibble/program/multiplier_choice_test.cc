// The multiplier that gives the trained network's codes, where one beside the nearest does.
#include "nibble/program/multiplier_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "nibble/program/affine_grid.h"
#include "nibble/program/threshold_search.h"

namespace nibble::program {
namespace {

using affine::FixedPointMultiplier;
using affine::Rounding;

FixedPointRule rule_with(FixedPointMultiplier factor, Rounding rounding, int64_t bias = 0) {
  return {.rounding = rounding, .factors = {factor}, .bias = {bias}, .lowest = -20000, .highest = 20000};
}

std::vector<KnownCode> codes_of(const FixedPointRule& rule) {
  std::vector<KnownCode> known;
  for (int64_t x = -100000; x <= 100000; ++x) known.push_back({x, rule(x, 0)});
  return known;
}

int64_t wrong(const FixedPointRule& rule, const std::vector<KnownCode>& known) {
  return std::count_if(known.begin(), known.end(), [&](const KnownCode& k) { return rule(k.x, 0) != k.code; });
}

struct FitCase {
  int32_t multiplier, wanted;
  int shift;
  int64_t bias;
};

// Codes that another multiplier gave come back, whatever the signs.
TEST(MultiplierChoice, FindsAMultiplierOfAllCodes) {
  for (const Rounding rounding : {Rounding::kSingle, Rounding::kHalfEven}) {
    for (const FitCase& c : {FitCase{1500000001, 1500002001, -4, 0}, FitCase{1500000001, 1499998001, -4, 777},
                             FitCase{-1200000001, -1200002001, -4, -31}, FitCase{1100000001, 1100002001, -3, 5}}) {
      const auto known = codes_of(rule_with({c.wanted, c.shift}, rounding, c.bias));
      FixedPointRule rule = rule_with({c.multiplier, c.shift}, rounding, c.bias);
      EXPECT_GT(wrong(rule, known), 0) << c.wanted;
      rule.factors[0] = fitted_factor(rule, 0, known);
      EXPECT_EQ(wrong(rule, known), 0) << c.wanted << ", " << name_of(rounding);
      EXPECT_EQ(rule.factors[0].shift, c.shift);
    }
  }
}

TEST(MultiplierChoice, GivesUpTheFewestCodes) {
  auto known = codes_of(rule_with({1500002001, -4}, Rounding::kSingle));
  FixedPointRule rule = rule_with({1500000001, -4}, Rounding::kSingle);
  // One code that only the old multiplier has.
  const auto contradicting =
      std::find_if(known.begin(), known.end(), [&](const KnownCode& k) { return rule(k.x, 0) != k.code; });
  ASSERT_NE(contradicting, known.end());
  ASSERT_GT(wrong(rule, known), 2);
  contradicting->code = rule(contradicting->x, 0);
  rule.factors[0] = fitted_factor(rule, 0, known);
  EXPECT_EQ(wrong(rule, known), 1);
}

TEST(MultiplierChoice, LeavesWhatItHasNoBetterFor) {
  const auto known = codes_of(rule_with({1500002001, -4}, Rounding::kSingle));
  const FixedPointMultiplier near{1500000001, -4}, power{1 << 30, -4}, zero{};
  for (const Rounding rounding : {Rounding::kGemmlowpDouble, Rounding::kFloor}) {
    EXPECT_EQ(fitted_factor(rule_with(near, rounding), 0, known), near) << name_of(rounding);
  }
  EXPECT_EQ(fitted_factor(rule_with(power, Rounding::kSingle), 0, known), power) << "a shift stays one";
  EXPECT_EQ(fitted_factor(rule_with(zero, Rounding::kSingle), 0, known), zero);
  const auto own = codes_of(rule_with(near, Rounding::kSingle));
  EXPECT_EQ(fitted_factor(rule_with(near, Rounding::kSingle), 0, own), near);
}

// At the ends of the range there may lie more.
TEST(MultiplierChoice, AClampedCodeAsksForNothingBeyond) {
  FixedPointRule rule = rule_with({1500000001, -4}, Rounding::kSingle);
  rule.lowest = -10, rule.highest = 10;
  const std::vector<KnownCode> known = {{-100000, -10}, {100000, 10}};
  EXPECT_EQ(fitted_factor(rule, 0, known), rule.factors[0]);
}

// Float32 moves one step of 255 in each of these; the nearest multiplier misses it.
TEST(MultiplierChoice, HasTheStepsOfAnAffineNetwork) {
  register_affine_grids();
  for (const float scale : {1.7947e-05f, 1.9401e-05f, 2.2794e-05f, 2.7156e-05f, 3.1519e-05f}) {
    ThresholdSearch search;
    search.intervals = {{0, 60000}}, search.scale = {scale};
    search.quantizer = quant::get_quantizer("affine_step(0.0131,0,255)");
    search.layer = "layer", search.max_thresholds = 1000;
    const Compare network = find_thresholds(search).compare;
    search.rounding = Rounding::kSingle;
    const Compare found = find_thresholds(search).compare;
    ASSERT_TRUE(found.rule) << scale;
    EXPECT_EQ(found.thresholds, network.thresholds) << scale;
    EXPECT_EQ(found.values, network.values) << scale;
    const double real = static_cast<double>(scale) / static_cast<double>(0.0131f);
    EXPECT_NE(found.rule->factors[0], affine::quantize_multiplier(real, Rounding::kSingle)) << scale;
  }
}

}  // namespace
}  // namespace nibble::program
