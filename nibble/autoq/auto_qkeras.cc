#include "nibble/autoq/auto_qkeras.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "nibble/autoq/budget.h"
#include "nibble/autoq/config_paths.h"
#include "nibble/autoq/guided_start.h"
#include "nibble/autoq/launcher.h"
#include "nibble/autoq/sampler.h"
#include "nibble/autoq/score.h"
#include "nibble/autoq/search_inputs.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/search/code_version.h"
#include "nibble/search/study_lock.h"
#include "nibble/search/study_url.h"
#include "nibble/search/worker.h"
#include "nibble/search/worker_id.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

// What the workers will need, tried out before any of them starts: mistakes in a run_config come out
// as one sentence, and data are downloaded once.
struct Preparation {
  search::SearchSpace space;
  double reference_cost = 0;
  std::string notice;
  std::optional<Sensitivity> sensitivity = {};  // of a guided start
  std::vector<search::Assignment> guided = {};  // what it found
  std::vector<SearchInput> inputs = {};
};

// A pattern with a slip in it would train the layer that was to stay, without a word.
void check_layer_patterns(const RunConfig& config, const graph::Model& model) {
  std::vector<std::string> names;
  for (const graph::Layer& layer : model.layers) names.push_back(layer.name);
  for (const auto& [pattern, factor] : config.layer_learning_rates) {
    const std::regex compiled(pattern, std::regex::ECMAScript);
    const auto matches = [&](const std::string& name) {
      return std::regex_search(name, compiled, std::regex_constants::match_continuous);
    };
    if (std::any_of(names.begin(), names.end(), matches)) continue;
    std::string bare = pattern;
    std::erase_if(bare, [](char c) { return std::string_view("^$.*+?()[]{}|\\").find(c) != std::string_view::npos; });
    throw InvalidArgument("[run_config] {}: '{}' matches the start of no layer's name. {}",
                          factor == 0.0 ? "frozen_layers" : "layer_learning_rates", pattern, suggest(bare, names));
  }
}

// Likewise exceptions that except nothing.
void check_exceptions(const RunConfig& config, const graph::Model& model) {
  if (!config.tune_filters_exceptions || config.tune_filters == TuneFilters::kNone) return;
  if (config.compat != Compat::kNone) return;
  const auto is_excepted = [&](const graph::Layer& layer) { return config.is_excepted_from_filter_tuning(layer.name); };
  if (std::any_of(model.layers.begin(), model.layers.end(), is_excepted)) return;
  std::vector<std::string> names;
  for (const graph::Layer& layer : model.layers) names.push_back(layer.name);
  throw InvalidArgument("[run_config] tune_filters_exceptions is found in no layer's name. The layers are {}.",
                        fmt::join(names, ", "));
}

// Measures what the first trials of a new study follow from.
void guide(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset, Preparation& result) {
  result.sensitivity = measure_sensitivity(config, model, dataset, result.space);
  result.guided = guided_trials(config, model, load_reference_model(config, model), result.space, *result.sensitivity);
}

Preparation prepare(const RunConfig& config, bool is_new) {
  Preparation result;
  const graph::Model model = load_search_model(config);
  const graph::Model reference_model = load_reference_model(config, model);
  result.space = full_space(model, reference_model, config);
  if (result.space.empty()) {
    throw InvalidArgument(
        "[run_config] there is nothing to search: no layer of '{}' matches a key of limit and layer_indexes. Give e.g. "
        "\"limit\": {{\"Dense\": [8, 8, 4], \"Conv2D\": [4, 8, 4], \"Activation\": [4]}}.",
        config.model);
  }
  // Mistakes in the goal too, before data are read and files are written.
  result.reference_cost = CostMeter(config.goal, reference_model, config.compat).reference();
  check_first_trials(config, result.space);
  check_layer_patterns(config, model);
  check_exceptions(config, model);
  if (config.budget.bounds_costs()) BudgetMeter(config, model).check_reachable(result.space);
  data::Dataset dataset = load_search_data(config);
  result.inputs = file_inputs(config);
  result.inputs.push_back(data_input(config, dataset));
  result.notice = dataset.notice;
  check_network(config, model, dataset);
  if (is_new && config.guided_start) {
    guide(config, model, dataset, result);
    if (result.guided.empty()) {
      result.notice += fmt::format("{}guided_start found no first trials: its cheapest choice is above the budget.",
                                   result.notice.empty() ? "" : " ");
    }
  }
  const TrainingRunner trial_run(config, model, std::move(dataset));
  return result;
}

// A worker of another version could train or count otherwise, and nobody would see which trial is whose.
void check_version(const search::StudyInfo& info, bool any_version) {
  const std::string here = search::code_version();
  if (any_version || search::names_version(info, here)) return;
  throw Unsupported(
      "[autoq] the study '{}' was made by {}, and this is {}: its trials might come out otherwise. Work on it with "
      "that version, start a new search with this one, or give --any-version to go on all the same; the study then "
      "names both.",
      info.name, info.code_version.empty() ? "an unknown version" : info.code_version, here);
}

search::Storage make_study(const std::string& url, const std::string& text, const RunConfig& config,
                           const Preparation& preparation) {
  return search::Storage::create(
      url, {.name = fmt::format("{} {}", fs::path(config.model).filename().string(), to_string(config.goal.kind)),
            .code_version = search::code_version(),
            .run_config = text,
            .space = search::to_json(preparation.space),
            .seed = config.seed,
            .max_trials = config.max_trials,
            .inputs = digests_json(preparation.inputs)});
}

// The text with what a guided start found among the first trials: so it is computed once, and every worker knows it.
std::string with_guided_trials(const std::string& text, const std::vector<search::Assignment>& guided) {
  if (guided.empty()) return text;
  Json config = Json::parse(text, nullptr, true, /*ignore_comments=*/true);
  Json& first = config["first_trials"];
  if (!first.is_array()) first = Json::array();
  for (const search::Assignment& values : guided) first.push_back(values);
  return config.dump(2);
}

// The run_config to go on with: the study's own, which `given` may only change in what leaves trials alone.
std::string resumed_config(const search::StudyInfo& info, const std::string& given, const std::string& place) {
  if (given.empty()) return info.run_config;
  const std::string text = with_absolute_paths(given);
  const std::string kept = with_absolute_paths(info.run_config);
  if (const std::string path = differing_path(kept, text); !path.empty()) {
    throw InvalidArgument("[autoq] '{}' was made with other files: {}", place, path);
  }
  if (!same_search(kept, text)) {
    throw InvalidArgument(
        "[autoq] '{}' was made with another configuration. Only max_trials, workers and output_dir may change on "
        "--resume; start a new search in another directory.",
        place);
  }
  return text;
}

int worker_count(const SearchOptions& options, const RunConfig& config) {
  if (options.workers > 0) return options.workers;
  if (config.workers > 0) return config.workers;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// For sentences.
std::string place_of(const fs::path& directory, const std::string& url) {
  return search::is_server_url(url) ? search::parse_server_url(url).display : directory.string();
}

// A study that this process alone launches workers for.
struct OpenStudy {
  std::unique_ptr<search::StudyLock> lock = {};
  std::optional<search::Storage> storage = {};
  std::string text = {};  // of the run_config
  RunConfig config = {};
  Preparation preparation = {};
};

OpenStudy start_study(const std::string& text, const fs::path& directory, const std::string& url) {
  OpenStudy study{.config = parse_run_config(text)};
  if (!study.config.blocks.empty()) {
    throw InvalidArgument(
        "[run_config] blocks is given, which run_search knows nothing of: call run_schedule (block_scheduler.h), or "
        "remove it to search the whole network at once.");
  }
  if (search::Storage::holds_study(url)) {
    throw InvalidArgument(
        "[autoq] there already is a study in '{}'. Go on with it by --resume, or choose another --output.",
        place_of(directory, url));
  }
  study.text = with_absolute_paths(text);
  study.config = parse_run_config(study.text);
  study.preparation = prepare(study.config, /*is_new=*/true);
  study.text = with_guided_trials(study.text, study.preparation.guided);
  make_directories(directory);
  study.lock = std::make_unique<search::StudyLock>(directory);
  if (study.preparation.sensitivity) {
    write_file(directory / "sensitivity.json",
               to_json(*study.preparation.sensitivity, study.preparation.space).dump(2) + "\n");
  }
  study.storage = make_study(url, study.text, study.config, study.preparation);
  return study;
}

OpenStudy resume_study(const std::string& given, const SearchOptions& options, const std::string& url) {
  const fs::path& directory = options.directory;
  if (!search::Storage::holds_study(url)) {
    throw IoError("[autoq] there is no study in '{}' to go on with; leave --resume out to start one.",
                  place_of(directory, url));
  }
  make_directories(directory);  // a study on a server may have been started elsewhere
  OpenStudy study{.lock = std::make_unique<search::StudyLock>(directory)};
  // Only launchers write there; trials' directories are cleared by the workers that take them over.
  search::remove_half_written(directory / "best");
  study.storage = search::Storage::open(url);
  const search::StudyInfo info = study.storage->info();
  check_version(info, options.any_version);
  study.text = resumed_config(info, given, place_of(directory, url));
  study.config = config_of_study(study.text, directory);
  check_inputs(info, file_inputs(study.config));  // first of all: what follows from them might fail, less plainly
  study.preparation = prepare(study.config, /*is_new=*/false);
  check_inputs(info, study.preparation.inputs);
  if (info.space != search::to_json(study.preparation.space)) {
    throw InvalidArgument(
        "[autoq] '{}' was made by {} and searches another space than this program would. Go on with that version, or "
        "start a new search in another directory.",
        place_of(directory, url), info.code_version);
  }
  // An earlier --resume may have asked for more trials than the file that the study was made with.
  if (given.empty()) study.config.max_trials = info.max_trials;
  if (study.config.max_trials != info.max_trials) study.storage->set_max_trials(study.config.max_trials);
  // All is well: the study names this version, so that its workers are let in.
  study.storage->add_code_version(search::code_version());
  study.storage->release_dead(search::is_alive);
  return study;
}

std::string missed_ceiling(const RunConfig& config, const search::Trial& best) {
  const std::string name(to_string(config.metric));
  const double error = best.metrics.at(name);
  if (error <= *config.budget.error) return "";
  return fmt::format(
      "no trial kept the budget's error of {:g} ({}); the nearest, trial {}, has {:.4g}. Give more epochs or trials, "
      "or a higher ceiling.",
      *config.budget.error, name, best.number, error);
}

}  // namespace

std::string missed_bound(const RunConfig& config, const search::Trial* best) {
  if (!config.budget.bounds_metric() || best == nullptr) return "";
  if (config.budget.error) return missed_ceiling(config, *best);
  const double accuracy = best->metrics.at("accuracy");
  if (accuracy >= *config.budget.accuracy) return "";
  return fmt::format(
      "no trial reached the budget's accuracy of {:g}; the nearest, trial {}, has {:.4f}. Give more epochs or trials, "
      "or a "
      "lower floor.",
      *config.budget.accuracy, best->number, accuracy);
}

namespace {

// Those that mode hyperband kept for rounds that did not come.
void remove_checkpoints(const RunConfig& config, const fs::path& directory, const std::vector<search::Trial>& trials) {
  std::error_code ignored;
  for (const search::Trial& trial : trials) {
    for (const std::string& name : temporary_files(config)) {
      fs::remove(directory / search::trial_directory(trial.number) / name, ignored);
    }
  }
}

}  // namespace

std::string study_of(const SearchOptions& options) {
  return options.study.empty() ? (options.directory / "study.db").string() : options.study;
}

SearchResult run_search(const std::string& run_config, const SearchOptions& options) {
  const std::string url = study_of(options);
  OpenStudy study =
      options.resume ? resume_study(run_config, options, url) : start_study(run_config, options.directory, url);
  const int workers = worker_count(options, study.config);
  if (options.observer != nullptr) {
    if (!study.preparation.notice.empty()) options.observer->on_notice(study.preparation.notice);
    options.observer->on_start(study.text, study.storage->trials(), study.config.max_trials, workers,
                               study.preparation.reference_cost);
  }
  SearchResult result = Launcher(options, *study.storage, workers).run();
  if (result.is_over) {
    remove_checkpoints(study.config, options.directory, result.trials);
    result.missed_bound = missed_bound(study.config, search::best_trial(result.trials));
  }
  return result;
}

namespace {

fs::path directory_of(const std::string& study_url, const WorkerProcessOptions& options) {
  if (!options.directory.empty()) return options.directory;
  if (!search::is_server_url(study_url)) return fs::path(search::sqlite_path(study_url)).parent_path();
  throw InvalidArgument(
      "[worker] the study is on a server, so --output must say where the files of its trials go: a directory that all "
      "workers share, if there is one.");
}

}  // namespace

int run_worker(const std::string& study_url, const WorkerProcessOptions& options) {
  search::Storage storage = search::Storage::open(study_url, {.lease_ms = options.lease_ms});
  const search::StudyInfo info = storage.info();
  check_version(info, options.any_version);
  const RunConfig config = config_of_study(info.run_config, directory_of(study_url, options));
  check_inputs(info, file_inputs(config));
  const graph::Model model = load_search_model(config);
  const search::SearchSpace space = full_space(model, load_reference_model(config, model), config);
  data::Dataset dataset = load_search_data(config);
  check_inputs(info, {data_input(config, dataset)});
  TrainingRunner runner(config, model, std::move(dataset));
  const std::unique_ptr<search::Sampler> sampler = make_sampler(config, model, info.seed);
  storage.add_code_version(search::code_version());
  // Without a launcher, nobody else sees before a lease is over that a worker of this machine died.
  storage.release_dead(search::is_alive);
  return search::run_trials(storage, space, *sampler, runner,
                            {.id = "", .directory = directory_of(study_url, options), .stop = options.stop});
}

}  // namespace nibble::autoq
