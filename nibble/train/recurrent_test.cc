// Recurrent layers: gradients against differences, files, layers inside others, and learning.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/train/network.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using graph::Attribute;
using graph::Layer;
using graph::make_layer;
using graph::OpaqueJson;
using Attributes = std::map<std::string, Attribute>;

constexpr int64_t kSteps = 4, kFeatures = 3;

struct RecurrentCase {
  const char* name;
  const char* class_name;
  Attributes attributes;
};

Attributes with(Attributes a, const Attributes& more) {
  for (const auto& [key, value] : more) a[key] = value;
  return a;
}

const Attributes kUnits = {{"units", int64_t{4}}};
const Attributes kFourBits = {{"units", int64_t{4}},
                              {"kernel_quantizer", "quantized_bits(4,0,1,alpha=1.0)"},
                              {"recurrent_quantizer", "quantized_bits(4,0,1,alpha=1.0)"},
                              {"bias_quantizer", "quantized_bits(4,0,1)"},
                              {"state_quantizer", "quantized_bits(8,0,1)"}};

Layer inner(const char* class_name, const Attributes& attributes) {
  return make_layer(class_name, "inner", attributes);
}

Attribute lstm_inside() { return graph::as_inner_layer(inner("LSTM", kUnits)); }

std::vector<RecurrentCase> smooth_cases() {
  return {
      {"SimpleRNN", "SimpleRNN", kUnits},
      {"LSTM", "LSTM", kUnits},
      {"LSTMWithoutBiasBackwards", "LSTM", with(kUnits, {{"use_bias", false}, {"go_backwards", true}})},
      {"GRU", "GRU", kUnits},
      {"GRUResetBefore", "GRU", with(kUnits, {{"reset_after", false}})},
      {"Sequences", "GRU", with(kUnits, {{"return_sequences", true}})},
      {"CellInRNN", "RNN", {{"cell", graph::as_cell(inner("LSTM", kUnits))}, {"return_sequences", true}}},
      {"BidirectionalConcat", "Bidirectional", {{"layer", lstm_inside()}}},
      {"BidirectionalSum", "Bidirectional", {{"layer", lstm_inside()}, {"merge_mode", "sum"}}},
      {"BidirectionalMul", "Bidirectional", {{"layer", lstm_inside()}, {"merge_mode", "mul"}}},
      {"BidirectionalAve", "Bidirectional", {{"layer", lstm_inside()}, {"merge_mode", "ave"}}},
  };
}

std::vector<RecurrentCase> quantized_cases() {
  return {
      {"QSimpleRNN", "QSimpleRNN", kFourBits},
      {"QLSTM", "QLSTM", kFourBits},
      {"QGRU", "QGRU", kFourBits},
      {"QGRUResetAfter", "QGRU", with(kFourBits, {{"reset_after", true}, {"return_sequences", true}})},
      {"QLSTMCellInRNN", "RNN", {{"cell", graph::as_cell(inner("QLSTM", kFourBits))}}},
      {"QBidirectional", "QBidirectional", {{"layer", graph::as_inner_layer(inner("QGRU", kFourBits))}}},
  };
}

graph::Model model_of(const RecurrentCase& row) {
  using namespace graph::build;
  const Node in = Input({.shape = {kSteps, kFeatures}, .name = "input"});
  graph::Model model = build_model({in}, {layer(row.class_name, "it", row.attributes)(in)}, "sequences");
  graph::initialize_weights(model, 11);
  return model;
}

at::Tensor test_input(int64_t batch) {
  at::Tensor x = at::empty({batch, kSteps, kFeatures}, at::kFloat);
  RandomStream stream({3, RandomPurpose::kTest, 1, 0});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = stream.uniform() * 2 - 1;
  return x;
}

class Smooth : public ::testing::TestWithParam<RecurrentCase> {};
class AnyRecurrent : public ::testing::TestWithParam<RecurrentCase> {};

const auto kCaseName = [](const auto& row) { return std::string(row.param.name); };

TEST_P(Smooth, GradientEqualsDifferences) {
  Network network(model_of(GetParam()), true, 5);
  const at::Tensor x = test_input(6);
  const auto loss = [&] { return network.forward(x, Pass::kTraining, 1, false).pow(2).sum(at::kDouble); };
  loss().backward();
  int compared = 0;
  for (const Parameter& p : network.parameters()) {
    ASSERT_TRUE(p.value.grad().defined());
    for (int64_t i = 0; i < p.value.numel(); i += 3, ++compared) {
      const at::NoGradGuard no_gradient;
      float& w = p.value.data_ptr<float>()[i];
      const float before = w, h = 1e-2f;
      w = before + h;
      const double above = loss().item<double>();
      w = before - h;
      const double below = loss().item<double>();
      w = before;
      const double numeric = (above - below) / (2 * h);
      const double analytic = p.value.grad().flatten()[i].item<double>();
      // Central differences: about h^2 and ulp/h.
      EXPECT_NEAR(analytic, numeric, 1e-3 * std::max(1.0, std::abs(numeric)));
    }
  }
  EXPECT_GE(compared, 10);
}
INSTANTIATE_TEST_SUITE_P(Recurrent, Smooth, ::testing::ValuesIn(smooth_cases()), kCaseName);

std::vector<RecurrentCase> all_cases() {
  std::vector<RecurrentCase> rows = smooth_cases();
  for (RecurrentCase& row : quantized_cases()) rows.push_back(std::move(row));
  return rows;
}

TEST_P(AnyRecurrent, SavedAndLoadedPredictsTheSameBits) {
  const graph::Model model = model_of(GetParam());
  const at::NoGradGuard no_gradient;
  const at::Tensor x = test_input(5);
  const at::Tensor y = Network(model, true, 5).forward(x, Pass::kInference, 0, false);
  for (const char* ending : {".keras", ".h5", ".json"}) {
    const auto path = testing::scratch_dir("recurrent") / (std::string(GetParam().name) + ending);
    formats::keras::save_model(model, path);
    const graph::Model loaded = formats::keras::load_model(path);
    EXPECT_TRUE(loaded == model) << ending;
    EXPECT_TRUE(at::equal(Network(loaded, true, 5).forward(x, Pass::kInference, 0, false), y)) << ending;
  }
}
INSTANTIATE_TEST_SUITE_P(Recurrent, AnyRecurrent, ::testing::ValuesIn(all_cases()), kCaseName);

TEST(Recurrent, ACellInAnRnnIsTheLayer) {
  const Attributes more = {{"go_backwards", true}};
  for (const char* name : {"SimpleRNN", "LSTM", "GRU", "QSimpleRNN", "QLSTM", "QGRU"}) {
    const Attributes& attributes = name[0] == 'Q' ? kFourBits : kUnits;
    const graph::Model plain = model_of({"", name, with(attributes, more)});
    graph::Model model = model_of({"", "RNN", with({{"cell", graph::as_cell(inner(name, attributes))}}, more)});
    EXPECT_TRUE(model.layer("it").weights == plain.layer("it").weights) << name;
    const at::NoGradGuard no_gradient;
    const at::Tensor x = test_input(5);
    EXPECT_TRUE(at::equal(Network(model, true, 5).forward(x, Pass::kInference, 0, false),
                          Network(plain, true, 5).forward(x, Pass::kInference, 0, false)))
        << name;
  }
}

// Both directions with the same weights, on a sequence that reads the same from both ends.
TEST(Recurrent, DirectionsMeetAtTheSameStep) {
  const Attribute sequences = graph::as_inner_layer(inner("GRU", with(kUnits, {{"return_sequences", true}})));
  graph::Model model = model_of({"", "Bidirectional", {{"layer", sequences}}});
  Layer& layer = model.layer("it");
  for (size_t i = 0; i < 3; ++i) layer.weights[i + 3].value = layer.weights[i].value;
  const at::Tensor half = test_input(2).slice(1, 0, kSteps / 2);
  const at::NoGradGuard no_gradient;
  const at::Tensor y = Network(model, true, 5).forward(at::cat({half, half.flip({1})}, 1), Pass::kInference, 0, false);
  EXPECT_TRUE(at::equal(y.slice(2, 0, 4), y.slice(2, 4).flip({1})));
}

TEST(Recurrent, WhatStandsInsideABidirectionalHolds) {
  Layer gru = inner("QGRU", with(kFourBits, {{"recurrent_constraint", OpaqueJson{R"("non_neg")"}},
                                             {"kernel_regularizer", OpaqueJson{R"("l2")"}}}));
  const Network network(model_of({"", "QBidirectional", {{"layer", graph::as_inner_layer(gru)}}}), true, 5);
  ASSERT_EQ(network.parameters().size(), 6u);
  for (size_t first : {0u, 3u}) {
    EXPECT_EQ(network.parameters()[first].constraint.kind, graph::Constraint::Kind::kClip);
    EXPECT_EQ(network.parameters()[first].regularizer.l2, 0.01);
    EXPECT_EQ(network.parameters()[first + 1].constraint.kind, graph::Constraint::Kind::kNonNeg);
  }
  gru.trainable = false;
  const Network frozen(model_of({"", "QBidirectional", {{"layer", graph::as_inner_layer(gru)}}}), true, 5);
  for (const Parameter& p : frozen.parameters()) EXPECT_FALSE(p.trainable);
}

TEST(Recurrent, DropoutIsForTrainingAndKeyed) {
  const Attributes rates = with(kUnits, {{"dropout", 0.4}, {"recurrent_dropout", 0.4}});
  Network network(model_of({"", "LSTM", rates}), true, 5);
  Network without(model_of({"", "LSTM", kUnits}), true, 5);
  const at::NoGradGuard no_gradient;
  const at::Tensor x = test_input(5);
  const auto run = [&](Network& n, Pass pass, uint32_t step) { return n.forward(x, pass, step, false); };
  EXPECT_TRUE(at::equal(run(network, Pass::kInference, 1), run(without, Pass::kInference, 1)));
  EXPECT_FALSE(at::equal(run(network, Pass::kTraining, 1), run(without, Pass::kTraining, 1)));
  EXPECT_TRUE(at::equal(run(network, Pass::kTraining, 1), run(network, Pass::kTraining, 1)));
  EXPECT_FALSE(at::equal(run(network, Pass::kTraining, 1), run(network, Pass::kTraining, 2)));
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Recurrent, RefusesInSentences) {
  const auto without_bias = graph::as_inner_layer(inner("GRU", with(kUnits, {{"use_bias", false}})));
  const struct {
    const char* class_name;
    Attributes attributes;
    const char* said;
  } rows[] = {
      {"LSTM", with(kUnits, {{"stateful", true}}), "'stateful' is true"},
      {"LSTM", with(kUnits, {{"return_state", true}}), "'return_state' is true"},
      {"LSTM", {}, "units"},
      {"RNN", {}, "needs the attribute 'cell'"},
      {"RNN", {{"cell", OpaqueJson{"[1, 2]"}}}, "its cell is [1,2]"},
      {"RNN", {{"cell", OpaqueJson{R"({"class_name": "StackedRNNCells"})"}}}, "its cell is StackedRNNCells"},
      {"RNN", {{"cell", OpaqueJson{R"({"class_name": "LSTMCell"})"}}}, "needs class_name, config and a name"},
      {"Bidirectional", {{"layer", lstm_inside()}, {"merge_mode", "none"}}, "merge_mode"},
      {"Bidirectional", {{"layer", lstm_inside()}, {"backward_layer", without_bias}}, "the same use_bias"},
  };
  for (const auto& row : rows) {
    const std::string message = message_of([&] { make_layer(row.class_name, "it", row.attributes); });
    EXPECT_NE(message.find(row.said), std::string::npos) << message;
  }
}

TEST(Recurrent, EmbeddingLooksUpAndRefusesOtherRows) {
  using namespace graph::build;
  const Node in = Input({.shape = {2}, .name = "input"});
  const Node x = layer("Embedding", "it", {{"input_dim", int64_t{5}}, {"output_dim", int64_t{3}}})(in);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 1);
  Network network(model, true, 5);
  const at::Tensor y = network.forward(at::tensor({4.0f, 0.0f}).reshape({1, 2}), Pass::kTraining, 0, false);
  const at::Tensor table = network.parameters()[0].value;
  EXPECT_TRUE(at::equal(y[0], at::stack({table[4], table[0]})));
  y.sum().backward();
  const at::Tensor expected = at::tensor({1.0f, 0.0f, 0.0f, 0.0f, 1.0f}).reshape({5, 1}).expand({5, 3});
  EXPECT_TRUE(at::equal(table.grad(), expected));
  for (const float row : {-1.0f, 5.0f}) {
    const at::Tensor indices = at::tensor({row, 0.0f}).reshape({1, 2});
    EXPECT_THROW(network.forward(indices, Pass::kInference, 0, false), InvalidArgument);
  }
}

// ---- learning ---------------------------------------------------------------------------

// Is the first step's first feature above the last step's? Needs memory over the whole sequence.
data::Samples comparisons(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const size_t first = values.size();
    for (int64_t j = 0; j < kSteps * kFeatures; ++j) values.push_back(stream.uniform() * 2 - 1);
    labels.push_back(values[first] > values[first + (kSteps - 1) * kFeatures] ? 1 : 0);
  }
  return data::Samples(Shape{kSteps, kFeatures}, std::move(values), std::move(labels));
}

double learnt_accuracy(const char* class_name, const Attributes& attributes) {
  using namespace graph::build;
  const Node in = Input({.shape = {kSteps, kFeatures}, .name = "input"});
  const Node x = Dense({.units = 2, .activation = "softmax"})(layer(class_name, "it", attributes)(in));
  data::Dataset dataset;
  dataset.name = "comparisons";
  dataset.num_classes = 2;
  dataset.train = comparisons(1500, 1);
  dataset.test = comparisons(500, 2);
  Trainer trainer(build_model({in}, {x}, "toy"), {.learning_rate = 0.02, .seed = 3});
  FitOptions fit;
  fit.epochs = 12;
  fit.batch_size = 50;
  fit.schedule = ScheduleKind::kCosine;
  trainer.fit(dataset, fit);
  return trainer.evaluate(dataset.test).accuracy;
}

TEST(RecurrentToy, FourBitsLearnAsWellAsFloat) {
  for (const char* name : {"SimpleRNN", "LSTM", "GRU"}) {
    const std::string quantized_name = std::string("Q") + name;
    const Attributes wide = with(kUnits, {{"units", int64_t{8}}});
    // Activations stay float: the question is what four bits of weight cost.
    const Attributes narrow = with(kFourBits, {{"units", int64_t{8}}, {"activation", "tanh"}});
    const auto both_ways = [](const Layer& layer) { return Attributes{{"layer", graph::as_inner_layer(layer)}}; };
    const double as_float = learnt_accuracy(name, wide), as_bits = learnt_accuracy(quantized_name.c_str(), narrow);
    const double float_both = learnt_accuracy("Bidirectional", both_ways(inner(name, wide)));
    const double bits_both = learnt_accuracy("QBidirectional", both_ways(inner(quantized_name.c_str(), narrow)));
    std::cout << name << " " << as_float << ", 4 bits " << as_bits << "; Bidirectional " << float_both << ", 4 bits "
              << bits_both << "\n";
    EXPECT_GE(as_float, 0.9) << name;
    EXPECT_GE(as_bits, 0.95 * as_float) << name;
    EXPECT_GE(bits_both, 0.95 * float_both) << name;
  }
}

}  // namespace
}  // namespace nibble::train
