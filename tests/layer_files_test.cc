// Whatever a network is made of, its file gives the same numbers: every layer class and every quantizer is saved in
// each of Keras' forms, loaded, and predicts the same bits.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble {
namespace {

using graph::Attribute;
using graph::AttributeKind;
using graph::AttributeSpec;
using graph::LayerSchema;
using graph::Model;
using Attributes = std::map<std::string, Attribute>;

Attribute text(const char* value) { return std::string(value); }

// What cannot be guessed from the schema.
Attributes attributes_of_class(const std::string& class_name) {
  const auto inner = [](const char* name) { return graph::make_layer(name, "inner", {{"units", int64_t{3}}}); };
  if (class_name == "Permute") return {{"dims", std::vector<int64_t>{2, 1}}};
  if (class_name == "Reshape") return {{"target_shape", std::vector<int64_t>{-1, 2}}};
  if (class_name == "Dot") return {{"axes", std::vector<int64_t>{1}}};
  if (class_name == "Embedding") return {{"input_dim", int64_t{7}}, {"output_dim", int64_t{3}}};
  if (class_name == "Bidirectional") return {{"layer", graph::as_inner_layer(inner("LSTM"))}};
  if (class_name == "QBidirectional") return {{"layer", graph::as_inner_layer(inner("QLSTM"))}};
  if (class_name == "QAdaptiveActivation") return {{"activation", text("quantized_relu")}, {"total_bits", int64_t{5}}};
  if (class_name == "RNN") return {{"cell", graph::as_cell(inner("GRU"))}};
  // What these have no place for.
  if (class_name == "QBatchNormalization") return {{"inverse_quantizer", graph::None{}}};
  if (class_name == "QDepthwiseConv2DTranspose" || class_name == "QSeparableConv2DTranspose") {
    return {{"activation", text("linear")}, {"filters", int64_t{4}}};
  }
  return {};
}

std::optional<Attribute> guess(const AttributeSpec& spec, bool quantized) {
  if (spec.kind == AttributeKind::kQuantizer) return text("quantized_bits(6,2,1,alpha=1.0)");
  if (spec.kind == AttributeKind::kActivation && quantized) return text("quantized_relu(5,2)");
  if (!spec.required) return std::nullopt;
  if (spec.kind == AttributeKind::kActivation) return text("tanh");
  if (spec.kind == AttributeKind::kInt) return int64_t{3};
  if (spec.kind == AttributeKind::kInts) return int64_t{2};
  if (spec.kind == AttributeKind::kFloat) return 0.25;
  return std::nullopt;
}

Attributes attributes_of(const LayerSchema& schema) {
  Attributes attributes = attributes_of_class(schema.class_name);
  for (const AttributeSpec& spec : schema.attributes) {
    if (attributes.contains(spec.name)) continue;
    if (auto value = guess(spec, schema.class_name.starts_with('Q'))) attributes[spec.name] = *value;
  }
  return attributes;
}

// No weight is left at a value that a reader could have made up.
void unsettle_weights(Model& model) {
  RandomStream random({.seed = 9, .purpose = RandomPurpose::kTest});
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      for (float& value : weight.value.data()) value += 0.25f * random.uniform();
    }
  }
}

Model network_of(const LayerSchema& schema, const std::vector<int64_t>& shape) {
  using namespace graph::build;
  std::vector<Node> inputs;
  for (int i = 0; i < schema.min_inputs; ++i) inputs.push_back(Input({.shape = shape, .name = fmt::format("in{}", i)}));
  const Node output = layer(schema.class_name, "layer", attributes_of(schema))(inputs);
  Model model = build_model(inputs, {output}, "one_layer");
  graph::initialize_weights(model, 4);
  unsettle_weights(model);
  return model;
}

// The least rank of inputs that the class takes.
Model network_of(const LayerSchema& schema) {
  std::string reasons;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6}, {6, 4}, {6, 6, 4}}) {
    try {
      return network_of(schema, shape);
    } catch (const Error& error) {
      reasons += fmt::format("\n{}", error.what());
    }
  }
  throw InvalidArgument("no input fits {}:{}", schema.class_name, reasons);
}

std::vector<Tensor> inputs_of(const Model& model) {
  RandomStream random({.seed = 2, .purpose = RandomPurpose::kTest});
  const bool takes_codes = model.layers.back().class_name == "Embedding";
  const std::map<std::string, Shape> shapes = graph::infer_shapes(model);
  std::vector<Tensor> inputs;
  for (const std::string& name : model.inputs) {
    std::vector<int64_t> extents = {3};
    for (const int64_t extent : shapes.at(name)) extents.push_back(extent);
    Tensor x((Shape(extents)));
    for (float& value : x.data()) value = takes_codes ? static_cast<float>(random.below(7)) : random.normal();
    inputs.push_back(std::move(x));
  }
  return inputs;
}

std::vector<Tensor> predict(const Model& model, const std::vector<Tensor>& x) {
  return train::Trainer(model, {}).predict(x);
}

void expect_files_keep(const Model& model) {
  static const std::filesystem::path scratch = testing::scratch_dir("layer_files");
  const std::vector<Tensor> x = inputs_of(model);
  const std::vector<Tensor> expected = predict(model, x);
  for (const char* form : {"m.keras", "m.h5", "m.json"}) {
    formats::keras::save_model(model, scratch / form);
    const Model loaded = formats::keras::load_model(scratch / form);
    EXPECT_TRUE(loaded == model) << form;
    EXPECT_TRUE(predict(loaded, x) == expected) << form;
  }
}

class LayerFiles : public ::testing::TestWithParam<std::string> {};
TEST_P(LayerFiles, PredictTheSame) { expect_files_keep(network_of(*graph::find_schema(GetParam()))); }

// InputLayer stands in every network, but is no layer of its own.
std::vector<std::string> classes() {
  std::vector<std::string> names = graph::known_layers();
  std::erase(names, "InputLayer");
  return names;
}
INSTANTIATE_TEST_SUITE_P(Classes, LayerFiles, ::testing::ValuesIn(classes()),
                         [](const auto& info) { return info.param; });

// Parameters away from their defaults, as far as each quantizer has them.
const char* const kQuantizers[] = {
    "quantized_bits(5,1,0,alpha='auto')",
    "quantized_bits(4,0,1,alpha='auto_po2')",
    "quantized_bits(3,1,1,alpha=0.5)",
    "quantized_linear(6,2,1,alpha=0.25)",
    "bernoulli(alpha=2.0,temperature=5.0)",
    "stochastic_ternary(alpha=1.0,threshold=0.4)",
    "ternary(alpha='auto')",
    "ternary(alpha=0.5,threshold=0.3)",
    "stochastic_binary(alpha=1.0,temperature=5.0)",
    "binary(use_01=True,alpha=1.0)",
    "quantized_relu(4,2,negative_slope=0.25)",
    "quantized_relu(6,1,use_sigmoid=1)",
    "quantized_ulaw(6,1,1,u=127.0)",
    "quantized_tanh(5,symmetric=1)",
    "quantized_sigmoid(5,use_real_sigmoid=True)",
    "quantized_po2(4,2)",
    "quantized_po2(4,max_value=1,quadratic_approximation=True)",
    "quantized_relu_po2(4,4,negative_slope=0.25)",
    "quantized_hswish(6,2,1,relu_shift=3,relu_upper_bound=6)",
};

class QuantizerFiles : public ::testing::TestWithParam<const char*> {};
TEST_P(QuantizerFiles, PredictTheSame) {
  using namespace graph::build;
  const Node in = Input({.shape = {6}, .name = "in"});
  const Node x = QDense({.units = 5, .kernel_quantizer = GetParam(), .name = "dense"})(in);
  Model model = build_model({in}, {QActivation({.activation = GetParam(), .name = "act"})(x)}, "quantizer");
  graph::initialize_weights(model, 4);
  unsettle_weights(model);
  expect_files_keep(model);
}
INSTANTIATE_TEST_SUITE_P(Texts, QuantizerFiles, ::testing::ValuesIn(kQuantizers));

}  // namespace
}  // namespace nibble
