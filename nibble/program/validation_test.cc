// validate(): a program that says what does not hold is refused, whatever file it comes from.
#include <gtest/gtest.h>

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/program/program_file.h"
#include "nibble/program/sample_programs.h"
#include "support/golden.h"

namespace nibble::program {
namespace {

std::string complaint(const Program& program) {
  try {
    validate(program);
  } catch (const CorruptFile& error) {
    return error.what();
  }
  return "(none)";
}

TEST(Validation, MovesThatDoNotFitAreRefused) {
  const auto refused = [](const auto& change) {
    Program changed = moving_program();
    change(changed);
    EXPECT_THROW(validate(changed), CorruptFile);
  };
  const auto crop = [](Program& p) -> Crop& { return std::get<Crop>(operation_of<Crop>(p, "crop").action); };
  const auto order = [](Program& p) -> std::vector<int64_t>& {
    return std::get<Permute>(operation_of<Permute>(p, "turn").action).order;
  };
  refused([&](Program& p) { crop(p).top = -1; });
  refused([&](Program& p) { crop(p).top = 2; });
  refused([&](Program& p) { crop(p).bottom = INT64_MAX; });
  refused([&](Program& p) { std::get<Repeat>(operation_of<Repeat>(p, "up").action).height = 0; });
  refused([&](Program& p) { std::get<Repeat>(operation_of<Repeat>(p, "up").action).width = INT64_MAX; });
  refused([&](Program& p) { order(p) = {1, 0}; });
  refused([&](Program& p) { order(p) = {1, 0, 3}; });
  refused([&](Program& p) { order(p) = {1, 1, 2}; });
  refused([&](Program& p) { order(p) = {-1, 0, 2}; });
  refused([&](Program& p) { operation_of<Extremum>(p, "largest").inputs = {0, 0}; });
  for (const char* layer : {"largest", "smallest"}) {
    refused([&](Program& p) { ++operation_of<Extremum>(p, layer).result.intervals[0].low; });
    refused([&](Program& p) { --operation_of<Extremum>(p, layer).result.intervals[0].high; });
  }
}

// 8 + 2 * INT64_MAX is 6, where it wraps around.
TEST(Validation, BordersOfZerosThatWrapAroundAreRefused) {
  Program program;
  program.input_shape = Shape{8, 8, 2};
  const auto value = [](const Shape& shape) { return Value{shape, {1.0f}, {{0, 1}}}; };
  program.operations.push_back(
      {"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(1,1,0)")}, value(program.input_shape)});
  program.operations.push_back({"pad", {0}, Pad{1, 1, 0, 3}, value(Shape{10, 11, 2})});
  program.output = 1;
  EXPECT_EQ(complaint(program), "(none)");
  program.operations[1] = {"pad", {0}, Pad{INT64_MAX, INT64_MAX, 0, 0}, value(Shape{6, 8, 2})};
  EXPECT_NE(complaint(program).find("(pad, layer 'pad') has sizes"), std::string::npos) << complaint(program);
  program.operations[1] = {"pad", {0}, Pad{0, 0, INT64_MAX, INT64_MAX}, value(Shape{8, 6, 2})};
  EXPECT_NE(complaint(program).find("(pad, layer 'pad') has sizes"), std::string::npos) << complaint(program);
}

// What is summed or multiplied fits 32 bits, and no sum is beyond 63: files cannot make either overflow.
TEST(Validation, WideValuesStandOnlyWhereTheyMay) {
  constexpr int64_t kEnd = int64_t{1} << 62;
  for (const Interval& interval :
       {Interval{-kEnd - 1, kEnd - 1}, Interval{-kEnd, kEnd}, Interval{INT64_MIN, INT64_MAX}}) {
    Program changed = wide_program();
    operation_of<MaxPool>(changed, "pool").result.intervals = {interval};
    EXPECT_NE(complaint(changed).find("gives integers of more bits"), std::string::npos) << complaint(changed);
  }
  Program changed = wide_program();
  operation_of<MaxPool>(changed, "pool").result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NO_THROW(validate(changed));
  operation_of<Compare>(changed, "act").result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NE(complaint(changed).find("(compare, layer 'act') gives integers of more bits"), std::string::npos)
      << complaint(changed);
  changed = wide_program();
  Operation& flatten = changed.operations.at(4);
  flatten.inputs = {2};  // the pool
  flatten.result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NE(complaint(changed).find("(accumulate, layer 'dense') reads integers of more bits"), std::string::npos)
      << complaint(changed);
}

// What a program says of one channel holds for that channel, not only for some.
TEST(Validation, AChannelThatGivesMoreThanItSaysIsRefused) {
  const Program whole = sample_program(SoftmaxForm::kInteger);
  int tried = 0;
  for (size_t i = 0; i < whole.operations.size(); ++i) {
    Program lying = whole;
    std::vector<Interval>& intervals = lying.operations[i].result.intervals;
    const Interval first = intervals[0];
    if (intervals.size() < 2 || first.low == first.high) continue;
    ++tried;
    // The others still cover it all together.
    intervals[1] = {std::min(first.low, intervals[1].low), std::max(first.high, intervals[1].high)};
    intervals[0] = {first.high, first.high};
    EXPECT_THROW(validate(lying), CorruptFile) << name_of(lying.operations[i].action);
  }
  EXPECT_GE(tried, 4);
}

// Where values fall and rise, those in between count, not only those at the ends.
TEST(Validation, AComparisonThatGivesMoreThanItSaysIsRefused) {
  for (const char* layer : {"shared", "own"}) {
    Program lying = turning_program();
    Operation& operation = operation_of<Compare>(lying, layer);
    const auto& compare = std::get<Compare>(operation.action);
    EXPECT_EQ(compare.first.size(), layer == std::string("shared") ? 2u : 5u);
    const auto lowest = std::min_element(compare.values.begin(), compare.values.end());
    EXPECT_NE(lowest, compare.values.begin());
    EXPECT_NE(lowest, compare.values.end() - 1);
    const std::vector<Interval> said = operation.result.intervals;
    for (const size_t count : {size_t{1}, size_t{4}}) {
      Interval hull{INT32_MAX, INT32_MIN};
      for (const Interval& in : said) hull = {std::min(hull.low, in.low), std::max(hull.high, in.high)};
      operation.result.intervals.assign(count, hull);
      EXPECT_NO_THROW(validate(lying)) << layer;
      operation.result.intervals.back().low = hull.low + 1;
      EXPECT_THROW(validate(lying), CorruptFile) << layer << ", " << count << " intervals";
    }
  }
}

TEST(Validation, AveragesAtBordersHaveTheOneFactorThatFits) {
  const Program whole = turning_program();
  Program changed = whole;
  Operation& operation = operation_of<SumPool>(changed, "mean");
  auto& pool = std::get<SumPool>(operation.action);
  EXPECT_EQ(pool.common, 36);  // 4, 6 and 9 cells
  for (const int64_t common : {int64_t{0}, int64_t{35}, int64_t{37}, int64_t{72}, int64_t{-36}, INT64_MAX}) {
    pool.common = common;
    EXPECT_THROW(validate(changed), CorruptFile) << common;
  }
  changed = whole;
  for (Interval& interval : operation_of<SumPool>(changed, "mean").result.intervals) --interval.high;
  EXPECT_THROW(validate(changed), CorruptFile);
}

// An input and so many sums of it, each with a billion of channels' worth of integers or fewer; few bytes in a file.
Program vast_program(int64_t channels, int sums) {
  Program vast;
  vast.name = "vast";
  vast.input_shape = Shape{1, 1, channels};
  const auto value = [&] { return Value{vast.input_shape, {1.0f}, {{0, 1}}}; };
  vast.operations.push_back({"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(1,1,0)")}, value()});
  for (int i = 0; i < sums; ++i) {
    vast.operations.push_back({"add", {i}, Add{}, value()});
  }
  vast.output = sums;
  return vast;
}

// A few numbers say that there are two billion channels; to look at each would take as long as an attacker likes. What
// is refused in the end is the memory, when all operations have been looked at.
TEST(Validation, WhatIsCheckedIsNoMoreThanTheFileHolds) {
  const std::string text = complaint(vast_program(int64_t{1} << 30, 2000));
  EXPECT_NE(text.find("its 2001 operations hold 2148557389824 integers"), std::string::npos) << text;
}

// A permutation's time grows with the square of their number.
TEST(Validation, AxesAreCounted) {
  Program program = vast_program(1, 0);
  for (const size_t axes : {size_t{16}, size_t{17}}) {
    program.input_shape = program.operations[0].result.shape = Shape(std::vector<int64_t>(axes, 1));
    EXPECT_EQ(complaint(program).find("has more axes than are plausible") != std::string::npos, axes == 17)
        << complaint(program);
  }
}

TEST(Validation, OperationsAreCounted) {
  EXPECT_EQ(complaint(vast_program(1, 8191)), "(none)");
  const std::string text = complaint(vast_program(1, 8192));
  EXPECT_NE(text.find("it has 8193 operations; 8192 are allowed"), std::string::npos) << text;
}

TEST(Validation, TheMemoryOfAllOperationsTogetherIsBounded) {
  EXPECT_EQ(complaint(vast_program(int64_t{1} << 28, 3)), "(none)");  // 2^30 integers
  const std::string text = complaint(vast_program(int64_t{1} << 28, 4));
  EXPECT_NE(text.find("its 5 operations hold 1342177280 integers for a sample, which would take 10240 MiB"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("1073741824 integers are allowed"), std::string::npos) << text;
  EXPECT_NE(text.find("operation 0 (quantize, layer 'in')"), std::string::npos) << text;
  const auto path = testing::scratch_dir("nbl_vast") / "p.nbl";
  EXPECT_THROW(save_program(vast_program(int64_t{1} << 28, 4), path), CorruptFile);
}

}  // namespace
}  // namespace nibble::program
