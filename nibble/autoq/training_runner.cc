#include "nibble/autoq/training_runner.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/philox.h"
#include "nibble/data/catalog.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/models/builtin.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/trainer.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

constexpr const char* kCheckpointFile = "checkpoint";

// Tells the study the score of every epoch and keeps the best one's weights.
class ScoreCallback final : public train::Callback {
 public:
  ScoreCallback(const search::TrialContext& context, double delta) : context_(context), delta_(delta) {}

  bool on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) override {
    const double accuracy = log.val_accuracy.value_or(log.accuracy);
    const double score = accuracy * (1.0 + delta_);
    search::Metrics metrics = {{"score", score},
                               {"loss", log.loss},
                               {"accuracy", log.accuracy},
                               {"learning_rate", log.learning_rate},
                               {"seconds", log.seconds}};
    if (log.val_loss) metrics["val_loss"] = *log.val_loss;
    if (log.val_accuracy) metrics["val_accuracy"] = *log.val_accuracy;
    // First of all: it renews the lease, and without one nothing of the trial may be written any more.
    if (!context_.report({log.epoch, metrics})) throw search::LeaseLost();
    if (best_epoch_ == 0 || score > best_score_) {
      best_epoch_ = log.epoch;
      best_score_ = score;
      best_accuracy_ = accuracy;
      // Before the checkpoint of this epoch is written: a resumed trial that knows of this best finds it.
      formats::keras::save_model(trainer.model(), context_.directory / kModelFile);
    }
    epochs_ = log.epoch;
    return false;
  }

  nlohmann::json state() const override {
    return {{"best_epoch", best_epoch_},
            {"best_score", best_score_},
            {"best_accuracy", best_accuracy_},
            {"epochs", epochs_}};
  }
  void restore(const nlohmann::json& state) override {
    best_epoch_ = state.at("best_epoch").get<int>();
    best_score_ = state.at("best_score").get<double>();
    best_accuracy_ = state.at("best_accuracy").get<double>();
    epochs_ = state.at("epochs").get<int>();
  }

  int best_epoch() const { return best_epoch_; }
  int epochs() const { return epochs_; }
  double best_score() const { return best_score_; }
  double best_accuracy() const { return best_accuracy_; }

 private:
  const search::TrialContext& context_;
  double delta_;
  int best_epoch_ = 0, epochs_ = 0;
  double best_score_ = 0, best_accuracy_ = 0;
};

train::CompileOptions compile_options(const RunConfig& config, int number) {
  train::CompileOptions options;
  options.optimizer = config.optimizer == "sgd" ? train::OptimizerKind::kSgd : train::OptimizerKind::kAdam;
  options.learning_rate = config.learning_rate;
  options.momentum = config.momentum;
  options.batch_norm_statistics = config.batch_norm_statistics == "moving" ? train::BatchNormStatistics::kMoving
                                                                           : train::BatchNormStatistics::kReestimated;
  if (!config.weight_averaging.empty()) {
    options.weight_averaging =
        config.weight_averaging == "tail" ? train::WeightAveraging::kTail : train::WeightAveraging::kNone;
  }
  options.seed = derive_seed(config.seed, RandomPurpose::kTrial, static_cast<uint32_t>(number));
  options.threads = 1;
  return options;
}

// Trains to the end, or until context.stop.
void train_trial(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset,
                 const search::TrialContext& context, ScoreCallback& score) {
  train::Trainer trainer(model, compile_options(config, context.claim.number));
  train::FitOptions fit;
  fit.epochs = config.epochs;
  fit.batch_size = config.batch_size;
  fit.schedule = config.schedule == "cosine" ? train::ScheduleKind::kCosine : train::ScheduleKind::kConstant;
  fit.stop = &context.stop;
  fit.checkpoint = context.directory / kCheckpointFile;
  fit.resume = true;
  fit.callbacks = {&score};
  std::unique_ptr<train::Callback> early;
  if (config.early_stopping) {
    early = train::early_stopping({.patience = *config.early_stopping});
    fit.callbacks.push_back(early.get());
  }
  trainer.fit(dataset, fit);
}

void remove_checkpoint(const fs::path& checkpoint) {
  std::error_code error;
  fs::remove(checkpoint, error);
  if (error) throw IoError("[autoq] cannot remove '{}': {}.", checkpoint.string(), error.message());
}

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

void check_transfer(const RunConfig& config, const graph::Model& model) {
  if (!config.transfer_weights) return;
  for (const graph::Layer& layer : model.layers) {
    if (!layer.weights.empty()) return;
  }
  throw InvalidArgument(
      "[run_config] transfer_weights is true, but model '{}' has no weights. Train it first and give its file as "
      "model.",
      config.model);
}

}  // namespace

TrainingRunner::TrainingRunner(RunConfig config, graph::Model model, data::Dataset dataset)
    : config_(std::move(config)),
      model_(std::move(model)),
      dataset_(std::move(dataset)),
      meter_(config_.goal, load_reference_model(config_, model_), config_.compat) {
  check_transfer(config_, model_);
}

search::TrialResult TrainingRunner::run(const search::TrialContext& context) {
  const graph::Model model = build_trial(model_, config_, context.claim.values);
  const TrialCost cost = meter_.measure(model);
  if (config_.budget.energy_nj && cost.cost / 1000.0 > *config_.budget.energy_nj) {
    throw InvalidArgument("[trial] the network takes {} nJ, more than the budget of {} nJ; it is not trained.",
                          cost.cost / 1000.0, *config_.budget.energy_nj);
  }
  const fs::path checkpoint = context.directory / kCheckpointFile;
  auto score = std::make_unique<ScoreCallback>(context, cost.delta);
  // A checkpoint without the weights of its best epoch is no use.
  if (!is_there(context.directory / kModelFile)) remove_checkpoint(checkpoint);
  const bool resumes = is_there(checkpoint);
  try {
    train_trial(config_, model, dataset_, context, *score);
  } catch (const std::exception& error) {
    // A checkpoint that cannot be used (damaged, or of another version) costs time, not the trial.
    const bool unusable = dynamic_cast<const CorruptFile*>(&error) || dynamic_cast<const InvalidArgument*>(&error);
    if (!resumes || !unusable) throw;
    remove_checkpoint(checkpoint);
    score = std::make_unique<ScoreCallback>(context, cost.delta);
    train_trial(config_, model, dataset_, context, *score);
  }
  if (context.stop) return {.stopped = true};
  search::Metrics metrics = {{"accuracy", score->best_accuracy()},
                             {"best_epoch", score->best_epoch()},
                             {"epochs", score->epochs()},
                             {"cost", cost.cost},
                             {"delta", cost.delta},
                             {"total_factor", cost.total_factor}};
  if (config_.goal.kind == GoalKind::kEnergy) {
    metrics["energy_nj"] = cost.cost / 1000.0;
  } else {
    metrics["bits"] = cost.cost;
  }
  return {.score = score->best_score(), .metrics = metrics, .artifact = kModelFile, .temporary = {kCheckpointFile}};
}

graph::Model load_search_model(const RunConfig& config) {
  if (models::is_builtin(config.model)) return models::make_builtin(config.model);
  if (!fs::exists(config.model)) {
    const std::vector<std::string> names = models::builtin_names();
    throw InvalidArgument("[run_config] model '{}' is neither a built-in network nor a file. {}", config.model,
                          suggest(config.model, names));
  }
  return formats::keras::load_model(config.model);
}

graph::Model load_reference_model(const RunConfig& config, const graph::Model& model) {
  if (config.reference_model.empty()) return model;
  RunConfig reference = config;
  reference.model = config.reference_model;
  return load_search_model(reference);
}

data::Dataset load_search_data(const RunConfig& config) {
  std::string name = config.data;
  if (name.empty() && models::is_builtin(config.model)) name = config.model;
  if (name.empty()) {
    throw InvalidArgument("[run_config] data is missing; name a data set: {}.", fmt::join(data::dataset_names(), ", "));
  }
  data::Dataset dataset = data::load_dataset(name, {.holdout = config.holdout});
  data::apply_preprocessing(dataset, data::parse_preprocessing(config.preprocessing));
  return dataset;
}

}  // namespace nibble::autoq
