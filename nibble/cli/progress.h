// nibble/cli/progress.h
// How far long work is: a bar that is redrawn on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "nibble/train/trainer.h"

namespace nibble::cli {

class ProgressBar {
 public:
  ProgressBar(std::ostream& err, bool is_terminal) : err_(err), is_terminal_(is_terminal) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Redraws, ten times a second at most; nothing where there is no terminal.
  //   fraction  0..1
  void update(double fraction, const std::string& before, const std::string& after);
  // A line that stays; the bar moves below it.
  void line(const std::string& text);
  void clear();

 private:
  std::ostream& err_;
  bool is_terminal_;
  bool is_drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

// "1:05", "2:03:04"
std::string format_duration(double seconds);

// Follows a training: within an epoch loss, accuracy where there is one, samples per second and the time left of the
// whole training; after each epoch a line.
class TrainingProgress : public train::Callback {
 public:
  TrainingProgress(std::ostream& err, bool is_terminal, int64_t batch_size)
      : bar_(err, is_terminal), batch_size_(batch_size) {}
  void on_train_begin(int epochs, int64_t steps_per_epoch) override;
  void on_batch_end(int epoch, int64_t step, double loss, std::optional<double> accuracy) override;
  bool on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) override;
  void on_train_end() override { bar_.clear(); }
  int epochs_seen() const { return epochs_seen_; }

 private:
  ProgressBar bar_;
  int64_t batch_size_;
  int epochs_ = 0;
  int64_t steps_per_epoch_ = 0;
  int epochs_seen_ = 0;     // as steps_seen_
  int64_t steps_seen_ = 0;  // in this process; a resumed training begins at 0 again
  std::chrono::steady_clock::time_point begin_{};
};

}  // namespace nibble::cli
