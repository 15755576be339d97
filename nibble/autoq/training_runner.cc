#include "nibble/autoq/training_runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numbers>
#include <regex>

#include "nibble/autoq/head.h"
#include "nibble/autoq/score.h"
#include "nibble/autoq/score_callback.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/teacher.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/philox.h"
#include "nibble/data/catalog.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/models/builtin.h"
#include "nibble/search/annotation.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/loss_names.h"
#include "nibble/transform/dropout_rate.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

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

// The first execution's is the trial's own, so that more of them leave it as it is.
uint64_t seed_of(const RunConfig& config, const search::Storage::Claim& claim, int execution) {
  // A trial that goes on from another one is that one's training, so it has its seed.
  const int number = search::annotated_number(claim.values, search::kFirst).value_or(claim.number);
  const uint64_t seed = derive_seed(config.seed, RandomPurpose::kTrial, static_cast<uint32_t>(number));
  return execution == 0 ? seed : derive_seed(seed, RandomPurpose::kTrial, static_cast<uint32_t>(execution));
}

train::CompileOptions compile_options(const RunConfig& config, const graph::Model& model,
                                      const search::Storage::Claim& claim, int execution) {
  train::CompileOptions options;
  options.optimizer = config.optimizer == "sgd" ? train::OptimizerKind::kSgd : train::OptimizerKind::kAdam;
  options.learning_rate = chosen_learning_rate(claim.values).value_or(config.learning_rate);
  options.momentum = config.momentum;
  options.loss = loss_kind(config);
  options.target = target_kind(config);
  options.layer_learning_rates = layer_rates(config, model);
  options.batch_norm_statistics = config.batch_norm_statistics == "moving" ? train::BatchNormStatistics::kMoving
                                                                           : train::BatchNormStatistics::kReestimated;
  if (!config.weight_averaging.empty()) {
    options.weight_averaging =
        config.weight_averaging == "tail" ? train::WeightAveraging::kTail : train::WeightAveraging::kNone;
  }
  options.seed = seed_of(config, claim, execution);
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
void train_execution(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset,
                     const search::TrialContext& context, const Execution& execution,
                     const std::optional<train::Distillation>& lessons, ScoreCallback& score) {
  const train::CompileOptions options = compile_options(config, model, context.claim, execution.index);
  train::Trainer trainer(model, options);
  train::FitOptions fit;
  fit.epochs = search::annotated_number(context.claim.values, search::kEpochs).value_or(config.epochs);
  fit.batch_size = config.batch_size;
  fit.validation_freq = config.validation_freq;
  fit.validation_epochs = epochs_looked_at(config);
  set_schedule(config, options.learning_rate, fit);
  fit.stop = &context.stop;
  fit.checkpoint = context.directory / execution.checkpoint;
  fit.resume = true;
  fit.callbacks = {&score};
  fit.augmentation = config.augmentation;
  fit.distillation = lessons;
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
void bring_checkpoint(const search::TrialContext& context, const Execution& execution) {
  const auto from = search::annotated_number(context.claim.values, search::kResumes);
  if (!from || is_there(context.directory / execution.checkpoint)) return;
  const fs::path earlier = directory_of(context, *from);
  if (!is_there(earlier / execution.checkpoint) || !is_there(earlier / execution.model)) return;
  for (const std::string& name : {execution.model, execution.checkpoint})
    write_file(context.directory / name, read_file(earlier / name));
}

// Of the trial that the sampler chose; where shapes differ, what the network had already stays.
void bring_weights(const search::TrialContext& context, graph::Model& model) {
  const auto from = search::annotated_number(context.claim.values, search::kWeightsFrom);
  if (!from) return;
  const fs::path file = directory_of(context, *from) / kModelFile;
  if (!is_there(file)) {
    throw IoError(
        "[autoq] trial {} begins with the weights of trial {}, but '{}' is not there. With transfer_weights "
        "\"nearest\" all workers of a study need the same directory.",
        context.claim.number, *from, file.string());
  }
  inherit_weights(formats::keras::load_model(file), model);
}

// The trial's weights are those of its best execution.
void keep_best(const RunConfig& config, const fs::path& directory, const std::vector<ExecutionScore>& scores) {
  const Execution best = execution_of(config, best_execution(config, scores));
  write_file(directory / kModelFile, read_file(directory / best.model));
}

void remove_checkpoint(const fs::path& checkpoint) {
  std::error_code error;
  fs::remove(checkpoint, error);
  if (error) throw IoError("[autoq] cannot remove '{}': {}.", checkpoint.string(), error.message());
}

void check_transfer(const RunConfig& config, const graph::Model& model) {
  if (!config.transfer_weights && !config.goal.counts_trained_weights()) return;
  for (const graph::Layer& layer : model.layers) {
    if (!layer.weights.empty()) return;
  }
  throw InvalidArgument(
      "[run_config] {} is true, but model '{}' has no weights. Train it first and give its file as model.",
      config.transfer_weights ? "transfer_weights" : "goal.params.trained_model", config.model);
}

// An error against the data's numbers is neither right nor wrong.
bool has_accuracy(const RunConfig& config, const data::Dataset& dataset) {
  if (config.target == "input") return false;
  return !dataset.train.has_targets() || is_of_classes(config);
}

void check_metric(const RunConfig& config, const data::Dataset& dataset) {
  if (dataset.train.has_targets() && config.loss == "crossentropy" && config.metric == Metric::kAccuracy &&
      dataset.train.target_shape().elements() == 1) {
    throw InvalidArgument(
        "[run_config] the data set '{}' holds numbers and no classes; set loss to \"mse\" or another error.",
        dataset.name);
  }
  if (config.metric != Metric::kAccuracy || has_accuracy(config, dataset)) return;
  throw InvalidArgument(
      "[run_config] metrics ask for the accuracy, but the data set '{}' holds numbers and no classes; judge trials by "
      "\"loss\", \"mse\" or \"mae\".",
      dataset.name);
}

// Before anything is trained.
void check_images(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset) {
  if (config.augmentation.is_none()) return;
  const std::string& input = model.inputs.at(0);
  const Shape& samples = dataset.train.shape();
  data::check_augmentation(config.augmentation, samples.rank() == 1 ? graph::infer_shapes(model).at(input) : samples,
                           input);
}

}  // namespace

TrainingRunner::TrainingRunner(RunConfig config, graph::Model model, data::Dataset dataset)
    : config_(std::move(config)),
      model_(std::move(model)),
      dataset_(std::move(dataset)),
      meter_(config_.goal, load_reference_model(config_, model_), config_.compat) {
  check_transfer(config_, model_);
  check_metric(config_, dataset_);
  check_network(config_, model_, dataset_);
  check_images(config_, model_, dataset_);
  if (config_.budget.bounds_costs()) budget_.emplace(config_, model_);
  teacher_ = load_teacher(config_, model_, dataset_.train);
}

// One training of the trial, gone on with where an earlier attempt left it: what is finished already is read from its
// checkpoint.
ExecutionScore TrainingRunner::execute(const graph::Model& model, const TrialCost& cost,
                                       const search::TrialContext& context, const Execution& execution) const {
  const fs::path checkpoint = context.directory / execution.checkpoint;
  bring_checkpoint(context, execution);
  const auto make_score = [&] { return ScoreCallback(context, execution, config_, cost, meter_.reference()); };
  // A checkpoint without the weights of its best epoch is no use.
  if (!is_there(context.directory / execution.model)) remove_checkpoint(checkpoint);
  const bool resumes = is_there(checkpoint);
  try {
    ScoreCallback score = make_score();
    train_execution(config_, model, dataset_, context, execution, lessons_, score);
    return score.result();
  } catch (const std::exception& error) {
    // A checkpoint that cannot be used (damaged, or of another version) costs time, not the trial.
    const bool unusable = dynamic_cast<const CorruptFile*>(&error) || dynamic_cast<const InvalidArgument*>(&error);
    if (!resumes || !unusable) throw;
  }
  remove_checkpoint(checkpoint);
  ScoreCallback score = make_score();
  train_execution(config_, model, dataset_, context, execution, lessons_, score);
  return score.result();
}

search::TrialResult TrainingRunner::run(const search::TrialContext& context) {
  graph::Model model = build_trial(model_, config_, context.claim.values);
  const TrialCost cost = meter_.measure(model);
  if (const std::string complaint = budget_ ? budget_->complaint(model) : ""; !complaint.empty()) {
    throw InvalidArgument("[trial] the network exceeds the budget: {}. It is not trained.", complaint);
  }
  bring_weights(context, model);
  if (teacher_ && !lessons_) lessons_ = lessons_of(*teacher_, config_, dataset_.train);
  std::vector<ExecutionScore> scores;
  int epochs = 0;
  for (int k = 0; k < config_.executions_per_trial; ++k) {
    const ExecutionScore score = execute(model, cost, context, execution_of(config_, k, epochs));
    if (context.stop) return {.stopped = true};
    scores.push_back(score);
    epochs += score.epochs;
    // What the pruner gave up is not worth another training.
    if (score.pruned) break;
  }
  if (config_.executions_per_trial > 1) keep_best(config_, context.directory, scores);
  search::Metrics metrics = metrics_of(config_, scores);
  metrics.insert({{"cost", cost.cost}, {"delta", cost.delta}, {"total_factor", cost.total_factor}});
  if (config_.goal.kind == GoalKind::kEnergy) {
    metrics["energy_nj"] = cost.cost / 1000.0;
  } else {
    metrics["bits"] = cost.cost;
  }
  if (budget_) budget_->add_use(model, metrics);
  return {.score = trial_score(config_, scores, cost, meter_.reference()),
          .metrics = metrics,
          .artifact = kModelFile,
          .temporary = leftovers(context)};
}

// What nobody needs any more. In mode hyperband the next round may go on from this trial's files.
std::vector<std::string> TrainingRunner::leftovers(const search::TrialContext& context) const {
  std::vector<std::string> names = temporary_files(config_);
  if (config_.mode != Mode::kHyperband) return names;
  const auto from = search::annotated_number(context.claim.values, search::kResumes);
  if (!from) return {};
  for (std::string& name : names) {
    name = (fs::path("..") / search::trial_directory(*from).filename() / name).generic_string();
  }
  return names;
}

train::LossKind loss_kind(const RunConfig& config) { return train::loss_named(config.loss); }

train::Target target_kind(const RunConfig& config) {
  return config.target == "input" ? train::Target::kInput : train::Target::kLabel;
}

void check_network(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset) {
  if (model.outputs.size() != 1) {
    throw InvalidArgument(
        "[run_config] model '{}' has the outputs {}, of which a search trains and scores one. Name it by head_name.",
        config.model, fmt::join(model.outputs, ", "));
  }
  if (model.inputs.size() != 1) {
    throw InvalidArgument(
        "[run_config] model '{}' takes the inputs {}, but the samples of a data set are one. Give a network of one "
        "input{}.",
        config.model, fmt::join(model.inputs, ", "),
        config.head_name.empty() ? "" : ", or as head_name an output that needs one alone");
  }
  train::check_samples(model, loss_kind(config), target_kind(config), dataset.train);
  if (dataset.test.count() > 0) train::check_samples(model, loss_kind(config), target_kind(config), dataset.test);
}

namespace {

// The file, where the model is a folder that 'nibble train' wrote.
fs::path model_file(const fs::path& model) {
  std::error_code ignored;
  if (!fs::is_directory(model, ignored)) return model;
  if (is_there(model / kModelFile)) return model / kModelFile;
  throw IoError(
      "[run_config] model '{}' is a folder without a {}; give the file of a model, or a folder written by 'nibble "
      "train'.",
      model.string(), kModelFile);
}

graph::Model load_named_model(const RunConfig& config) {
  if (models::is_builtin(config.model)) return models::make_builtin(config.model);
  if (!is_there(config.model)) {
    if (config.model.find_first_of("/.") != std::string::npos) {
      throw IoError(
          "[run_config] model '{}' is not there. A study keeps the path that the file had when it was made: put the "
          "file back there, or correct the path of a new search.",
          config.model);
    }
    const std::vector<std::string> names = models::builtin_names();
    throw InvalidArgument("[run_config] model '{}' is neither a built-in network nor a file. {}", config.model,
                          suggest(config.model, names));
  }
  return formats::keras::load_model(model_file(config.model));
}

}  // namespace

graph::Model load_search_model(const RunConfig& config) {
  graph::Model model = load_named_model(config);
  if (config.dropout) model = transform::with_dropout_rate(std::move(model), *config.dropout);
  return config.head_name.empty() ? model : keep_head(std::move(model), config.head_name);
}

graph::Model load_reference_model(const RunConfig& config, const graph::Model& model) {
  if (config.reference_model.empty()) return model;
  RunConfig reference = config;
  reference.model = config.reference_model;
  reference.dropout = std::nullopt;  // costs nothing, and it may have none
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
