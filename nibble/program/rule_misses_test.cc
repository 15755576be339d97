// What is counted is what a walk over every sum finds.
#include "nibble/program/rule_misses.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/program/lowering.h"

namespace nibble::program {
namespace {

using namespace graph::build;
using affine::Rounding;

graph::Model network(int filters = 5) {
  auto in = Input({.shape = {6, 6, 2}, .name = "input"});
  auto x = QConv2D({.filters = filters,
                    .kernel_size = {3, 3},
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                    .name = "conv"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  x = QActivation({.activation = "quantized_relu(6,2)", .name = "act"})(x);
  x = QActivation({.activation = "quantized_relu(3,2)", .name = "narrow"})(x);
  x = QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)", .name = "dense"})(
      Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x}, "network");
  graph::initialize_weights(model, 4);
  RandomStream random({4, RandomPurpose::kTest, 0, 0});
  for (graph::Weight& weight : model.layer("bn").weights) {
    const bool is_variance = weight.name == "moving_variance";
    for (float& v : weight.value.data()) v = is_variance ? 0.2f + random.uniform() : random.uniform() * 2 - 1;
  }
  return model;
}

int32_t value_at(const Compare& compare, size_t row, int64_t x) {
  auto k = static_cast<size_t>(compare.first[row]);
  while (k < static_cast<size_t>(compare.first[row + 1]) && compare.thresholds[k] <= x) ++k;
  return compare.values[k + row];
}

// One sum after the other.
RuleMisses walked(const Program& program, const Program& trained, int operation) {
  const auto i = static_cast<size_t>(operation);
  const auto& a = std::get<Compare>(program.operations[i].action);
  const auto& b = std::get<Compare>(trained.operations[i].action);
  const auto input = static_cast<size_t>(program.operations[i].inputs[0]);
  const Value &in = program.operations[input].result, &known = trained.operations[input].result;
  RuleMisses result{operation, program.operations[i].layer};
  for (size_t row = 0; row + 1 < a.first.size(); ++row) {
    const bool is_shared = a.first.size() == 2;
    const auto c = static_cast<int64_t>(row);
    const Interval one = is_shared ? in.hull() : at(in.intervals, c);
    const Interval other = is_shared ? known.hull() : at(known.intervals, c);
    for (int64_t x = std::max(one.low, other.low); x <= std::min(one.high, other.high); ++x) {
      ++result.sums;
      result.missed += value_at(a, row, x) != value_at(b, row, x) ? 1 : 0;
    }
  }
  return result;
}

TEST(RuleMisses, AreThoseOfAWalkOverEverySum) {
  const graph::Model model = network();
  const Program trained = lower(model);
  uint64_t missed = 0;
  for (const Rounding rounding :
       {Rounding::kGemmlowpDouble, Rounding::kSingle, Rounding::kHalfEven, Rounding::kFloor}) {
    const Program program = lower(model, {.rounding = rounding});
    const std::vector<RuleMisses> found = find_rule_misses(program, trained);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].layer, "act");
    EXPECT_EQ(found[1].layer, "narrow");
    for (const RuleMisses& misses : found) {
      const RuleMisses expected = walked(program, trained, misses.operation);
      EXPECT_EQ(misses.sums, expected.sums) << misses.layer;
      EXPECT_EQ(misses.missed, expected.missed) << misses.layer;
      EXPECT_GT(misses.sums, 1u) << misses.layer;
    }
    missed = found[0].missed;
  }
  EXPECT_GT(missed, 0u);  // a floor lies half a code lower
}

// Sums of two channels and a comparison of them.
Program compared(std::vector<Interval> sums, Compare compare) {
  const Shape shape{1, 1, 2};
  Program result;
  result.input_shape = shape;
  result.operations.push_back({"in", {}, QuantizeInput{}, Value{shape, {1.0f}, std::move(sums)}});
  result.operations.push_back({"act", {0}, std::move(compare), Value{shape, {1.0f}, {{0, 3}}}});
  result.output = 1;
  return result;
}

struct StepsCase {
  const char* name;
  std::vector<Interval> ruled_sums, trained_sums;
  Compare ruled, trained;
  uint64_t sums, missed;
};

class RuleMissesOfSteps : public testing::TestWithParam<StepsCase> {};
TEST_P(RuleMissesOfSteps, AreCounted) {
  StepsCase c = GetParam();
  c.ruled.rule = FixedPointRule{};
  const auto found = find_rule_misses(compared(c.ruled_sums, c.ruled), compared(c.trained_sums, c.trained));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].sums, c.sums);
  EXPECT_EQ(found[0].missed, c.missed);
}

const std::vector<Interval> kSums = {{-10, 10}, {0, 5}};
const Compare kKnown{{-3, 2, 7, 2}, {0, 1, 2, 3, 0, 1}, {0, 3, 4}, ""};
// 2, 3 and 6 of one channel; 0 and 1 of the other, which never steps.
const Compare kMoved{{-3, 4, 6}, {0, 1, 2, 3, 1}, {0, 3, 3}, ""};
const Compare kShared{{0}, {0, 1}, {0, 1}, ""}, kSharedLater{{3}, {0, 1}, {0, 1}, ""};
constexpr int64_t kEnd = int64_t{1} << 62;
const std::vector<Interval> kWide = {{-kEnd, kEnd - 1}, {-kEnd, kEnd - 1}};
const Compare kZeros{{}, {0, 0}, {0, 0, 0}, ""}, kOnes{{}, {0, 1}, {0, 0, 0}, ""};

INSTANTIATE_TEST_SUITE_P(
    Rows, RuleMissesOfSteps,
    testing::Values(StepsCase{"TheSameSteps", kSums, kSums, kKnown, kKnown, 27, 0},
                    StepsCase{"MovedSteps", kSums, kSums, kMoved, kKnown, 27, 5},
                    StepsCase{"TheOtherWayRound", kSums, kSums, kKnown, kMoved, 27, 5},
                    StepsCase{"OnlySumsThatBothHave", kSums, {{-20, 3}, {1, 9}}, kMoved, kKnown, 19, 3},
                    StepsCase{"NoSumThatBothHave", kSums, {{11, 12}, {6, 6}}, kMoved, kKnown, 0, 0},
                    StepsCase{"OneFunctionForAllIsCountedOnce", kSums, kSums, kSharedLater, kShared, 21, 3},
                    StepsCase{"MoreThan64BitsStopAtTheirEnd", kWide, kWide, kOnes, kZeros, UINT64_MAX,
                              uint64_t{1} << 63}),
    [](const auto& row) { return row.param.name; });

TEST(RuleMisses, WithoutARuleThereIsNothingToCount) {
  const Program program = lower(network());
  EXPECT_TRUE(find_rule_misses(program, program).empty());
}

TEST(RuleMisses, ProgramsOfDifferentModelsAreRefused) {
  const Program program = lower(network(), {.rounding = Rounding::kSingle});
  EXPECT_THROW(find_rule_misses(program, lower(network(6))), InvalidArgument);
}

}  // namespace
}  // namespace nibble::program
