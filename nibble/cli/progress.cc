#include "nibble/cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace nibble::cli {
namespace {

constexpr int kBarWidth = 24;
constexpr auto kRedraw = std::chrono::milliseconds(100);

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

size_t terminal_columns() {
  winsize size = {};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

}  // namespace

void ProgressBar::update(double fraction, const std::string& before, const std::string& after) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal_ || (is_drawn_ && now - last_ < kRedraw)) return;
  last_ = now;
  const int filled = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kBarWidth);
  std::string text = fmt::format("{} [{}{}] {}", before, std::string(static_cast<size_t>(filled), '='),
                                 std::string(static_cast<size_t>(kBarWidth - filled), ' '), after);
  // A line that wraps could not be drawn over.
  if (text.size() >= terminal_columns()) text.resize(terminal_columns() - 1);
  err_ << "\r\x1b[K" << text << std::flush;
  is_drawn_ = true;
}

void ProgressBar::clear() {
  if (is_drawn_) err_ << "\r\x1b[K" << std::flush;
  is_drawn_ = false;
}

void ProgressBar::line(const std::string& text) {
  clear();
  err_ << text << std::endl;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

void TrainingProgress::on_train_begin(int epochs, int64_t steps_per_epoch) {
  epochs_ = epochs;
  steps_per_epoch_ = steps_per_epoch;
  steps_seen_ = 0;
  begin_ = std::chrono::steady_clock::now();
}

void TrainingProgress::on_batch_end(int epoch, int64_t step, double loss, std::optional<double> accuracy) {
  ++steps_seen_;
  const double elapsed = seconds_since(begin_);
  const double rate = static_cast<double>(steps_seen_) / std::max(elapsed, 1e-9);  // steps per second
  const int64_t left = (epochs_ - epoch) * steps_per_epoch_ + (steps_per_epoch_ - step);
  bar_.update(static_cast<double>(step) / static_cast<double>(std::max<int64_t>(steps_per_epoch_, 1)),
              fmt::format("epoch {}/{}", epoch, epochs_),
              fmt::format("loss {:.4f}{}  {:.0f} samples/s  ETA {}", loss,
                          accuracy ? fmt::format("  acc {:.4f}", *accuracy) : "",
                          rate * static_cast<double>(batch_size_), format_duration(static_cast<double>(left) / rate)));
}

bool TrainingProgress::on_epoch_end(const train::EpochLog& log, train::Trainer&) {
  ++epochs_seen_;
  std::string text = fmt::format("epoch {}/{}  loss {:.4f}", log.epoch, epochs_, log.loss);
  if (log.has_accuracy) text += fmt::format("  acc {:.4f}", log.accuracy);
  if (log.val_loss) text += fmt::format("  val_loss {:.4f}", *log.val_loss);
  if (log.val_accuracy && log.has_accuracy) text += fmt::format("  val_acc {:.4f}", *log.val_accuracy);
  text += fmt::format("  lr {:.4g}  {:.1f} s", log.learning_rate, log.seconds);
  bar_.line(text);
  return false;
}

}  // namespace nibble::cli
