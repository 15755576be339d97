#include "nibble/autoq/strategy_config.h"

#include <algorithm>

#include "nibble/autoq/score.h"
#include "nibble/autoq/training_config.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {
namespace {

constexpr int kMost = 1'000'000;

// "val_mse" and "mse" are one metric: what is judged always is the validation's.
std::optional<Metric> metric_of(std::string name) {
  if (name.starts_with("val_")) name = name.substr(4);
  if (name == "acc" || name == "accuracy") return Metric::kAccuracy;
  if (name == "loss") return Metric::kLoss;
  if (name == "mse" || name == "mean_squared_error") return Metric::kMse;
  if (name == "mae" || name == "mean_absolute_error") return Metric::kMae;
  return std::nullopt;
}

// A loss without a metric of its own is judged by what it is, by any of its names.
std::optional<Metric> metric_of(const std::string& name, const RunConfig& config) {
  if (const auto metric = metric_of(name)) return metric;
  const std::string plain = name.starts_with("val_") ? name.substr(4) : name;
  return plain_loss(plain) == config.loss ? std::optional(Metric::kLoss) : std::nullopt;
}

// Keras puts a head's name before its metrics: "loss" of "val_b_loss".
std::string without_head(const std::string& name, const std::string& head) {
  const std::string prefix = "val_" + head + "_";
  return !head.empty() && name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

std::string natural_metric(const RunConfig& config) { return is_of_classes(config) ? "acc" : config.loss; }

// The list, or of an object head -> metric or list the entry of head_name; the first without a head_name, or where the
// reference would take it.
std::vector<std::string> metric_names(const JsonFields& fields, const RunConfig& config) {
  const Json* given = fields.find("metrics");
  if (given == nullptr || given->empty()) return {natural_metric(config)};
  if (given->is_object()) {
    const bool has_head = !config.head_name.empty() && given->contains(config.head_name);
    if (!config.head_name.empty() && !has_head && config.compat == Compat::kNone) {
      std::vector<std::string> heads;
      for (const auto& [head, names] : given->items()) heads.push_back(head);
      throw InvalidArgument("{} has no entry for head_name '{}'. {}", fields.path("metrics"), config.head_name,
                            suggest(config.head_name, heads));
    }
    given = has_head ? &given->at(config.head_name) : &*given->begin();
  }
  const Json list = given->is_array() ? *given : Json::array({*given});
  std::vector<std::string> names;
  for (const Json& item : list) {
    if (!item.is_string() || !metric_of(item.get<std::string>(), config)) {
      throw InvalidArgument("{} holds {}; known are \"acc\", \"loss\", \"mse\", \"mae\" and the name of the loss.",
                            fields.path("metrics"), excerpt(item));
    }
    names.push_back(item.get<std::string>());
  }
  if (names.empty()) throw InvalidArgument("{} names no metric; give e.g. [\"acc\"].", fields.path("metrics"));
  return names;
}

void parse_metric(const JsonFields& fields, RunConfig& config) {
  config.metric = *metric_of(metric_names(fields, config)[0], config);
  const std::string score = fields.text("score_metric", "val_score");
  const std::string of_head = without_head(score, config.head_name);
  if (score != "val_score" && of_head != "score") {
    auto metric = metric_of(score, config);
    if (!metric) metric = metric_of(of_head, config);
    if (!metric) {
      throw InvalidArgument(
          "{} is '{}'; it must be \"val_score\" or one of \"val_accuracy\", \"val_loss\", \"val_mse\", \"val_mae\", "
          "which may name the head too (\"val_HEAD_loss\", where head_name is HEAD).",
          fields.path("score_metric"), score);
    }
    config.metric = *metric;
    config.score_is_metric = true;
  }
  const bool is_error = config.metric == Metric::kMse || config.metric == Metric::kMae;
  if (is_error && config.loss == "crossentropy") {
    throw InvalidArgument(
        "{} asks for a squared or absolute error, but loss is \"crossentropy\"; set loss to \"mse\" or "
        "\"mae\".",
        fields.path(config.score_is_metric ? "score_metric" : "metrics"));
  }
  if (config.metric == Metric::kAccuracy && config.target == "input") {
    throw InvalidArgument("{}: an autoencoder has no accuracy; take \"mse\", \"mae\" or \"loss\".",
                          fields.path(config.score_is_metric ? "score_metric" : "metrics"));
  }
}

// A floor is of what is to be high, a ceiling of what is to be low.
void check_metric_bounds(const JsonFields& budget, const RunConfig& config) {
  if (config.budget.accuracy && !is_maximised(config.metric)) {
    throw InvalidArgument(
        "{} is a floor, but this search minimises the metric '{}'. Give \"error\" instead, the highest {} that is "
        "allowed, or metrics [\"acc\"].",
        budget.path("accuracy"), to_string(config.metric), to_string(config.metric));
  }
  if (config.budget.error && is_maximised(config.metric)) {
    throw InvalidArgument(
        "{} is a ceiling, but this search maximises the metric '{}'. Give \"accuracy\" instead, the lowest that is "
        "allowed, or a metric that is minimised, such as metrics [\"loss\"].",
        budget.path("error"), to_string(config.metric));
  }
  if (config.budget.bounds_metric() && config.score_is_metric) {
    throw InvalidArgument(
        "{} bounds the metric of trials that are judged by val_score; with score_metric the metric '{}' alone decides. "
        "Remove one of the two.",
        budget.path(config.budget.accuracy ? "accuracy" : "error"), to_string(config.metric));
  }
}

void parse_budget(const JsonFields& fields, RunConfig& config) {
  if (const Json* later = fields.find("later_limit")) config.later_limit = Limit(*later);
  const Json* given = fields.find("budget");
  if (given == nullptr) return;
  const JsonFields inner(*given, "budget", {"energy_nj", "weight_kib", "ram_kib", "accuracy", "error"});
  const auto bound = [&](std::string_view key) -> std::optional<double> {
    if (inner.find(key) == nullptr) return std::nullopt;
    return inner.positive(key, 0, 1e15);
  };
  config.budget.energy_nj = bound("energy_nj");
  config.budget.weight_kib = bound("weight_kib");
  config.budget.ram_kib = bound("ram_kib");
  if (inner.find("accuracy") != nullptr) config.budget.accuracy = inner.number("accuracy", 0, 1e-6, 1);
  config.budget.error = bound("error");
  if (config.budget.energy_nj && config.goal.kind != GoalKind::kEnergy) {
    throw InvalidArgument("{} needs a goal of type \"energy\", whose settings say how energy is counted; add one.",
                          inner.path("energy_nj"));
  }
  check_metric_bounds(inner, config);
}

void parse_hyperband(const JsonFields& fields, RunConfig& config) {
  for (const char* key : {"max_epochs", "factor", "hyperband_iterations"}) {
    if (config.mode == Mode::kHyperband || fields.find(key) == nullptr) continue;
    throw InvalidArgument("{} belongs to mode \"hyperband\"; set mode to it, or remove the key.", fields.path(key));
  }
  if (config.mode != Mode::kHyperband) return;
  // Without either, KerasTuner's 100.
  const int fallback = fields.find("epochs") == nullptr ? config.hyperband.max_epochs : config.epochs;
  config.hyperband.max_epochs = static_cast<int>(fields.integer("max_epochs", fallback, 1, kMost));
  if (fields.find("epochs") != nullptr && config.epochs != config.hyperband.max_epochs) {
    throw InvalidArgument(
        "{} is {} and epochs {}; in mode \"hyperband\" rounds train up to max_epochs. Give one of them.",
        fields.path("max_epochs"), config.hyperband.max_epochs, config.epochs);
  }
  config.hyperband.factor = static_cast<int>(fields.integer("factor", config.hyperband.factor, 2, 1000));
  config.hyperband.iterations =
      static_cast<int>(fields.integer("hyperband_iterations", config.hyperband.iterations, 1, 1000));
  config.epochs = config.hyperband.max_epochs;
  const Json* stopping = fields.find("early_stopping");
  if (stopping != nullptr && *stopping != false) {
    throw InvalidArgument("{} is {}, but in mode \"hyperband\" rounds end trials; set it to false.",
                          fields.path("early_stopping"), excerpt(*stopping));
  }
  config.early_stopping.reset();
  if (fields.find("max_trials") != nullptr) return;
  config.runs_all_rounds = true;
  config.max_trials = search::hyperband_trials(config.hyperband);
}

void parse_pruner(const JsonFields& fields, RunConfig& config) {
  const Json* given = fields.find("pruner");
  if (given == nullptr || *given == false || *given == "none") return;
  search::SuccessiveHalvingOptions options;
  if (given->is_object()) {
    const JsonFields inner(*given, "pruner", {"type", "min_epochs", "factor"});
    inner.choice("type", "successive_halving", {"successive_halving"});
    options.min_steps = static_cast<int>(inner.integer("min_epochs", options.min_steps, 1, kMost));
    options.factor = static_cast<int>(inner.integer("factor", options.factor, 2, 1000));
  } else if (*given != true) {
    fields.choice("pruner", "none", {"none", "successive_halving"});
  }
  if (config.mode == Mode::kHyperband) {
    throw InvalidArgument("{} is given, but mode \"hyperband\" ends trials by its own rounds; remove one of them.",
                          fields.path("pruner"));
  }
  config.pruner = options;
}

void parse_first_trials(const JsonFields& fields, RunConfig& config) {
  if (const Json* given = fields.find("first_trials")) {
    const auto is_assignment = [](const Json& item) {
      return item.is_object() &&
             std::all_of(item.begin(), item.end(), [](const Json& value) { return value.is_string(); });
    };
    if (!given->is_array() || !std::all_of(given->begin(), given->end(), is_assignment)) {
      throw InvalidArgument(
          "{} is {}; it must be a list of objects hyperparameter -> choice, as 'nibble study best --json' "
          "prints under quantizers.",
          fields.path("first_trials"), excerpt(*given));
    }
    for (const Json& item : *given) config.first_trials.push_back(item.get<search::Assignment>());
    if (!config.blocks.empty()) {
      throw InvalidArgument("{} is given beside blocks, each of which searches a space of its own; remove one of them.",
                            fields.path("first_trials"));
    }
  }
  const Json* guided = fields.find("guided_start");
  if (guided == nullptr || *guided == false) return;
  GuidedStart start;
  if (*guided != true) {
    const JsonFields inner(*guided, "guided_start", {"trials", "samples"});
    start.trials = static_cast<int>(inner.integer("trials", start.trials, 1, 1000));
    start.samples = static_cast<int>(inner.integer("samples", start.samples, 1, 10'000'000));
  }
  config.guided_start = start;
}

}  // namespace

void parse_strategy(const JsonFields& fields, RunConfig& config) {
  const std::string mode = fields.choice("mode", "random", {"random", "bayesian", "tpe", "nsga2", "hyperband"});
  config.mode = mode == "bayesian"    ? Mode::kBayesian
                : mode == "tpe"       ? Mode::kTpe
                : mode == "nsga2"     ? Mode::kNsga2
                : mode == "hyperband" ? Mode::kHyperband
                                      : Mode::kRandom;
  config.max_trials = static_cast<int>(fields.integer("max_trials", config.max_trials, 1, kMost));
  config.executions_per_trial = static_cast<int>(fields.integer("executions_per_trial", 1, 1, 1000));
  // What the nearest trial cannot give comes from the model, where that has weights.
  if (config.inherit_from_nearest) config.inherit_weights = true;
  parse_metric(fields, config);
  parse_budget(fields, config);
  parse_hyperband(fields, config);
  parse_pruner(fields, config);
  parse_first_trials(fields, config);
}

}  // namespace nibble::autoq
