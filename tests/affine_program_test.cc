// Affine networks (nibble qat, nibble ptq) as integer programs: every layer's codes are the network's.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/lowering.h"
#include "nibble/program/program_file.h"
#include "nibble/program/verification.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/qat/quantize_apply.h"
#include "nibble/transform/qat/snap_offsets.h"

namespace nibble {
namespace {

using namespace graph::build;

Node image() { return Input({.shape = {10, 10, 3}, .name = "input"}); }

Node conv(const Node& x, int filters, const std::string& name, const std::string& activation = "linear") {
  return Conv2D({.filters = filters, .kernel_size = {3, 3}, .padding = "same", .activation = activation, .name = name})(
      x);
}

Node classifier(const Node& x, const std::string& activation = "softmax") {
  return Dense({.units = 5, .activation = activation, .name = "dense"})(Flatten({.name = "flatten"})(x));
}

graph::Model plain() {
  const Node in = image();
  Node x = MaxPooling2D({.name = "pool"})(conv(in, 8, "conv0", "relu"));
  x = DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .activation = "relu6", .name = "depthwise"})(x);
  return build_model({in}, {classifier(x)}, "plain");
}

// TFMOT's kernels have a range for each multiplier, not for each channel of the output.
graph::Model depthwise() {
  const Node in = image();
  const Node x =
      DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .activation = "relu", .name = "depthwise"})(
          conv(in, 8, "conv0", "relu"));
  return build_model({in}, {classifier(x)}, "depthwise");
}

// One layer, which is the last.
graph::Model only() {
  const Node in = image();
  return build_model({in}, {classifier(in)}, "only");
}

// Sums of 16-bit codes over 300 inputs take 39 bits or so.
graph::Model wide() {
  const Node in = image();
  const Node x = Dense({.units = 4, .activation = "relu", .name = "hidden"})(Flatten({.name = "flatten"})(in));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "wide");
}

graph::Model batch_norms() {
  const Node in = image();
  Node x = ReLU({.name = "relu0"})(BatchNormalization({.name = "bn0"})(conv(in, 8, "conv0")));
  x = ReLU({.name = "relu1"})(BatchNormalization({.name = "bn1"})(conv(x, 6, "conv1")));
  return build_model({in}, {classifier(x, "linear")}, "batch_norms");
}

graph::Model averages() {
  const Node in = image();
  Node x = layer("LeakyReLU", "leaky", {{"negative_slope", 0.25}})(conv(in, 8, "conv0"));
  x = layer("AveragePooling2D", "mean", {{"pool_size", std::vector<int64_t>{2, 2}}})(x);
  x = GlobalAveragePooling2D({.name = "global"})(conv(x, 6, "conv1", "relu"));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "averages");
}

graph::Model averages_at_borders() {
  const Node in = image();
  const auto mean = [](const Node& x, const std::string& name, int64_t size, int64_t stride) {
    return layer("AveragePooling2D", name,
                 {{"pool_size", std::vector<int64_t>{size, size}},
                  {"strides", std::vector<int64_t>{stride, stride}},
                  {"padding", "same"}})(x);
  };
  const Node x = mean(conv(mean(conv(in, 8, "conv0", "relu"), "mean0", 3, 1), 6, "conv1"), "mean1", 3, 2);
  return build_model({in}, {classifier(x)}, "averages_at_borders");
}

graph::Model branches() {
  const Node in = image();
  const Node both = Concatenate({.name = "both"})({conv(in, 4, "a", "relu"), conv(in, 3, "b")});
  return build_model({in}, {classifier(Dropout({.rate = 0.5, .name = "dropout"})(both))}, "branches");
}

// Both inputs of the first Add have ranges of their own; the second adds three.
graph::Model residual() {
  const Node in = image();
  const Node first = conv(in, 6, "conv0", "relu"), second = conv(first, 6, "conv1");
  const Node sum = ReLU({.name = "relu0"})(layer("Add", "sum0")(std::vector<Node>{first, second}));
  const Node third = conv(sum, 6, "conv2", "relu");
  const Node all = layer(
      "Add", "sum1")(std::vector<Node>{MaxPooling2D({.name = "pool0"})(sum), MaxPooling2D({.name = "pool1"})(third),
                                       MaxPooling2D({.name = "pool2"})(second)});
  return build_model({in}, {classifier(all)}, "residual");
}

graph::Model curves() {
  const Node in = image();
  Node x =
      Activation({.activation = "swish", .name = "swish"})(BatchNormalization({.name = "bn"})(conv(in, 8, "conv0")));
  x = conv(conv(x, 6, "conv1", "tanh"), 6, "conv2", "gelu");
  x = Activation({.activation = "sigmoid", .name = "gate"})(conv(x, 4, "conv3"));
  return build_model({in}, {classifier(x, "sigmoid")}, "curves");
}

graph::Model slopes() {
  const Node in = image();
  const Node x = ELU({.alpha = 0.7, .name = "elu"})(conv(in, 6, "conv0"));
  return build_model({in}, {classifier(PReLU({.shared_axes = {1, 2}, .name = "prelu"})(conv(x, 5, "conv1")))},
                     "slopes");
}

// What reads moved codes sums codes.
graph::Model moves() {
  const Node in = image();
  Node x = UpSampling2D({.size = {1, 2}, .name = "up"})(conv(in, 6, "conv0", "relu"));
  x = conv(Cropping2D({.cropping = {1, 0, 2, 3}, .name = "crop"})(x), 5, "conv1", "relu");
  x = conv(Permute({.dims = {2, 1, 3}, .name = "turn"})(x), 4, "conv2", "relu");
  return build_model({in}, {classifier(Permute({.dims = {3, 1, 2}, .name = "channels"})(x))}, "moves");
}

// Layers that give their input's values in inference.
graph::Model maxima() {
  const Node in = image();
  Node x = SpatialDropout2D({.rate = 0.25, .name = "drop"})(conv(in, 6, "conv0", "relu"));
  x = Activation({.activation = "linear", .name = "linear"})(conv(x, 5, "conv1", "relu"));
  x = GlobalMaxPooling2D({.name = "global"})(conv(x, 5, "conv2", "relu"));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "maxima");
}

// Ranges of their own, so that codes are compared on the output's grid.
graph::Model extremes() {
  const Node in = image();
  const Node first = conv(in, 6, "conv0", "relu"), second = conv(first, 6, "conv1");
  const Node largest = layer("Maximum", "largest")(std::vector<Node>{first, second});
  const Node smallest = layer("Minimum", "smallest")(std::vector<Node>{conv(largest, 6, "conv2"), second, first});
  return build_model({in}, {classifier(conv(smallest, 4, "conv3"))}, "extremes");
}

// What reads the codes of a transposed convolution sums codes too.
graph::Model transposed() {
  const Node in = image();
  Node x = MaxPooling2D({.name = "pool"})(conv(in, 6, "conv0", "relu"));
  x = Conv2DTranspose(
      {.filters = 5, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .activation = "relu", .name = "up0"})(
      x);
  x = conv(x, 4, "conv1", "relu");
  x = Conv2DTranspose({.filters = 4, .kernel_size = {2, 3}, .strides = {3, 1}, .name = "up1"})(x);
  return build_model({in}, {classifier(x)}, "transposed");
}

Tensor samples(int64_t count, uint32_t number, float largest = 1.0f) {
  Tensor x(Shape{count, 10, 10, 3});
  RandomStream random({12, RandomPurpose::kTest, number, 0});
  for (float& value : x.data()) value = (2 * random.uniform() - 1) * largest;
  return x;
}

// Statistics and biases at random, ranges from some batches.
graph::Model calibrated(graph::Model model, const qat::Scheme& scheme, float largest = 1.0f) {
  graph::initialize_weights(model, 11);
  for (graph::Layer& layer : model.layers) {
    RandomStream random({11, RandomPurpose::kTest, static_cast<uint32_t>(layer.name.size()), 0});
    for (graph::Weight& weight : layer.weights) {
      for (float& value : weight.value.data()) {
        if (weight.name == "moving_variance") value = 0.2f + random.uniform();
        const bool is_signed =
            weight.name == "gamma" || weight.name == "beta" || weight.name == "bias" || weight.name == "alpha";
        if (is_signed) value = 2 * random.uniform() - 1;
      }
    }
  }
  train::Trainer trainer(qat::quantize_model(model, scheme), {});
  const Tensor x = samples(64, 1, largest);
  const std::vector<float> values(x.data().begin(), x.data().end());
  trainer.calibrate(data::Samples(Shape{10, 10, 3}, values, std::vector<int32_t>(64, 0)), 32, 2);
  return trainer.model();
}

// Every integer of the program is the network's.
void expect_the_networks_codes(const program::Program& program, const graph::Model& model, const Tensor& x,
                               size_t least_compared) {
  program::Verifier verifier(program);
  std::map<std::string, train::Trainer> networks;
  networks.emplace("", train::Trainer(model, {}));
  for (const std::string& layer : verifier.layers()) {
    networks.emplace(layer, train::Trainer(program::network_up_to(model, layer), {}));
  }
  verifier.add(x, [&](const std::string& layer, const Tensor& batch) { return networks.at(layer).predict(batch); });
  EXPECT_GE(verifier.result().layers.size(), least_compared);
  for (const program::LayerComparison& layer : verifier.result().layers) {
    EXPECT_EQ(layer.differing, 0) << layer.layer << " of " << layer.values << ", first at "
                                  << (layer.first ? layer.first->element : -1) << ": "
                                  << (layer.first ? layer.first->expected : 0) << " in the network, "
                                  << (layer.first ? layer.first->found : 0) << " in the program";
  }
  EXPECT_EQ(verifier.result().same_class, verifier.result().samples);
}

struct Case {
  std::string name;
  std::function<graph::Model()> build;
  std::string scheme, quantizer;
  bool per_axis = true;
  qat::BatchNormMode batch_norm = qat::BatchNormMode::kFloat;
  size_t least_compared = 2;  // layers with codes of their own
};

class AffineProgram : public testing::TestWithParam<Case> {};

TEST_P(AffineProgram, HasTheNetworksCodes) {
  const Case& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, c.quantizer);
  scheme.per_axis = c.per_axis;
  scheme.batch_norm = c.batch_norm;
  const graph::Model trained = calibrated(c.build(), scheme);
  graph::Model model = qat::unfold_batch_norms(trained);
  const Tensor x = samples(200, 2);
  const Tensor before = train::Trainer(trained, {}).predict(x), after = train::Trainer(model, {}).predict(x);
  int64_t moved = 0;
  for (int64_t i = 0; i < after.size(); ++i) moved += std::abs(after[i] - before[i]) > 0.1f ? 1 : 0;
  EXPECT_LE(moved, after.size() / 20) << "unfolding changes a bias by half a step of its grid at most";
  const bool has_offsets = !qat::snap_offsets(model).empty();
  EXPECT_EQ(has_offsets, c.quantizer == "lsq_plus");
  const auto path = std::filesystem::path(testing::TempDir()) / ("affine_" + c.name + ".nbl");
  program::save_program(program::lower(model), path);
  const program::Program program = program::load_program(path);
  EXPECT_EQ(program::input_quantizer(program, model), nullptr) << "the model has its own";
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    EXPECT_TRUE(sum == nullptr || sum->is_exact_in_float) << operation.layer << ": the network sums codes too";
  }

  expect_the_networks_codes(program, model, x, c.least_compared);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, AffineProgram,
    testing::Values(
        Case{"Eight", plain, "int8", "moving_average"}, Case{"Four", plain, "int4", "moving_average"},
        Case{"EightOnly", only, "int8", "moving_average", true, qat::BatchNormMode::kFloat, 1},
        Case{"FourOnlyLsq", only, "int4", "lsq", true, qat::BatchNormMode::kFloat, 1},
        Case{"FourPerTensor", plain, "int4", "all_values", false}, Case{"FourLsq", plain, "int4", "lsq"},
        Case{"TwoLsq", plain, "int2", "lsq"}, Case{"Tfmot", batch_norms, "tfmot8", "moving_average"},
        Case{"TfmotDepthwise", depthwise, "tfmot8", "moving_average"},
        Case{"EightBatchNorms", batch_norms, "int8", "moving_average"},
        Case{"FourBatchNorms", batch_norms, "int4", "lsq"},
        Case{"FourFoldedBatchNorms", batch_norms, "int4", "moving_average", true, qat::BatchNormMode::kFoldRunning},
        Case{"EightAverages", averages, "int8", "moving_average"}, Case{"FourAverages", averages, "int4", "last_value"},
        Case{"EightAveragesAtBorders", averages_at_borders, "int8", "moving_average"},
        Case{"FourAveragesAtBorders", averages_at_borders, "int4", "lsq"},
        Case{"EightResidual", residual, "int8", "moving_average"}, Case{"FourResidual", residual, "int4", "lsq"},
        Case{"TfmotResidual", residual, "tfmot8", "moving_average"}, Case{"TwoPactResidual", residual, "int2", "pact"},
        Case{"EightBranches", branches, "int8", "moving_average"}, Case{"EightPact", plain, "int8", "pact"},
        Case{"FourPactBatchNorms", batch_norms, "int4", "pact"}, Case{"TwoPactBranches", branches, "int2", "pact"},
        Case{"EightCurves", curves, "int8", "moving_average"}, Case{"FourCurves", curves, "int4", "lsq"},
        Case{"EightLsqPlusCurves", curves, "int8", "lsq_plus"},
        Case{"FourLsqPlusAverages", averages, "int4", "lsq_plus"}, Case{"EightDorefa", plain, "int8", "dorefa"},
        Case{"FourDorefaBatchNorms", batch_norms, "int4", "dorefa"},
        Case{"TwoDorefaAverages", averages, "int2", "dorefa"},
        Case{"SixteenWide", wide, "int16", "moving_average", true, qat::BatchNormMode::kFloat, 1},
        Case{"EightSlopes", slopes, "int8", "moving_average"}, Case{"FourSlopes", slopes, "int4", "lsq"},
        Case{"EightMoves", moves, "int8", "moving_average"}, Case{"FourMoves", moves, "int4", "lsq"},
        Case{"EightMaxima", maxima, "int8", "moving_average"}, Case{"FourMaxima", maxima, "int4", "lsq"},
        Case{"EightExtremes", extremes, "int8", "moving_average"}, Case{"FourExtremes", extremes, "int4", "lsq"},
        Case{"EightTransposed", transposed, "int8", "moving_average", true, qat::BatchNormMode::kFloat, 4},
        Case{"FourTransposed", transposed, "int4", "lsq", true, qat::BatchNormMode::kFloat, 4},
        Case{"EightTransposedPerTensor", transposed, "int8", "moving_average", false, qat::BatchNormMode::kFloat, 4}),
    [](const auto& row) { return row.param.name; });

// Steps of 2^k, so that every other sum or so lies in the middle between two codes: halves go up where the network
// knows its sums, to the even code where it has real numbers, and the program does likewise.
void make_ties(graph::Model& model) {
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      if (!weight.name.ends_with("_step")) continue;
      for (float& step : weight.value.data()) step = std::exp2(std::round(std::log2(step)));
    }
  }
}

// Biases of 0 that are no codes: the network adds them as real numbers.
graph::Model without_biases() {
  const Node in = image();
  return build_model({in}, {classifier(conv(conv(in, 8, "conv0", "relu"), 6, "conv1", "relu6"))}, "without_biases");
}

struct TieCase {
  std::string name;
  std::function<graph::Model()> build;
  std::string scheme;
  bool has_biases = true;
};

class Ties : public testing::TestWithParam<TieCase> {};

TEST_P(Ties, FallToTheSameSide) {
  const TieCase& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, "lsq");
  if (!c.has_biases) scheme.bias_bits = 0;
  graph::Model model = qat::unfold_batch_norms(calibrated(c.build(), scheme));
  for (graph::Layer& layer : model.layers) {
    graph::Weight* bias = c.has_biases ? nullptr : layer.find_weight("bias");
    if (bias != nullptr) bias->value = Tensor(bias->value.shape());
  }
  make_ties(model);
  expect_the_networks_codes(program::lower(model), model, samples(100, 3), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Ties,
    testing::Values(TieCase{"Plain", plain, "int4"}, TieCase{"FloatBiases", without_biases, "int4", false},
                    TieCase{"Transposed", transposed, "int4"}, TieCase{"PlainEight", plain, "int8"},
                    TieCase{"BatchNorms", batch_norms, "int4"}, TieCase{"Averages", averages, "int4"},
                    TieCase{"AveragesAtBorders", averages_at_borders, "int4"}, TieCase{"Residual", residual, "int4"},
                    TieCase{"Branches", branches, "int4"}, TieCase{"Slopes", slopes, "int4"},
                    TieCase{"Moves", moves, "int4"}, TieCase{"Maxima", maxima, "int4"},
                    TieCase{"Extremes", extremes, "int4"}),
    [](const auto& row) { return row.param.name; });

// Multiplier and shift instead of thresholds: where sums are on grids and ReLUs alone stand before the quantizers, the
// network rounds by them itself.
class Single : public testing::TestWithParam<Case> {};

TEST_P(Single, IsWhatTheNetworkDoes) {
  const Case& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, c.quantizer);
  scheme.per_axis = c.per_axis;
  const graph::Model model = qat::unfold_batch_norms(calibrated(c.build(), scheme));
  program::LoweringOptions options;
  options.rounding = affine::Rounding::kSingle;
  const program::Program program = program::lower(model, options);
  size_t rules = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* compare = std::get_if<program::Compare>(&operation.action);
    if (compare == nullptr) continue;
    EXPECT_TRUE(compare->rule) << operation.layer << " keeps its thresholds";
    rules += compare->rule ? 1 : 0;
  }
  EXPECT_GE(rules, c.least_compared);
  expect_the_networks_codes(program, model, samples(500, 4), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Single,
    testing::Values(Case{"Eight", plain, "int8", "moving_average"}, Case{"Four", plain, "int4", "moving_average"},
                    Case{"EightPerTensor", plain, "int8", "all_values", false}, Case{"EightLsq", plain, "int8", "lsq"},
                    Case{"EightPact", plain, "int8", "pact"}, Case{"EightResidual", residual, "int8", "moving_average"},
                    Case{"EightBranches", branches, "int8", "moving_average"},
                    Case{"EightAveragesAtBorders", averages_at_borders, "int8", "moving_average"},
                    Case{"EightMoves", moves, "int8", "moving_average"},
                    Case{"EightMaxima", maxima, "int8", "moving_average"}),
    [](const auto& row) { return row.param.name; });

// Beyond what other quantizers are asked for at the most (outermost_codes.h).
TEST(AffineProgram, HasAllCodesOfRangesBeyond1e30) {
  constexpr float kLargest = 4e31f;
  const graph::Model model = qat::unfold_batch_norms(calibrated(wide(), qat::scheme_named("int8"), kLargest));
  for (const auto rounding : {std::optional<affine::Rounding>(), std::optional(affine::Rounding::kSingle)}) {
    program::LoweringOptions options;
    options.rounding = rounding;
    const program::Program program = program::lower(model, options);
    const program::Interval input = program.operations.at(0).result.hull();
    EXPECT_EQ(input.high - input.low, 255);
    expect_the_networks_codes(program, model, samples(200, 5, kLargest), 2);
  }
}

// The network sums 16-bit codes in double, the program in 64 bits.
TEST(AffineProgram, SumsBeyond32Bits) {
  qat::Scheme scheme = qat::scheme_named("int16");
  const program::Program program = program::lower(qat::unfold_batch_norms(calibrated(wide(), scheme)));
  int widest = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    if (sum != nullptr) widest = std::max(widest, sum->accumulator_bits());
  }
  EXPECT_GT(widest, 32);
}

template <class Kind>
std::string message(const graph::Model& model) {
  try {
    program::lower(model);
  } catch (const Kind& error) {
    return error.what();
  }
  return "(was lowered)";
}

TEST(AffineProgram, Refuses) {
  graph::Model model = plain();
  graph::initialize_weights(model, 1);
  EXPECT_NE(message<Unsupported>(model).find("'nibble qat'"), std::string::npos) << message<Unsupported>(model);
  const graph::Model fresh = qat::quantize_model(model);
  EXPECT_NE(message<InvalidArgument>(fresh).find("still the one it started with"), std::string::npos);
  qat::Scheme scheme;
  qat::set_quantizer(scheme, "lsq_plus");
  graph::Model offset = calibrated(plain(), scheme);
  offset.layer("conv0").find_weight("post_activation_offset")->value[0] = 0.1f;
  const std::string text = message<Unsupported>(offset);
  EXPECT_NE(text.find("real 0 has no code"), std::string::npos) << text;
  qat::set_quantizer(scheme, "pact");
  graph::Model clipped = calibrated(plain(), scheme);
  clipped.layer("conv0").find_weight("post_activation_alpha")->value[0] = -1.0f;
  EXPECT_NE(message<InvalidArgument>(clipped).find("clipping level of -1"), std::string::npos);
}

// What TFMOT's layout leaves float is told by its points, and what quantizes it.
TEST(AffineProgram, SaysWhatTfmotLeavesOut) {
  const Node in = image();
  const Node separate = ReLU({.name = "relu0"})(conv(in, 6, "conv0"));
  const auto lowered = [](const Node& in, const Node& out, const char* scheme) {
    return message<Unsupported>(
        qat::unfold_batch_norms(calibrated(build_model({in}, {out}, "model"), qat::scheme_named(scheme))));
  };
  const std::string text = lowered(in, classifier(separate), "tfmot8");
  EXPECT_NE(text.find("layer 'conv0' (Conv2D) has no point 'kernel'"), std::string::npos) << text;
  EXPECT_NE(text.find("'nibble qat --scheme int8'"), std::string::npos) << text;
  EXPECT_EQ(lowered(in, classifier(separate), "int8"), "(was lowered)");
  EXPECT_EQ(lowered(in, classifier(conv(in, 6, "conv0", "relu")), "tfmot8"), "(was lowered)");
  // A sigmoid is quantized before, not behind.
  const std::string sigmoid = lowered(in, classifier(conv(in, 6, "conv0", "sigmoid")), "tfmot8");
  EXPECT_NE(sigmoid.find("the point 'output' of 'conv0', or 'post_activation', which it lacks"), std::string::npos)
      << sigmoid;
}

// A wrong code of the last layer is told, though the classes stay.
TEST(AffineProgram, TheLastLayerIsComparedBeforeItsSoftmax) {
  const graph::Model model = calibrated(only(), qat::scheme_named("int8"));
  program::Program program = program::lower(model);
  EXPECT_EQ(program::Verifier(program).layers(), std::vector<std::string>{"dense"});
  auto& compare = std::get<program::Compare>(program.operations.back().action);
  for (int32_t& value : compare.values) ++value;
  program::Verifier verifier(program);
  train::Trainer whole(model, {}), dense(program::network_up_to(model, "dense"), {});
  const Tensor x = samples(50, 6);
  verifier.add(x, [&](const std::string& layer, const Tensor& batch) {
    return layer.empty() ? whole.predict(batch) : dense.predict(batch);
  });
  EXPECT_EQ(verifier.result().differing(), 250);
  EXPECT_EQ(verifier.result().same_class, 50);
  EXPECT_FALSE(verifier.result().is_equal());
}

// The program's integers end before a softmax: a point behind it has none.
TEST(AffineProgram, RefusesAPointBehindTheSoftmax) {
  graph::Model model = calibrated(only(), qat::scheme_named("int8"));
  graph::LayerQuantization quantization = *model.layer("dense").quantization;
  quantization.pre_activation = {};
  quantization.output = {.kind = graph::AffineKind::kDorefa};
  graph::set_quantization(model, "dense", quantization);
  const std::string text = message<Unsupported>(model);
  EXPECT_NE(text.find("layer 'dense': its point 'output' quantizes what the softmax gives"), std::string::npos) << text;
  EXPECT_NE(text.find("'pre_activation'"), std::string::npos) << text;
}

// Weights of one bit are -1 and 1 times their mean magnitude.
TEST(AffineProgram, TakesDorefaWeightsOfOneBit) {
  qat::Scheme scheme = qat::scheme_named("int2");
  qat::set_quantizer(scheme, "dorefa");
  graph::Model model = calibrated(plain(), scheme);
  for (const char* name : {"conv0", "dense"}) {
    graph::LayerQuantization quantization = *model.layer(name).quantization;
    quantization.weights.at(0).quantizer.num_bits = 1;
    graph::set_quantization(model, name, quantization);
  }
  const program::Program program = program::lower(model);
  int found = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    if (sum == nullptr || operation.layer == "depthwise") continue;
    ++found;
    const Tensor& kernel = model.layer(operation.layer).find_weight("kernel")->value;
    for (size_t i = 0; i < sum->weights.size(); ++i) {
      EXPECT_EQ(sum->weights[i], kernel[static_cast<int64_t>(i)] >= 0.0f ? 1 : -1);
    }
  }
  EXPECT_EQ(found, 2);
}

}  // namespace
}  // namespace nibble
