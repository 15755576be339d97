// Programs that multiply and shift: their steps are the rule's, and as near to the trained network's as rounding is.
#include "nibble/program/fixed_point_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/program/executor.h"
#include "nibble/program/lowering.h"
#include "nibble/program/program_file.h"
#include "nibble/program/threshold_search.h"

namespace nibble::program {
namespace {

using namespace graph::build;
using affine::Rounding;

constexpr Rounding kRoundings[] = {Rounding::kGemmlowpDouble, Rounding::kSingle, Rounding::kHalfEven, Rounding::kFloor};

// A convolution, a batch norm with factors of both signs or none, an activation, and a dense layer.
graph::Model network(const std::string& activation, bool batch_norm, bool relu = false) {
  auto in = Input({.shape = {6, 6, 2}, .name = "input"});
  auto x = QConv2D({.filters = 5,
                    .kernel_size = {3, 3},
                    .padding = "same",
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                    .bias_quantizer = "quantized_bits(8,2,1,alpha=1.0)",
                    .name = "conv"})(in);
  if (batch_norm) x = BatchNormalization({.name = "bn"})(x);
  if (relu) x = ReLU({.name = "relu"})(x);
  x = QActivation({.activation = activation, .name = "act"})(x);
  x = QDense({.units = 3, .use_bias = false, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)", .name = "dense"})(
      Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x}, "network");
  graph::initialize_weights(model, 4);
  RandomStream random({4, RandomPurpose::kTest, 0, 0});
  for (graph::Layer& layer : model.layers) {
    if (layer.class_name != "BatchNormalization") continue;
    for (graph::Weight& weight : layer.weights) {
      const bool is_variance = weight.name == "moving_variance";
      for (float& v : weight.value.data()) v = is_variance ? 0.2f + random.uniform() : random.uniform() * 2 - 1;
    }
  }
  return model;
}

const Operation& compare_of(const Program& program) {
  for (const Operation& operation : program.operations) {
    if (std::holds_alternative<Compare>(operation.action)) return operation;
  }
  throw std::runtime_error("no comparison");
}

int32_t value_at(const Compare& compare, size_t channel, int64_t x) {
  const size_t group = compare.first.size() == 2 ? 0 : channel;
  size_t at = static_cast<size_t>(compare.first[group]);
  const auto end = static_cast<size_t>(compare.first[group + 1]);
  while (at < end && compare.thresholds[at] <= x) ++at;
  return compare.values[at + group];
}

using ForX = std::function<void(size_t channel, int64_t x)>;

void for_every_accumulator(const Program& program, const ForX& check) {
  const Operation& operation = compare_of(program);
  const Value& in = program.operations[static_cast<size_t>(operation.inputs[0])].result;
  for (int64_t c = 0; c < in.channels(); ++c) {
    const Interval& interval = at(in.intervals, c);
    for (int64_t x = interval.low; x <= interval.high; ++x) check(static_cast<size_t>(c), x);
  }
}

struct RuleCase {
  const char* name;
  const char* activation;
  bool batch_norm, relu;
};

class EveryRule : public testing::TestWithParam<RuleCase> {
 protected:
  graph::Model model() const { return network(GetParam().activation, GetParam().batch_norm, GetParam().relu); }
};

TEST_P(EveryRule, HasItsOwnStepsForEachAccumulator) {
  for (const Rounding rounding : kRoundings) {
    const Program program = lower(model(), {.rounding = rounding});
    const auto& compare = std::get<Compare>(compare_of(program).action);
    ASSERT_TRUE(compare.rule) << name_of(rounding);
    EXPECT_EQ(compare.rule->rounding, rounding);
    int64_t wrong = 0;
    for_every_accumulator(program, [&](size_t c, int64_t x) {
      if (value_at(compare, c, x) != (*compare.rule)(x, c)) ++wrong;
    });
    EXPECT_EQ(wrong, 0) << name_of(rounding);
  }
}

// One rounding differs from the network's in a code at most, and seldom; a floor is half a code lower on average.
TEST_P(EveryRule, IsNearTheTrainedNetwork) {
  const Program exact = lower(model());
  const auto& expected = std::get<Compare>(compare_of(exact).action);
  for (const Rounding rounding : kRoundings) {
    const Program program = lower(model(), {.rounding = rounding});
    const auto& compare = std::get<Compare>(compare_of(program).action);
    int64_t differing = 0, all = 0;
    for_every_accumulator(program, [&](size_t c, int64_t x) {
      const int32_t difference = value_at(compare, c, x) - value_at(expected, c, x);
      EXPECT_LE(std::abs(difference), 1) << name_of(rounding) << ", channel " << c << ", accumulator " << x;
      differing += difference != 0 ? 1 : 0, ++all;
    });
    const double most = rounding == Rounding::kFloor ? 0.6 : 0.05;
    EXPECT_LE(static_cast<double>(differing), most * static_cast<double>(all)) << name_of(rounding);
  }
}

TEST_P(EveryRule, ComesBackFromAFile) {
  const auto path = std::filesystem::temp_directory_path() / ("nibble_rule_" + std::string(GetParam().name) + ".nbl");
  const Program program = lower(model(), {.rounding = Rounding::kSingle});
  save_program(program, path);
  const Program loaded = load_program(path);
  const auto &found = std::get<Compare>(compare_of(loaded).action),
             &expected = std::get<Compare>(compare_of(program).action);
  EXPECT_EQ(found.rule, expected.rule);
  EXPECT_EQ(found.thresholds, expected.thresholds);
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Program, EveryRule,
                         testing::Values(RuleCase{"shift", "quantized_relu(4,2)", false, false},
                                         RuleCase{"signed", "quantized_bits(6,1,1,alpha=1.0)", false, false},
                                         RuleCase{"batch_norm", "quantized_relu(4,2)", true, false},
                                         RuleCase{"signed_batch_norm", "quantized_bits(5,1,1,alpha=1.0)", true, false},
                                         RuleCase{"relu", "quantized_bits(8,2,1,alpha=1.0)", true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

// Scales that are powers of two need no multiplier, and halves to even is what the quantizer does.
TEST(FixedPointRule, PowersOfTwoAreShiftsAndEqualTheNetwork) {
  const graph::Model model = network("quantized_relu(4,2)", false);
  const Program program = lower(model, {.rounding = Rounding::kHalfEven}), exact = lower(model);
  const auto &compare = std::get<Compare>(compare_of(program).action),
             &expected = std::get<Compare>(compare_of(exact).action);
  ASSERT_TRUE(compare.rule);
  EXPECT_TRUE(compare.rule->only_shifts());
  EXPECT_EQ(compare.thresholds, expected.thresholds);
  EXPECT_EQ(compare.values, expected.values);
}

TEST(FixedPointRule, ABatchNormNeedsMultipliersOfBothSigns) {
  const Program program = lower(network("quantized_relu(4,2)", true), {.rounding = Rounding::kSingle});
  const auto& rule = *std::get<Compare>(compare_of(program).action).rule;
  EXPECT_FALSE(rule.only_shifts());
  ASSERT_EQ(rule.factors.size(), 5u);
  const auto negative = [](const affine::FixedPointMultiplier& f) { return f.multiplier < 0; };
  const auto count = std::count_if(rule.factors.begin(), rule.factors.end(), negative);
  EXPECT_GT(count, 0);
  EXPECT_LT(count, 5);
}

TEST(FixedPointRule, QuantizersThatRoundNoLineKeepTheirThresholds) {
  for (const char* activation : {"binary(alpha=1)", "ternary(alpha=1)", "quantized_relu_po2(4,4)"}) {
    const graph::Model model = network(activation, true);
    const Program program = lower(model, {.rounding = Rounding::kSingle}), exact = lower(model);
    const auto& compare = std::get<Compare>(compare_of(program).action);
    EXPECT_FALSE(compare.rule) << activation;
    EXPECT_EQ(compare.thresholds, std::get<Compare>(compare_of(exact).action).thresholds) << activation;
  }
}

// gamma = 0: the channel is a constant, which no factor gives.
TEST(FixedPointRule, AConstantChannelKeepsTheThresholds) {
  graph::Model model = network("quantized_relu(4,2)", true);
  model.layer("bn").find_weight("gamma")->value.data()[2] = 0.0f;
  model.layer("bn").find_weight("beta")->value.data()[2] = 1.0f;
  EXPECT_FALSE(std::get<Compare>(compare_of(lower(model, {.rounding = Rounding::kSingle})).action).rule);
  model.layer("bn").find_weight("beta")->value.data()[2] = 0.0f;
  EXPECT_TRUE(std::get<Compare>(compare_of(lower(model, {.rounding = Rounding::kSingle})).action).rule);
}

ThresholdSearch search_of(const char* quantizer, Interval interval, float scale) {
  ThresholdSearch search;
  search.intervals = {interval}, search.scale = {scale};
  search.quantizer = quant::get_quantizer(quantizer);
  search.layer = "layer", search.max_thresholds = 1000, search.rounding = Rounding::kSingle;
  return search;
}

// Factors whose bias has more than 32 bits, or is too coarse in whole accumulators, would be far from the network.
TEST(FixedPointRule, WhatABiasCannotHoldKeepsTheThresholds) {
  for (const float gamma : {3e-7f, 1e-7f}) {
    graph::Model model = network("quantized_relu(8,2)", true);
    model.layer("bn").find_weight("gamma")->value.data()[2] = gamma;
    model.layer("bn").find_weight("beta")->value.data()[2] = 1.5f;
    EXPECT_FALSE(std::get<Compare>(compare_of(lower(model, {.rounding = Rounding::kSingle})).action).rule) << gamma;
  }
  ThresholdSearch search = search_of("quantized_bits(8,7,1,alpha=1.0)", {-10, 10}, 1.0f);
  search.function.push(Affine{{38.4f}, {19.2f}});  // the bias is half an accumulator
  EXPECT_FALSE(find_thresholds(search).compare.rule);
}

TEST(FixedPointRule, AReluAtTheEndCutsTheRangeAndOneBeforeABatchNormDoesNot) {
  ThresholdSearch search = search_of("quantized_bits(8,3,1,alpha=1.0)", {-900, 900}, 0.125f);
  search.function.push(Affine{{0.3f}, {0.2f}});
  search.function.push(Rectify{.highest = 6.0f, .has_highest = true});
  const auto rule = find_thresholds(search).compare.rule;
  ASSERT_TRUE(rule);
  EXPECT_EQ(rule->lowest, 0);
  EXPECT_EQ(rule->highest, 96);  // 6 in units of 1/16
  search.function.push(Affine{{0.5f}, {0.1f}});
  const Compare after = find_thresholds(search).compare;
  EXPECT_FALSE(after.rule);
  EXPECT_EQ(after.multiplier.size(), 1u) << "a guess for executors all the same";
}

// Its upper end lies on no grid, but no accumulator reaches it.
TEST(FixedPointRule, ARangeOnNoGridKeepsTheThresholds) {
  const ThresholdSearch search =
      search_of("quantized_relu(4,1,relu_upper_bound=1.3,is_quantized_clip=False)", {0, 9}, 0.125f);
  EXPECT_FALSE(find_thresholds(search).compare.rule);
}

TEST(FixedPointRule, ARuleThatContradictsItsThresholdsIsRefused) {
  const struct {
    const char* what;
    void (*change)(Compare&);
  } rows[] = {{"bias", [](Compare& c) { c.rule->bias[0] += 40; }},
              {"multiplier", [](Compare& c) { c.rule->factors[0].multiplier /= 2; }},
              {"shift", [](Compare& c) { c.rule->factors[0].shift = 77; }},
              {"size", [](Compare& c) { c.rule->factors.pop_back(); }},
              {"range", [](Compare& c) { c.rule->lowest = c.rule->highest + 1; }},
              {"huge bias", [](Compare& c) { c.rule->bias[0] = INT64_MAX; }},
              {"a step cut off", [](Compare& c) { c.thresholds.pop_back(), c.values.pop_back(), --c.first.back(); }}};
  for (const auto& row : rows) {
    Program program = lower(network("quantized_relu(4,2)", true), {.rounding = Rounding::kSingle});
    for (Operation& operation : program.operations) {
      auto* compare = std::get_if<Compare>(&operation.action);
      if (compare != nullptr) row.change(*compare);
    }
    EXPECT_THROW(validate(program), CorruptFile) << row.what;
  }
}

TEST(FixedPointRule, NamesOfRoundingsComeBack) {
  for (const Rounding rounding : kRoundings) EXPECT_EQ(rounding_of(name_of(rounding)), rounding);
  EXPECT_EQ(rounding_of("double"), std::nullopt);
}

}  // namespace
}  // namespace nibble::program
