// What TFMOT's schemes do otherwise than nibble's own, defects included: spec/tfmot-tflite.md A2.1, A6 and A7.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/qat/quantize_apply.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using graph::LayerQuantization;
using graph::Model;
using testing::HasSubstr;
using namespace graph::build;

// "W+P+A+O" of a layer, "-" for none; O is an input's too.
std::string places(const Model& model, const std::string& layer) {
  const LayerQuantization q = model.layer(layer).quantization.value_or(LayerQuantization{});
  std::vector<std::string> parts;
  if (!q.weights.empty()) parts.emplace_back("W");
  if (!q.pre_activation.is_none()) parts.emplace_back("P");
  if (!q.post_activation.is_none()) parts.emplace_back("A");
  if (!q.output.is_none()) parts.emplace_back("O");
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, "+"));
}

Node input(const std::string& name, std::vector<int64_t> shape) {
  return Input({.shape = std::move(shape), .name = name});
}
Node relu(const Node& x, const std::string& name) { return ReLU({.name = name})(x); }
Node norm(const Node& x, const std::string& name) { return BatchNormalization({.name = name})(x); }
Node conv(const Node& x, const std::string& name) {
  return Conv2D({.filters = 4, .kernel_size = {3, 3}, .name = name})(x);
}
Node dense(const Node& x, const std::string& name, const std::string& activation = "linear") {
  return Dense({.units = 4, .activation = activation, .name = name})(x);
}

// ---- Concatenate ----------------------------------------------------------------

Model input_and_relu() {
  const Node a = input("a", {5}), b = input("b", {5});
  return build_model({a, b}, {Concatenate({.name = "both"})({a, relu(b, "r")})});
}
Model dense_norm_and_relu() {
  const Node a = input("a", {5}), b = input("b", {5});
  return build_model({a, b}, {Concatenate({.name = "both"})({norm(dense(a, "d"), "n"), relu(b, "r")})});
}
Model conv_norm_and_relu() {
  const Node a = input("a", {8, 8, 3}), b = input("b", {6, 6, 3});
  return build_model({a, b}, {Concatenate({.name = "both"})({norm(conv(a, "c"), "n"), relu(b, "r")})});
}
Model seven_relus() {
  std::vector<Node> inputs, relus;
  for (int i = 0; i < 7; ++i) {
    inputs.push_back(input("in" + std::to_string(i), {3}));
    relus.push_back(relu(inputs.back(), i == 0 ? "r" : "r" + std::to_string(i)));
  }
  return build_model(inputs, {Concatenate({.name = "both"})(relus)});
}

struct ConcatenateCase {
  const char* name;
  Model (*make)();
  const char* scheme;
  const char* layer;  // one that feeds the Concatenate
  const char* places;
};
class Concatenates : public testing::TestWithParam<ConcatenateCase> {};

TEST_P(Concatenates, LeaveOrTakeTheQuantizationOfWhatFeedsThem) {
  const ConcatenateCase& c = GetParam();
  const Model model = quantize_model(c.make(), scheme_named(c.scheme));
  EXPECT_EQ(places(model, c.layer), c.places);
  EXPECT_EQ(places(model, "both"), "O");
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Concatenates,
    testing::Values(ConcatenateCase{"InputPassesWithEightBits", input_and_relu, "tfmot8", "a", "-"},
                    ConcatenateCase{"SoDoesItsNeighbour", input_and_relu, "tfmot8", "r", "-"},
                    ConcatenateCase{"InputStaysWithFewerBits", input_and_relu, "tfmot4", "a", "O"},
                    ConcatenateCase{"AndSoDoesItsNeighbour", input_and_relu, "tfmot4", "r", "O"},
                    ConcatenateCase{"InputPassesInNibble", input_and_relu, "int4", "a", "-"},
                    ConcatenateCase{"NormBehindDenseIsNotKnown", dense_norm_and_relu, "tfmot8", "n", "O"},
                    ConcatenateCase{"NorTakenWithItsNeighbour", dense_norm_and_relu, "tfmot8", "r", "O"},
                    ConcatenateCase{"NormBehindDenseInNibble", dense_norm_and_relu, "int8", "n", "-"},
                    ConcatenateCase{"ItsNeighbourInNibble", dense_norm_and_relu, "int8", "r", "-"},
                    ConcatenateCase{"NormBehindConvolution", conv_norm_and_relu, "tfmot8", "n", "-"},
                    ConcatenateCase{"ItsNeighbour", conv_norm_and_relu, "tfmot8", "r", "-"},
                    ConcatenateCase{"SevenAreTooMany", seven_relus, "tfmot8", "r", "O"},
                    ConcatenateCase{"SevenInNibble", seven_relus, "int8", "r", "-"}),
    [](const auto& row) { return row.param.name; });

// ---- a user's configuration -----------------------------------------------------

QuantizeConfigPtr on_kernel(const graph::AffineQuantizer& quantizer, const char* weight = "kernel") {
  return always({.weights = {{weight, quantizer}}});
}
const graph::AffineQuantizer kAllValuesPerAxis{.kind = AffineKind::kAllValues, .num_bits = 4, .per_axis = true};

TEST(Tfmot, AReluTakesAwayTheUsersConfiguration) {
  const Node in = input("in", {8, 8, 3});
  AnnotatedModel annotated = quantize_annotate_model(build_model({in}, {relu(conv(in, "c"), "r")}));
  quantize_annotate_layer(annotated, "c", on_kernel(kAllValuesPerAxis));
  EXPECT_EQ(places(quantize_apply(annotated, scheme_named("tfmot8")), "c"), "-");
  EXPECT_EQ(places(quantize_apply(annotated, scheme_named("tfmot4")), "c"), "-");
  EXPECT_EQ(places(quantize_apply(annotated, scheme_named("int8")), "c"), "W");
}

TEST(Tfmot, ButNotOfOtherClasses) {
  const Node in = input("in", {8, 3});
  const Node x = layer("Conv1D", "c", {{"filters", int64_t{4}}, {"kernel_size", int64_t{3}}})(in);
  AnnotatedModel annotated = quantize_annotate_model(build_model({in}, {relu(x, "r")}));
  quantize_annotate_layer(annotated, "c", on_kernel({.kind = AffineKind::kLastValue}));
  EXPECT_EQ(places(quantize_apply(annotated, scheme_named("tfmot8")), "c"), "W");
}

// ---- what the quantizers make of their arguments --------------------------------

Shape ranges(const Model& model, const char* layer, const char* variable) {
  return model.layer(layer).find_weight(variable)->value.shape();
}

// Seed 2's question, and its answer with TFMOT.
TEST(Tfmot, AllValuesHasOneRangeWhateverPerAxisSays) {
  const Node in = input("in", {32, 32, 3});
  Model model = build_model({in}, {Conv2D({.filters = 32, .kernel_size = {3, 3}, .name = "c"})(in)});
  graph::initialize_weights(model, 1);
  AnnotatedModel annotated = quantize_annotate_model(model);
  quantize_annotate_layer(annotated, "c", on_kernel(kAllValuesPerAxis));
  EXPECT_EQ(ranges(quantize_apply(annotated, scheme_named("tfmot8")), "c", "kernel_min"), Shape{});
  EXPECT_EQ(ranges(quantize_apply(annotated, scheme_named("int8")), "c", "kernel_min"), Shape{32});

  Scheme scheme = scheme_named("tfmot8");
  EXPECT_EQ(ranges(quantize_model(model, scheme), "c", "kernel_min"), Shape{32}) << "LastValue";
  set_quantizer(scheme, "all_values");
  EXPECT_EQ(ranges(quantize_model(model, scheme), "c", "kernel_min"), Shape{});
}

TEST(Tfmot, DepthwiseKernelsHaveARangeForEachMultiplier) {
  const Node in = input("in", {8, 8, 3});
  Model model = build_model({in}, {DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .name = "c"})(in)});
  graph::initialize_weights(model, 1);
  EXPECT_EQ(ranges(quantize_model(model, scheme_named("tfmot8")), "c", "depthwise_kernel_min"), Shape{2});
  EXPECT_EQ(ranges(quantize_model(model, scheme_named("int8")), "c", "depthwise_kernel_min"), Shape{6});
  AnnotatedModel annotated = quantize_annotate_model(model);
  quantize_annotate_layer(annotated, "c",
                          on_kernel({.kind = AffineKind::kLastValue, .per_axis = true}, "depthwise_kernel"));
  EXPECT_EQ(ranges(quantize_apply(annotated, scheme_named("tfmot8")), "c", "depthwise_kernel_min"), Shape{2});
  EXPECT_EQ(ranges(quantize_apply(annotated, scheme_named("int8")), "c", "depthwise_kernel_min"), Shape{6});
}

TEST(Tfmot, FixedHasEightBits) {
  const Node in = input("in", {5});
  AnnotatedModel annotated = quantize_annotate_model(build_model({in}, {dense(in, "d")}));
  quantize_annotate_layer(annotated, "d",
                          fixed_range(always({.post_activation = {.kind = AffineKind::kMovingAverage}}), 4, -1, 1));
  for (const auto& [scheme, bits] : {std::pair("tfmot8", 8), std::pair("tfmot4", 8), std::pair("int4", 4)}) {
    const Model model = quantize_apply(annotated, scheme_named(scheme));
    EXPECT_EQ(model.layer("d").quantization->post_activation.num_bits, bits) << scheme;
  }
  Model model = quantize_model(build_model({in}, {dense(in, "d")}), scheme_named("tfmot4"));
  fix_input_output_range(model, {.num_bits = 4, .compat = affine::TrackerCompat::kTfmot});
  EXPECT_EQ(model.layer("in").quantization->output.num_bits, 8);
  EXPECT_EQ(model.layer("d").quantization->post_activation.num_bits, 8);
}

// ---- the scheme of n bits -------------------------------------------------------

TEST(Tfmot, AllWidthsAreN) {
  const Node in = input("in", {5});
  const Model model =
      quantize_model(build_model({in}, {dense(relu(dense(in, "a"), "r"), "b")}), scheme_named("tfmot4"));
  EXPECT_EQ(model.layer("in").quantization->output.num_bits, 4);
  EXPECT_EQ(model.layer("b").quantization->weights[0].quantizer.num_bits, 4);
  EXPECT_EQ(model.layer("b").quantization->post_activation.num_bits, 4) << "the result too";
  EXPECT_EQ(places(model, "a"), "-");
  EXPECT_EQ(places(model, "r"), "O");
}

TEST(Tfmot, DenseWithBatchNormAndReluIsQuantizedTwiceWithAnyWidth) {
  const Node in = input("in", {5});
  for (const char* scheme : {"tfmot8", "tfmot4"}) {
    const Model model = quantize_model(build_model({in}, {relu(norm(dense(in, "d"), "n"), "r")}), scheme_named(scheme));
    EXPECT_EQ(places(model, "d") + " " + places(model, "n") + " " + places(model, "r"), "W O O") << scheme;
  }
}

TEST(Tfmot, GeluLayersAreKnownWithEightBitsOnly) {
  const Node in = input("in", {5});
  const Model alone = build_model({in}, {Activation({.activation = "gelu", .name = "g"})(in)});
  EXPECT_EQ(places(quantize_model(alone, scheme_named("tfmot8")), "g"), "O");
  EXPECT_EQ(places(quantize_model(alone, scheme_named("int4")), "g"), "O");
  try {
    quantize_model(alone, scheme_named("tfmot4"));
    FAIL() << "was taken";
  } catch (const Unsupported& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("'g'"), HasSubstr("n bits has no Activation layer of gelu")));
  }
  const Model inside = build_model({in}, {dense(in, "d", "gelu")});
  EXPECT_EQ(places(quantize_model(inside, scheme_named("tfmot4")), "d"), "W+P+A");
}

TEST(Tfmot, WidthsTellTheTwoSchemesApart) {
  EXPECT_FALSE(is_tfmot_of_bits(scheme_named("tfmot8")));
  EXPECT_TRUE(is_tfmot_of_bits(scheme_named("tfmot4")));
  EXPECT_TRUE(is_tfmot_of_bits(tfmot_scheme(4, 8)));
  EXPECT_FALSE(is_tfmot_of_bits(scheme_named("int4")));
}

// ---- what the user says besides -------------------------------------------------

TEST(Tfmot, BiasesAreFloatUnlessAskedFor) {
  const Node in = input("in", {5});
  const Model model = build_model({in}, {dense(in, "d")});
  Scheme scheme = scheme_named("tfmot8");
  EXPECT_EQ(quantize_model(model, scheme).layer("d").quantization->bias_bits, 0);
  scheme.bias_bits = 16;
  EXPECT_EQ(quantize_model(model, scheme).layer("d").quantization->bias_bits, 16);
}

}  // namespace
}  // namespace nibble::qat
