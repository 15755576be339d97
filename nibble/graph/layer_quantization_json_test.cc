// Layers' quantization in configs and in summaries.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/small_quantized.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

TEST(LayerQuantization, ConfigRoundTripIsExact) {
  Model model = quantized();
  const json config = to_config(model);
  Model again = from_config(json::parse(config.dump()));
  for (size_t i = 0; i < model.layers.size(); ++i) {
    EXPECT_EQ(again.layers[i].quantization, model.layers[i].quantization) << model.layers[i].name;
  }
  EXPECT_EQ(to_config(again).dump(), config.dump());
  EXPECT_EQ(config["config"]["layers"][1]["config"]["quantize_config"]["weights"][0]["quantizer"].dump(),
            R"({"class_name":"LastValueQuantizer","config":{"narrow_range":false,"num_bits":4,"per_axis":true,)"
            R"("symmetric":true}})");
}

TEST(LayerQuantization, PenaltyIsKept) {
  const AffineQuantizer pact{.kind = AffineKind::kPact, .num_bits = 4, .penalty = 1e-4};
  EXPECT_EQ(to_json(pact)["config"]["penalty"], 1e-4);
  EXPECT_EQ(affine_quantizer_from_json(to_json(pact), "here"), pact);
  EXPECT_EQ(to_string(pact), "PACT(4,penalty=0.0001)");
}

TEST(LayerQuantization, RulesOfRangesAreWrittenWhereTheyDifferFromTheDefault) {
  for (const AffineKind kind : {kLast, kAverage, kAll}) {
    AffineQuantizer q{.kind = kind, .num_bits = 4};
    EXPECT_FALSE(to_json(q)["config"].contains("range"));
    EXPECT_EQ(tracker_config(q).range, affine::RangeRule::kExtremes);
    q.range = affine::RangeRule::kMse;
    EXPECT_EQ(to_json(q)["config"]["range"], "mse");
    EXPECT_EQ(affine_quantizer_from_json(to_json(q), "here"), q);
    EXPECT_EQ(tracker_config(q).range, affine::RangeRule::kMse);
  }
  EXPECT_EQ(to_string({.kind = kLast, .num_bits = 4, .range = affine::RangeRule::kMse}), "LastValue(4,range=mse)");
  const json extremes = {{"class_name", "LastValueQuantizer"}, {"config", {{"range", "extremes"}}}};
  EXPECT_EQ(affine_quantizer_from_json(extremes, "here"), AffineQuantizer{.kind = kLast});
}

TEST(LayerQuantization, GradientElementsAreWrittenWhereTheyDifferFromTheDefault) {
  AffineQuantizer lsq{.kind = AffineKind::kLsq, .num_bits = 4};
  EXPECT_FALSE(to_json(lsq)["config"].contains("gradient_elements"));
  lsq.gradient_elements = affine::GradientElements::kTensor;
  EXPECT_EQ(to_json(lsq)["config"]["gradient_elements"], "tensor");
  EXPECT_EQ(affine_quantizer_from_json(to_json(lsq), "here"), lsq);
  EXPECT_EQ(to_string(lsq), "LSQ(4,gradient_elements=tensor)");
}

TEST(LayerQuantization, GradientBitsAreKept) {
  const AffineQuantizer dorefa{.kind = AffineKind::kDorefa, .num_bits = 4, .gradient_bits = 6};
  EXPECT_EQ(to_json(dorefa)["config"]["gradient_bits"], 6);
  EXPECT_EQ(affine_quantizer_from_json(to_json(dorefa), "here"), dorefa);
  EXPECT_EQ(to_string(dorefa), "DoReFa(4,gradient_bits=6)");
}

TEST(LayerQuantization, ConfigRefuses) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {R"(3)", "must be an object"},
      {R"({"weight": []})", "Did you mean 'weights'?"},
      {R"({"weights": {}})", "must be a list"},
      {R"({"weights": [{"weight": "kernel"}]})", "'weight' and 'quantizer'"},
      {R"({"output": {"class_name": "LastValue", "config": {}}})", "Did you mean 'LastValueQuantizer'?"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": "8"}}})", "must be an integer"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 1e99}}})", "must be an integer"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 18446744073709551615}}})", "small"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"per_axes": true}}})", "Did you mean 'per_axis'?"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": []}})", "must be an object"},
      {R"({"output": {"class_name": "LastValueQuantizer", "cfg": {"num_bits": 4}}})",
       "has no 'cfg'. Known: class_name"},
      {R"({"output": {"class_name": "LastValueQuantizer", "confg": {}}})", "Did you mean 'config'?"},
      {R"({"weights": [{"weight": "kernel", "quantizer": null, "num_bits": 4}]})", "has no 'num_bits'"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"range": "min"}}})", "\"extremes\" or \"mse\""},
      {R"({"output": {"class_name": "LSQQuantizer", "config": {"gradient_elements": 3}}})", "\"shared\" or"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 99}}})", "num_bits is 99"}};
  for (const auto& [text, message] : rows) {
    json config = to_config(small());
    config["config"]["layers"][1]["config"]["quantize_config"] = json::parse(text);
    try {
      from_config(config);
      FAIL() << text;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << text << "\n" << error.what();
      EXPECT_NE(std::string(error.what()).find("conv"), std::string::npos) << error.what();
    }
  }
}

// Post-training quantization notes the axis of a transposed kernel for one range too; such files are about.
TEST(LayerQuantization, AnAxisWithoutPerAxisIsKept) {
  const AffineQuantizer quantizer{.kind = kLast, .num_bits = 4, .axis = -2};
  EXPECT_EQ(affine_quantizer_from_json(to_json(quantizer), "here"), quantizer);
}

TEST(LayerQuantization, WhatKerasWritesBesideIsPassedOver) {
  const json quantizer = json::parse(R"({"module": "tfmot", "class_name": "LastValueQuantizer", "registered_name": null,
    "build_config": {}, "shared_object_id": 3, "config": {"num_bits": 4}})");
  EXPECT_EQ(affine_quantizer_from_json(quantizer, "here"), (AffineQuantizer{.kind = kLast, .num_bits = 4}));
}

TEST(LayerQuantization, SummaryNamesQuantizers) {
  const std::string text = summary(quantized());
  for (const char* part :
       {"kernel LastValue(4,per_axis,symmetric)", "post_activation MovingAverage(4,decay=0.9,range=mse)",
        "output Fixed(8,[0, 6])", "kernel LSQ(4,per_axis=-2,symmetric)"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace nibble::graph
