#include "nibble/autoq/training_runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numbers>
#include <regex>

#include "nibble/autoq/head.h"
#include "nibble/autoq/score.h"
#include "nibble/autoq/search_space.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/philox.h"
#include "nibble/data/catalog.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/models/builtin.h"
#include "nibble/search/annotation.h"
#include "nibble/train/callbacks.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

double metric_of(const train::EpochLog& log, Metric metric) {
  switch (metric) {
    case Metric::kLoss:
      return log.val_loss.value_or(log.loss);
    case Metric::kMse:
      return log.val_mse.value_or(log.loss);
    case Metric::kMae:
      return log.val_mae.value_or(log.loss);
    case Metric::kAccuracy:
      break;
  }
  return log.val_accuracy.value_or(log.accuracy);
}

// Tells the study the score of every epoch, keeps the best one's weights, and ends what the pruner gives up.
class ScoreCallback final : public train::Callback {
 public:
  ScoreCallback(const search::TrialContext& context, const RunConfig& config, const TrialCost& cost, double reference)
      : context_(context), config_(config), cost_(cost), reference_(reference) {
    if (config.pruner) pruner_.emplace(*config.pruner);
  }

  bool on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) override {
    const double value = metric_of(log, config_.metric);
    const double score = score_of(config_, value, cost_, reference_);
    // First of all: it renews the lease, and without one nothing of the trial may be written any more.
    if (!context_.report({log.epoch, metrics_of(log, score)})) throw search::LeaseLost();
    if (is_best(score, value)) {
      best_epoch_ = log.epoch;
      best_score_ = score;
      best_value_ = value;
      best_accuracy_ = log.val_accuracy.value_or(log.accuracy);
      // Before the checkpoint of this epoch is written: a resumed trial that knows of this best finds it.
      formats::keras::save_model(trainer.model(), context_.directory / kModelFile);
    }
    epochs_ = log.epoch;
    const bool may_end = pruner_ && log.epoch < config_.epochs && pruner_->decides_at(log.epoch) && context_.others;
    pruned_ = may_end && pruner_->should_stop(log.epoch, best_score_, context_.others(log.epoch));
    return pruned_;
  }

  nlohmann::json state() const override {
    return {{"best_epoch", best_epoch_},       {"best_score", best_score_}, {"best_value", best_value_},
            {"best_accuracy", best_accuracy_}, {"epochs", epochs_},         {"pruned", pruned_}};
  }
  void restore(const nlohmann::json& state) override {
    best_epoch_ = state.at("best_epoch").get<int>();
    best_score_ = state.at("best_score").get<double>();
    best_value_ = state.at("best_value").get<double>();
    best_accuracy_ = state.at("best_accuracy").get<double>();
    epochs_ = state.at("epochs").get<int>();
    pruned_ = state.at("pruned").get<bool>();
  }

  double best_score() const { return best_score_; }
  search::Metrics metrics() const {
    search::Metrics metrics = {{"best_epoch", best_epoch_}, {"epochs", epochs_}};
    if (config_.target == "label") metrics["accuracy"] = best_accuracy_;
    metrics[std::string(to_string(config_.metric))] = best_value_;
    if (config_.pruner) metrics["pruned"] = pruned_ ? 1 : 0;
    return metrics;
  }

 private:
  // Of equal scores (every network above a floor of accuracy, at one cost) the better metric.
  bool is_best(double score, double value) const {
    if (best_epoch_ == 0 || score > best_score_) return true;
    return score == best_score_ && (is_maximised(config_.metric) ? value > best_value_ : value < best_value_);
  }

  static search::Metrics metrics_of(const train::EpochLog& log, double score) {
    search::Metrics metrics = {{"score", score},
                               {"loss", log.loss},
                               {"accuracy", log.accuracy},
                               {"learning_rate", log.learning_rate},
                               {"seconds", log.seconds}};
    if (log.val_loss) metrics["val_loss"] = *log.val_loss;
    if (log.val_accuracy) metrics["val_accuracy"] = *log.val_accuracy;
    if (log.val_mse) metrics["val_mse"] = *log.val_mse;
    if (log.val_mae) metrics["val_mae"] = *log.val_mae;
    return metrics;
  }

  const search::TrialContext& context_;
  const RunConfig& config_;
  TrialCost cost_;
  double reference_;
  std::optional<search::SuccessiveHalvingPruner> pruner_;
  int best_epoch_ = 0, epochs_ = 0;
  double best_score_ = 0, best_value_ = 0, best_accuracy_ = 0;
  bool pruned_ = false;
};

// Layers whose rate differs from the others'.
std::map<std::string, double> layer_rates(const RunConfig& config, const graph::Model& model) {
  std::map<std::string, double> rates;
  for (const auto& [pattern, factor] : config.layer_learning_rates) {
    const std::regex compiled(pattern, std::regex::ECMAScript);
    for (const graph::Layer& layer : model.layers) {
      // emplace() keeps the first pattern's.
      if (std::regex_search(layer.name, compiled, std::regex_constants::match_continuous)) {
        rates.emplace(layer.name, factor);
      }
    }
  }
  return rates;
}

train::CompileOptions compile_options(const RunConfig& config, const graph::Model& model,
                                      const search::Storage::Claim& claim) {
  train::CompileOptions options;
  options.optimizer = config.optimizer == "sgd" ? train::OptimizerKind::kSgd : train::OptimizerKind::kAdam;
  options.learning_rate = chosen_learning_rate(claim.values).value_or(config.learning_rate);
  options.momentum = config.momentum;
  options.loss = loss_kind(config);
  options.target = config.target == "input" ? train::Target::kInput : train::Target::kLabel;
  options.layer_learning_rates = layer_rates(config, model);
  options.batch_norm_statistics = config.batch_norm_statistics == "moving" ? train::BatchNormStatistics::kMoving
                                                                           : train::BatchNormStatistics::kReestimated;
  if (!config.weight_averaging.empty()) {
    options.weight_averaging =
        config.weight_averaging == "tail" ? train::WeightAveraging::kTail : train::WeightAveraging::kNone;
  }
  // A trial that goes on from another one is that one's training, so it has its seed.
  const int number = search::annotated_number(claim.values, search::kFirst).value_or(claim.number);
  options.seed = derive_seed(config.seed, RandomPurpose::kTrial, static_cast<uint32_t>(number));
  options.threads = 1;
  return options;
}

void set_schedule(const RunConfig& config, double rate, train::FitOptions& fit) {
  if (config.schedule != "cosine") return;
  if (config.mode != Mode::kHyperband) {
    fit.schedule = train::ScheduleKind::kCosine;
    return;
  }
  // Over max_epochs, whatever round the trial is in: the next round goes on with the same curve.
  const double whole = static_cast<double>(config.epochs) / fit.epochs;
  fit.learning_rate = [rate, whole](int64_t step, int64_t total_steps) {
    const double progress = static_cast<double>(step) / std::max(1.0, static_cast<double>(total_steps) * whole);
    return rate * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(1.0, progress)));
  };
}

// Trains to the end, or until context.stop.
void train_trial(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset,
                 const search::TrialContext& context, ScoreCallback& score) {
  const train::CompileOptions options = compile_options(config, model, context.claim);
  train::Trainer trainer(model, options);
  train::FitOptions fit;
  fit.epochs = search::annotated_number(context.claim.values, search::kEpochs).value_or(config.epochs);
  fit.batch_size = config.batch_size;
  set_schedule(config, options.learning_rate, fit);
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

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

fs::path directory_of(const search::TrialContext& context, int number) {
  return context.directory.parent_path() / search::trial_directory(number).filename();
}

// A trial of a later round begins where an earlier trial ended. Where that one's files are gone it trains from the
// start, to the same result.
void bring_checkpoint(const search::TrialContext& context) {
  const auto from = search::annotated_number(context.claim.values, search::kResumes);
  if (!from || is_there(context.directory / kCheckpointFile)) return;
  const fs::path earlier = directory_of(context, *from);
  if (!is_there(earlier / kCheckpointFile) || !is_there(earlier / kModelFile)) return;
  for (const char* name : {kModelFile, kCheckpointFile})
    write_file(context.directory / name, read_file(earlier / name));
}

// Of the trial that the sampler chose; where shapes differ, what the network had already stays.
void bring_weights(const search::TrialContext& context, graph::Model& model) {
  const auto from = search::annotated_number(context.claim.values, search::kWeightsFrom);
  if (from) inherit_weights(formats::keras::load_model(directory_of(context, *from) / kModelFile), model);
}

void remove_checkpoint(const fs::path& checkpoint) {
  std::error_code error;
  fs::remove(checkpoint, error);
  if (error) throw IoError("[autoq] cannot remove '{}': {}.", checkpoint.string(), error.message());
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
  if (config_.budget.bounds_costs()) budget_.emplace(config_, model_);
}

search::TrialResult TrainingRunner::run(const search::TrialContext& context) {
  graph::Model model = build_trial(model_, config_, context.claim.values);
  const TrialCost cost = meter_.measure(model);
  if (const std::string complaint = budget_ ? budget_->complaint(model) : ""; !complaint.empty()) {
    throw InvalidArgument("[trial] the network exceeds the budget: {}. It is not trained.", complaint);
  }
  bring_weights(context, model);
  const fs::path checkpoint = context.directory / kCheckpointFile;
  bring_checkpoint(context);
  const auto make_score = [&] { return std::make_unique<ScoreCallback>(context, config_, cost, meter_.reference()); };
  auto score = make_score();
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
    score = make_score();
    train_trial(config_, model, dataset_, context, *score);
  }
  if (context.stop) return {.stopped = true};
  search::Metrics metrics = score->metrics();
  metrics.insert({{"cost", cost.cost}, {"delta", cost.delta}, {"total_factor", cost.total_factor}});
  if (config_.goal.kind == GoalKind::kEnergy) {
    metrics["energy_nj"] = cost.cost / 1000.0;
  } else {
    metrics["bits"] = cost.cost;
  }
  if (budget_) budget_->add_use(model, metrics);
  return {.score = score->best_score(), .metrics = metrics, .artifact = kModelFile, .temporary = leftovers(context)};
}

// Checkpoints that nobody needs any more. In mode hyperband the next round may go on from this one.
std::vector<std::string> TrainingRunner::leftovers(const search::TrialContext& context) const {
  if (config_.mode != Mode::kHyperband) return {kCheckpointFile};
  const auto from = search::annotated_number(context.claim.values, search::kResumes);
  if (!from) return {};
  return {(fs::path("..") / search::trial_directory(*from).filename() / kCheckpointFile).generic_string()};
}

train::LossKind loss_kind(const RunConfig& config) {
  if (config.loss == "mse") return train::LossKind::kMeanSquaredError;
  return config.loss == "mae" ? train::LossKind::kMeanAbsoluteError : train::LossKind::kCrossEntropy;
}

namespace {

graph::Model load_named_model(const RunConfig& config) {
  if (models::is_builtin(config.model)) return models::make_builtin(config.model);
  if (!fs::exists(config.model)) {
    const std::vector<std::string> names = models::builtin_names();
    throw InvalidArgument("[run_config] model '{}' is neither a built-in network nor a file. {}", config.model,
                          suggest(config.model, names));
  }
  return formats::keras::load_model(config.model);
}

}  // namespace

graph::Model load_search_model(const RunConfig& config) {
  graph::Model model = load_named_model(config);
  return config.head_name.empty() ? model : keep_head(std::move(model), config.head_name);
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
