#include "nibble/transform/qat/scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using nlohmann::json;
using testing::HasSubstr;

TEST(Scheme, NamesAreWidths) {
  EXPECT_EQ(scheme_named("int8"), Scheme{});
  EXPECT_EQ(scheme_named("int4").weight_bits, 4);
  EXPECT_EQ(scheme_named("int4").activation_bits, 4);
  EXPECT_EQ(scheme_named("int4").input_bits, 8);
  EXPECT_EQ(scheme_named("int12").input_bits, 12);
  EXPECT_EQ(scheme_named("tfmot8"), tfmot_scheme());
  EXPECT_EQ(scheme_named("tfmot4").input_bits, 4);
  for (const char* name : {"int", "int1", "int17", "int4x", "int-4", "float", "", "8"}) {
    EXPECT_THROW(scheme_named(name), InvalidArgument) << name;
  }
}

TEST(Scheme, FileSetsWhatItNames) {
  const Scheme scheme = scheme_from_json(json::parse(
      R"({"base": "int4", "quantizer": "lsq", "activations": "MovingAverageQuantizer", "edge_weight_bits": 8,
          "bias_bits": 16, "ema_decay": 0.9, "batch_norm": "fold_running", "per_axis": false})"));
  EXPECT_EQ(scheme.weight_bits, 4);
  EXPECT_EQ(scheme.weights, AffineKind::kLsq);
  EXPECT_EQ(scheme.activations, AffineKind::kMovingAverage);
  EXPECT_EQ(scheme.edge_weight_bits, 8);
  EXPECT_EQ(scheme.bias_bits, 16);
  EXPECT_EQ(scheme.batch_norm, BatchNormMode::kFoldRunning);
  EXPECT_FALSE(scheme.per_axis);
}

// Else a program that has a default of its own could not tell.
TEST(Scheme, FloatBatchNormsAreNotTheSameAsNothingSaid) {
  EXPECT_EQ(scheme_named("int8").batch_norm, std::nullopt);
  EXPECT_EQ(scheme_from_json(json::parse(R"({"base": "int4"})")).batch_norm, std::nullopt);
  EXPECT_EQ(scheme_from_json(json::parse(R"({"batch_norm": "float"})")).batch_norm, BatchNormMode::kFloat);
  EXPECT_EQ(scheme_named("tfmot8").batch_norm, BatchNormMode::kFloat) << "TFMOT folds nothing in training";
}

TEST(Scheme, PenaltyIsOnClippingLevels) {
  const Scheme scheme = scheme_from_json(json::parse(R"({"quantizer": "pact", "penalty": 2e-4})"));
  EXPECT_EQ(activation_quantizer(scheme, /*is_rectified=*/true).penalty, 2e-4);
  EXPECT_EQ(activation_quantizer(scheme, /*is_rectified=*/false).penalty, 0.0);
}

TEST(Scheme, GradientElementsAreOfLearnedSteps) {
  using affine::GradientElements;
  graph::Layer conv;
  conv.class_name = "Conv2D";
  const Scheme lsq = scheme_from_json(json::parse(R"({"quantizer": "lsq", "gradient_elements": "tensor"})"));
  EXPECT_EQ(weight_quantizer(lsq, conv).gradient_elements, GradientElements::kTensor);
  EXPECT_EQ(activation_quantizer(lsq, /*is_rectified=*/false).gradient_elements, GradientElements::kTensor);
  const Scheme half = scheme_from_json(
      json::parse(R"({"weights": "LSQQuantizer", "gradient_elements": "tensor", "quantizer": "moving_average"})"));
  EXPECT_EQ(weight_quantizer(half, conv).gradient_elements, GradientElements::kTensor);
  EXPECT_EQ(activation_quantizer(half, /*is_rectified=*/true).gradient_elements, GradientElements::kShared);
}

TEST(Scheme, GradientBitsAreOfDorefasActivations) {
  const Scheme scheme = scheme_from_json(json::parse(R"({"quantizer": "dorefa", "gradient_bits": 6})"));
  EXPECT_EQ(activation_quantizer(scheme, /*is_rectified=*/true).gradient_bits, 6);
  EXPECT_EQ(activation_quantizer(scheme, /*is_rectified=*/false).gradient_bits, 0);
  EXPECT_EQ(weight_quantizer(scheme, graph::Layer{}).gradient_bits, 0);
}

TEST(Scheme, NoiseIsOfTrainingOnly) {
  for (const auto& [name, attribute] : {std::pair("GaussianNoise", "stddev"), std::pair("GaussianDropout", "rate"),
                                        std::pair("AlphaDropout", "rate")}) {
    const graph::Layer layer = graph::make_layer(name, "noise", {{attribute, 0.1}});
    EXPECT_EQ(default_quantization(layer, scheme_named("int8"), false), graph::LayerQuantization{}) << name;
    EXPECT_FALSE(default_quantization(layer, scheme_named("tfmot8"), false).has_value()) << name;
  }
}

struct RangesCase {
  const char* name;
  const char* scheme;
  const char* weights;      // of 4 bits unless the scheme says otherwise
  const char* activations;  // behind a ReLU
  const char* input;
};

class Ranges : public testing::TestWithParam<RangesCase> {};

TEST_P(Ranges, FollowTheRule) {
  const RangesCase& c = GetParam();
  const Scheme scheme = scheme_from_json(json::parse(c.scheme));
  graph::Layer conv;
  conv.class_name = "Conv2D";
  EXPECT_EQ(affine::name(weight_quantizer(scheme, conv).range), c.weights);
  EXPECT_EQ(affine::name(activation_quantizer(scheme, /*is_rectified=*/true).range), c.activations);
  EXPECT_EQ(affine::name(input_quantizer(scheme).range), c.input);
}

// As post-training quantization chooses: below 6 bits.
INSTANTIATE_TEST_SUITE_P(
    Rows, Ranges,
    testing::Values(
        RangesCase{"Two", R"({"base": "int2"})", "mse", "mse", "extremes"},
        RangesCase{"Four", R"({"base": "int4"})", "mse", "mse", "extremes"},
        RangesCase{"Five", R"({"base": "int5"})", "mse", "mse", "extremes"},
        RangesCase{"Six", R"({"base": "int6"})", "extremes", "extremes", "extremes"},
        RangesCase{"Eight", R"({"base": "int8"})", "extremes", "extremes", "extremes"},
        RangesCase{"Mixed", R"({"weight_bits": 4})", "mse", "extremes", "extremes"},
        RangesCase{"NarrowInput", R"({"base": "int4", "input_bits": 4})", "mse", "mse", "mse"},
        RangesCase{"LastValue", R"({"base": "int4", "quantizer": "last_value"})", "mse", "mse", "extremes"},
        RangesCase{"AllValues", R"({"base": "int4", "quantizer": "all_values"})", "mse", "mse", "extremes"},
        RangesCase{"Tfmot", R"({"base": "tfmot4"})", "extremes", "extremes", "extremes"},
        RangesCase{"Lsq", R"({"base": "int4", "quantizer": "lsq"})", "extremes", "extremes", "extremes"},
        RangesCase{"Pact", R"({"base": "int4", "quantizer": "pact"})", "extremes", "extremes", "extremes"},
        RangesCase{"PactAsked", R"({"base": "int4", "quantizer": "pact", "ranges": "mse"})", "mse", "extremes", "mse"},
        RangesCase{"Extremes", R"({"base": "int4", "ranges": "extremes"})", "extremes", "extremes", "extremes"},
        RangesCase{"Mse", R"({"base": "int8", "ranges": "mse"})", "mse", "mse", "mse"}),
    [](const auto& row) { return row.param.name; });

TEST(Scheme, AnotherWidthHasItsOwnRule) {
  graph::Layer conv;
  conv.class_name = "Conv2D";
  graph::AffineQuantizer kernel = weight_quantizer(scheme_named("int4"), conv);
  set_bits(scheme_named("int4"), kernel, 8);
  EXPECT_EQ(kernel.num_bits, 8);
  EXPECT_EQ(kernel.range, affine::RangeRule::kExtremes);
  set_bits(scheme_named("int8"), kernel, 3);
  EXPECT_EQ(kernel.range, affine::RangeRule::kMse);
}

TEST(Scheme, FileRefuses) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {R"([])", "must be an object"},
      {R"({"base": "int99"})", "'int99' is no scheme"},
      {R"({"weigth_bits": 4})", "Did you mean 'weight_bits'?"},
      {R"({"weight_bits": "4"})", "must be an integer"},
      {R"({"weight_bits": -1})", "number of bits"},
      {R"({"weight_bits": 18446744073709551615})", "number of bits"},
      {R"({"weight_bits": 20})", "weight_bits is 20"},
      {R"({"edge_weight_bits": 1})", "edge_weight_bits is 1"},
      {R"({"quantizer": "lsq2"})", "Did you mean 'lsq'"},
      {R"({"weights": "LSQ"})", "Did you mean 'LSQQuantizer'"},
      {R"({"weights": "PACTQuantizer"})", "PACT is for activations"},
      {R"({"activations": "FixedQuantizer"})", "belongs to one tensor"},
      {R"({"ema_decay": 1})", "below 1"},
      {R"({"penalty": 1e-4})", "Set quantizer to pact"},
      {R"({"quantizer": "pact", "penalty": -1})", "between 0 and 1e6"},
      {R"({"quantizer": "lsq", "gradient_elements": "batch"})", "\"shared\" or \"tensor\""},
      {R"({"base": "int4", "ranges": "min-max"})", "\"extremes\" or \"mse\""},
      {R"({"base": "tfmot4", "ranges": "mse"})", "extremes of a batch"},
      {R"({"gradient_bits": 6})", "Set quantizer to dorefa"},
      {R"({"quantizer": "dorefa", "gradient_bits": 17})", "gradient_bits is 17"},
      {R"({"gradient_elements": "tensor"})", "Set quantizer to lsq"},
      {R"({"base": "tfmot8", "batch_norm": "fold_batch"})", "float or fold"},
      {R"({"base": "tfmot4", "batch_norm": "fold_running"})", "float or fold"},
      {R"({"batch_norm": "folded"})", "float, fold, fold_batch or fold_running"}};
  for (const auto& [text, wanted] : rows) {
    try {
      scheme_from_json(json::parse(text));
      FAIL() << text;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(wanted)) << text;
    }
  }
}

}  // namespace
}  // namespace nibble::qat
