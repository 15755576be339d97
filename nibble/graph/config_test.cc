#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/graph/model.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

// One layer of every class that takes an image, and merges.
Model everything() {
  using namespace build;
  const Node in = Input({.shape = {16, 16, 4}, .name = "in"});
  Node x = in;
  const std::map<std::string, std::map<std::string, Attribute>> needed = {
      {"Reshape", {{"target_shape", std::vector<int64_t>{4, -1, 2}}}},
      {"Permute", {{"dims", std::vector<int64_t>{2, 1, 3}}}},
      {"PReLU", {{"shared_axes", std::vector<int64_t>{1, 2}}}},
      {"ReLU", {{"max_value", 6.0}}},
      {"QDepthwiseConv2DTranspose", {{"activation", "linear"}, {"group_size", int64_t{2}}}},
      {"QSeparableConv2DTranspose", {{"activation", "linear"}}},
      {"QBatchNormalization", {{"momentum", 0.9}}},
      {"QAdaptiveActivation", {{"activation", "quantized_relu"}, {"total_bits", int64_t{6}}}},
      {"QAveragePooling2D", {{"average_quantizer", "quantized_bits(8,0,1)"}}}};
  for (const std::string& name : known_layers()) {
    if (name == "InputLayer" || name == "Flatten" || name.find("1D") != std::string::npos ||
        name.starts_with("Global") || name.starts_with("QGlobal") || find_schema(name)->max_inputs > 1 ||
        find_schema(name)->find("return_sequences") || name.ends_with("Bidirectional") || name == "Embedding") {
      continue;
    }
    std::map<std::string, Attribute> given;
    for (const AttributeSpec& spec : find_schema(name)->attributes) {
      if (spec.name == "filters" || spec.name == "units") given[spec.name] = 4;
      if (spec.name == "kernel_size") given[spec.name] = 1;
      if (spec.name == "pool_size") given[spec.name] = 1;
      if (spec.name == "rate" || spec.name == "stddev") given[spec.name] = 0.25;
      if (spec.kind == AttributeKind::kActivation) given[spec.name] = name[0] == 'Q' ? "quantized_relu(4,1)" : "tanh";
      if (spec.weight_quantizer && name != "QBatchNormalization") given[spec.name] = "quantized_bits(4,0,1,alpha=1.0)";
    }
    if (needed.contains(name)) {
      for (const auto& [key, value] : needed.at(name)) given[key] = value;
    }
    x = layer(name, "the_" + name, given)(x);
  }
  const Node flat = Flatten({.name = "flatten"})(x);
  Model model = build_model({in}, {Concatenate({.name = "out"})({flat, flat})}, "everything");
  model.layer("the_Dense").trainable = false;
  return model;
}

// Every recurrent layer, and what stands around one.
Model sequences() {
  using namespace build;
  const Node in = Input({.shape = {6}, .name = "in"});
  Node x = layer("Embedding", "embedding", {{"input_dim", int64_t{10}}, {"output_dim", int64_t{3}}})(in);
  for (const char* name : {"SimpleRNN", "QSimpleRNN", "LSTM", "QLSTM", "GRU", "QGRU"}) {
    std::map<std::string, Attribute> given = {{"units", int64_t{4}}, {"return_sequences", true}};
    if (name[0] == 'Q') given["kernel_quantizer"] = "quantized_bits(4,0,1,alpha=1.0)";
    x = layer(name, std::string("the_") + name, given)(x);
  }
  const Layer inner =
      make_layer("QLSTM", "inner", {{"units", int64_t{3}}, {"state_quantizer", "quantized_bits(4,0,1)"}});
  x = layer("Bidirectional", "both", {{"layer", as_inner_layer(inner)}, {"merge_mode", "sum"}})(x);
  return build_model({in}, {x}, "sequences");
}

TEST(Config, SequencesRoundTripIsExact) {
  Model model = sequences();
  EXPECT_EQ(from_config(json::parse(to_config(model).dump())), model);
  initialize_weights(model, 1);
  const Layer& lstm = model.layer("the_LSTM");
  EXPECT_EQ(lstm.find_weight("bias")->value[4], 1.0f);  // the forget gate of unit_forget_bias
  EXPECT_EQ(lstm.find_weight("bias")->value[0], 0.0f);
  EXPECT_EQ(model.layer("the_GRU").find_weight("bias")->value.shape(), (Shape{2, 12}));
  EXPECT_EQ(model.layer("both").weights.size(), 6u);
  EXPECT_EQ(model.layer("both").weights[5].name, "backward_bias");
  validate(model);
}

TEST(Config, BidirectionalRefuses) {
  for (const char* text : {"null", "3", R"({"class_name": "Bidirectional", "config": {"name": "b"}})",
                           R"({"class_name": "Dense", "config": {"name": "d", "units": 3}})"}) {
    EXPECT_THROW(make_layer("Bidirectional", "b", {{"layer", OpaqueJson{text}}}), Error) << text;
  }
}

TEST(Config, RoundTripIsExact) {
  const Model model = everything();
  EXPECT_GE(model.layers.size(), 35u);
  const json config = to_config(model);
  const Model again = from_config(json::parse(config.dump()));
  ASSERT_EQ(again.layers.size(), model.layers.size());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    EXPECT_TRUE(again.layers[i] == model.layers[i]) << model.layers[i].name;
  }
  EXPECT_TRUE(again == model);
  EXPECT_EQ(to_config(again).dump(), config.dump());
}

TEST(Config, IsWhatKeras3Writes) {
  using namespace build;
  const Node in = Input({.shape = {8, 8, 1}, .name = "in"});
  const Node x =
      QConv2D({.filters = 2, .kernel_size = {3, 3}, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "c"})(in);
  const json config = to_config(build_model({in}, {x}, "m"));
  EXPECT_EQ(config["class_name"], "Functional");
  EXPECT_EQ(config["config"]["input_layers"], json::parse(R"([["in", 0, 0]])"));
  const json& input = config["config"]["layers"][0];
  EXPECT_EQ(input["config"]["batch_shape"], json::parse("[null, 8, 8, 1]"));
  const json& conv = config["config"]["layers"][1];
  EXPECT_EQ(conv["module"], "qkeras.qlayers");
  EXPECT_EQ(conv["registered_name"], "qkeras>QConv2D");
  EXPECT_EQ(conv["build_config"], json::parse(R"({"input_shape": [null, 8, 8, 1]})"));
  EXPECT_EQ(conv["config"]["kernel_initializer"]["class_name"], "HeNormal");
  EXPECT_EQ(conv["config"]["kernel_quantizer"]["module"], "qkeras.quantizers");
  EXPECT_EQ(conv["config"]["kernel_quantizer"]["config"]["bits"], 4);
  EXPECT_EQ(conv["inbound_nodes"][0]["args"][0]["config"]["keras_history"], json::parse(R"(["in", 0, 0])"));
}

TEST(Config, ReadsKeras2Sequential) {
  for (const char* wrap : {R"({"name": "s", "layers": %})", "%"}) {
    std::string config = wrap;
    config.replace(
        config.find('%'), 1,
        R"json([{"class_name": "Conv2D", "config": {"name": "c", "batch_input_shape": [null, 8, 8, 1], "filters": 2,
                      "kernel_size": [3, 3], "kernel_initializer": {"class_name": "VarianceScaling",
                      "config": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform", "seed": null}}}},
                      {"class_name": "Activation", "config": {"name": "a", "activation": "quantized_relu(3,1)"}}])json");
    const Model model = from_config(json::parse(R"({"class_name": "Sequential", "config": )" + config + "}"));
    ASSERT_EQ(model.layers.size(), 3u);
    EXPECT_EQ(model.inputs, std::vector<std::string>{"c_input"});
    EXPECT_EQ(model.layer("c").inputs, std::vector<std::string>{"c_input"});
    EXPECT_EQ(model.layer("a").get_quantizer("activation")->bit_width(), 3);
    EXPECT_TRUE(std::holds_alternative<OpaqueJson>(model.layer("c").attributes.at("kernel_initializer")));
    EXPECT_TRUE(from_config(to_config(model)) == model);
  }
}

std::string functional(const std::string& dense_extra, const std::string& inbound = R"([[["in", 0, 0, {}]]])",
                       const std::string& class_name = "Dense") {
  return R"({"class_name": "Model", "config": {"name": "m", "layers": [
    {"name": "d", "class_name": ")" +
         class_name + R"(", "config": {"name": "d", "units": 2)" + dense_extra + R"(}, "inbound_nodes": )" + inbound +
         R"(},
    {"name": "in", "class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [null, 3]}, "inbound_nodes": []}],
    "input_layers": [["in", 0, 0]], "output_layers": ["d", 0, 0]}})";
}

TEST(Config, ReadsKeras2FunctionalInAnyOrder) {
  const Model model = from_config(json::parse(functional("")));
  EXPECT_EQ(model.layers[0].name, "in");
  EXPECT_EQ(model.outputs, std::vector<std::string>{"d"});
}

struct Refusal {
  std::string claim, document;
  std::vector<std::string> says;
};
class FromConfigRefuses : public ::testing::TestWithParam<Refusal> {};
TEST_P(FromConfigRefuses, WithASentence) {
  try {
    from_config(json::parse(GetParam().document));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    for (const std::string& part : GetParam().says) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, FromConfigRefuses,
    ::testing::Values(
        Refusal{"NoModel", "[]", {"no Keras model"}}, Refusal{"NoConfig", R"({"class_name": "Model"})", {"config"}},
        Refusal{"Subclassed", R"({"class_name": "MyNet", "config": {}})", {"'MyNet'"}},
        Refusal{"UnknownLayer", functional("", R"([[["in", 0, 0, {}]]])", "TernaryDense"), {"'d'", "TernaryDense"}},
        Refusal{"UnknownAttribute", functional(R"(, "lora_rank": 4)"), {"'d' (Dense)", "'lora_rank' = 4"}},
        Refusal{"WrongType", functional(R"(, "use_bias": "yes")"), {"'use_bias'", "'yes'"}},
        Refusal{"OtherDtype", functional(R"(, "dtype": "mixed_float16")"), {"dtype", "mixed_float16"}},
        Refusal{"SharedLayer", functional("", R"([[["in", 0, 0, {}]], [["in", 0, 0, {}]]])"), {"2 times"}},
        Refusal{"CallArguments", functional("", R"([[["in", 0, 0, {"training": true}]]])"), {"'training'"}},
        Refusal{"Cycle", functional("", R"([[["d", 0, 0, {}]]])"), {"cycle"}},
        Refusal{"UnknownProducer", functional("", R"([[["inn", 0, 0, {}]]])"), {"'inn'", "'in'"}},
        Refusal{
            "NoInputShape",
            R"({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "d", "units": 1}}]})",
            {"input shape"}},
        Refusal{"BadQuantizerObject",
                functional(R"(, "activation": {"class_name": "quantized_bits", "config": {"bitz": 4}})"),
                {"'activation'"}}),
    [](const auto& row) { return row.param.claim; });

}  // namespace
}  // namespace nibble::graph
