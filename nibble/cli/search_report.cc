#include "nibble/cli/search_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/model_bits.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/transform/finalize.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using autoq::RunConfig;

constexpr double kPicoPerNano = 1000.0;
// More training curves than that cannot be told apart on one chart.
constexpr size_t kMostCurves = 8;

std::optional<double> metric(const search::Metrics& metrics, const std::string& name) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? std::nullopt : std::optional(found->second);
}

cost::Compat cost_compat(autoq::Compat compat) {
  switch (compat) {
    case autoq::Compat::kQkeras:
      return cost::Compat::kQkeras;
    case autoq::Compat::kQkeras2020:
      return cost::Compat::kQkeras2020;
    default:
      return cost::Compat::kNone;
  }
}

// Where the goal is bits, energies are those of 'nibble energy'.
cost::EnergyQuery query_of(const RunConfig& config, bool for_reference) {
  if (config.goal.kind == autoq::GoalKind::kEnergy) {
    return autoq::energy_query(config.goal, config.compat, for_reference);
  }
  return cost::energy_query(for_reference ? cost::Reference::kInt8 : cost::Reference::kNone,
                            cost_compat(config.compat));
}

std::string reference_name(const RunConfig& config) {
  return config.goal.kind == autoq::GoalKind::kEnergy ? config.goal.energy.reference_internal : "int8";
}

std::vector<report::Reference> references_of(const RunConfig& config, const cost::EnergyEstimate& first,
                                             const graph::Model& model) {
  std::vector<report::Reference> result = {{.name = reference_name(config),
                                            .energy_nj = static_cast<double>(first.total_pj) / kPicoPerNano,
                                            .accuracy = {}}};
  if (reference_name(config) != "fp32") {
    const auto fp32 = cost::estimate(model, cost::energy_query(cost::Reference::kFp32, cost_compat(config.compat)));
    result.push_back({.name = "fp32", .energy_nj = static_cast<double>(fp32.total_pj) / kPicoPerNano, .accuracy = {}});
  }
  return result;
}

std::string goal_sentence(const RunConfig& config) {
  const auto& factor = config.goal.factor;
  return fmt::format(
      "score = validation accuracy * (1 + delta); delta grows by {:g} % (falls by {:g} %) for every factor {:g} of {} "
      "below "
      "(above) the {} reference",
      factor.delta_p, factor.delta_n, factor.rate, autoq::to_string(config.goal.kind), reference_name(config));
}

report::TrialRow trial_row(const search::Trial& trial, const std::vector<std::string>& order) {
  report::TrialRow row;
  row.number = trial.number;
  row.state = trial.state;
  row.score = trial.score;
  row.accuracy = metric(trial.metrics, "accuracy");
  row.energy_nj = metric(trial.metrics, "energy_nj");
  row.reason = trial.reason;
  for (const std::string& name : order) {
    if (const auto found = trial.values.find(name); found != trial.values.end()) row.choices.push_back(*found);
  }
  return row;
}

report::Curve curve_of(const search::Storage& storage, int number) {
  report::Curve curve{.name = fmt::format("trial {}", number), .trial = number, .points = {}};
  for (const search::Step& step : storage.steps(number)) {
    curve.points.push_back({.epoch = step.step,
                            .loss = metric(step.metrics, "loss"),
                            .accuracy = metric(step.metrics, "accuracy"),
                            .val_loss = metric(step.metrics, "val_loss"),
                            .val_accuracy = metric(step.metrics, "val_accuracy"),
                            .learning_rate = metric(step.metrics, "learning_rate")});
  }
  return curve;
}

// The best trial's curve first, then those next in score.
std::vector<report::Curve> curves_of(const search::Storage& storage, std::vector<search::Trial> trials) {
  std::erase_if(trials, [](const search::Trial& trial) { return !trial.score.has_value(); });
  std::stable_sort(trials.begin(), trials.end(), [](const auto& a, const auto& b) { return *a.score > *b.score; });
  if (trials.size() > kMostCurves) trials.resize(kMostCurves);
  std::vector<report::Curve> curves;
  for (const search::Trial& trial : trials) curves.push_back(curve_of(storage, trial.number));
  return curves;
}

std::string printed(const graph::Layer& layer, std::initializer_list<const char*> attributes) {
  for (const char* attribute : attributes) {
    if (!layer.has(attribute)) continue;
    if (const auto quantizer = layer.get_quantizer(attribute)) return quantizer->str();
    const std::string function = layer.activation_function(attribute);
    if (function != "linear") return function;
  }
  return "";
}

std::optional<int64_t> filters_of(const graph::Layer* layer) {
  for (const char* attribute : {"filters", "units"}) {
    if (layer != nullptr && layer->has(attribute)) return layer->get_int(attribute);
  }
  return std::nullopt;
}

std::map<std::string, double> energy_by_layer(const cost::EnergyEstimate& estimate) {
  std::map<std::string, double> result;
  for (const cost::LayerEnergy& layer : estimate.layers) result[layer.name] = layer.included_pj / kPicoPerNano;
  return result;
}

std::optional<double> find(const std::map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

void add_best_model(report::ReportData& data, const graph::Model& best, const graph::Model& original,
                    const cost::EnergyEstimate& reference, const RunConfig& config) {
  const auto before = energy_by_layer(reference);
  const auto after = energy_by_layer(cost::estimate(best, query_of(config, false)));
  for (const graph::Layer& layer : best.layers) {
    if (layer.class_name == "InputLayer") continue;
    report::LayerRow row;
    row.name = layer.name;
    row.type = layer.class_name;
    row.kernel = printed(layer, {"kernel_quantizer", "depthwise_quantizer", "gamma_quantizer"});
    row.bias = printed(layer, {"bias_quantizer", "beta_quantizer"});
    if (layer.attributes.contains("activation")) row.activation = printed(layer, {"activation"});
    row.filters = filters_of(&layer);
    row.reference_filters = filters_of(original.find_layer(layer.name));
    int64_t parameters = 0;
    for (const graph::Weight& weight : layer.weights) parameters += weight.value.size();
    row.parameters = parameters;
    row.reference_energy_nj = find(before, layer.name);
    row.energy_nj = find(after, layer.name);
    data.layers.push_back(std::move(row));
  }
  data.model.weight_bits = cost::count_bits(best, {.compat = cost_compat(config.compat)}).parameters;
  for (const transform::FinalizedLayer& layer : transform::finalize(best).layers) {
    for (const transform::FinalizedWeight& weight : layer.weights) {
      if (!weight.encoded || weight.encoded->codes.empty()) continue;
      data.histograms.push_back({.layer = layer.name,
                                 .tensor = weight.name,
                                 .quantizer = weight.quantizer->str(),
                                 .codes = report::code_histogram(*weight.encoded)});
    }
  }
}

report::Outcome outcome_of(const search::Storage& storage, const search::Trial& best) {
  report::Outcome outcome;
  outcome.trial = best.number;
  outcome.score = best.score;
  outcome.accuracy = metric(best.metrics, "accuracy");
  outcome.energy_nj = metric(best.metrics, "energy_nj");
  const auto best_epoch = metric(best.metrics, "best_epoch");
  for (const search::Step& step : storage.steps(best.number)) {
    if (best_epoch && step.step == static_cast<int>(*best_epoch)) outcome.loss = metric(step.metrics, "val_loss");
  }
  return outcome;
}

std::vector<std::pair<std::string, std::string>> settings_of(const RunConfig& config, const search::StudyInfo& info) {
  return {
      {"trials", std::to_string(info.max_trials)},
      {"epochs", std::to_string(config.epochs)},
      {"batch size", std::to_string(config.batch_size)},
      {"optimizer", fmt::format("{}, learning rate {:g}, {}", config.optimizer, config.learning_rate, config.schedule)},
      {"batch norm", config.batch_norm_statistics},
      {"preprocessing", config.preprocessing},
      {"seed", std::to_string(info.seed)},
      {"nibble", info.code_version}};
}

std::vector<std::string> parameter_order(const std::string& space) {
  std::vector<std::string> names;
  const auto parsed = nlohmann::ordered_json::parse(space, nullptr, false);
  if (!parsed.is_array()) return names;
  for (const auto& parameter : parsed) {
    if (parameter.is_object() && parameter.contains("name")) names.push_back(parameter.at("name").get<std::string>());
  }
  return names;
}

}  // namespace

report::ReportData search_report(const search::Storage& storage, const fs::path& best_model,
                                 const std::vector<std::string>& notices) {
  const search::StudyInfo info = storage.info();
  const RunConfig config = autoq::parse_run_config(info.run_config);
  const graph::Model original = autoq::load_search_model(config);
  const auto trials = storage.trials();
  const std::vector<std::string> order = parameter_order(info.space);

  report::ReportData data;
  data.dataset.name = config.data.empty() ? config.model : config.data;
  data.title = fmt::format("AutoQKeras search on {}", data.dataset.name);
  data.model.name = fs::path(config.model).filename().string();
  for (const std::string& notice : notices) data.dataset.note += (data.dataset.note.empty() ? "" : " ") + notice;
  int64_t parameters = 0;
  for (const graph::LayerSummary& layer : graph::summarize(original)) parameters += layer.parameters;
  data.model.parameters = parameters;
  data.goal = goal_sentence(config);
  const cost::EnergyEstimate reference = cost::estimate(original, query_of(config, true));
  data.references = references_of(config, reference, original);
  for (const search::Trial& trial : trials) data.trials.push_back(trial_row(trial, order));
  data.curves = curves_of(storage, trials);
  data.settings = settings_of(config, info);
  if (const search::Trial* best = search::best_trial(trials)) {
    data.outcome = outcome_of(storage, *best);
    std::error_code ignored;
    if (fs::exists(best_model, ignored)) {
      add_best_model(data, formats::keras::load_model(best_model), original, reference, config);
    }
  }
  return data;
}

void write_search_report(const fs::path& study, const fs::path& page, const std::vector<std::string>& notices) {
  const search::Storage storage = search::Storage::open(study.string());
  report::write_report(search_report(storage, study.parent_path() / "best" / "model.keras", notices), page);
}

}  // namespace nibble::cli
