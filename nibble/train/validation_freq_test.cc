// Trainings that validate after some epochs only: which ones, what the others leave out, and what must not change.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <sstream>

#include "nibble/core/atomic_file.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using Weights = std::vector<std::vector<float>>;

graph::Model network() {
  const auto in = Input({.shape = {6, 6, 1}, .name = "pixels"});
  auto x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .use_bias = false, .name = "conv"})(in);
  x = BatchNormalization({.name = "norm"})(x);
  x = Activation({.activation = "relu", .name = "relu"})(x);
  x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flat"})(x));
  return build_model({in}, {Activation({.activation = "softmax", .name = "end"})(x)}, "small");
}

// Noise, brighter for some labels.
data::Samples samples(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    labels.push_back(static_cast<int32_t>(stream.below(3)));
    for (int64_t k = 0; k < 36; ++k) values.push_back(stream.uniform() + 0.3f * static_cast<float>(labels.back()));
  }
  return data::Samples(Shape{6, 6, 1}, std::move(values), std::move(labels));
}

const data::Dataset& dataset() {
  static const data::Dataset made = {
      .name = "noise", .num_classes = 3, .train = samples(128, 1), .test = samples(50, 2)};
  return made;
}

CompileOptions options(WeightAveraging averaging = WeightAveraging::kTail) {
  CompileOptions result;
  result.learning_rate = 0.01;
  result.seed = 3;
  result.weight_averaging = averaging;
  return result;
}

// Of 8 steps.
FitOptions epochs(int count, int validation_freq) {
  FitOptions result;
  result.epochs = count;
  result.batch_size = 16;
  result.validation_freq = validation_freq;
  return result;
}

std::set<int> validated(const History& history) {
  std::set<int> result;
  for (const EpochLog& log : history) {
    EXPECT_EQ(log.skips_validation, !log.val_loss) << log.epoch;
    EXPECT_EQ(log.val_loss.has_value(), log.val_accuracy.has_value()) << log.epoch;
    if (log.val_loss) result.insert(log.epoch);
  }
  return result;
}

TEST(ValidationFreq, IsEveryNthEpochAndTheLast) {
  struct Row {
    int epochs, freq;
    std::set<int> more, expected;
  };
  const Row rows[] = {{1, 1, {}, {1}},
                      {3, 1, {}, {1, 2, 3}},
                      {7, 3, {}, {3, 6, 7}},
                      {6, 3, {}, {3, 6}},
                      {4, 4, {}, {4}},
                      {3, 50, {}, {3}},
                      {7, 3, {1, 4, 9}, {1, 3, 4, 6, 7}},
                      {3, 1, {2}, {1, 2, 3}}};
  for (const Row& row : rows) {
    FitOptions fit = epochs(row.epochs, row.freq);
    fit.validation_epochs = row.more;
    EXPECT_EQ(validated(Trainer(network(), options()).fit(dataset(), fit)), row.expected)
        << row.epochs << " epochs, every " << row.freq;
  }
}

// The weights that callbacks see after each epoch.
class Recorder : public Callback {
 public:
  explicit Recorder(bool keeps = false) : keeps_(keeps) {}
  bool on_epoch_end(const EpochLog&, Trainer& trainer) override {
    epochs.push_back(trainer.weights());
    return false;
  }
  bool keeps_every_epoch() const override { return keeps_; }
  std::vector<Weights> epochs;

 private:
  bool keeps_;
};

TEST(ValidationFreq, LeavesTheTrainingAndWhatIsMeasuredAsTheyAre) {
  for (const WeightAveraging averaging : {WeightAveraging::kTail, WeightAveraging::kNone}) {
    const auto train = [&](int freq, Recorder& recorder) {
      FitOptions fit = epochs(5, freq);
      fit.callbacks = {&recorder};
      return Trainer(network(), options(averaging)).fit(dataset(), fit);
    };
    Recorder dense, sparse, kept(/*keeps=*/true);
    const History all = train(1, dense), some = train(3, sparse);
    EXPECT_EQ(validated(train(3, kept)), (std::set<int>{3, 5}));
    ASSERT_EQ(some.size(), 5u);
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(some[i].loss, all[i].loss);
      EXPECT_EQ(sparse.epochs[i][0], dense.epochs[i][0]) << "the convolution's kernel";
      // Statistics are re-estimated where they are used, by the validation or by what keeps the weights.
      const bool is_measured = i == 2 || i == 4;
      EXPECT_EQ(sparse.epochs[i] == dense.epochs[i], is_measured) << "epoch " << i + 1;
      EXPECT_TRUE(kept.epochs[i] == dense.epochs[i]) << "epoch " << i + 1;
      if (is_measured) EXPECT_EQ(*some[i].val_loss, *all[i].val_loss);
    }
  }
}

// Ends the training: after an epoch, or (step > 0) in its middle.
class EndAt : public Callback {
 public:
  EndAt(int epoch, int64_t step, Trainer* trainer = nullptr) : epoch_(epoch), step_(step), trainer_(trainer) {}
  void on_batch_end(int epoch, int64_t step, double, std::optional<double>) override {
    if (epoch != epoch_ || step != step_) return;
    stop = true;
    if (trainer_ != nullptr) at_the_end = trainer_->weights();
  }
  bool on_epoch_end(const EpochLog& log, Trainer&) override { return step_ == 0 && log.epoch == epoch_; }
  std::atomic<bool> stop = false;
  Weights at_the_end;

 private:
  int epoch_;
  int64_t step_;
  Trainer* trainer_;
};

TEST(ValidationFreq, AnEpochThatIsTheLastAfterAllHasItsStatistics) {
  const auto weights_after = [](int freq) {
    EndAt end(2, 0);
    FitOptions fit = epochs(9, freq);
    fit.callbacks = {&end};
    fit.checkpoint = testing::scratch_dir("freq_ended") / "checkpoint";
    Trainer trainer(network(), options());
    EXPECT_EQ(trainer.fit(dataset(), fit).size(), 2u);
    // What is over is read from its checkpoint.
    fit.resume = true;
    Trainer again(network(), options());
    EXPECT_EQ(again.fit(dataset(), fit).size(), 2u);
    EXPECT_TRUE(again.weights() == trainer.weights());
    return trainer.weights();
  };
  EXPECT_TRUE(weights_after(5) == weights_after(1));
}

TEST(ValidationFreq, AStoppedTrainingHasStatisticsOfItsWeights) {
  Trainer trainer(network(), options());
  EndAt end(2, 5, &trainer);
  FitOptions fit = epochs(9, 5);
  fit.callbacks = {&end};
  fit.stop = &end.stop;
  EXPECT_EQ(trainer.fit(dataset(), fit).size(), 1u);
  const Weights weights = trainer.weights();
  ASSERT_EQ(end.at_the_end.size(), weights.size());
  EXPECT_EQ(weights[0], end.at_the_end[0]) << "the convolution's kernel";
  EXPECT_TRUE(weights != end.at_the_end) << "the statistics are still moving averages";
}

// The last column is how long each epoch took.
std::vector<std::string> without_seconds(const std::filesystem::path& csv) {
  std::vector<std::string> lines;
  std::istringstream text(read_file(csv));
  for (std::string line; std::getline(text, line);) lines.push_back(line.substr(0, line.rfind(',')));
  return lines;
}

// Ended after one epoch without validation, after two, after one with, and after the next one without.
class InterruptedBetween : public ::testing::TestWithParam<int> {};
TEST_P(InterruptedBetween, GoesOnToTheSameBytes) {
  for (const WeightAveraging averaging : {WeightAveraging::kTail, WeightAveraging::kNone}) {
    const auto directory = testing::scratch_dir("freq_resumed");
    const auto train = [&](const std::string& name, Callback* end, const std::atomic<bool>* stop) {
      const auto stopping = early_stopping({.patience = 9});
      const auto logger = csv_logger(directory / (name + ".csv"));
      FitOptions fit = epochs(7, 3);
      fit.schedule = ScheduleKind::kCosine;
      fit.callbacks = {stopping.get(), logger.get()};
      if (end != nullptr) fit.callbacks.push_back(end);
      fit.stop = stop;
      fit.checkpoint = directory / name;
      fit.resume = true;
      Trainer trainer(network(), options(averaging));
      const size_t done = trainer.fit(dataset(), fit).size();
      return std::pair(done, trainer.weights());
    };
    const auto expected = train("whole", nullptr, nullptr);
    EndAt end(GetParam() + 1, 3);
    EXPECT_EQ(train("parts", &end, &end.stop).first, static_cast<size_t>(GetParam()));
    const auto resumed = train("parts", nullptr, nullptr);
    EXPECT_EQ(resumed.first, 7u);
    EXPECT_TRUE(resumed.second == expected.second);
    EXPECT_EQ(without_seconds(directory / "parts.csv"), without_seconds(directory / "whole.csv"));
  }
}
INSTANTIATE_TEST_SUITE_P(Epochs, InterruptedBetween, ::testing::Values(1, 2, 3, 4));

TEST(ValidationFreq, EarlyStoppingCountsEpochsThatHaveItsValue) {
  CompileOptions still = options();
  still.learning_rate = 1e-12;  // nothing improves after the first look
  struct Row {
    Monitor monitor;
    int freq;
    size_t epochs;
  };
  const Row rows[] = {{Monitor::kValAccuracy, 1, 3},
                      {Monitor::kValAccuracy, 2, 6},  // looks at 2, 4, 6
                      {Monitor::kValLoss, 3, 9},
                      {Monitor::kAccuracy, 2, 3}};
  for (const Row& row : rows) {
    const auto stopping =
        early_stopping({.monitor = row.monitor, .patience = 2, .min_delta = 0.5, .restore_best_weights = true});
    FitOptions fit = epochs(20, row.freq);
    fit.callbacks = {stopping.get()};
    EXPECT_EQ(Trainer(network(), still).fit(dataset(), fit).size(), row.epochs) << "every " << row.freq;
  }
}

// Of epochs 1 to 5 those that have a validation, or all.
TEST(ValidationFreq, ModelCheckpointSavesWhatItCanJudge) {
  const auto path = testing::scratch_dir("freq_best") / "best.keras";
  const auto keeper = model_checkpoint({.path = path, .monitor = Monitor::kValLoss, .save_best_only = true});
  FitOptions fit = epochs(5, 2);
  fit.callbacks = {keeper.get()};
  const History history = Trainer(network(), options()).fit(dataset(), fit);
  double best = HUGE_VAL;
  for (const EpochLog& log : history) best = std::min(best, log.val_loss.value_or(HUGE_VAL));
  EXPECT_EQ(Trainer(formats::keras::load_model(path), options()).evaluate(dataset().test).loss, best);

  const bool keeps[] = {
      model_checkpoint({.path = path})->keeps_every_epoch(),
      model_checkpoint({.path = path, .monitor = Monitor::kLoss, .save_best_only = true})->keeps_every_epoch(),
      early_stopping({.monitor = Monitor::kLoss, .restore_best_weights = true})->keeps_every_epoch()};
  for (const bool keeps_all : keeps) EXPECT_TRUE(keeps_all);
  EXPECT_FALSE(keeper->keeps_every_epoch());
  EXPECT_FALSE(early_stopping({.monitor = Monitor::kLoss})->keeps_every_epoch());
}

TEST(ValidationFreq, ColumnsOfTheLogAreEmptyBetween) {
  const auto path = testing::scratch_dir("freq_csv") / "log.csv";
  const auto logger = csv_logger(path);
  FitOptions fit = epochs(5, 2);
  fit.callbacks = {logger.get()};
  Trainer(network(), options()).fit(dataset(), fit);
  const auto lines = without_seconds(path);
  ASSERT_EQ(lines.size(), 6u);
  for (const size_t epoch : {1u, 2u, 3u, 4u, 5u}) {
    EXPECT_EQ(lines[epoch].ends_with(",,"), epoch == 1 || epoch == 3) << lines[epoch];
    EXPECT_EQ(std::count(lines[epoch].begin(), lines[epoch].end(), ','), 5) << lines[epoch];
  }
}

void expect_refused(const data::Dataset& data, const FitOptions& fit, const std::string& words) {
  try {
    Trainer(network(), options()).fit(data, fit);
    ADD_FAILURE() << words;
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(ValidationFreq, WhatCannotBeIsRefused) {
  for (const int freq : {0, -2}) {
    expect_refused(dataset(), epochs(3, freq),
                   "validation_freq is " + std::to_string(freq) + "; it must be at least 1");
  }
  // Nothing to validate with is no epoch that is left out.
  data::Dataset untested = dataset();
  untested.test = data::Samples(Shape{6, 6, 1}, std::vector<float>{}, std::vector<int32_t>{});
  const auto stopping = early_stopping({.patience = 2});
  FitOptions fit = epochs(4, 2);
  fit.callbacks = {stopping.get()};
  expect_refused(untested, fit, "nothing was validated");
  // Statistics that are re-estimated elsewhere may be those that a frozen layer stays at.
  fit = epochs(2, 2);
  fit.checkpoint = testing::scratch_dir("freq_other") / "checkpoint";
  Trainer(network(), options()).fit(dataset(), fit);
  fit.resume = true;
  fit.validation_freq = 1;
  expect_refused(dataset(), fit, "checkpoint");
}

}  // namespace
}  // namespace nibble::train
