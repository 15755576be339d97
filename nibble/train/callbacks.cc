#include "nibble/train/callbacks.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/formats/keras/keras_file.h"

namespace nibble::train {
namespace {

using nlohmann::json;

bool is_of_validation(Monitor monitor) { return monitor == Monitor::kValLoss || monitor == Monitor::kValAccuracy; }

// The best value so far and since when.
class Best {
 public:
  Best(Monitor monitor, double min_delta) : monitor_(monitor), min_delta_(min_delta) {}

  // True if the epoch has no value by intent.
  bool passes_over(const EpochLog& log) const { return log.skips_validation && is_of_validation(monitor_); }
  // True if this epoch is the best so far.
  bool improves(const EpochLog& log) {
    const auto value = monitored(log, monitor_);
    const bool is_accuracy = monitor_ == Monitor::kAccuracy || monitor_ == Monitor::kValAccuracy;
    if (!value && is_accuracy && !log.has_accuracy) {
      throw InvalidArgument(
          "[callback] the accuracy is watched, but numbers are learned, which have none. Watch 'loss' or 'val_loss'.");
    }
    if (!value) {
      throw InvalidArgument(
          "[callback] a validation value is watched, but nothing was validated. Give validation data, or watch 'loss' "
          "or 'accuracy'.");
    }
    const bool better = !value_ || std::isnan(*value_) || is_better(*value, *value_, monitor_, min_delta_);
    if (better) value_ = value;
    epochs_since_ = better ? 0 : epochs_since_ + 1;
    return better;
  }
  int epochs_since() const { return epochs_since_; }

  json state() const { return {{"value", value_ ? json(*value_) : json()}, {"epochs_since", epochs_since_}}; }
  void restore(const json& state) {
    value_ = state.at("value").is_null() ? std::nullopt : std::optional<double>(state.at("value"));
    epochs_since_ = state.at("epochs_since");
  }

 private:
  Monitor monitor_;
  double min_delta_;
  std::optional<double> value_;
  int epochs_since_ = 0;
};

class EarlyStopping : public Callback {
 public:
  explicit EarlyStopping(const EarlyStoppingOptions& options)
      : options_(options), best_(options.monitor, options.min_delta) {}

  void on_train_begin(int epochs, int64_t) override { epochs_ = epochs; }

  bool on_epoch_end(const EpochLog& log, Trainer& trainer) override {
    if (best_.passes_over(log)) return false;  // the last epoch never is
    if (best_.improves(log) && options_.restore_best_weights) best_weights_ = trainer.weights();
    const bool stops = best_.epochs_since() > 0 && best_.epochs_since() >= options_.patience;
    const bool is_last = stops || log.epoch == epochs_;
    if (is_last && options_.restore_best_weights) trainer.set_weights(best_weights_);
    return stops;
  }

  std::string name() const override { return "early_stopping"; }
  bool keeps_every_epoch() const override {
    return options_.restore_best_weights && !is_of_validation(options_.monitor);
  }

  json state() const override {
    json result = {{"best", best_.state()}, {"weights", json::array()}};
    for (const auto& values : best_weights_) result["weights"].push_back(values);
    return result;
  }
  void restore(const json& state) override {
    best_.restore(state.at("best"));
    best_weights_ = state.at("weights").get<std::vector<std::vector<float>>>();
  }

 private:
  EarlyStoppingOptions options_;
  Best best_;
  int epochs_ = 0;
  std::vector<std::vector<float>> best_weights_;
};

class ModelCheckpoint : public Callback {
 public:
  explicit ModelCheckpoint(const ModelCheckpointOptions& options) : options_(options), best_(options.monitor, 0.0) {}

  bool on_epoch_end(const EpochLog& log, Trainer& trainer) override {
    if (options_.save_best_only && best_.passes_over(log)) return false;
    if (!options_.save_best_only || best_.improves(log)) {
      formats::keras::save_model(trainer.model(), options_.path);
    }
    return false;
  }

  std::string name() const override { return "model_checkpoint"; }
  bool keeps_every_epoch() const override { return !options_.save_best_only || !is_of_validation(options_.monitor); }
  json state() const override { return best_.state(); }
  void restore(const json& state) override { best_.restore(state); }

 private:
  ModelCheckpointOptions options_;
  Best best_;
};

constexpr std::string_view kColumns = "epoch,learning_rate,loss,accuracy,val_loss,val_accuracy,seconds\n";
// Of a loss that is an error.
constexpr std::string_view kErrorColumns =
    "epoch,learning_rate,loss,accuracy,mse,mae,val_loss,val_accuracy,val_mse,val_mae,seconds\n";

class CsvLogger : public Callback {
 public:
  explicit CsvLogger(std::filesystem::path path) : path_(std::move(path)) {}

  bool on_epoch_end(const EpochLog& log, Trainer&) override {
    if (text_.empty()) text_ = log.mse || log.val_mse ? kErrorColumns : kColumns;
    text_ += line(log, text_.starts_with(kErrorColumns));
    write_file(path_, text_);
    return false;
  }

  std::string name() const override { return "csv_logger"; }
  json state() const override { return text_; }
  void restore(const json& state) override {
    text_ = state.get<std::string>();
    // Older checkpoints hold the lines alone; they go on with the columns that they have.
    if (!text_.empty() && !text_.starts_with("epoch,")) text_.insert(0, kColumns);
  }

 private:
  static std::string line(const EpochLog& log, bool has_errors) {
    const auto optional = [](const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; };
    const auto accuracy = [&](const std::optional<double>& value) { return log.has_accuracy ? optional(value) : ""; };
    const auto errors = [&](const std::optional<double>& mse, const std::optional<double>& mae) {
      return has_errors ? fmt::format(",{},{}", optional(mse), optional(mae)) : "";
    };
    return fmt::format("{},{},{},{}{},{},{}{},{:.3f}\n", log.epoch, log.learning_rate, log.loss, accuracy(log.accuracy),
                       errors(log.mse, log.mae), optional(log.val_loss), accuracy(log.val_accuracy),
                       errors(log.val_mse, log.val_mae), log.seconds);
  }

  std::filesystem::path path_;
  std::string text_;  // of the file
};

}  // namespace

Monitor parse_monitor(std::string_view name) {
  if (name == "loss") return Monitor::kLoss;
  if (name == "accuracy" || name == "acc") return Monitor::kAccuracy;
  if (name == "val_loss") return Monitor::kValLoss;
  if (name == "val_accuracy" || name == "val_acc") return Monitor::kValAccuracy;
  throw InvalidArgument("[callback] '{}' cannot be watched; choose loss, accuracy, val_loss or val_accuracy.", name);
}

std::optional<double> monitored(const EpochLog& log, Monitor monitor) {
  switch (monitor) {
    case Monitor::kLoss:
      return log.loss;
    case Monitor::kAccuracy:
      return log.has_accuracy ? std::optional<double>(log.accuracy) : std::nullopt;
    case Monitor::kValLoss:
      return log.val_loss;
    case Monitor::kValAccuracy:
      return log.has_accuracy ? log.val_accuracy : std::nullopt;
  }
  return std::nullopt;
}

bool is_better(double value, double best, Monitor monitor, double min_delta) {
  const bool lower_is_better = monitor == Monitor::kLoss || monitor == Monitor::kValLoss;
  return lower_is_better ? value < best - min_delta : value > best + min_delta;
}

std::unique_ptr<Callback> early_stopping(const EarlyStoppingOptions& options) {
  return std::make_unique<EarlyStopping>(options);
}

std::unique_ptr<Callback> model_checkpoint(const ModelCheckpointOptions& options) {
  return std::make_unique<ModelCheckpoint>(options);
}

std::unique_ptr<Callback> csv_logger(const std::filesystem::path& path) { return std::make_unique<CsvLogger>(path); }

}  // namespace nibble::train
