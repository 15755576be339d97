// Every form of a comparison with thresholds against the thresholds, for every accumulator that can arrive.
#include "nibble/program/fast/requantization_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "nibble/program/threshold_search.h"

namespace nibble::program {
namespace {

using kernels::RequantizationKind;

struct Row {
  const char* name;
  const char* quantizer;
  Interval interval;
  float scale;
  std::vector<Stage> stages;
  RequantizationKind kind;
};

class EveryForm : public testing::TestWithParam<Row> {};

Compare thresholds_of(const Row& row) {
  ChannelFunction function;
  for (const Stage& stage : row.stages) function.push(stage);
  const auto quantizer = quant::get_quantizer(row.quantizer);
  return find_thresholds({{row.interval}, {row.scale}, function, quantizer, "layer", int64_t{1} << 24}).compare;
}

TEST_P(EveryForm, GivesTheCodesOfTheThresholds) {
  const Row& row = GetParam();
  const Compare compare = thresholds_of(row);
  const RequantizationPlan plan(compare, {row.interval}, 3);
  EXPECT_EQ(plan.kind(), row.kind);
  const kernels::Requantization view = plan.view();
  for (int64_t x = row.interval.low; x <= row.interval.high; ++x) {
    const auto& t = compare.thresholds;
    const auto passed = static_cast<size_t>(std::upper_bound(t.begin(), t.end(), x) - t.begin());
    for (int64_t c = 0; c < 3; ++c) {
      ASSERT_EQ(kernels::scalar::requantize(view, static_cast<int32_t>(x), c), compare.values[passed]) << x;
    }
  }
}

constexpr auto kLinear = RequantizationKind::kLinear;
constexpr auto kSelect = RequantizationKind::kSelect;
constexpr auto kSearch = RequantizationKind::kSearch;

INSTANTIATE_TEST_SUITE_P(
    Table, EveryForm,
    testing::Values(
        Row{"Relu4", "quantized_relu(4,2)", {-3000, 3000}, 0x1p-6f, {}, kLinear},
        Row{"Relu8", "quantized_relu(8,2)", {-90000, 90000}, 0x1p-12f, {}, kLinear},
        Row{"Bits8", "quantized_bits(8,0,1,alpha=1.0)", {-50000, 50000}, 0x1p-14f, {}, kLinear},
        Row{"Bits8WithBatchNorm",
            "quantized_bits(8,2,1,alpha=1.0)",
            {-100000, 120000},
            0x1p-14f,
            {Affine{{0.73137f}, {0.171f}}},
            kLinear},
        Row{"FallingBatchNorm",
            "quantized_relu(8,2)",
            {-300000, 300000},
            0x1p-12f,
            {Affine{{-0.3137f}, {0.171f}}},
            kLinear},
        Row{"ConstantBatchNorm", "quantized_relu(4,2)", {-30, 30}, 0x1p-6f, {Affine{{0.0f}, {0.7f}}}, kSelect},
        Row{"AlphaThatIsNoPower", "quantized_bits(6,0,1,alpha=0.3)", {-5000, 5000}, 0x1p-7f, {}, kLinear},
        Row{"Average", "quantized_bits(8,3,1,alpha=1)", {-6272, 6272}, 0x1p-3f, {Divide{49}}, kLinear},
        Row{"BiasThenRelu6",
            "quantized_bits(8,3,1,alpha=1)",
            {-3000, 3000},
            0x1p-6f,
            {Offset{{0.1f}}, Rectify{0, 0, 6, true}},
            kLinear},
        Row{"StepsOfSeveralCodes", "quantized_bits(8,0,1,alpha=1.0)", {-20, 20}, 0.07f, {}, kLinear},
        Row{"Binary", "binary(alpha=1)", {-70, 65}, 0.5f, {}, kSelect},
        Row{"Ternary", "ternary(alpha=1,threshold=0.7)", {-70, 65}, 0x1p-4f, {}, kSelect},
        Row{"Po2", "quantized_po2(4,4)", {-900, 900}, 0x1p-6f, {}, kSearch},
        Row{"Tanh", "quantized_tanh(5)", {-700, 650}, 0x1p-7f, {}, kLinear},
        Row{"ReluPo2", "quantized_relu_po2(4,4)", {-900, 900}, 0x1p-6f, {}, kSearch},
        Row{"TheInterval'sOneEnd", "quantized_relu(4,2)", {7, 3000}, 0x1p-6f, {}, kLinear}),
    [](const auto& row) {
      std::string name = row.param.name;
      std::erase(name, '\'');
      return name;
    });

// What a file may hold and no compiler makes: steps that do nothing, two at one place, some that never come.
TEST(RequantizationPlan, StrangeThresholdsAreFollowedToo) {
  const Compare compare{{-500, -5, -5, 0, 0, 3, 4, 900}, {9, 1, 2, 2, 7, -3, -3, 5, 6}, {0, 8}, "", {}, {}};
  const RequantizationPlan plan(compare, {{-20, 30}}, 1);
  for (int32_t x = -20; x <= 30; ++x) {
    const auto& t = compare.thresholds;
    const auto passed = static_cast<size_t>(std::upper_bound(t.begin(), t.end(), x) - t.begin());
    EXPECT_EQ(kernels::scalar::requantize(plan.view(), x, 0), compare.values[passed]) << x;
  }
}

// A line that misses one accumulator is not taken: the guess is corrected there.
TEST(RequantizationPlan, OneStepOffTheLineIsCorrected) {
  Compare compare{{}, {0}, {0}, "", {}, {}};
  for (int k = 1; k <= 40; ++k) {
    compare.thresholds.push_back(k * 100 + (k == 17 ? 30 : 0));
    compare.values.push_back(k);
  }
  compare.first.push_back(40);
  const RequantizationPlan plan(compare, {{-1000, 6000}}, 1);
  EXPECT_EQ(plan.kind(), RequantizationKind::kCorrected);
  for (int32_t x = -1000; x <= 6000; ++x) {
    const auto& t = compare.thresholds;
    const auto passed = static_cast<size_t>(std::upper_bound(t.begin(), t.end(), x) - t.begin());
    ASSERT_EQ(kernels::scalar::requantize(plan.view(), x, 0), compare.values[passed]) << x;
  }
}

}  // namespace
}  // namespace nibble::program
