// Ranges and steps in a layer's variables: whether they were seen, and the params that follow from them.
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/small_quantized.h"

namespace nibble::graph {
namespace {

TEST(QuantizationVariables, RangesAreKeptAndSayWhetherTheyFit) {
  Model model = quantized();
  Layer& conv = model.layer("conv");
  EXPECT_EQ(uncalibrated_point(conv), "kernel");
  EXPECT_EQ(uncalibrated_point(model.layer("relu")), "");
  EXPECT_EQ(uncalibrated_point(model.layer("dense")), "pre_activation");
  std::vector<affine::Range> ranges(32, {-0.5f, 0.5f});
  ranges[7] = {-1.0f, 1.0f};
  store_ranges(conv, "kernel", ranges);
  EXPECT_EQ(stored_ranges(conv, "kernel"), ranges);
  EXPECT_EQ(conv.find_weight("kernel_max")->value[7], 1.0f);
  EXPECT_EQ(uncalibrated_point(conv), "post_activation");
  EXPECT_THROW(require_calibrated(model, "compile"), InvalidArgument);
  EXPECT_THROW(store_ranges(conv, "kernel", std::span(ranges).first(31)), InvalidArgument);
  EXPECT_THROW(store_ranges(conv, "kernel", std::vector<affine::Range>(32, {1.0f, -1.0f})), InvalidArgument);
  EXPECT_THROW(stored_ranges(conv, "output"), InvalidArgument);
  EXPECT_THROW(stored_ranges(model.layer("dense"), "pre_activation"), InvalidArgument);
}

// AllValues starts at [0, 0], as TFMOT's does; having seen zeros is something else.
TEST(QuantizationVariables, ZerosThatWereSeenAreCalibrated) {
  Model model = quantized();
  Layer& in = model.layer("in");
  EXPECT_EQ(uncalibrated_point(in), "output");
  const std::vector<affine::Range> zeros(1);
  store_ranges(in, "output", zeros);
  EXPECT_EQ(uncalibrated_point(in), "");
  EXPECT_EQ(stored_ranges(in, "output"), zeros);
  EXPECT_FALSE(std::signbit(stored_ranges(in, "output")[0].min)) << "the mark is seen by no one";
  EXPECT_EQ(in.find_weight("output_min")->value[0], 0.0f);
  EXPECT_EQ(in.find_weight("output_max")->value[0], 0.0f);
  EXPECT_EQ(point_params(in, "output")[0].scale, 1.0f);
  store_ranges(in, "output", std::vector<affine::Range>{{0.0f, 2.0f}});
  EXPECT_EQ(uncalibrated_point(in), "");

  set_quantization(model, "conv", on_weight("kernel", of(kAll, true)));
  Layer& conv = model.layer("conv");
  EXPECT_EQ(uncalibrated_point(conv), "kernel");
  store_ranges(conv, "kernel", std::vector<affine::Range>(32));
  EXPECT_EQ(uncalibrated_point(conv), "");
}

// The points of the model below that moved from where they started, and the one that is then refused.
struct StartCase {
  const char* name;
  std::vector<std::pair<const char*, const char*>> moved;
  const char* refused;  // "": none
  AffineKind relu = kAverage;
};

class Start : public testing::TestWithParam<StartCase> {};

TEST_P(Start, IsARangeThatWasSeenWhereOthersMoved) {
  const StartCase& c = GetParam();
  Model model = small();
  initialize_weights(model, 1);
  LayerQuantization conv = on_weight("kernel", of(kLast, true));
  conv.post_activation = of(kAverage, false);
  set_quantization(model, "conv", conv);
  set_quantization(model, "dense", on_weight("kernel", of(kLast, false)));
  set_quantization(model, "relu", LayerQuantization{.output = of(c.relu, false)});
  for (const auto& [layer, point] : c.moved) {
    Layer& changed = model.layer(layer);
    store_ranges(changed, point,
                 std::vector<affine::Range>(stored_ranges(changed, point).size(), affine::Range{-1.0f, 1.0f}));
  }
  std::string refused;
  try {
    require_calibrated(model, "test");
  } catch (const InvalidArgument& error) {
    refused = error.what();
  }
  if (std::string_view(c.refused).empty()) {
    EXPECT_EQ(refused, "");
  } else {
    EXPECT_NE(refused.find(c.refused), std::string::npos) << refused;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Start,
    testing::Values(
        StartCase{"NothingMoved", {}, "the range of 'kernel' is still"},
        StartCase{"WeightsSayNothingOfActivations", {{"conv", "kernel"}}, "the range of 'post_activation' is still"},
        StartCase{"ActivationsSayNothingOfWeights", {{"conv", "post_activation"}}, "the range of 'kernel' is still"},
        // relu's output and dense's kernel stand at [-6, 6].
        StartCase{"OneOfEachMoved", {{"conv", "kernel"}, {"conv", "post_activation"}}, ""},
        StartCase{"AllValuesStartWhereNoRangeIs",
                  {{"conv", "kernel"}, {"conv", "post_activation"}},
                  "the range of 'output' is still",
                  kAll},
        StartCase{"NoStepIsZero",
                  {{"conv", "kernel"}, {"conv", "post_activation"}},
                  "the range of 'output' is still",
                  AffineKind::kLsq}),
    [](const auto& row) { return row.param.name; });

TEST(QuantizationVariables, ParamsAreThoseOfTheCodes) {
  Model model = quantized();
  set_quantization(
      model, "conv",
      LayerQuantization{
          .weights = {{"kernel", {.kind = kLast, .per_axis = true, .symmetric = true, .narrow_range = true}}},
          .post_activation = {.kind = kAll, .num_bits = 4}});
  Layer& conv = model.layer("conv");
  store_ranges(conv, "kernel", std::vector<affine::Range>(32, {-1.27f, 1.27f}));
  const auto kernel = point_params(conv, "kernel");
  ASSERT_EQ(kernel.size(), 32u);
  EXPECT_EQ(kernel[0].zero_point, 0);
  EXPECT_EQ(kernel[0].lowest(), -127);
  EXPECT_FLOAT_EQ(kernel[0].scale, 0.01f);
  store_ranges(conv, "post_activation", std::vector<affine::Range>{{0.0f, 3.0f}});
  const auto activation = point_params(conv, "post_activation");
  EXPECT_FLOAT_EQ(activation[0].scale, 0.2f);
  EXPECT_EQ(activation[0].zero_point, -8);
  EXPECT_EQ(activation[0].highest(), 7);

  Layer& dense = model.layer("dense");
  dense.find_weight("pre_activation_step")->value[0] = 0.5f;
  dense.find_weight("pre_activation_offset")->value[0] = -1.5f;
  EXPECT_EQ(point_params(dense, "pre_activation")[0].zero_point, 3);
  dense.find_weight("pre_activation_offset")->value[0] = -1.4f;
  EXPECT_THROW(point_params(dense, "pre_activation"), Unsupported);
}

}  // namespace
}  // namespace nibble::graph
