// Small files that would make large plans, or long work of making them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nibble/program/accumulator_proof.h"
#include "nibble/program/fast/fast_executor.h"
#include "nibble/program/fast/requantization_plan.h"

namespace nibble::program {
namespace {

using testing::HasSubstr;

Value value(const Shape& shape, Interval interval) { return Value{shape, {1.0f}, {interval}}; }

Operation input(const Shape& shape) {
  return {"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(4,3,1,alpha=1)")}, value(shape, {-8, 7})};
}

// Rows of thresholds from 1 - count/2 on, each value one more than the one before.
Compare rows_of(const std::vector<int64_t>& counts) {
  Compare compare{{}, {}, {0}, "", {}, {}};
  for (const int64_t count : counts) {
    for (int64_t k = 0; k < count; ++k) compare.thresholds.push_back(k + 1 - count / 2);
    for (int64_t k = 0; k <= count; ++k) compare.values.push_back(static_cast<int32_t>(k));
    compare.first.push_back(compare.first.back() + count);
  }
  return compare;
}

std::vector<int64_t> one_long_row(int64_t channels, int64_t count) {
  std::vector<int64_t> counts(static_cast<size_t>(channels), 0);
  counts[0] = count;
  return counts;
}

struct PlanRow {
  const char* name;
  std::vector<int64_t> counts;
  int64_t channels, integers;
};

class PlannedIntegers : public testing::TestWithParam<PlanRow> {};

TEST_P(PlannedIntegers, AreThoseBeyondTheThresholds) {
  EXPECT_EQ(planned_integers(rows_of(GetParam().counts), GetParam().channels), GetParam().integers);
}

INSTANTIATE_TEST_SUITE_P(Table, PlannedIntegers,
                         testing::Values(PlanRow{"OfOneChannel", {255}, 1, 256 + 16 - 255},
                                         PlanRow{"WithoutThresholds", {0}, 1, 1 + 16},
                                         PlanRow{"OfARowEach", {255, 255}, 2, 2 * (256 + 16) - 2 * 255},
                                         PlanRow{"OfASharedRow", {255}, 1000, 1000 * (256 + 16) - 255},
                                         PlanRow{"OfRowsPaddedToTheLongest", {256, 0}, 2, 2 * (512 + 16) - 256},
                                         PlanRow{"OfChannelsBeyondAllMemory", {1}, int64_t{1} << 62, INT64_MAX}),
                         [](const auto& row) { return row.param.name; });

struct CompareRow {
  const char* name;
  std::vector<int64_t> counts;
  int64_t channels;
  bool is_reference;
};

class Comparisons : public testing::TestWithParam<CompareRow> {};

TEST_P(Comparisons, RunAsInTheReferenceWhereTheirPlanIsTooLarge) {
  const CompareRow& row = GetParam();
  const Shape shape{row.channels};
  Program program;
  program.input_shape = shape;
  program.operations.push_back(input(shape));
  program.operations.push_back({"compare", {0}, rows_of(row.counts), value(shape, {0, 1 << 20})});
  program.output = 1;
  ASSERT_NO_THROW(validate(program));
  FastExecutor fast(program);
  ASSERT_EQ(fast.steps().size(), 2u);
  const std::string step = fast.steps()[1];
  EXPECT_EQ(step.find("reference") != step.npos, row.is_reference) << step;
  std::vector<float> x(static_cast<size_t>(row.channels)), expected(x.size()), found(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 16) - 8.0f;
  Executor reference(program);
  static_cast<Runner&>(reference).run(x, 1, expected);
  fast.run(x, 1, found);
  EXPECT_EQ(found, expected);
}

INSTANTIATE_TEST_SUITE_P(Table, Comparisons,
                         testing::Values(CompareRow{"OneRowForFewChannels", {255}, 16, false},
                                         CompareRow{"ALongRowBesideFew", one_long_row(16, 70'000), 16, false},
                                         CompareRow{"ALongRowBesideMany", one_long_row(8192, 70'000), 8192, true},
                                         CompareRow{"ALongRowForMany", {70'000}, 8192, true}),
                         [](const auto& row) { return row.param.name; });

// A value that is joined with itself forty times has 2^40 paths back to it.
TEST(Signs, AreFoundThroughManyPaths) {
  constexpr int64_t kChannels = 32;
  const Shape shape{1, 1, kChannels};
  Program program;
  program.input_shape = shape;
  program.operations.push_back(input(shape));
  program.operations.push_back({"sign", {0}, Compare{{0}, {-1, 1}, {0, 1}, "", {}, {}}, value(shape, {-1, 1})});
  for (int round = 0; round < 40; ++round) {
    const int last = static_cast<int>(program.operations.size()) - 1;
    program.operations.push_back({"join", {last, last}, Concatenate{}, value({1, 1, 2 * kChannels}, {-1, 1})});
    program.operations.push_back({"reshape", {last + 1}, Reshape{}, value({2, 1, kChannels}, {-1, 1})});
    program.operations.push_back(
        {"pool", {last + 2}, MaxPool{Window{2, 1}, std::vector<uint8_t>(kChannels, 0)}, value(shape, {-1, 1})});
  }
  Accumulate sums;
  sums.in_channels = kChannels;
  sums.weights.assign(kChannels, 1), sums.weight_bits = 2;
  const std::vector<Interval> intervals = prove_accumulator(sums, {{-1, 1}});
  const int last = static_cast<int>(program.operations.size()) - 1;
  program.operations.push_back({"dense", {last}, sums, Value{{1, 1, 1}, {1.0f}, intervals}});
  program.output = last + 1;
  ASSERT_NO_THROW(validate(program));
  FastExecutor fast(program);
  EXPECT_THAT(fast.steps().back(), HasSubstr("dense: sums of bits"));
  std::vector<float> x(kChannels), y(1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i < 20 ? 3.0f : -3.0f;
  fast.run(x, 1, y);
  EXPECT_EQ(y[0], 20.0f - 12.0f);
}

}  // namespace
}  // namespace nibble::program
