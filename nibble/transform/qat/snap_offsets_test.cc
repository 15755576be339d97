#include "nibble/transform/qat/snap_offsets.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/quant/affine/learned_step.h"
#include "nibble/quant/affine/range_tracker.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;
using namespace graph::build;

graph::Model model_with(const AffineQuantizer& quantizer, float step, float offset) {
  const Node in = Input({.shape = {4}, .name = "in"});
  graph::Model model = build_model({in}, {Dense({.units = 3, .name = "dense"})(in)}, "m");
  graph::initialize_weights(model, 1);
  graph::set_quantization(model, "dense", graph::LayerQuantization{.post_activation = quantizer});
  graph::Layer& layer = model.layer("dense");
  layer.find_weight("post_activation_step")->value[0] = step;
  if (graph::Weight* found = layer.find_weight("post_activation_offset")) found->value[0] = offset;
  return model;
}

struct Case {
  const char* name;
  AffineQuantizer quantizer;
  float step, offset;
  int32_t steps;
};

class SnapOffsets : public ::testing::TestWithParam<Case> {};

// The values of the snapped quantizer are LSQ+'s with the snapped offset.
TEST_P(SnapOffsets, KeepsTheStepsAndGivesZeroACode) {
  const Case& c = GetParam();
  graph::Model model = model_with(c.quantizer, c.step, c.offset);
  const auto snapped = snap_offsets(model);
  ASSERT_EQ(snapped.size(), 1u);
  EXPECT_EQ(snapped[0].layer, "dense");
  EXPECT_EQ(snapped[0].point, "post_activation");
  EXPECT_EQ(snapped[0].offset, c.offset);
  EXPECT_EQ(snapped[0].steps, c.steps);

  const graph::Layer& layer = model.layer("dense");
  const auto point = graph::quantized_point(layer, graph::kPostActivation);
  ASSERT_EQ(point->quantizer.kind, AffineKind::kFixed);
  EXPECT_EQ(layer.find_weight("post_activation_offset"), nullptr);
  std::vector<float> x;
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<float>(i) * 0.0137f * c.step);
  x.push_back(0.0f);
  std::vector<float> found(x.size()), expected(x.size());
  const affine::ChannelLayout all{.inner = static_cast<int64_t>(x.size())};
  affine::RangeTracker tracker(graph::tracker_config(point->quantizer), 1);
  tracker.quantize(x, all, found);
  const float offset = static_cast<float>(c.steps) * c.step;
  affine::learned_step_quantize<float>(
      x, all,
      {{&c.step, 1},
       {&offset, 1},
       affine::step_limits(c.quantizer.num_bits, c.quantizer.symmetric, c.quantizer.narrow_range)},
      expected);
  int far = 0;
  for (size_t i = 0; i < x.size(); ++i) far += std::abs(found[i] - expected[i]) > 1e-5f * std::abs(x[i]) ? 1 : 0;
  EXPECT_LE(far, 2) << "near ties only";
  EXPECT_EQ(found.back(), 0.0f);
}

INSTANTIATE_TEST_SUITE_P(
    Table, SnapOffsets,
    ::testing::Values(Case{"Down", {.kind = AffineKind::kLsqPlus, .num_bits = 8}, 0.1f, -0.234f, -2},
                      Case{"Up", {.kind = AffineKind::kLsqPlus, .num_bits = 4}, 0.03f, -0.047f, -2},
                      Case{"Signed", {.kind = AffineKind::kLsqPlus, .num_bits = 4, .symmetric = true}, 0.7f, 1.5f, 2},
                      Case{"SmallerThanHalfAStep", {.kind = AffineKind::kLsqPlus, .num_bits = 4}, 0.7f, -0.2f, 0},
                      Case{"Narrow",
                           {.kind = AffineKind::kLsqPlus, .num_bits = 4, .symmetric = true, .narrow_range = true},
                           0.7f,
                           -1.5f,
                           -2},
                      // unsigned codes from 0: an offset above 0 would leave 0 out
                      Case{"ZeroOutOfReach", {.kind = AffineKind::kLsqPlus, .num_bits = 4}, 0.1f, 0.5f, 0}),
    [](const auto& row) { return row.param.name; });

TEST(SnapOffsets, LeaveOthersAlone) {
  for (const auto& [quantizer, offset] :
       {std::pair(AffineQuantizer{.kind = AffineKind::kLsqPlus}, 0.0f), {{.kind = AffineKind::kLsq}, 0.0f}}) {
    graph::Model model = model_with(quantizer, 0.1f, offset);
    const auto before = model.layer("dense").quantization;
    EXPECT_TRUE(snap_offsets(model).empty());
    EXPECT_EQ(model.layer("dense").quantization, before);
  }
  graph::Model broken = model_with({.kind = AffineKind::kLsqPlus}, 0.1f, std::nanf(""));
  EXPECT_TRUE(snap_offsets(broken).empty());
  graph::Model fresh = model_with({.kind = AffineKind::kLsqPlus}, 0.0f, 0.3f);
  EXPECT_TRUE(snap_offsets(fresh).empty()) << "its step was never found";
}

}  // namespace
}  // namespace nibble::qat
