#include "nibble/cli/training_events.h"

#include <fmt/format.h>
#include <unistd.h>

#include "nibble/core/error.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

report::EventFile::Scalars scalars_of(const search::Metrics& metrics) {
  return report::EventFile::Scalars(metrics.begin(), metrics.end());
}

// Hours before the first file: of a directory to be made, the nearest that is there counts.
const fs::path& usable(const fs::path& directory) {
  if (directory.empty()) return directory;  // no events
  fs::path nearest = fs::absolute(directory);
  std::error_code ignored;
  while (!fs::exists(nearest, ignored) && nearest.has_relative_path()) nearest = nearest.parent_path();
  if (!fs::is_directory(nearest, ignored)) {
    throw IoError("--tensorboard '{}' cannot be a directory: '{}' is a file. Name another.", directory.string(),
                  nearest.string());
  }
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) {
    throw IoError("--tensorboard '{}' cannot be written: no permission in '{}'. Name another.", directory.string(),
                  nearest.string());
  }
  return directory;
}

}  // namespace

TrainingEvents::TrainingEvents(const fs::path& directory) : directory_(usable(directory)) {}

SearchEvents::SearchEvents(const fs::path& directory, autoq::SearchObserver& next)
    : root_(usable(directory)), directory_(directory), next_(next) {}

bool TrainingEvents::on_epoch_end(const train::EpochLog& log, train::Trainer&) {
  // Made with the first point: a training that does not begin leaves nothing.
  if (!train_) train_.emplace(directory_ / "train");
  report::EventFile::Scalars training = {{"epoch_loss", log.loss}};
  if (log.has_accuracy) training.emplace_back("epoch_accuracy", log.accuracy);
  if (log.mse) training.emplace_back("epoch_mse", *log.mse);
  if (log.mae) training.emplace_back("epoch_mae", *log.mae);
  training.emplace_back("epoch_learning_rate", log.learning_rate);
  train_->write(log.epoch, training);
  report::EventFile::Scalars validation;
  if (log.val_loss) validation.emplace_back("epoch_loss", *log.val_loss);
  if (log.val_accuracy && log.has_accuracy) validation.emplace_back("epoch_accuracy", *log.val_accuracy);
  if (log.val_mse) validation.emplace_back("epoch_mse", *log.val_mse);
  if (log.val_mae) validation.emplace_back("epoch_mae", *log.val_mae);
  if (validation.empty()) return false;
  if (!validation_) validation_.emplace(directory_ / "validation");
  validation_->write(log.epoch, validation);
  return false;
}

void SearchEvents::begin_block(int k) {
  directory_ = root_ / fmt::format("block_{}", k);
  running_.clear();
  study_.reset();
}

void SearchEvents::on_epoch(const search::Trial& trial, const search::Step& step) {
  auto file = running_.find(trial.number);
  if (file == running_.end()) {
    report::EventFile made(directory_ / fmt::format("trial_{:04}", trial.number));
    file = running_.emplace(trial.number, std::move(made)).first;
  }
  file->second.write(step.step, scalars_of(step.metrics));
  next_.on_epoch(trial, step);
}

void SearchEvents::on_trial_finish(const search::Trial& trial, const search::Trial* best) {
  running_.erase(trial.number);
  if (trial.score) {
    if (!study_) study_.emplace(directory_ / "study");
    report::EventFile::Scalars scalars = scalars_of(trial.metrics);
    scalars.emplace_back("score", *trial.score);
    if (best != nullptr && best->score) scalars.emplace_back("best_score", *best->score);
    study_->write(trial.number, scalars);
  }
  next_.on_trial_finish(trial, best);
}

}  // namespace nibble::cli
