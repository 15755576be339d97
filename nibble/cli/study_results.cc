#include "nibble/cli/study_results.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/cli/study_argument.h"
#include "nibble/cli/study_metric.h"
#include "nibble/cli/table.h"
#include "nibble/cli/trial_columns.h"
#include "nibble/cli/wording.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/search/pareto.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What can be said without the study.
void check_options(const ParetoOptions& o) {
  std::vector<std::string> metrics = o.maximise;
  metrics.insert(metrics.end(), o.minimise.begin(), o.minimise.end());
  const size_t count = metrics.empty() ? 2 : metrics.size();  // the study's own, and cost
  if (count > 3) throw UsageError("{} metrics are named; the front is computed for up to 3.", count);
  if (!o.reference.empty() && o.reference.size() != count) {
    throw UsageError("--reference has {} values, but there are {} metrics; give one a metric.", o.reference.size(),
                     count);
  }
  std::sort(metrics.begin(), metrics.end());
  const auto twice = std::adjacent_find(metrics.begin(), metrics.end());
  if (twice != metrics.end()) throw UsageError("the metric '{}' is named twice; name it once.", *twice);
}

//   judged  what the study's trials are judged by
std::vector<search::Objective> objectives_of(const ParetoOptions& o, const search::Objective& judged) {
  if (o.maximise.empty() && o.minimise.empty()) return {judged, {"cost", false}};
  std::vector<search::Objective> objectives;
  for (const std::string& metric : o.maximise) objectives.push_back({metric, true});
  for (const std::string& metric : o.minimise) objectives.push_back({metric, false});
  return objectives;
}

// A metric that no completed trial has is a typing error; metrics that none has together span nothing.
//   points  losses of the trials that have all
void check_metrics(const std::vector<search::Trial>& trials, const std::vector<search::Objective>& objectives,
                   const std::vector<search::Losses>& points) {
  std::set<std::string> known = {"score"};
  for (const search::Trial& trial : trials) {
    for (const auto& [name, value] : trial.metrics) known.insert(name);
  }
  for (const search::Objective& objective : objectives) {
    if (known.contains(objective.metric)) continue;
    throw InvalidArgument("no completed trial has the metric '{}'. {}", objective.metric,
                          suggest(objective.metric, std::vector<std::string>(known.begin(), known.end())));
  }
  if (!points.empty()) return;
  std::vector<std::string> names;
  for (const search::Objective& objective : objectives) names.push_back(objective.metric);
  throw InvalidArgument("no completed trial has all of the metrics {}; name others by --maximise and --minimise.",
                        fmt::join(names, ", "));
}

// Given, or the default.
search::Losses reference_of(const ParetoOptions& o, const std::vector<search::Objective>& objectives,
                            const std::vector<search::Trial>& trials) {
  if (o.reference.empty()) return search::default_reference(trials, objectives);
  search::Losses reference;
  for (size_t i = 0; i < objectives.size(); ++i) {
    reference.push_back(objectives[i].maximise ? -o.reference[i] : o.reference[i]);
  }
  return reference;
}

double value_of(const search::Losses& losses, const std::vector<search::Objective>& objectives, size_t i) {
  return objectives[i].maximise ? -losses[i] : losses[i];
}

// "accuracy 0.68, cost 21.5"
std::string reference_text(const search::Losses& reference, const std::vector<search::Objective>& objectives) {
  std::string text;
  for (size_t i = 0; i < objectives.size(); ++i) {
    text += fmt::format("{}{} {:.6g}", i == 0 ? "" : ", ", objectives[i].metric, value_of(reference, objectives, i));
  }
  return text;
}

json history_json(const std::vector<search::HypervolumeStep>& history) {
  json rows = json::array();
  for (const search::HypervolumeStep& step : history) {
    rows.push_back({{"trials", step.trials},
                    {"number", step.number},
                    {"finished_ms", step.finished_ms},
                    {"hypervolume", step.hypervolume}});
  }
  return rows;
}

// "; 50 % of it after 3 trials, 90 % after 12, 99 % after 31"
std::string growth_of(const std::vector<search::HypervolumeStep>& history) {
  std::string text;
  for (const int percent : {50, 90, 99}) {
    for (const search::HypervolumeStep& step : history) {
      if (step.hypervolume < percent / 100.0 * history.back().hypervolume) continue;
      const bool is_first = text.empty();
      text += fmt::format("{} {} % {}after {}", is_first ? ";" : ",", percent, is_first ? "of it " : "",
                          is_first ? counted(step.trials, "trial") : std::to_string(step.trials));
      break;
    }
  }
  return text;
}

// As RFC 4180 wants it.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string csv_of(const std::vector<search::Trial>& trials) {
  std::set<std::string> metrics, parameters;
  for (const search::Trial& trial : trials) {
    for (const auto& [name, value] : trial.metrics) metrics.insert(name);
    for (const auto& [name, value] : trial.values) parameters.insert(name);
  }
  std::string text = "number,state,score,attempts,reason,artifact";
  for (const auto* names : {&metrics, &parameters}) {
    for (const std::string& name : *names) text += "," + csv_cell(name);
  }
  text += "\r\n";
  for (const search::Trial& trial : trials) {
    text += fmt::format("{},{},{},{},{},{}", trial.number, search::to_string(trial.state),
                        trial.score ? fmt::format("{}", *trial.score) : "", trial.attempts, csv_cell(trial.reason),
                        csv_cell(trial.artifact));
    for (const std::string& name : metrics) {
      const auto found = trial.metrics.find(name);
      text += found == trial.metrics.end() ? "," : fmt::format(",{}", found->second);
    }
    for (const std::string& name : parameters) {
      const auto found = trial.values.find(name);
      text += found == trial.values.end() ? "," : "," + csv_cell(found->second);
    }
    text += "\r\n";
  }
  return text;
}

std::string json_of(const search::StudyInfo& info, const std::vector<search::Trial>& trials) {
  json rows = json::array();
  for (const search::Trial& trial : trials) {
    rows.push_back({{"number", trial.number},
                    {"state", search::to_string(trial.state)},
                    {"score", trial.score ? json(*trial.score) : json()},
                    {"metrics", trial.metrics},
                    {"values", trial.values},
                    {"reason", trial.reason},
                    {"attempts", trial.attempts},
                    {"artifact", trial.artifact},
                    {"started_ms", trial.started_ms},
                    {"finished_ms", trial.finished_ms}});
  }
  return json({{"name", info.name},
               {"code_version", info.code_version},
               {"seed", info.seed},
               {"max_trials", info.max_trials},
               {"run_config", info.run_config},
               {"metric", metric_json(metric_of(info.run_config, trials))},
               {"trials", rows}})
             .dump(2) +
         "\n";
}

}  // namespace

void refuse_without_completed(const search::Storage& storage, const std::string& shown) {
  if (!storage.is_over()) throw InvalidArgument("no trial of '{}' is completed yet.", shown);
  throw InvalidArgument(
      "the search '{}' is over, and no trial of it was completed; 'nibble study trials {}' tells why.", shown, shown);
}

int run_pareto(const ParetoOptions& o, Streams& streams) {
  check_options(o);
  const search::Storage storage = search::Storage::open(study_url(o.study));
  const auto trials = storage.trials();
  const search::Objective judged = metric_of(storage.info().run_config, trials);
  const std::vector<search::Objective> objectives = objectives_of(o, judged);
  std::vector<search::Losses> points;
  for (const search::Trial& trial : trials) {
    if (search::Losses losses = search::losses_of(trial, objectives); !losses.empty()) points.push_back(losses);
  }
  if (std::none_of(trials.begin(), trials.end(), [](const auto& t) { return t.score.has_value(); })) {
    refuse_without_completed(storage, shown_study(study_url(o.study)));
  }
  check_metrics(trials, objectives, points);
  const search::Losses reference = reference_of(o, objectives, trials);
  const double volume = search::hypervolume(points, reference);
  Table table{.headers = {"trial"}, .rows = {}};
  json rows = json::array();
  const bool is_energy = columns_of(judged, trials).cost == "energy_nj";
  for (const search::Objective& objective : objectives) {
    table.headers.push_back(objective.metric == "cost" ? (is_energy ? "cost pJ" : "cost bits") : objective.metric);
  }
  for (const int number : search::pareto_front(trials, objectives)) {
    const search::Trial& trial = trials[static_cast<size_t>(number)];
    const search::Losses losses = search::losses_of(trial, objectives);
    table.rows.push_back({std::to_string(number)});
    json row = {{"number", number}, {"quantizers", trial.values}, {"artifact", trial.artifact}};
    for (size_t i = 0; i < objectives.size(); ++i) {
      table.rows.back().push_back(fmt::format("{:.6g}", value_of(losses, objectives, i)));
      row[objectives[i].metric] = value_of(losses, objectives, i);
    }
    rows.push_back(row);
  }
  const auto history = search::hypervolume_history(trials, objectives, reference);
  json point = json::array();
  for (size_t i = 0; i < objectives.size(); ++i) point.push_back(value_of(reference, objectives, i));
  if (o.json) {
    print_json({{"metric", metric_json(judged)},
                {"front", rows},
                {"hypervolume", volume},
                {"reference", point},
                {"history", history_json(history)}},
               streams.out);
    return kOk;
  }
  print(table, streams.out);
  streams.out << fmt::format("\nhypervolume {:.6g} against {}{}{}\n", volume, reference_text(reference, objectives),
                             o.reference.empty() ? " (the worst of the trials and a tenth of their range more)" : "",
                             growth_of(history));
  return kOk;
}

int run_export(const ExportOptions& o, Streams& streams) {
  const bool as_json = o.json || o.format == "json";
  if (o.format != "csv" && o.format != "json")
    throw UsageError("--format cannot be '{}'; it is csv or json.", o.format);
  const std::string url = study_url(o.study);
  const search::Storage storage = search::Storage::open(url);
  if (std::error_code ignored;
      !search::is_server_url(url) && fs::equivalent(o.output, search::sqlite_path(url), ignored)) {
    throw UsageError("--output '{}' is the study itself, which would be lost; name another file.", o.output);
  }
  const auto trials = storage.trials();
  const std::string text = as_json ? json_of(storage.info(), trials) : csv_of(trials);
  if (o.output.empty()) {
    streams.out << text;
  } else {
    write_file(o.output, text);
  }
  return kOk;
}

}  // namespace nibble::cli
