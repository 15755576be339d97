// Training without classes: autoencoders, numbers, and layers that learn slowly or not at all.
#include "nibble/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"

namespace nibble::train {
namespace {

using namespace graph::build;

// Samples of 8 values that follow from the label: two hidden numbers are enough for them.
data::Samples lines(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(stream.below(4));
    const float slope = stream.uniform() - 0.5f;
    for (int x = 0; x < 8; ++x) values.push_back(0.25f * static_cast<float>(label) + slope * static_cast<float>(x) / 8);
    labels.push_back(label);
  }
  return data::Samples(Shape{8}, std::move(values), std::move(labels));
}

data::Dataset lines_data() {
  return {.name = "lines", .num_classes = 4, .train = lines(512, 1), .test = lines(128, 2)};
}

graph::Model network(int64_t outputs, const std::string& activation = "linear") {
  auto in = Input({.shape = {8}, .name = "input"});
  auto x = Activation({.activation = "relu", .name = "relu"})(Dense({.units = 6, .name = "hidden"})(in));
  x = Activation({.activation = activation, .name = "end"})(Dense({.units = outputs, .name = "last"})(x));
  return build_model({in}, {x}, "lines");
}

FitOptions epochs(int count) {
  FitOptions options;
  options.epochs = count;
  options.batch_size = 32;
  return options;
}

struct Row {
  const char* name;
  LossKind loss;
  Target target;
  int64_t outputs;
  const char* activation;
  double most_mse;        // at the end
  double least_accuracy;  // 0 for an autoencoder
};
class Objectives : public ::testing::TestWithParam<Row> {};
TEST_P(Objectives, AreLearned) {
  const Row& row = GetParam();
  CompileOptions options;
  options.learning_rate = 0.01;
  options.loss = row.loss;
  options.target = row.target;
  Trainer trainer(network(row.outputs, row.activation), options);
  const data::Dataset dataset = lines_data();
  const History history = trainer.fit(dataset, epochs(30));
  const EpochLog &first = history.front(), &last = history.back();
  ASSERT_TRUE(last.val_mse.has_value() && last.val_mae.has_value());
  EXPECT_LT(*last.val_mse, row.most_mse);
  EXPECT_LT(*last.val_mse, *first.val_mse);
  EXPECT_GE(*last.val_accuracy, row.least_accuracy);
  EXPECT_EQ(*last.val_loss, row.loss == LossKind::kMeanSquaredError ? *last.val_mse : *last.val_mae);
  // By the definition, from what the network predicts.
  Tensor x(Shape{dataset.test.count(), 8});
  std::vector<int64_t> all;
  for (int64_t i = 0; i < dataset.test.count(); ++i) all.push_back(i);
  dataset.test.gather(all, x.data());
  const Tensor y = trainer.predict(x);
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t sample = i / row.outputs, output = i % row.outputs;
    const auto label = static_cast<int64_t>(dataset.test.labels()[static_cast<size_t>(sample)]);
    const double wanted = row.target == Target::kInput ? x.data()[static_cast<size_t>(i)]
                          : row.outputs == 1           ? static_cast<double>(label)
                                                       : static_cast<double>(label == output);
    sum += std::pow(y.data()[static_cast<size_t>(i)] - wanted, 2);
  }
  EXPECT_NEAR(*last.val_mse, sum / static_cast<double>(y.size()), 1e-5);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Objectives,
    ::testing::Values(Row{"Autoencoder", LossKind::kMeanSquaredError, Target::kInput, 8, "linear", 0.02, 0},
                      Row{"AutoencoderAbsolute", LossKind::kMeanAbsoluteError, Target::kInput, 8, "linear", 0.02, 0},
                      Row{"Number", LossKind::kMeanSquaredError, Target::kLabel, 1, "linear", 0.3, 0.6},
                      Row{"OneHot", LossKind::kMeanSquaredError, Target::kLabel, 4, "softmax", 0.12, 0.6}),
    [](const auto& row) { return row.param.name; });

// What a network answers whose one output is its one input.
data::Samples answered(std::vector<float> outputs, std::vector<int32_t> labels) {
  return data::Samples(Shape{1}, std::move(outputs), std::move(labels));
}

struct BinaryRow {
  const char* name;
  float output;
  int32_t label;
  bool is_right;
};
class BinaryAccuracy : public ::testing::TestWithParam<BinaryRow> {};
TEST_P(BinaryAccuracy, IsThatOfKeras) {
  const BinaryRow& row = GetParam();
  const Node in = Input({.shape = {1}, .name = "input"});
  graph::Model model = build_model({in}, {Dense({.units = 1, .name = "same"})(in)}, "same");
  graph::initialize_weights(model, 1);
  model.layer("same").weights[0].value[0] = 1;
  model.layer("same").weights[1].value[0] = 0;
  CompileOptions options;
  options.loss = LossKind::kBinaryCrossEntropy;
  const Evaluation told = Trainer(model, options).evaluate(answered({row.output}, {row.label}));
  EXPECT_TRUE(told.has_accuracy);
  EXPECT_EQ(told.accuracy, row.is_right ? 1.0 : 0.0);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BinaryAccuracy,
    ::testing::Values(BinaryRow{"LowIsZero", 0.25f, 0, true}, BinaryRow{"LowIsNotOne", 0.25f, 1, false},
                      BinaryRow{"HighIsOne", 0.75f, 1, true}, BinaryRow{"HighIsNotZero", 0.75f, 0, false},
                      BinaryRow{"HalfIsZero", 0.5f, 0, true}, BinaryRow{"HalfIsNotOne", 0.5f, 1, false},
                      BinaryRow{"FarAboveIsOne", 2.0f, 1, true}, BinaryRow{"FarBelowIsZero", -2.0f, 0, true}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(LayerLearningRates, ZeroLeavesALayerAsItIs) {
  CompileOptions options;
  options.learning_rate = 0.01;
  options.layer_learning_rates = {{"hidden", 0.0}, {"last", 0.5}};
  graph::Model model = network(4, "softmax");
  graph::initialize_weights(model, 1);
  Trainer trainer(model, options);
  trainer.fit(lines_data(), epochs(2));
  const graph::Model after = trainer.model();
  EXPECT_EQ(after.layer("hidden").weights, model.layer("hidden").weights);
  EXPECT_NE(after.layer("last").weights, model.layer("last").weights);
}

// With plain SGD, half of the rate in one layer is half of its first step.
TEST(LayerLearningRates, AFactorScalesTheStep) {
  const auto step_of = [](double factor) {
    CompileOptions options;
    options.optimizer = OptimizerKind::kSgd;
    options.learning_rate = 0.125;
    options.weight_averaging = WeightAveraging::kNone;
    options.layer_learning_rates = {{"last", factor}};
    graph::Model model = network(4, "softmax");
    graph::initialize_weights(model, 1);
    FitOptions fit = epochs(1);
    fit.batch_size = 512;
    Trainer trainer(model, options);
    trainer.fit(lines_data(), fit);
    return trainer.model().layer("last").weights[1].value.data()[0];  // a bias, which starts at 0
  };
  EXPECT_NE(step_of(1.0), 0.0f);
  EXPECT_FLOAT_EQ(step_of(0.5), 0.5f * step_of(1.0));
}

struct BadRow {
  const char* name;
  CompileOptions options;
  int64_t outputs;
  const char* word;
};
class BadObjective : public ::testing::TestWithParam<BadRow> {};
TEST_P(BadObjective, IsRefused) {
  try {
    Trainer(network(GetParam().outputs), GetParam().options).fit(lines_data(), epochs(1));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().word), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadObjective,
    ::testing::Values(
        BadRow{"EntropyOfInputs", {.target = Target::kInput}, 8, "for an autoencoder"},
        BadRow{"OtherShape", {.loss = LossKind::kMeanSquaredError, .target = Target::kInput}, 7, "should give back"},
        BadRow{"TooFewOutputs", {.loss = LossKind::kMeanSquaredError}, 2, "has 2 outputs"},
        BadRow{"FourClassesOfOneOutput", {.loss = LossKind::kBinaryCrossEntropy}, 1, "two classes apart"},
        BadRow{"InputsBelowZero",
               {.loss = LossKind::kBinaryCrossEntropy, .target = Target::kInput},
               8,
               "the preprocessing 'unit'"},
        BadRow{"UnknownLayer", {.layer_learning_rates = {{"hiden", 0.0}}}, 4, "'hiden'"},
        BadRow{"NegativeRate", {.layer_learning_rates = {{"hidden", -1.0}}}, 4, "multiplied by -1"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
