#include "nibble/cli/search_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "nibble/autoq/config_paths.h"
#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/autoq/score.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/cli/model_report.h"
#include "nibble/cli/study_metric.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/model_bits.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/search/pareto.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using autoq::RunConfig;

// More training curves than that cannot be told apart on one chart.
constexpr size_t kMostCurves = 8;
// Sentences about the data, one a line, so that a report written later says them too.
constexpr const char* kNoticesFile = "notices.txt";

std::optional<double> metric(const search::Metrics& metrics, const std::string& name) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? std::nullopt : std::optional(found->second);
}

std::string reference_name(const RunConfig& config) {
  return config.goal.kind == autoq::GoalKind::kEnergy ? config.goal.energy.reference_internal : "int8";
}

// Bits of the weights of a trial's network, which need not be trained for that.
std::optional<int64_t> weight_bits(const graph::Model& start, const RunConfig& config, const search::Trial& trial) {
  if (trial.state != search::TrialState::kCompleted) return std::nullopt;
  try {
    return cost::count_bits(autoq::build_trial(start, config, trial.values)).parameters;
  } catch (const Error&) {
    return std::nullopt;  // a study of another version, say; its figures still are worth a report
  }
}

// Nothing where networks give no classes: then it means nothing.
std::optional<double> accuracy_in(const RunConfig& config, const search::Metrics& metrics, const std::string& name) {
  return has_accuracy(config) ? metric(metrics, name) : std::nullopt;
}

// Of what trials are judged by, where that is not the accuracy.
std::optional<double> value_in(const RunConfig& config, const search::Metrics& metrics) {
  if (config.metric == autoq::Metric::kAccuracy) return std::nullopt;
  return metric(metrics, metric_of(config).metric);
}

report::TrialRow trial_row(const search::Trial& trial, const RunConfig& config, const std::vector<std::string>& order) {
  report::TrialRow row;
  row.number = trial.number;
  row.state = trial.state;
  row.score = trial.score;
  row.accuracy = accuracy_in(config, trial.metrics, "accuracy");
  row.value = value_in(config, trial.metrics);
  row.energy_nj = metric(trial.metrics, "energy_nj");
  row.bits = metric(trial.metrics, "bits");
  row.reason = trial.reason;
  for (const std::string& name : order) {
    if (const auto found = trial.values.find(name); found != trial.values.end()) row.choices.push_back(*found);
  }
  return row;
}

report::Curve curve_of(const search::Storage& storage, const RunConfig& config, int number) {
  report::Curve curve{.name = fmt::format("trial {}", number), .trial = number, .points = {}};
  for (const search::Step& step : storage.steps(number)) {
    curve.points.push_back({.epoch = step.step,
                            .loss = metric(step.metrics, "loss"),
                            .accuracy = accuracy_in(config, step.metrics, "accuracy"),
                            .val_loss = metric(step.metrics, "val_loss"),
                            .val_accuracy = accuracy_in(config, step.metrics, "val_accuracy"),
                            .learning_rate = metric(step.metrics, "learning_rate"),
                            .mse = metric(step.metrics, "mse"),
                            .mae = metric(step.metrics, "mae"),
                            .val_mse = metric(step.metrics, "val_mse"),
                            .val_mae = metric(step.metrics, "val_mae")});
  }
  return curve;
}

// The best trial's curve first, then those next in score.
std::vector<report::Curve> curves_of(const search::Storage& storage, const RunConfig& config,
                                     std::vector<search::Trial> trials) {
  std::erase_if(trials, [](const search::Trial& trial) { return !trial.score.has_value(); });
  const search::Trial* first = search::best_trial(trials);
  const int best = first == nullptr ? -1 : first->number;
  std::stable_sort(trials.begin(), trials.end(), [best](const auto& a, const auto& b) {
    if (a.number == best || b.number == best) return a.number == best && b.number != best;
    return *a.score > *b.score;
  });
  if (trials.size() > kMostCurves) trials.resize(kMostCurves);
  std::vector<report::Curve> curves;
  for (const search::Trial& trial : trials) curves.push_back(curve_of(storage, config, trial.number));
  return curves;
}

report::Outcome outcome_of(const search::Storage& storage, const RunConfig& config, const search::Trial& best) {
  report::Outcome outcome;
  outcome.trial = best.number;
  outcome.score = best.score;
  outcome.accuracy = accuracy_in(config, best.metrics, "accuracy");
  outcome.value = value_in(config, best.metrics);
  outcome.energy_nj = metric(best.metrics, "energy_nj");
  outcome.bits = metric(best.metrics, "bits");
  const auto best_epoch = metric(best.metrics, "best_epoch");
  for (const search::Step& step : storage.steps(best.number)) {
    if (best_epoch && step.step == static_cast<int>(*best_epoch)) outcome.loss = metric(step.metrics, "val_loss");
  }
  return outcome;
}

std::vector<std::pair<std::string, std::string>> settings_of(const RunConfig& config, const search::StudyInfo& info) {
  return {
      {"trials", std::to_string(info.max_trials)},
      {"epochs", config.executions_per_trial > 1
                     ? fmt::format("{}, {} times", config.epochs, config.executions_per_trial)
                     : std::to_string(config.epochs)},
      {"batch size", std::to_string(config.batch_size)},
      {"optimizer", fmt::format("{}, learning rate {:g}, {}", config.optimizer, config.learning_rate, config.schedule)},
      {"batch norm", config.batch_norm_statistics},
      {"preprocessing", config.preprocessing},
      {"seed", std::to_string(info.seed)},
      {"nibble", info.code_version}};
}

// Of what trials are judged by, against cost; nothing before a trial is completed.
std::optional<report::HypervolumeGrowth> hypervolume_of(const RunConfig& config,
                                                        const std::vector<search::Trial>& trials) {
  const std::vector<search::Objective> objectives = {metric_of(config), {"cost", false}};
  const search::Losses reference = search::default_reference(trials, objectives);
  // In the order of their numbers: when each ended depends on the machine, and a report must not.
  std::vector<search::Trial> by_number = trials;
  for (search::Trial& trial : by_number) trial.finished_ms = trial.number;
  report::HypervolumeGrowth growth;
  growth.steps = search::hypervolume_history(by_number, objectives, reference);
  if (growth.steps.empty()) return std::nullopt;
  for (size_t i = 0; i < objectives.size(); ++i) {
    growth.axes.push_back({.metric = objectives[i].metric,
                           .maximise = objectives[i].maximise,
                           .reference = objectives[i].maximise ? -reference[i] : reference[i]});
  }
  growth.trials = static_cast<int>(std::count_if(
      trials.begin(), trials.end(), [](const auto& t) { return t.state == search::TrialState::kCompleted; }));
  return growth;
}

std::vector<std::string> parameter_order(const std::string& space) {
  std::vector<std::string> names;
  for (const search::Parameter& parameter : search::space_from_json(space)) names.push_back(parameter.name);
  return names;
}

std::vector<std::string> read_notices(const fs::path& directory) {
  std::vector<std::string> notices;
  std::error_code ignored;
  if (!fs::exists(directory / kNoticesFile, ignored)) return notices;
  std::istringstream lines(read_file(directory / kNoticesFile, uint64_t{1} << 20));
  for (std::string line; std::getline(lines, line);) notices.push_back(line);
  return notices;
}

}  // namespace

cost::EnergyQuery query_of(const RunConfig& config, bool for_reference) {
  if (config.goal.kind == autoq::GoalKind::kEnergy) {
    return autoq::energy_query(config.goal, config.compat, for_reference);
  }
  return cost::energy_query(for_reference ? cost::Reference::kInt8 : cost::Reference::kNone, config.compat);
}

static std::vector<report::Reference> references_of(const RunConfig& config, const cost::EnergyEstimate& first,
                                                    const graph::Model& model) {
  std::vector<report::Reference> result = {{.name = reference_name(config),
                                            .energy_nj = static_cast<double>(first.total_pj) / kPicoPerNano,
                                            .accuracy = {}}};
  if (reference_name(config) != "fp32") {
    const auto fp32 = cost::estimate(model, cost::energy_query(cost::Reference::kFp32, config.compat));
    result.push_back({.name = "fp32", .energy_nj = static_cast<double>(fp32.total_pj) / kPicoPerNano, .accuracy = {}});
  }
  return result;
}

std::vector<report::Reference> references_of(const RunConfig& config) {
  const graph::Model model = autoq::load_reference_model(config, autoq::load_search_model(config));
  return references_of(config, cost::estimate(model, query_of(config, true)), model);
}

std::string goal_sentence(const RunConfig& config) {
  if (config.score_is_metric) return fmt::format("score = {}.", autoq::score_formula(config));
  const auto& factor = config.goal.factor;
  return fmt::format(
      "score = {}; delta grows by {:g} % (falls by {:g} %) for every factor {:g} of {} below "
      "(above) the {} reference.",
      autoq::score_formula(config), factor.delta_p, factor.delta_n, factor.rate, autoq::to_string(config.goal.kind),
      reference_name(config));
}

report::ReportData search_report(const search::Storage& storage, const fs::path& best_model,
                                 const std::vector<std::string>& notices) {
  const search::StudyInfo info = storage.info();
  // Of DIR/best/model.keras.
  const RunConfig config = autoq::config_of_study(info.run_config, best_model.parent_path().parent_path());
  // What trials begin with, which by blocks is quantized and narrowed already, and what they are compared with.
  const graph::Model start = autoq::load_search_model(config), original = autoq::load_reference_model(config, start);
  const auto trials = storage.trials();
  const std::vector<std::string> order = parameter_order(info.space);

  report::ReportData data;
  data.dataset.name = config.data.empty() ? config.model : config.data;
  data.title = fmt::format("AutoQKeras search on {}", data.dataset.name);
  data.model.name = fs::path(config.model).filename().string();
  for (const std::string& notice : notices) data.dataset.note += (data.dataset.note.empty() ? "" : " ") + notice;
  data.model.parameters = count_parameters(original);
  data.metric = metric_of(config);
  data.goal = goal_sentence(config);
  const cost::EnergyEstimate reference = cost::estimate(original, query_of(config, true));
  data.references = references_of(config, reference, original);
  for (const search::Trial& trial : trials) {
    data.trials.push_back(trial_row(trial, config, order));
    data.trials.back().weight_bits = weight_bits(start, config, trial);
  }
  data.hypervolume = hypervolume_of(config, trials);
  data.curves = curves_of(storage, config, trials);
  data.settings = settings_of(config, info);
  if (const search::Trial* best = search::best_trial(trials)) {
    data.outcome = outcome_of(storage, config, *best);
    std::error_code ignored;
    if (fs::exists(best_model, ignored)) {
      const graph::Model model = formats::keras::load_model(best_model);
      add_model(data, model, original, reference, cost::estimate(model, query_of(config, false)));
    }
  }
  return data;
}

void keep_notices(const fs::path& directory, const std::vector<std::string>& notices) {
  if (notices.empty()) return;
  std::string text;
  for (std::string notice : notices) {
    std::replace(notice.begin(), notice.end(), '\n', ' ');
    text += notice + "\n";
  }
  write_file(directory / kNoticesFile, text);
}

void write_search_report(const std::string& study_url, const fs::path& directory, const fs::path& page) {
  const search::Storage storage = search::Storage::open(study_url);
  report::write_report(search_report(storage, directory / "best" / "model.keras", read_notices(directory)), page);
}

}  // namespace nibble::cli
