#include "nibble/train/callbacks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/train/small_training.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

TEST(Callbacks, EarlyStoppingRestoresTheBestWeights) {
  CompileOptions still = options();
  still.learning_rate = 1e-12;  // nothing improves after the first epoch
  auto stopping =
      early_stopping({.monitor = Monitor::kAccuracy, .patience = 2, .min_delta = 0.5, .restore_best_weights = true});
  FitOptions fit = epochs(20);
  fit.callbacks = {stopping.get()};
  Trainer trainer(small_network(), still);
  EXPECT_EQ(trainer.fit(stripes_data(), fit).size(), 3u);
}

TEST(Callbacks, StatesFindTheirCallbacksByName) {
  const auto directory = testing::scratch_dir("by_name");
  FitOptions fit = epochs(2);
  fit.checkpoint = directory / "checkpoint";
  auto stopping = early_stopping({.monitor = Monitor::kLoss, .patience = 9});
  fit.callbacks = {stopping.get()};
  Trainer(small_network(), options()).fit(stripes_data(), fit);

  auto logger = csv_logger(directory / "log.csv");
  auto again = early_stopping({.monitor = Monitor::kLoss, .patience = 9});
  fit.callbacks = {logger.get(), again.get()};
  fit.epochs = 3;
  fit.resume = true;
  EXPECT_EQ(Trainer(small_network(), options()).fit(stripes_data(), fit).size(), 3u);
}

TEST(Callbacks, ModelCheckpointKeepsTheBestEpoch) {
  const auto path = testing::scratch_dir("best") / "best.keras";
  auto keeper = model_checkpoint({.path = path, .monitor = Monitor::kValAccuracy, .save_best_only = true});
  FitOptions fit = epochs(5);
  fit.callbacks = {keeper.get()};
  const History history = Trainer(small_network(), options()).fit(stripes_data(), fit);
  double best = 0;
  for (const EpochLog& log : history) best = std::max(best, *log.val_accuracy);
  EXPECT_EQ(Trainer(formats::keras::load_model(path), options()).evaluate(stripes(200, 2)).accuracy, best);
}

TEST(Callbacks, CsvLoggerWritesALineAnEpoch) {
  const auto path = testing::scratch_dir("csv") / "log.csv";
  auto logger = csv_logger(path);
  FitOptions fit = epochs(3);
  fit.callbacks = {logger.get()};
  Trainer(small_network(), options()).fit(stripes_data(), fit);
  const std::string text = read_file(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_EQ(text.substr(0, text.find('\n')), "epoch,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds");
}

}  // namespace
}  // namespace nibble::train
