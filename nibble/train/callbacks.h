// nibble/train/callbacks.h
// The callbacks of Keras that nibble ships. Each can be stopped and resumed with the training.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "nibble/train/trainer.h"

namespace nibble::train {

// What a callback watches. Losses are better when lower, accuracies when higher.
enum class Monitor { kLoss, kAccuracy, kValLoss, kValAccuracy };
//   "loss", "accuracy", "val_loss", "val_accuracy" (also "acc", "val_acc"); throws InvalidArgument
Monitor parse_monitor(std::string_view name);
// Nothing if there was no validation, or an accuracy is asked for where there is none.
std::optional<double> monitored(const EpochLog& log, Monitor monitor);
bool is_better(double value, double best, Monitor monitor, double min_delta);

// Both pass over epochs that skip the validation (FitOptions::validation_freq) where they watch it, as in Keras.

// Stops when the monitored value has not improved for `patience` epochs.
struct EarlyStoppingOptions {
  Monitor monitor = Monitor::kValLoss;
  int patience = 0;  // epochs without improvement that are forgiven; of those that have the value
  double min_delta = 0.0;
  bool restore_best_weights = false;  // end with the weights of the best epoch
};
std::unique_ptr<Callback> early_stopping(const EarlyStoppingOptions& options);

// Saves the model as a .keras file after each epoch, or only when the monitored value is the best.
struct ModelCheckpointOptions {
  std::filesystem::path path;
  Monitor monitor = Monitor::kValLoss;
  bool save_best_only = false;
};
std::unique_ptr<Callback> model_checkpoint(const ModelCheckpointOptions& options);

// One line an epoch: epoch,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds; where the loss is an error also
// mse,mae after the accuracy and val_mse,val_mae after the validation's. What there is not (an accuracy of numbers, a
// validation without samples, or in an epoch that skips it) is empty. Resuming goes on with the lines of the epochs
// that are done.
std::unique_ptr<Callback> csv_logger(const std::filesystem::path& path);

}  // namespace nibble::train
