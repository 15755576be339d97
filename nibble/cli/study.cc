// nibble study: what a search has found.
#include "nibble/search/study.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/study_blocks.h"
#include "nibble/cli/study_delete.h"
#include "nibble/cli/study_metric.h"
#include "nibble/cli/study_results.h"
#include "nibble/cli/table.h"
#include "nibble/cli/trial_columns.h"
#include "nibble/search/storage.h"

namespace nibble::cli {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

struct StudyOptions {
  std::string study;
  std::vector<std::string> folders;
  std::string sort = "number";
  bool json = false;
};

std::optional<double> metric(const search::Trial& trial, const std::string& name) {
  const auto found = trial.metrics.find(name);
  return found == trial.metrics.end() ? std::nullopt : std::optional(found->second);
}

json or_null(const std::optional<double>& value) { return value ? json(*value) : json(); }

// A run_config may hold comments. Its keys keep their order, which is part of the meaning of a limit.
ordered_json parsed(const std::string& text) {
  ordered_json value = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false, /*ignore_comments=*/true);
  return value.is_discarded() ? ordered_json(text) : value;
}

// What trials are judged by stands under its own name: "accuracy", "mse", ...
json trial_json(const search::Trial& trial, const search::Objective& judged) {
  json entry = {{"number", trial.number},
                {"state", search::to_string(trial.state)},
                {"score", or_null(trial.score)},
                {judged.metric, or_null(metric(trial, judged.metric))},
                {"energy_nj", or_null(metric(trial, "energy_nj"))},
                {"metrics", trial.metrics},
                {"quantizers", trial.values},
                {"attempts", trial.attempts},
                {"artifact", trial.artifact}};
  if (!trial.reason.empty()) entry["reason"] = trial.reason;
  return entry;
}

// The best trial, and whether it keeps the floor or ceiling of the budget: its energy and memory always do.
json best_json(const search::Trial& best, const search::Objective& judged, const std::string& missed_bound) {
  json entry = trial_json(best, judged);
  entry["keeps_budget"] = missed_bound.empty();
  return entry;
}

std::vector<std::string> trial_row(const search::Trial& trial, const TrialColumns& columns) {
  return {std::to_string(trial.number), std::string(search::to_string(trial.state)),
          columns.score_of(trial),      columns.metric_of(trial),
          columns.cost_of(trial),       trial.reason};
}

int run_list(const StudyOptions& o, Streams& streams) {
  Table table{.headers = {"study", "max trials", "completed", "failed", "best score", "file"}, .rows = {}};
  json rows = json::array();
  for (const std::string& url : find_studies(o.folders.empty() ? std::vector<std::string>{"."} : o.folders)) {
    const std::string shown = shown_study(url);
    try {
      const search::Storage storage = search::Storage::open(url);
      const auto trials = storage.trials();
      const auto count = [&](search::TrialState state) {
        return std::count_if(trials.begin(), trials.end(), [&](const auto& t) { return t.state == state; });
      };
      const search::Trial* best = search::best_trial(trials);
      const auto score = best == nullptr ? std::nullopt : best->score;
      const search::StudyInfo info = storage.info();
      const search::Objective judged = metric_of(info.run_config, trials);
      rows.push_back({{"name", info.name},
                      {"file", shown},
                      {"metric", metric_json(judged)},
                      {"max_trials", info.max_trials},
                      {"completed", count(search::TrialState::kCompleted)},
                      {"failed", count(search::TrialState::kFailed)},
                      {"best_score", or_null(score)}});
      table.rows.push_back({info.name, std::to_string(info.max_trials),
                            std::to_string(count(search::TrialState::kCompleted)),
                            std::to_string(count(search::TrialState::kFailed)),
                            best == nullptr ? "-" : columns_of(judged, trials).score_of(*best), shown});
    } catch (const Error& error) {
      // Another program's database in the same folder is no reason to hide the studies.
      streams.err << fmt::format("note: {} is passed over: {}\n", shown, error.what());
    }
  }
  if (o.json) {
    print_json({{"studies", rows}}, streams.out);
  } else {
    print(table, streams.out);
  }
  return kOk;
}

// "5 of 8 trials completed". A --resume may have asked for fewer than there were.
std::string progress_of(size_t completed, size_t trials, int max_trials, bool is_over) {
  if (is_over && trials < static_cast<size_t>(max_trials)) {
    return fmt::format("{} of {} trials completed; over, since no new combination was found (max_trials is {})",
                       completed, trials, max_trials);
  }
  if (trials <= static_cast<size_t>(max_trials)) return fmt::format("{} of {} trials completed", completed, max_trials);
  return fmt::format("{} of {} trials completed (max_trials is {} by now)", completed, trials, max_trials);
}

int run_show(const StudyOptions& o, Streams& streams) {
  if (const auto blocks = block_studies(o.study); !blocks.empty()) {
    return show_blocks(o.study, blocks, o.json, streams);
  }
  const search::Storage storage = search::Storage::open(study_url(o.study));
  const search::StudyInfo info = storage.info();
  const auto trials = storage.trials();
  const search::Trial* best = search::best_trial(trials);
  const search::Objective judged = metric_of(info.run_config, trials);
  const std::string missed = missed_bound_of(info.run_config, best);
  const auto count = [&](search::TrialState state) {
    return std::count_if(trials.begin(), trials.end(), [&](const auto& t) { return t.state == state; });
  };
  if (o.json) {
    print_json({{"name", info.name},
                {"code_version", info.code_version},
                {"seed", info.seed},
                {"max_trials", info.max_trials},
                {"waiting", count(search::TrialState::kWaiting)},
                {"running", count(search::TrialState::kRunning)},
                {"completed", count(search::TrialState::kCompleted)},
                {"failed", count(search::TrialState::kFailed)},
                {"is_over", storage.is_over()},
                {"metric", metric_json(judged)},
                {"best", best == nullptr ? json() : best_json(*best, judged, missed)},
                {"run_config", parsed(info.run_config)},
                {"space", parsed(info.space)}},
               streams.out);
    return kOk;
  }
  const auto completed = static_cast<size_t>(count(search::TrialState::kCompleted));
  streams.out << fmt::format("{}: {}, {} failed, {} running, {} waiting\nseed {}, made by {}\n", info.name,
                             progress_of(completed, trials.size(), info.max_trials, storage.is_over()),
                             count(search::TrialState::kFailed), count(search::TrialState::kRunning),
                             count(search::TrialState::kWaiting), info.seed, info.code_version);
  if (best != nullptr) {
    const TrialColumns columns = columns_of(judged, trials);
    streams.out << fmt::format("best: trial {}, score {}, {}\n", best->number, columns.score_of(*best),
                               columns.describe(*best));
  }
  if (!missed.empty()) streams.out << "note: " << missed << "\n";
  return kOk;
}

int run_best(const StudyOptions& o, Streams& streams) {
  const search::Storage storage = search::Storage::open(study_url(o.study));
  const auto trials = storage.trials();
  const search::Trial* best = search::best_trial(trials);
  if (best == nullptr) refuse_without_completed(storage, shown_study(study_url(o.study)));
  const std::string run_config = storage.info().run_config;
  const search::Objective judged = metric_of(run_config, trials);
  const std::string missed = missed_bound_of(run_config, best);
  if (o.json) {
    json entry = best_json(*best, judged, missed);
    entry["metric"] = metric_json(judged);
    print_json(entry, streams.out);
    return kOk;
  }
  const TrialColumns columns = columns_of(judged, trials);
  streams.out << fmt::format("trial {}: score {}, {}\n\n", best->number, columns.score_of(*best),
                             columns.describe(*best));
  Table table{.headers = {"parameter", "choice"}, .rows = {}};
  for (const auto& [name, value] : best->values) table.rows.push_back({name, value});
  print(table, streams.out);
  if (!missed.empty()) streams.out << "\nnote: " << missed << "\n";
  return kOk;
}

int run_trials(const StudyOptions& o, Streams& streams) {
  const search::Storage storage = search::Storage::open(study_url(o.study));
  auto trials = storage.trials();
  const search::Objective judged = metric_of(storage.info().run_config, trials);
  if (o.sort == "score") {
    std::stable_sort(trials.begin(), trials.end(), [](const auto& a, const auto& b) {
      return a.score.value_or(-HUGE_VAL) > b.score.value_or(-HUGE_VAL);
    });
  } else if (o.sort != "number") {
    throw UsageError("--sort cannot be '{}'; it is number or score.", o.sort);
  }
  if (o.json) {
    json rows = json::array();
    for (const auto& trial : trials) rows.push_back(trial_json(trial, judged));
    print_json({{"metric", metric_json(judged)}, {"trials", rows}}, streams.out);
    return kOk;
  }
  const TrialColumns columns = columns_of(judged, trials);
  Table table{.headers = {"trial", "state", "score", columns.metric, columns.cost_header(), "reason"}, .rows = {}};
  for (const auto& trial : trials) table.rows.push_back(trial_row(trial, columns));
  print(table, streams.out);
  return kOk;
}

}  // namespace

Run declare_study(CLI::App& app) {
  auto o = std::make_shared<StudyOptions>();
  app.require_subcommand(1);
  CLI::App* list = app.add_subcommand("list", "The studies in folders, or on servers");
  CLI::App* show = app.add_subcommand("show", "How far a study is; with --json its configuration and space too");
  CLI::App* best = app.add_subcommand("best", "The best trial and its choices");
  CLI::App* trials = app.add_subcommand("trials", "All trials");
  CLI::App* pareto = app.add_subcommand("pareto", "The trials that no other beats in every metric");
  CLI::App* save = app.add_subcommand("export", "All trials as CSV or JSON");
  CLI::App* remove = app.add_subcommand("delete", "Remove a study and the weights of its trials");
  auto front = std::make_shared<ParetoOptions>();
  auto file = std::make_shared<ExportOptions>();
  auto doomed = std::make_shared<DeleteOptions>();
  pareto->add_option("STUDY", front->study, kStudyHelp)->required();
  pareto->add_option("--maximise", front->maximise,
                     "Metrics to be high; default: what the trials are judged by, if it is to be high");
  pareto->add_option("--minimise", front->minimise,
                     "Metrics to be low; default: cost, and what the trials are judged by, if it is to be low");
  pareto
      ->add_option("--reference", front->reference,
                   "Where the hypervolume ends, one value a metric; default: the worst of the completed trials and a "
                   "tenth of their range more")
      ->check(number_that([](double) { return true; }, "that is finite"));
  pareto->add_flag("--json", front->json, "Print as JSON");
  save->add_option("STUDY", file->study, kStudyHelp)->required();
  save->add_option("--format", file->format, "csv or json")->capture_default_str();
  save->add_flag("--json", file->json, "The same as --format json");
  save->add_option("--output,-o", file->output, "File to write; default: the terminal");
  remove->add_option("STUDY", doomed->study, kStudyHelp)->required();
  remove->add_flag("--yes", doomed->yes, "Do it");
  remove->add_flag("--json", doomed->json, "Print as JSON");
  list->add_option("PLACE", o->folders, "Folders, or postgresql://USER@HOST/DATABASE; default: here");
  for (CLI::App* sub : {show, best, trials}) {
    sub->add_option("STUDY", o->study, kStudyHelp)->required();
  }
  trials->add_option("--sort", o->sort, "number or score")->capture_default_str();
  for (CLI::App* sub : {list, show, best, trials}) sub->add_flag("--json", o->json, "Print as JSON");
  return [=](Streams& streams) {
    if (list->parsed()) return run_list(*o, streams);
    if (show->parsed()) return run_show(*o, streams);
    if (pareto->parsed()) return run_pareto(*front, streams);
    if (save->parsed()) return run_export(*file, streams);
    if (remove->parsed()) return run_delete(*doomed, streams);
    return best->parsed() ? run_best(*o, streams) : run_trials(*o, streams);
  };
}

}  // namespace nibble::cli
