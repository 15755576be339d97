// nibble/cli/training_events.h
// What TensorBoard shows of a training and of a search.
#pragma once

#include <filesystem>
#include <map>
#include <optional>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/report/event_file.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {

// As Keras' callback of that name writes them: DIR/train and DIR/validation, one point an epoch.
//   tags  epoch_loss, epoch_accuracy; of the training also epoch_learning_rate
class TrainingEvents final : public train::Callback {
 public:
  //   throws  IoError if the directory cannot be made or written
  explicit TrainingEvents(const std::filesystem::path& directory);
  std::string name() const override { return "tensorboard"; }
  bool on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) override;

 private:
  std::filesystem::path directory_;
  std::optional<report::EventFile> train_, validation_;
};

// DIR/trial_0007: what each epoch of trial 7 reported. DIR/study: the metrics of the finished trials, and the best
// score so far, over the trials' numbers. Of a search by blocks, whose blocks all count their trials from 0, the same
// in DIR/block_0, DIR/block_1, ... Passes every call on to another observer.
class SearchEvents final : public autoq::SearchObserver {
 public:
  //   directory  may be empty where no event is passed
  //   throws  IoError if it cannot be made or written
  SearchEvents(const std::filesystem::path& directory, autoq::SearchObserver& next);

  // What follows is of block k.
  void begin_block(int k);

  void on_start(const std::string& run_config, const std::vector<search::Trial>& trials, int max_trials, int workers,
                double reference_cost) override {
    next_.on_start(run_config, trials, max_trials, workers, reference_cost);
  }
  void on_notice(const std::string& sentence) override { next_.on_notice(sentence); }
  void on_trial_start(const search::Trial& trial) override { next_.on_trial_start(trial); }
  void on_epoch(const search::Trial& trial, const search::Step& step) override;
  void on_trial_finish(const search::Trial& trial, const search::Trial* best) override;
  void on_poll() override { next_.on_poll(); }

 private:
  std::filesystem::path root_, directory_;
  autoq::SearchObserver& next_;
  std::map<int, report::EventFile> running_;
  std::optional<report::EventFile> study_;
};

}  // namespace nibble::cli
