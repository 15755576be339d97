// Training on samples whose answers are numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "nibble/core/atomic_file.h"
#include "nibble/core/philox.h"
#include "nibble/data/synthetic_regression.h"
#include "nibble/graph/builder.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/loss_names.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;

graph::Model network(int64_t inputs, int64_t outputs, const std::string& activation = "linear") {
  auto in = Input({.shape = {inputs}, .name = "input"});
  auto x = Activation({.activation = "relu", .name = "relu"})(Dense({.units = 16, .name = "hidden"})(in));
  x = Activation({.activation = activation, .name = "end"})(Dense({.units = outputs, .name = "last"})(x));
  return build_model({in}, {x}, "numbers");
}

FitOptions epochs(int count) {
  FitOptions options;
  options.epochs = count;
  options.batch_size = 32;
  return options;
}

CompileOptions options(LossKind loss) {
  CompileOptions result;
  result.learning_rate = 0.01;
  result.loss = loss;
  return result;
}

Tensor all_of(const data::Samples& samples) {
  Tensor x(Shape{samples.count(), samples.shape().elements()});
  std::vector<int64_t> all;
  for (int64_t i = 0; i < samples.count(); ++i) all.push_back(i);
  samples.gather(all, x.data());
  return x;
}

class Regression : public ::testing::TestWithParam<const char*> {};
TEST_P(Regression, LearnsAFunction) {
  const data::Dataset dataset = data::synthetic_regression();
  Trainer trainer(network(8, 1), options(loss_named(GetParam())));
  const History history = trainer.fit(dataset, epochs(15));
  EXPECT_LT(*history.back().val_loss, 0.8 * *history.front().val_loss);
  EXPECT_FALSE(history.back().has_accuracy);
  EXPECT_LT(*history.back().val_mse, 0.25);  // the targets' variance is 0.9
  const Evaluation told = trainer.evaluate(dataset.test);
  const Tensor y = trainer.predict(all_of(dataset.test));
  double squares = 0, sizes = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const double error = static_cast<double>(y[i]) - dataset.test.targets()[i];
    squares += error * error, sizes += std::abs(error);
  }
  EXPECT_NEAR(told.mse, squares / static_cast<double>(y.size()), 1e-5);
  EXPECT_NEAR(told.mae, sizes / static_cast<double>(y.size()), 1e-5);
  EXPECT_FALSE(told.has_accuracy);
}
INSTANTIATE_TEST_SUITE_P(Losses, Regression, ::testing::Values("mse", "mae", "huber", "log_cosh"),
                         [](const auto& row) { return std::string(row.param); });

// Two numbers that say on which side of 0 two of the inputs are.
data::Samples sides(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  Tensor targets(Shape{count, 2});
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < 2; ++k) {
      values.push_back(2 * stream.uniform() - 1);
      targets[2 * i + k] = values.back() > 0 ? 1.0f : 0.0f;
    }
  }
  return data::Samples(Shape{2}, std::move(values), std::move(targets));
}

TEST(Targets, BinaryCrossEntropyHasAnAccuracy) {
  const data::Dataset dataset = {.name = "sides", .train = sides(512, 1), .test = sides(128, 2)};
  Trainer trainer(network(2, 2, "sigmoid"), options(LossKind::kBinaryCrossEntropy));
  const EpochLog last = trainer.fit(dataset, epochs(15)).back();
  EXPECT_TRUE(last.has_accuracy);
  EXPECT_GT(*last.val_accuracy, 0.9);
  EXPECT_GT(last.accuracy, 0.9);
}

// Probabilities of three classes; the network ends in a softmax.
data::Samples shares(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  Tensor targets(Shape{count, 3}, 0.1f);
  for (int64_t i = 0; i < count; ++i) {
    const auto likely = static_cast<int64_t>(stream.below(3));
    for (int64_t k = 0; k < 3; ++k) values.push_back((k == likely ? 1.0f : 0.0f) + stream.uniform() - 0.5f);
    targets[3 * i + likely] = 0.8f;
  }
  return data::Samples(Shape{3}, std::move(values), std::move(targets));
}

TEST(Targets, ProbabilitiesAreLearnedByCrossEntropyAndDivergence) {
  const data::Dataset dataset = {.name = "shares", .train = shares(512, 1), .test = shares(128, 2)};
  for (const LossKind loss : {LossKind::kCrossEntropy, LossKind::kKlDivergence}) {
    Trainer trainer(network(3, 3, "softmax"), options(loss));
    const EpochLog last = trainer.fit(dataset, epochs(15)).back();
    const bool has_classes = loss == LossKind::kCrossEntropy;
    EXPECT_EQ(last.has_accuracy, has_classes);
    if (has_classes) {
      EXPECT_GT(*last.val_accuracy, 0.9);
    }
    // At best the entropy of (0.8, 0.1, 0.1), 0.64, and 0; at first more than 0.4 above that.
    EXPECT_LT(*last.val_loss, has_classes ? 0.85 : 0.21) << loss_name(loss);
  }
}

// An accuracy that is always 0 would end every training after `patience` epochs.
TEST(Targets, HaveNoAccuracyToWatch) {
  const data::Dataset dataset = data::synthetic_regression();
  for (const Monitor monitor : {Monitor::kAccuracy, Monitor::kValAccuracy}) {
    const auto stopping = early_stopping({.monitor = monitor});
    FitOptions fit = epochs(2);
    fit.callbacks = {stopping.get()};
    Trainer trainer(network(8, 1), options(LossKind::kMeanSquaredError));
    try {
      trainer.fit(dataset, fit);
      ADD_FAILURE() << "no error";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("Watch 'loss'"), std::string::npos) << error.what();
    }
  }
}

// What a callback is told of each batch.
class Accuracies : public Callback {
 public:
  void on_batch_end(int, int64_t, double, std::optional<double> accuracy) override { seen.push_back(accuracy); }
  std::vector<std::optional<double>> seen;
};
TEST(Targets, BatchesAreToldAnAccuracyWhereThereIsOne) {
  Accuracies of_numbers, of_sides;
  FitOptions fit = epochs(1);
  fit.callbacks = {&of_numbers};
  Trainer(network(8, 1), options(LossKind::kMeanSquaredError)).fit(data::synthetic_regression(), fit);
  fit.callbacks = {&of_sides};
  const data::Dataset dataset = {.name = "sides", .train = sides(512, 1), .test = sides(128, 2)};
  Trainer(network(2, 2, "sigmoid"), options(LossKind::kBinaryCrossEntropy)).fit(dataset, fit);
  ASSERT_FALSE(of_numbers.seen.empty() || of_sides.seen.empty());
  for (const auto& accuracy : of_numbers.seen) EXPECT_FALSE(accuracy.has_value());
  for (const auto& accuracy : of_sides.seen) EXPECT_TRUE(accuracy.has_value());
}

TEST(Targets, AreGoneOnWithToTheSameBytesAndBelongToTheCheckpoint) {
  const data::Dataset dataset = data::synthetic_regression();
  const CompileOptions compile = options(LossKind::kMeanSquaredError);
  Trainer undisturbed(network(8, 1), compile);
  undisturbed.fit(dataset, epochs(4));
  FitOptions part = epochs(2);
  part.checkpoint = testing::scratch_dir("regression") / "checkpoint";
  part.resume = true;
  Trainer(network(8, 1), compile).fit(dataset, part);
  data::Dataset other = dataset;
  Tensor targets = dataset.train.targets();
  targets[5] += 1;
  const Tensor x = all_of(dataset.train);
  other.train = data::Samples(Shape{8}, std::vector<float>(x.data().begin(), x.data().end()), std::move(targets));
  part.epochs = 4;
  Trainer stranger(network(8, 1), compile);
  EXPECT_THROW(stranger.fit(other, part), InvalidArgument);
  Trainer second(network(8, 1), compile);
  const History history = second.fit(dataset, part);
  EXPECT_EQ(second.weights(), undisturbed.weights());
  for (const EpochLog& log : history) EXPECT_FALSE(log.has_accuracy);
}

// The lines of a log, cell by cell under the names of their columns.
std::vector<std::map<std::string, std::string>> table_of(const std::filesystem::path& path) {
  const auto cells = [](const std::string& line) {
    std::vector<std::string> result;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) result.push_back(cell);
    return result;
  };
  std::istringstream lines(read_file(path));
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> columns = cells(line);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(lines, line)) {
    const std::vector<std::string> values = cells(line);
    EXPECT_EQ(values.size(), columns.size()) << line;
    rows.emplace_back();
    for (size_t k = 0; k < std::min(values.size(), columns.size()); ++k) rows.back()[columns[k]] = values[k];
  }
  return rows;
}

TEST(ErrorColumns, AreLoggedOfTrainingAndValidationAndGoneOnWith) {
  const auto directory = testing::scratch_dir("error_columns");
  FitOptions fit = epochs(1);
  fit.checkpoint = directory / "checkpoint";
  fit.resume = true;
  History history;
  for (const int so_far : {1, 2}) {
    const auto logger = csv_logger(directory / "log.csv");
    fit.epochs = so_far;
    fit.callbacks = {logger.get()};
    history = Trainer(network(8, 1), options(LossKind::kMeanAbsoluteError)).fit(data::synthetic_regression(), fit);
  }
  const auto rows = table_of(directory / "log.csv");
  ASSERT_EQ(rows.size(), 2u);
  ASSERT_EQ(history.size(), 2u);
  for (size_t k = 0; k < rows.size(); ++k) {
    const EpochLog& log = history[k];
    ASSERT_TRUE(log.mse && log.mae && log.val_mse && log.val_mae);
    EXPECT_DOUBLE_EQ(*log.mae, log.loss);  // the same sum
    EXPECT_GT(*log.mse, 0);
    for (const auto& [column, value] : {std::pair("mse", *log.mse), std::pair("mae", *log.mae),
                                        std::pair("val_mse", *log.val_mse), std::pair("val_mae", *log.val_mae)}) {
      EXPECT_EQ(rows[k].at(column), fmt::format("{}", value)) << column;
    }
    EXPECT_EQ(rows[k].at("accuracy"), "");
  }
}

TEST(ErrorColumns, OfAValidationAreEmptyWithoutOne) {
  const auto path = testing::scratch_dir("error_columns_alone") / "log.csv";
  const auto logger = csv_logger(path);
  FitOptions fit = epochs(1);
  fit.validate = false;
  fit.callbacks = {logger.get()};
  Trainer(network(8, 1), options(LossKind::kMeanSquaredError)).fit(data::synthetic_regression(), fit);
  const auto rows = table_of(path);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_NE(rows[0].at("mse"), "");
  EXPECT_EQ(rows[0].at("val_mse") + rows[0].at("val_mae") + rows[0].at("val_loss"), "");
}

TEST(ErrorColumns, LogsOfOlderCheckpointsKeepTheirs) {
  const auto path = testing::scratch_dir("error_columns_old") / "log.csv";
  const auto logger = csv_logger(path);
  logger->restore("1,0.01,0.5,,0.4,,0.1\n");
  Trainer trainer(network(8, 1), options(LossKind::kMeanSquaredError));
  EpochLog log;
  log.epoch = 2;
  log.has_accuracy = false;
  log.mse = log.mae = 0.25;
  logger->on_epoch_end(log, trainer);
  const std::string text = read_file(path);
  EXPECT_TRUE(text.starts_with("epoch,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds\n1,0.01,")) << text;
  EXPECT_TRUE(text.ends_with("\n2,0,0,,,,0.000\n")) << text;
}

data::Dataset with_targets(const Tensor& targets) {
  const data::Samples samples(Shape{2}, std::vector<float>(static_cast<size_t>(2 * targets.shape()[0]), 0.5f), targets);
  return {.name = "bad", .train = samples, .test = samples};
}

struct BadCase {
  const char* name;
  Tensor targets;
  int64_t outputs;
  LossKind loss;
  const char* words;
};
class BadTargets : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadTargets, AreRefusedWithASentence) {
  const BadCase& row = GetParam();
  try {
    Trainer(network(2, row.outputs), options(row.loss)).fit(with_targets(row.targets), epochs(1));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(row.words), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadTargets,
    ::testing::Values(
        BadCase{"OtherShape", Tensor(Shape{4, 3}), 2, LossKind::kMeanSquaredError, "the targets of a sample are (3,)"},
        BadCase{"EntropyOfANumber", Tensor(Shape{4, 1}, 1.0f), 1, LossKind::kCrossEntropy, "such as mse"},
        BadCase{"EntropyOfNumbers", Tensor(Shape{4, 2}, 0.75f), 2, LossKind::kCrossEntropy, "add up to 1.5"},
        BadCase{"NoProbability", Tensor(Shape{4, 2}, 1.5f), 2, LossKind::kBinaryCrossEntropy, "the target 1.5"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
