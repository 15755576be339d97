// Each layer class with 4-bit weights learns a toy task nearly as well as its float version: at least 95 % of its
// accuracy on samples that neither saw.
//
// A new class is a new row: the task it is given, the float class, the quantized class (the same one where a class has
// no weights), and the attributes that both get. What a row does not say follows:
//   * every weight quantizer of the quantized class is quantized_bits(4,0,1,alpha="auto_po2"), every other quantizer
//     is left out;
//   * a class that learns nothing alone stands behind a convolution, a merge behind two;
//   * relu, or quantized_relu(8,2), follows, then a dense layer, in the quantized network with 4-bit weights;
//   * a row may bring attributes of its quantized class alone.
// A row should take less than 3 seconds.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>

#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/train/trainer.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using Attributes = std::map<std::string, graph::Attribute>;
using Ints = std::vector<int64_t>;

constexpr const char* kWeights = "quantized_bits(4,0,1,alpha=\"auto_po2\")";
constexpr const char* kActivations = "quantized_relu(8,2)";  // the weights are in question, not these

// ---- tasks: three classes each -------------------------------------------------------

enum class Task {
  kImages,     // 8 x 8 stripes: upright, lying, diagonal, with noise
  kSequences,  // 8 points on a circle: turning left, standing, turning right, with noise
  kTokens      // 8 numbers below 9, most of them of one third
};

std::vector<float> image(int label, RandomStream& stream) {
  const auto shift = static_cast<int>(stream.below(2));
  std::vector<float> values;
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) {
      const int phase = label == 0 ? x : (label == 1 ? y : x + y);
      values.push_back(static_cast<float>((phase + shift) / 2 % 2) + 0.5f * stream.uniform());
    }
  }
  return values;
}

std::vector<float> sequence(int label, RandomStream& stream) {
  const float start = 2.0f * std::numbers::pi_v<float> * stream.uniform();
  std::vector<float> values;
  for (int t = 0; t < 8; ++t) {
    const float angle = start + static_cast<float>(t * (label - 1)) * std::numbers::pi_v<float> / 4.0f;
    values.push_back(std::cos(angle) + 0.1f * (stream.uniform() - 0.5f));
    values.push_back(std::sin(angle) + 0.1f * (stream.uniform() - 0.5f));
  }
  return values;
}

std::vector<float> tokens(int label, RandomStream& stream) {
  std::vector<float> values;
  for (int t = 0; t < 8; ++t) {
    const auto third = t < 5 ? static_cast<uint32_t>(label) : stream.below(3);
    values.push_back(static_cast<float>(third * 3 + stream.below(3)));
  }
  return values;
}

Shape shape_of(Task task) {
  return task == Task::kImages ? Shape{8, 8, 1} : (task == Task::kSequences ? Shape{8, 2} : Shape{8});
}

data::Samples samples(Task task, int count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(stream.below(3));
    const auto sample = task == Task::kImages      ? image(label, stream)
                        : task == Task::kSequences ? sequence(label, stream)
                                                   : tokens(label, stream);
    values.insert(values.end(), sample.begin(), sample.end());
    labels.push_back(label);
  }
  return data::Samples(shape_of(task), std::move(values), std::move(labels));
}

// ---- rows ----------------------------------------------------------------------------

struct Row {
  const char* float_class;
  const char* quantized_class;
  Task task;
  Attributes attributes = {};
  Attributes quantized = {};  // of the quantized class alone
};

graph::Attribute text(const char* value) { return std::string(value); }

std::vector<Row> convolution_rows() {
  const Task images = Task::kImages, sequences = Task::kSequences;
  const graph::Attribute one = int64_t{1}, two = int64_t{2}, three = int64_t{3}, eight = int64_t{8};
  const Attributes window = {{"filters", eight}, {"kernel_size", three}};
  const Attributes depthwise = {{"kernel_size", three}, {"depth_multiplier", eight}};
  Attributes causal = window, separable = window, strided = window;
  causal["padding"] = text("causal");
  separable["depth_multiplier"] = eight;
  strided["strides"] = two;
  return {
      {"Conv1D", "QConv1D", sequences, causal},
      {"Conv2D", "QConv2D", images, window},
      {"DepthwiseConv2D", "QDepthwiseConv2D", images, depthwise},
      {"SeparableConv1D", "QSeparableConv1D", sequences, separable},
      {"SeparableConv2D", "QSeparableConv2D", images, separable},
      {"Conv2DTranspose", "QConv2DTranspose", images, strided},
      {"QDepthwiseConv2DTranspose", "QDepthwiseConv2DTranspose", images, {{"filters", one}, {"kernel_size", three}}},
      {"QSeparableConv2DTranspose", "QSeparableConv2DTranspose", images, window},
      {"QScaleShift", "QScaleShift", images},
      {"Dense", "QDense", images, {{"units", eight}}},
  };
}

std::vector<Row> folded_rows() {
  const graph::Attribute three = int64_t{3}, eight = int64_t{8};
  const Attributes window = {{"filters", eight}, {"kernel_size", three}};
  const Attributes folding = {{"folding_mode", text("ema_stats_folding")}, {"momentum", 0.8}};
  return {
      {"Conv2D", "QConv2DBatchnorm", Task::kImages, window, folding},
      {"DepthwiseConv2D",
       "QDepthwiseConv2DBatchnorm",
       Task::kImages,
       {{"kernel_size", three}, {"depth_multiplier", eight}},
       folding},
      {"Dense", "QDenseBatchnorm", Task::kImages, {{"units", eight}}, folding},
      {"BatchNormalization", "QBatchNormalization", Task::kImages},
  };
}

graph::Attribute inner(const char* class_name, Attributes attributes) {
  attributes["units"] = int64_t{8};
  return graph::as_inner_layer(graph::make_layer(class_name, "inner", std::move(attributes)));
}

std::vector<Row> recurrent_rows() {
  const Attributes quantizers = {{"kernel_quantizer", text(kWeights)},
                                 {"recurrent_quantizer", text(kWeights)},
                                 {"activation", text("quantized_tanh(8)")}};
  const Attributes plain_inside = {{"layer", inner("SimpleRNN", {})}};
  const Attributes quantized_inside = {{"layer", inner("QSimpleRNN", quantizers)}};
  const Attributes units = {{"units", int64_t{16}}};
  return {
      {"SimpleRNN", "QSimpleRNN", Task::kSequences, units, {{"activation", text("quantized_tanh(8)")}}},
      {"LSTM", "QLSTM", Task::kSequences, units, {{"activation", text("quantized_tanh(8)")}}},
      {"GRU", "QGRU", Task::kSequences, units, {{"activation", text("quantized_tanh(8)")}}},
      {"Bidirectional", "Bidirectional", Task::kSequences, plain_inside, quantized_inside},
      {"Bidirectional", "QBidirectional", Task::kSequences, plain_inside, quantized_inside},
      {"Embedding", "Embedding", Task::kTokens, {{"input_dim", int64_t{9}}, {"output_dim", int64_t{4}}}},
  };
}

std::vector<Row> weightless_rows() {
  const Task images = Task::kImages, sequences = Task::kSequences;
  const graph::Attribute two = int64_t{2};
  const Attributes pool = {{"pool_size", two}};
  std::vector<Row> rows = {
      {"MaxPooling1D", "MaxPooling1D", sequences, pool},
      {"AveragePooling1D", "AveragePooling1D", sequences, pool},
      {"GlobalMaxPooling1D", "GlobalMaxPooling1D", sequences},
      {"GlobalAveragePooling1D", "GlobalAveragePooling1D", sequences},
      {"MaxPooling2D", "MaxPooling2D", images, pool},
      {"AveragePooling2D", "QAveragePooling2D", images, pool, {{"average_quantizer", text("quantized_bits(8,0,1)")}}},
      {"GlobalMaxPooling2D", "GlobalMaxPooling2D", images},
      {"GlobalAveragePooling2D",
       "QGlobalAveragePooling2D",
       images,
       {},
       {{"average_quantizer", text("quantized_bits(8,0,1)")}}},
      {"Activation",
       "QActivation",
       images,
       {{"activation", text("tanh")}},
       {{"activation", text("quantized_tanh(4)")}}},
      {"Activation",
       "QAdaptiveActivation",
       images,
       {{"activation", text("relu")}},
       {{"activation", text("quantized_relu")}, {"total_bits", int64_t{4}}, {"ema_decay", 0.9}}},
      {"ReLU", "ReLU", images},
      {"LeakyReLU", "LeakyReLU", images},
      {"ELU", "ELU", images},
      {"PReLU", "PReLU", images, {{"shared_axes", Ints{1, 2}}}},
      {"Dropout", "Dropout", images, {{"rate", 0.2}}},
      {"SpatialDropout1D", "SpatialDropout1D", sequences, {{"rate", 0.1}}},
      {"SpatialDropout2D", "SpatialDropout2D", images, {{"rate", 0.1}}},
      {"GaussianDropout", "GaussianDropout", images, {{"rate", 0.2}}},
      {"GaussianNoise", "GaussianNoise", images, {{"stddev", 0.2}}},
      {"AlphaDropout", "AlphaDropout", images, {{"rate", 0.1}}},
      {"UpSampling2D", "UpSampling2D", images, {{"size", two}}},
      {"UpSampling1D", "UpSampling1D", sequences, {{"size", int64_t{2}}}},
      {"ZeroPadding1D", "ZeroPadding1D", sequences, {{"padding", Ints{1, 1}}}},
      {"Cropping1D", "Cropping1D", sequences, {{"cropping", Ints{1, 1}}}},
      {"ZeroPadding2D", "ZeroPadding2D", images, {{"padding", Ints{1, 1, 1, 1}}}},
      {"Cropping2D", "Cropping2D", images, {{"cropping", Ints{1, 1, 1, 1}}}},
      {"Permute", "Permute", images, {{"dims", Ints{2, 3, 1}}}},
      {"Reshape", "Reshape", images, {{"target_shape", Ints{-1, 4}}}},
      {"Flatten", "Flatten", images},
      {"Concatenate", "Concatenate", images},
      {"Dot", "Dot", sequences, {{"axes", Ints{2}}}},
  };
  for (const char* merge : {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}) {
    rows.push_back({merge, merge, images});
  }
  return rows;
}

std::vector<Row> all_rows() {
  std::vector<Row> rows = convolution_rows();
  for (const auto& family : {folded_rows(), recurrent_rows(), weightless_rows()}) {
    rows.insert(rows.end(), family.begin(), family.end());
  }
  return rows;
}

// ---- networks ------------------------------------------------------------------------

// PReLU, batch norms and QScaleShift have weights, but see no pattern by themselves.
bool learns_alone(const std::string& class_name) {
  return graph::find_schema(class_name)->weights != nullptr && class_name != "PReLU" && class_name != "QScaleShift" &&
         !class_name.ends_with("BatchNormalization");
}

Attributes attributes_of(const Row& row, bool quantized) {
  Attributes attributes = row.attributes;
  if (!quantized) return attributes;
  const std::string class_name = row.quantized_class;
  const bool has_defaults = class_name == "QBatchNormalization";
  for (const graph::AttributeSpec& spec : graph::find_schema(row.quantized_class)->attributes) {
    if (spec.weight_quantizer && !has_defaults) attributes[spec.name] = text(kWeights);
  }
  for (const auto& [name, value] : row.quantized) attributes[name] = value;
  return attributes;
}

Node stem(const Node& input, Task task, bool quantized) {
  Attributes attributes = {{"filters", int64_t{8}}, {"kernel_size", int64_t{3}}};
  if (quantized) attributes["kernel_quantizer"] = text(kWeights);
  const std::string class_name = std::string(quantized ? "Q" : "") + (task == Task::kImages ? "Conv2D" : "Conv1D");
  return layer(class_name, "", attributes)(input);
}

// The row's layer, with what it needs before it.
Node tested_layer(const Row& row, const std::string& class_name, bool quantized, const Node& in) {
  const LayerCall tested = layer(class_name, "tested", attributes_of(row, quantized));
  if (class_name.find("Dense") != std::string::npos) return tested(Flatten()(in));
  if (learns_alone(class_name)) return tested(in);
  Node first = stem(in, row.task, quantized);
  // The mean over an image of a linear map sees nothing but the image's mean and its border.
  if (class_name.find("GlobalAverage") != std::string::npos) {
    first = quantized ? QActivation({.activation = kActivations})(first) : Activation({.activation = "relu"})(first);
  }
  if (graph::find_schema(class_name)->min_inputs < 2) return tested(first);
  return tested({first, stem(in, row.task, quantized)});
}

graph::Model network(const Row& row, bool quantized) {
  const std::string class_name = quantized ? row.quantized_class : row.float_class;
  const Node in = Input({.shape = shape_of(row.task).extents(), .name = "input"});
  Node x = tested_layer(row, class_name, quantized, in);
  x = quantized ? QActivation({.activation = kActivations})(x) : Activation({.activation = "relu"})(x);
  x = Flatten({.name = "flat"})(x);
  x = quantized ? QDense({.units = 3, .kernel_quantizer = kWeights})(x) : Dense({.units = 3})(x);
  return build_model({in}, {Activation({.activation = "softmax"})(x)}, "toy");
}

// ---- the test ------------------------------------------------------------------------

class ToyTask : public ::testing::TestWithParam<Row> {};

double trained_accuracy(const Row& row, bool quantized) {
  data::Dataset dataset;
  dataset.num_classes = 3;
  dataset.train = samples(row.task, 600, 1);
  dataset.test = samples(row.task, 300, 2);
  CompileOptions options;
  options.learning_rate = 0.02;
  options.seed = 3;
  FitOptions fit;
  fit.epochs = 10;
  fit.schedule = ScheduleKind::kCosine;
  fit.validate = false;
  Trainer trainer(network(row, quantized), options);
  trainer.fit(dataset, fit);
  return trainer.evaluate(dataset.test).accuracy;
}

TEST_P(ToyTask, IsLearntWithFourBits) {
  const double plain = trained_accuracy(GetParam(), false), quantized = trained_accuracy(GetParam(), true);
  RecordProperty("float_accuracy", std::to_string(plain));
  RecordProperty("quantized_accuracy", std::to_string(quantized));
  EXPECT_GE(plain, 0.8) << "the task must be learnt at all";
  EXPECT_GE(quantized, 0.95 * plain) << "float " << plain << ", quantized " << quantized;
}

INSTANTIATE_TEST_SUITE_P(Layers, ToyTask, ::testing::ValuesIn(all_rows()),
                         [](const auto& row) { return std::string(row.param.quantized_class); });

// The network's own ends, and RNN, whose cells are those of the classes with rows.
TEST(ToyTasks, EveryClassHasARow) {
  std::set<std::string> rows = {"InputLayer", "Softmax", "RNN"};
  for (const Row& row : all_rows()) rows.insert({row.float_class, row.quantized_class});
  for (const std::string& name : graph::known_layers()) EXPECT_TRUE(rows.contains(name)) << name;
}

}  // namespace
}  // namespace nibble::train
