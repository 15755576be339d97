// Entries of a file's `layers`, and what the scheme's widths of edges and results make of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/transform/qat/quantize_apply.h"

namespace nibble::qat {
namespace {

using graph::AffineQuantizer;
using graph::Layer;
using graph::LayerQuantization;
using graph::Model;
using nlohmann::json;
using testing::HasSubstr;
using namespace graph::build;

// "c1 4/8; ...": bits of weights / bits of what leaves or enters the activation, of the layers that have one.
std::string widths(const Model& model) {
  std::vector<std::string> entries;
  for (const Layer& layer : model.layers) {
    const LayerQuantization q = layer.quantization.value_or(LayerQuantization{});
    const std::string weights = q.weights.empty() ? "-" : std::to_string(q.weights[0].quantizer.num_bits);
    std::string values = "-";
    for (const AffineQuantizer& quantizer : {q.pre_activation, q.post_activation, q.output}) {
      if (!quantizer.is_none()) values = std::to_string(quantizer.num_bits);
    }
    if (weights != "-" || values != "-") entries.push_back(layer.name + " " + weights + "/" + values);
  }
  return fmt::format("{}", fmt::join(entries, "; "));
}

Node conv(const Node& x, const std::string& name) {
  return Conv2D({.filters = 4, .kernel_size = {3, 3}, .name = name})(x);
}

Model three_layers() {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Node x = ReLU({.name = "r2"})(conv(ReLU({.name = "r1"})(conv(in, "c1")), "c2"));
  return build_model({in}, {Dense({.units = 3, .name = "d"})(Flatten({.name = "f"})(x))});
}

Model quantized(const Model& model, const char* layers) {
  Scheme scheme = scheme_named("int4");
  scheme.edge_weight_bits = 8;
  return quantize_apply(annotate_from_json(model, json::parse(layers)), scheme);
}

struct EntryCase {
  const char* name;
  const char* layers;
  const char* widths;
};
class Entries : public testing::TestWithParam<EntryCase> {};

TEST_P(Entries, AreKeptBesideEdgesAndResults) {
  EXPECT_EQ(widths(quantized(three_layers(), GetParam().layers)), GetParam().widths);
}

#define NIBBLE_FIVE_BITS                                                                    \
  R"({"weights": [{"weight": "kernel", "quantizer": {"class_name": "LastValueQuantizer", )" \
  R"("config": {"num_bits": 5}}}]}})"
#define NIBBLE_FIVE_BIT_INPUT R"({"output": {"class_name": "AllValuesQuantizer", "config": {"num_bits": 5}}}})"

INSTANTIATE_TEST_SUITE_P(
    Rows, Entries,
    testing::Values(
        EntryCase{"None", "{}", "in -/8; c1 8/-; r1 -/4; c2 4/-; r2 -/4; d 8/8"},
        // The second layer is not the first.
        EntryCase{"FirstLayer", R"({"c1": )" NIBBLE_FIVE_BITS, "in -/8; c1 5/-; r1 -/4; c2 4/-; r2 -/4; d 8/8"},
        EntryCase{"FirstLayerLeftOut", R"({"c1": null})", "c1 -/4; r1 -/4; c2 4/-; r2 -/4; d 8/8"},
        // What enters the last layer is not what the model gives.
        EntryCase{"LastLayer", R"({"d": )" NIBBLE_FIVE_BITS, "in -/8; c1 8/-; r1 -/4; c2 4/-; r2 -/4; d 5/-"},
        EntryCase{"LastLayerLeftOut", R"({"d": null})", "in -/8; c1 8/-; r1 -/4; c2 4/-; r2 -/4"},
        EntryCase{"Input", R"({"in": )" NIBBLE_FIVE_BIT_INPUT, "in -/5; c1 8/-; r1 -/4; c2 4/-; r2 -/4; d 8/8"},
        EntryCase{"Inputs", R"({"InputLayer": )" NIBBLE_FIVE_BIT_INPUT,
                  "in -/5; c1 8/-; r1 -/4; c2 4/-; r2 -/4; d 8/8"},
        EntryCase{"FloatInput", R"({"in": {}})", "c1 8/-; r1 -/4; c2 4/-; r2 -/4; d 8/8"}),
    [](const auto& row) { return row.param.name; });

TEST(EntriesOfAFile, Refuse) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {R"({"in": null})", "{} leaves it in float"},
      {R"({"InputLayer": null})", "entry 'InputLayer' is null"},
      {R"({"in": {"bias_bits": 8}})", "more than the output"},
      {R"({"in": {"output": {"class_name": "AllValuesQuantizer", "config": {"num_bits": 17}}}})", "num_bits is 17"},
      {R"({"c1": {"bias_bits": 16}})", "'c1' (Conv2D): bias_bits is 16, but its configuration quantizes no weights"},
      {R"({"c1": {"bias_bits": 33}})", "bias_bits is 33"},
      {R"({"c1": {"bias_bits": 33, "weights": [{"weight": "kernel",
           "quantizer": {"class_name": "LastValueQuantizer"}}]}})",
       "between 2 and 32"}};
  for (const auto& [layers, wanted] : rows) {
    try {
      quantized(three_layers(), layers);
      FAIL() << layers;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(wanted)) << layers;
    }
  }
}

// Rounded token ids would be other tokens.
TEST(EntriesOfAFile, InputsOfAnEmbeddingStayAsTheyAre) {
  for (const bool is_moved : {false, true}) {
    const Node in = Input({.shape = {5}, .name = "in"});
    const Node ids = is_moved ? Flatten({.name = "moved"})(in) : in;
    const Node words = layer("Embedding", "words", {{"input_dim", int64_t{1000}}, {"output_dim", int64_t{3}}})(ids);
    const Model model = build_model({in}, {Dense({.units = 3, .name = "d"})(Flatten({.name = "f"})(words))});
    EXPECT_EQ(widths(quantized(model, R"({"Embedding": {}})")), "d 8/8");
    EXPECT_EQ(widths(quantized(model, R"({"words": {}, "in": )" NIBBLE_FIVE_BIT_INPUT)), "in -/5; d 8/8");
  }
}

}  // namespace
}  // namespace nibble::qat
