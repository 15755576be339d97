#include "nibble/autoq/score_callback.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "nibble/autoq/score.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/formats/keras/keras_file.h"

namespace nibble::autoq {
namespace {

// Of the validation data alone: what was trained on says nothing of a trial.
std::optional<double> validated(const train::EpochLog& log, Metric metric) {
  switch (metric) {
    case Metric::kLoss:
      return log.val_loss;
    case Metric::kMse:
      return log.val_mse;
    case Metric::kMae:
      return log.val_mae;
    case Metric::kAccuracy:
      break;
  }
  return log.has_accuracy ? log.val_accuracy : std::nullopt;
}

double metric_of(const train::EpochLog& log, Metric metric) {
  if (const auto value = validated(log, metric)) return *value;
  throw InvalidArgument(
      "[autoq] trials are judged by the validation {}, but the epoch has none. Give data with test samples, and a loss "
      "that has it.",
      to_string(metric));
}

// Of equal scores (every network above a floor of accuracy, at one cost) the better metric.
bool is_better(const RunConfig& config, double score, double value, const ExecutionScore& than) {
  if (score != than.score) return score > than.score;
  return is_maximised(config.metric) ? value > than.value : value < than.value;
}

search::Metrics step_metrics(const train::EpochLog& log, double score) {
  search::Metrics metrics = {
      {"score", score}, {"loss", log.loss}, {"learning_rate", log.learning_rate}, {"seconds", log.seconds}};
  if (log.has_accuracy) metrics["accuracy"] = log.accuracy;
  if (log.val_loss) metrics["val_loss"] = *log.val_loss;
  if (log.val_accuracy && log.has_accuracy) metrics["val_accuracy"] = *log.val_accuracy;
  if (log.mse) metrics["mse"] = *log.mse;
  if (log.mae) metrics["mae"] = *log.mae;
  if (log.val_mse) metrics["val_mse"] = *log.val_mse;
  if (log.val_mae) metrics["val_mae"] = *log.val_mae;
  return metrics;
}

double mean_of(std::span<const ExecutionScore> scores, double ExecutionScore::*member) {
  double sum = 0;
  for (const ExecutionScore& score : scores) sum += score.*member;
  return sum / static_cast<double>(scores.size());
}

// Of all executions or of none.
std::optional<double> mean_of(std::span<const ExecutionScore> scores, std::optional<double> ExecutionScore::*member) {
  double sum = 0;
  for (const ExecutionScore& score : scores) {
    if (!(score.*member)) return std::nullopt;
    sum += *(score.*member);
  }
  return sum / static_cast<double>(scores.size());
}

double score_deviation(std::span<const ExecutionScore> scores) {
  if (scores.size() < 2) return 0;
  const double mean = mean_of(scores, &ExecutionScore::score);
  double sum = 0;
  for (const ExecutionScore& score : scores) sum += (score.score - mean) * (score.score - mean);
  return std::sqrt(sum / static_cast<double>(scores.size() - 1));
}

nlohmann::json or_null(const std::optional<double>& value) { return value ? nlohmann::json(*value) : nlohmann::json(); }

// A checkpoint of an earlier nibble may lack it.
std::optional<double> number_in(const nlohmann::json& state, const char* name) {
  const auto found = state.find(name);
  return found == state.end() || found->is_null() ? std::nullopt : std::optional(found->get<double>());
}

}  // namespace

Execution execution_of(const RunConfig& config, int index, int epochs_before) {
  const bool is_only = config.executions_per_trial == 1;
  return {.index = index,
          .model = is_only ? kModelFile : fmt::format("execution_{}.keras", index + 1),
          .checkpoint = is_only ? "checkpoint" : fmt::format("checkpoint_{}", index + 1),
          .epochs_before = epochs_before};
}

std::vector<std::string> temporary_files(const RunConfig& config) {
  std::vector<std::string> names;
  for (int k = 0; k < config.executions_per_trial; ++k) {
    const Execution execution = execution_of(config, k);
    names.push_back(execution.checkpoint);
    if (execution.model != kModelFile) names.push_back(execution.model);
  }
  return names;
}

std::set<int> epochs_looked_at(const RunConfig& config) {
  std::set<int> epochs;
  if (config.validation_freq == 1) return epochs;
  if (config.mode == Mode::kHyperband) {
    for (const search::HyperbandRound& round : search::hyperband_rounds(config.hyperband)) epochs.insert(round.epochs);
  }
  if (!config.pruner) return epochs;
  const search::SuccessiveHalvingPruner pruner(*config.pruner);
  for (int epoch = 1; epoch < config.epochs; ++epoch) {
    if (pruner.decides_at(epoch)) epochs.insert(epoch);
  }
  return epochs;
}

double trial_score(const RunConfig& config, std::span<const ExecutionScore> scores, const TrialCost& cost,
                   double reference) {
  // A floor or ceiling is kept or missed by the mean; scores on its two sides have no common scale.
  if (config.budget.bounds_metric()) return score_of(config, mean_of(scores, &ExecutionScore::value), cost, reference);
  return mean_of(scores, &ExecutionScore::score);
}

int best_execution(const RunConfig& config, std::span<const ExecutionScore> scores) {
  size_t best = 0;
  for (size_t k = 1; k < scores.size(); ++k) {
    if (is_better(config, scores[k].score, scores[k].value, scores[best])) best = k;
  }
  return static_cast<int>(best);
}

search::Metrics metrics_of(const RunConfig& config, std::span<const ExecutionScore> scores) {
  const int best = best_execution(config, scores);
  int best_epoch = scores[static_cast<size_t>(best)].best_epoch, epochs = 0;
  for (size_t k = 0; k < scores.size(); ++k) {
    if (static_cast<int>(k) < best) best_epoch += scores[k].epochs;
    epochs += scores[k].epochs;
  }
  search::Metrics metrics = {{"best_epoch", best_epoch}, {"epochs", epochs}};
  if (const auto accuracy = mean_of(scores, &ExecutionScore::accuracy)) metrics["accuracy"] = *accuracy;
  if (const auto loss = mean_of(scores, &ExecutionScore::loss)) metrics["loss"] = *loss;
  metrics[std::string(to_string(config.metric))] = mean_of(scores, &ExecutionScore::value);
  if (config.pruner) metrics["pruned"] = scores[0].pruned ? 1 : 0;
  if (config.executions_per_trial > 1) {
    metrics["executions"] = static_cast<double>(scores.size());
    metrics["best_execution"] = best + 1;
    metrics["score_deviation"] = score_deviation(scores);
  }
  return metrics;
}

ScoreCallback::ScoreCallback(const search::TrialContext& context, const Execution& execution, const RunConfig& config,
                             const TrialCost& cost, double reference)
    : context_(context), execution_(execution), config_(config), cost_(cost), reference_(reference) {
  if (config.pruner && execution.index == 0) pruner_.emplace(*config.pruner);
}

bool ScoreCallback::on_epoch_end(const train::EpochLog& log, train::Trainer& trainer) {
  if (log.skips_validation) {
    // The checkpoint is written after it all the same.
    if (context_.renew && !context_.renew()) throw search::LeaseLost();
    best_.epochs = log.epoch;
    return false;
  }
  const double value = metric_of(log, config_.metric);
  const double score = score_of(config_, value, cost_, reference_);
  // First of all: it renews the lease, and without one nothing of the trial may be written any more.
  if (!context_.report({execution_.epochs_before + log.epoch, step_metrics(log, score)})) throw search::LeaseLost();
  if (best_.best_epoch == 0 || is_better(config_, score, value, best_)) {
    best_.best_epoch = log.epoch;
    best_.score = score;
    best_.value = value;
    best_.accuracy = validated(log, Metric::kAccuracy);
    best_.loss = validated(log, Metric::kLoss);
    // Before the checkpoint of this epoch is written: a resumed trial that knows of this best finds it.
    formats::keras::save_model(trainer.model(), context_.directory / execution_.model);
  }
  best_.epochs = log.epoch;
  const bool may_end = pruner_ && log.epoch < config_.epochs && pruner_->decides_at(log.epoch) && context_.others;
  best_.pruned = may_end && pruner_->should_stop(log.epoch, best_.score, context_.others(log.epoch));
  return best_.pruned;
}

nlohmann::json ScoreCallback::state() const {
  return {{"best_epoch", best_.best_epoch},
          {"best_score", best_.score},
          {"best_value", best_.value},
          {"best_accuracy", or_null(best_.accuracy)},
          {"best_loss", or_null(best_.loss)},
          {"epochs", best_.epochs},
          {"pruned", best_.pruned}};
}

void ScoreCallback::restore(const nlohmann::json& state) {
  best_.best_epoch = state.at("best_epoch").get<int>();
  best_.score = state.at("best_score").get<double>();
  best_.value = state.at("best_value").get<double>();
  best_.accuracy = number_in(state, "best_accuracy");
  best_.loss = number_in(state, "best_loss");
  best_.epochs = state.at("epochs").get<int>();
  best_.pruned = state.at("pruned").get<bool>();
}

}  // namespace nibble::autoq
