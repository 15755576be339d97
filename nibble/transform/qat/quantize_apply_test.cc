#include "nibble/transform/qat/quantize_apply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using graph::Layer;
using graph::LayerQuantization;
using graph::Model;
using nlohmann::json;
using testing::HasSubstr;
using namespace graph::build;

// "I; W+A; -": one entry a layer, in the model's order, as spec/tfmot-tflite.md A9 writes them.
std::string points(const Model& model) {
  std::vector<std::string> entries;
  for (const Layer& layer : model.layers) {
    const LayerQuantization q = layer.quantization.value_or(LayerQuantization{});
    std::vector<std::string> parts;
    if (!q.weights.empty()) parts.push_back("W");
    if (!q.pre_activation.is_none()) parts.push_back("P");
    if (!q.post_activation.is_none()) parts.push_back("A");
    if (!q.output.is_none()) parts.push_back(layer.class_name == "InputLayer" ? "I" : "O");
    entries.push_back(parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, "+")));
  }
  return fmt::format("{}", fmt::join(entries, "; "));
}

Node image() { return Input({.shape = {8, 8, 3}, .name = "in"}); }
Node conv(const Node& x, const std::string& name, const std::string& activation = "linear") {
  return Conv2D({.filters = 4, .kernel_size = {3, 3}, .activation = activation, .name = name})(x);
}
Node dense(const Node& x, const std::string& name, const std::string& activation = "linear") {
  return Dense({.units = 4, .activation = activation, .name = name})(x);
}

using Make = Model (*)();

struct PlacesCase {
  const char* name;
  Make make;
  const char* tfmot;
  const char* nibble;  // "": the same
};

Model dense_dense() {
  const Node in = Input({.shape = {5}, .name = "in"});
  return build_model({in}, {dense(dense(in, "a", "relu"), "b", "softmax")});
}
Model conv_bn_relu() {
  const Node in = image();
  return build_model({in}, {dense(Flatten()(ReLU()(BatchNormalization()(conv(in, "c")))), "d")});
}
Model conv_bn() {
  const Node in = image();
  return build_model({in}, {BatchNormalization()(conv(in, "c"))});
}
Model conv_pool() {
  const Node in = image();
  return build_model({in}, {dense(Flatten()(MaxPooling2D()(conv(in, "c", "relu"))), "d")});
}
Model conv_relu_relu() {
  const Node in = image();
  return build_model({in}, {ReLU()(conv(in, "c", "relu"))});
}
Model separable() {
  const Node in = image();
  const Node x =
      layer("SeparableConv2D", "s", {{"filters", int64_t{6}}, {"kernel_size", std::vector<int64_t>{3, 3}}})(in);
  return build_model({in}, {ReLU()(BatchNormalization()(x))});
}
Model separable_sequence() {
  const Node in = Input({.shape = {10, 3}, .name = "in"});
  const Node x = layer("SeparableConv1D", "s", {{"filters", int64_t{6}}, {"kernel_size", int64_t{3}}})(in);
  return build_model({in}, {ReLU()(BatchNormalization()(x))});
}
Model causal_sequence() {
  const Node in = Input({.shape = {10, 3}, .name = "in"});
  const Node x =
      layer("SeparableConv1D", "s", {{"filters", int64_t{6}}, {"kernel_size", int64_t{3}}, {"padding", "causal"}})(in);
  return build_model({in}, {ReLU()(BatchNormalization()(x))});
}
Model add_relu() {
  const Node a = image(), b = Input({.shape = {8, 8, 3}, .name = "in2"});
  return build_model({a, b}, {ReLU()(Add()({a, b}))});
}
Model concatenate_inputs() {
  const Node a = image(), b = Input({.shape = {8, 8, 3}, .name = "in2"});
  return build_model({a, b}, {Concatenate()({a, b})});
}
Model concatenate_convolutions() {
  const Node in = image();
  return build_model({in}, {Concatenate()({conv(in, "a"), conv(in, "b")})});
}
Model concatenate_activations() {
  const Node in = image();
  return build_model({in}, {Concatenate()({ReLU({.name = "r1"})(conv(in, "a")), conv(in, "b")})});
}
Model dense_bn_relu() {
  const Node in = Input({.shape = {5}, .name = "in"});
  return build_model({in}, {ReLU()(BatchNormalization()(dense(in, "d")))});
}
Model global_pool() {
  const Node in = image();
  return build_model({in}, {dense(GlobalAveragePooling2D()(in), "d", "sigmoid")});
}
Model two_readers() {
  const Node in = image();
  const Node x = conv(in, "c");
  return build_model({in}, {BatchNormalization({.name = "n"})(x), x});
}
Model gelu() {
  const Node in = Input({.shape = {5}, .name = "in"});
  return build_model({in}, {dense(dense(in, "a", "gelu"), "b", "tanh")});
}

class Places : public testing::TestWithParam<PlacesCase> {};

TEST_P(Places, AreTfmots) { EXPECT_EQ(points(quantize_model(GetParam().make(), tfmot_scheme())), GetParam().tfmot); }

TEST_P(Places, AreNibbles) {
  const PlacesCase& c = GetParam();
  EXPECT_EQ(points(quantize_model(c.make(), {})), *c.nibble == '\0' ? c.tfmot : c.nibble);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Places,
    testing::Values(PlacesCase{"DenseDense", dense_dense, "I; W+A; W+P", ""},
                    PlacesCase{"ConvBnRelu", conv_bn_relu, "I; W; -; O; -; W+A", ""},
                    PlacesCase{"ConvBn", conv_bn, "I; W; O", ""},
                    PlacesCase{"ConvPool", conv_pool, "I; W+A; -; -; W+A", ""},
                    PlacesCase{"WeightsBeforeAReluStayQuantized", conv_relu_relu, "I; -; O", "I; W; O"},
                    PlacesCase{"Separable", separable, "I; W+A; W; -; O", ""},
                    PlacesCase{"SeparableSequence", separable_sequence, "I; -; W+A; W; -; -; O", ""},
                    PlacesCase{"CausalSequence", causal_sequence, "I; -; -; W+A; W; -; -; O", ""},
                    PlacesCase{"AddRelu", add_relu, "I; I; -; O", ""},
                    PlacesCase{"ConcatenateInputs", concatenate_inputs, "-; -; O", ""},
                    PlacesCase{"ConcatenateConvolutions", concatenate_convolutions, "I; W+A; W+A; O", ""},
                    // conv -> ReLU loses its weights in TFMOT
                    PlacesCase{"ConcatenateActivations", concatenate_activations, "I; -; -; W+A; O", "I; W; -; W+A; O"},
                    PlacesCase{"DenseBnReluIsQuantizedOnce", dense_bn_relu, "I; W; O; O", "I; W; -; O"},
                    PlacesCase{"GlobalPool", global_pool, "I; O; W+P", ""},
                    PlacesCase{"GeluAndTanh", gelu, "I; W+P+A; W+P", ""}),
    [](const auto& row) { return row.param.name; });

// The one message of what `make` refuses.
template <class Kind, class Do>
std::string message(Do refused) {
  try {
    refused();
  } catch (const Kind& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

TEST(QuantizeApply, OnlyTheSecondLayerIsMarked) {
  AnnotatedModel annotated{.model = dense_dense()};
  quantize_annotate_layer(annotated, "b");
  EXPECT_EQ(points(quantize_apply(annotated, tfmot_scheme())), "-; A; W+P");
}

TEST(QuantizeApply, Refuses) {
  const Model model = dense_dense();
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_apply({.model = model}, {}); }), HasSubstr("no layer"));
  AnnotatedModel annotated{.model = model};
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_annotate_layer(annotated, "in"); }), HasSubstr("by itself"));
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_annotate_layer(annotated, "c"); }), HasSubstr("no layer 'c'"));
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_model(model, {.weight_bits = 1}); }),
              HasSubstr("weight_bits is 1"));
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_model(model, {.input_bits = 17}); }),
              HasSubstr("input_bits is 17"));
  EXPECT_THAT(message<InvalidArgument>([&] { quantize_model(model, {.weights = AffineKind::kPact}); }),
              HasSubstr("PACT is for activations"));

  const Node in = Input({.shape = {8}, .name = "in"});
  const Model embedded =
      build_model({in}, {layer("Embedding", "words", {{"input_dim", int64_t{10}}, {"output_dim", int64_t{3}}})(in)});
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(embedded); }),
              testing::AllOf(HasSubstr("'words' (Embedding)"), HasSubstr("configuration")));

  const Model qkeras =
      build_model({in}, {QDense({.units = 3, .kernel_quantizer = "quantized_bits(4)", .name = "q"})(in)});
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(qkeras); }), HasSubstr("'q' (QDense)"));

  const Node bn = BatchNormalization({.name = "alone"})(in);
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(build_model({in}, {bn}), tfmot_scheme()); }),
              HasSubstr("'alone' (BatchNormalization)"));
  EXPECT_EQ(points(quantize_model(build_model({in}, {bn}))), "I; O");
  const Model elu = build_model({in}, {dense(in, "e", "elu")});
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(elu, tfmot_scheme()); }), HasSubstr("'elu'"));
  EXPECT_EQ(points(quantize_model(elu)), "I; W+A");
}

// Seed 2: AllValues with per_axis on a convolution of 32 filters.
class OnlyKernel : public QuantizeConfig {
 public:
  LayerQuantization quantization(const Layer&) const override {
    return {.weights = {{"kernel", {.kind = AffineKind::kAllValues, .num_bits = 4, .per_axis = true}}},
            .post_activation = {.kind = AffineKind::kMovingAverage, .num_bits = 4}};
  }
};

TEST(QuantizeApply, UsersConfigurationWins) {
  const Node in = Input({.shape = {32, 32, 3}, .name = "in"});
  const Node x = Activation({.activation = "relu", .name = "a"})(BatchNormalization({.name = "n"})(
      Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .name = "c"})(in)));
  Model model = build_model({in}, {dense(Flatten()(x), "d", "softmax")}, "temp_net");
  graph::initialize_weights(model, 1);
  AnnotatedModel annotated{.model = model};
  quantize_annotate_layer(annotated, "c", std::make_shared<OnlyKernel>());
  const Model quantized = quantize_apply(annotated);
  EXPECT_EQ(points(quantized), "I; W+A; -; -; -; -");
  EXPECT_EQ(quantized.layer("c").find_weight("kernel_min")->value.shape(), Shape{32});
  EXPECT_EQ(quantized.layer("c").find_weight("kernel_max")->value.shape(), Shape{32});
  EXPECT_EQ(quantized.layer("c").find_weight("kernel")->value, model.layer("c").find_weight("kernel")->value);

  quantize_annotate_model(annotated);
  EXPECT_EQ(annotated.layers.at("d"), nullptr);
  EXPECT_NE(annotated.layers.at("c"), nullptr) << "what is marked keeps its configuration";
  EXPECT_THAT(message<Unsupported>([&] { quantize_apply(annotated, tfmot_scheme()); }), HasSubstr("'n'"))
      << "a batch norm behind a layer of the user's matches no transform";
}

TEST(QuantizeApply, WhatIsQuantizedStays) {
  Model once = quantize_model(conv_pool(), scheme_named("int4"));
  EXPECT_EQ(quantize_model(once, scheme_named("int8")), once);
}

TEST(QuantizeApply, ReadyMadeConfigurations) {
  AnnotatedModel annotated{.model = dense_dense()};
  const auto inner = std::make_shared<OnlyKernel>();
  quantize_annotate_layer(annotated, "a", output_only(inner));
  quantize_annotate_layer(annotated, "b", fixed_range(inner, 4, -1.0f, 1.0f));
  const Model model = quantize_apply(annotated);
  EXPECT_EQ(points(model), "I; A; W+A");
  const auto& fixed = model.layer("b").quantization->post_activation;
  EXPECT_EQ(fixed.kind, AffineKind::kFixed);
  EXPECT_EQ(fixed.num_bits, 4) << "TFMOT always takes 8";
  EXPECT_EQ(fixed.fixed, (affine::Range{-1.0f, 1.0f}));
  EXPECT_THROW(output_only(nullptr), InvalidArgument);
  EXPECT_THROW(fixed_range(nullptr, 4, -1.0f, 1.0f), InvalidArgument);
}

// Left out, it is nobody's business; it gives codes as it is.
TEST(QuantizeApply, AnUnmarkedLayerOfQKerasStays) {
  const Node in = Input({.shape = {5}, .name = "in"});
  const Model model = build_model({in}, {dense(Activation({.activation = "quantized_relu(4)", .name = "q"})(in), "d")});
  EXPECT_EQ(points(quantize_apply(annotate_from_json(model, json::parse(R"({"q": null})")))), "-; -; W+A");
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(model); }), HasSubstr("'q' (Activation)"));
}

TEST(QuantizeApply, WidthsOfEdgesAndResults) {
  Scheme scheme = scheme_named("int4");
  scheme.edge_weight_bits = 8;
  const Model model = quantize_model(conv_bn_relu(), scheme);
  EXPECT_EQ(model.layer("in").quantization->output.num_bits, 8);
  EXPECT_EQ(model.layer("c").quantization->weights[0].quantizer.num_bits, 8);
  EXPECT_EQ(model.layer("re_lu").quantization->output.num_bits, 4);
  EXPECT_EQ(model.layer("c").quantization->weights[0].quantizer.range, affine::RangeRule::kExtremes);
  EXPECT_EQ(model.layer("re_lu").quantization->output.range, affine::RangeRule::kMse);
  EXPECT_EQ(model.layer("d").quantization->post_activation.range, affine::RangeRule::kExtremes);
  EXPECT_EQ(model.layer("d").quantization->post_activation.num_bits, 8) << "logits of 4 bits would tie";
  EXPECT_EQ(model.layer("d").quantization->bias_bits, 32);
  EXPECT_EQ(model.layer("c").quantization->bias_bits, 0) << "the bias is not the folded one yet";
}

TEST(QuantizeApply, LearnedKindsStandWhereTheyFit) {
  for (const char* name : {"lsq", "lsq_plus", "pact", "dorefa"}) {
    Scheme scheme = scheme_named("int4");
    set_quantizer(scheme, name);
    const Model model = quantize_model(conv_bn_relu(), scheme);
    const auto& rectified = model.layer("re_lu").quantization->output;
    const auto& result = model.layer("d").quantization->post_activation;
    EXPECT_EQ(rectified.kind, scheme.activations) << name;
    EXPECT_FALSE(rectified.symmetric) << name;
    const bool is_step = name[0] == 'l';
    EXPECT_EQ(result.kind, is_step ? scheme.activations : AffineKind::kMovingAverage) << name;
    EXPECT_EQ(result.symmetric, is_step) << name << ": logits can be negative";
    EXPECT_EQ(model.layer("c").quantization->weights[0].quantizer.kind, scheme.weights) << name;
    EXPECT_EQ(model.layer("in").quantization->output.kind, AffineKind::kAllValues) << name;
  }
}

TEST(QuantizeApply, BatchNormsAreMergedAsAsked) {
  Model model = conv_bn_relu();
  EXPECT_THROW(quantize_model(model, {.batch_norm = BatchNormMode::kFold}), InvalidArgument);
  graph::initialize_weights(model, 1);
  EXPECT_EQ(points(quantize_model(model, {.batch_norm = BatchNormMode::kFold})), "I; W; O; -; W+A");
  for (const auto mode : {BatchNormMode::kFoldBatch, BatchNormMode::kFoldRunning}) {
    const Model merged = quantize_model(model, {.batch_norm = mode});
    EXPECT_EQ(points(merged), "I; W; O; -; W+A");
    EXPECT_EQ(merged.layer("c").class_name, "QConv2DBatchnorm");
    EXPECT_EQ(merged.layer("c").get_string("folding_mode"),
              mode == BatchNormMode::kFoldBatch ? "batch_stats_folding" : "ema_stats_folding");
    EXPECT_EQ(merged.layer("c").find_weight("kernel_min")->value.shape(), Shape{4});
    graph::validate(merged);
  }
}

Model two_conv_bn_relu() {
  const Node in = image();
  const Node x = ReLU({.name = "ra"})(BatchNormalization({.name = "na"})(conv(in, "a")));
  return build_model({in}, {ReLU({.name = "rb"})(BatchNormalization({.name = "nb"})(conv(x, "b")))});
}

struct MergeCase {
  const char* name;
  const char* layers;
  bool stays;  // the batch norm 'nb'; 'na' is merged in every row
};
class Merges : public testing::TestWithParam<MergeCase> {};

TEST_P(Merges, WhereTheLayerIsQuantizedAndNothingElseIsSaid) {
  Model model = two_conv_bn_relu();
  graph::initialize_weights(model, 1);
  const AnnotatedModel annotated = annotate_from_json(model, json::parse(GetParam().layers));
  for (const auto mode : {BatchNormMode::kFold, BatchNormMode::kFoldBatch, BatchNormMode::kFoldRunning}) {
    const Model merged = quantize_apply(annotated, {.batch_norm = mode});
    EXPECT_EQ(merged.find_layer("na"), nullptr);
    const bool stays = merged.find_layer("nb") != nullptr;
    EXPECT_EQ(stays, GetParam().stays);
    if (!stays) continue;
    EXPECT_EQ(merged.layer("b").find_weight("kernel")->value, model.layer("b").find_weight("kernel")->value);
    if (std::string(GetParam().name) != "OfTheUsers") continue;
    EXPECT_EQ(merged.layer("nb").quantization->output.kind, AffineKind::kLastValue);
    EXPECT_EQ(merged.layer("nb").quantization->output.num_bits, 5);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Merges,
    testing::Values(MergeCase{"AllMarked", "{}", false}, MergeCase{"LayerIsNotMarked", R"({"b": null})", true},
                    MergeCase{"LayerQuantizesNothing", R"({"b": {}})", true},
                    MergeCase{"KernelOfTheUsers",
                              R"({"b": {"weights": [{"weight": "kernel", "quantizer":
                                  {"class_name": "AllValuesQuantizer", "config": {"num_bits": 4}}}]}})",
                              false},
                    MergeCase{"BatchNormIsNotMarked", R"({"nb": null})", true},
                    MergeCase{"OfTheUsers",
                              R"({"nb": {"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 5}}}})",
                              true}),
    [](const auto& row) { return row.param.name; });

TEST(QuantizeApply, NothingIsMergedIntoWhatIsQuantizedAlready) {
  Model model = two_conv_bn_relu();
  graph::initialize_weights(model, 1);
  const Model once = quantize_model(model);
  for (const auto mode : {BatchNormMode::kFold, BatchNormMode::kFoldBatch, BatchNormMode::kFoldRunning}) {
    EXPECT_EQ(quantize_model(once, {.batch_norm = mode}), once);
  }
}

TEST(QuantizeApply, SeparableConvolutionsKeepTheirWeights) {
  for (const auto make : {separable, separable_sequence, causal_sequence}) {
    Model model = make();
    graph::initialize_weights(model, 1);
    const Model quantized = quantize_model(model);
    graph::validate(quantized);
    EXPECT_THAT(quantized.layer("s_depthwise").find_weight("depthwise_kernel")->value.data(),
                testing::ElementsAreArray(model.layer("s").find_weight("depthwise_kernel")->value.data()));
    EXPECT_EQ(graph::infer_shapes(quantized).at("s"), graph::infer_shapes(model).at("s"));
  }
  const Node in = Input({.shape = {Shape::kFree, 3}, .name = "in"});
  const Node x = layer("SeparableConv1D", "s", {{"filters", int64_t{6}}, {"kernel_size", int64_t{3}}})(in);
  EXPECT_THAT(message<Unsupported>([&] { quantize_model(build_model({in}, {x})); }),
              HasSubstr("fixed number of steps"));
}

TEST(QuantizeApply, AnnotationsFromAFile) {
  const Model model = conv_pool();
  const QuantizeScope scope = {{"only_kernel", std::make_shared<OnlyKernel>()}};
  const json layers = json::parse(R"({"c": {"config": "only_kernel"}, "Flatten": null,
      "Dense": {"weights": [{"weight": "kernel", "quantizer": {"class_name": "LSQQuantizer",
                "config": {"num_bits": 3, "symmetric": true}}}]}})");
  const Model quantized = quantize_apply(annotate_from_json(model, layers, scope));
  EXPECT_EQ(points(quantized), "I; W+A; -; -; W");
  EXPECT_EQ(quantized.layer("d").quantization->weights[0].quantizer.kind, AffineKind::kLsq);
  const std::vector<std::pair<const char*, const char*>> rows = {
      {R"([])", "object of layers"},
      {R"({"Dence": {}})", "Did you mean 'Dense'"},
      {R"({"c": {"config": "only_kernle"}})", "Did you mean 'only_kernel'?"},
      {R"({"c": {"config": "only_kernel", "output": null}})", "beside 'config'"},
      {R"({"c": {"outputs": null}})", "entry 'c'"}};
  for (const auto& [text, wanted] : rows) {
    EXPECT_THAT(message<InvalidArgument>([&] { annotate_from_json(model, json::parse(text), scope); }),
                HasSubstr(wanted));
  }
}

TEST(FixedRanges, StandAtInputsAndResults) {
  Model model = quantize_model(dense_dense());
  fix_input_output_range(model, {.num_bits = 4});
  EXPECT_EQ(to_string(model.layer("in").quantization->output), "Fixed(4,[0, 1])");
  EXPECT_EQ(to_string(model.layer("b").quantization->pre_activation), "Fixed(4,[0, 1])");
  remove_input_range(model);
  EXPECT_EQ(points(model), "-; W+A; W+P");
  EXPECT_THROW(remove_input_range(model), InvalidArgument);
  EXPECT_THROW(fix_input_output_range(model), InvalidArgument);
}

// An integer program compares codes of one grid.
TEST(QuantizeApply, MaximumAndMinimumHaveCodesBeforeAReluToo) {
  for (const char* name : {"Maximum", "Minimum"}) {
    const Node a = image(), b = Input({.shape = {8, 8, 3}, .name = "in2"});
    const Model model = build_model({a, b}, {ReLU()(layer(name, "ends")(std::vector<Node>{a, b}))});
    EXPECT_EQ(points(quantize_model(model)), "I; I; O; O") << name;
  }
}

TEST(QuantizeApply, LayersThatTwoOthersReadMatchNothing) {
  EXPECT_EQ(points(quantize_model(two_readers())), "I; W+A; O");
}

}  // namespace
}  // namespace nibble::qat
