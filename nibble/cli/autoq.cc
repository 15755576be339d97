// nibble autoq: searches quantizers and widths of every layer.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/block_scheduler.h"
#include "nibble/autoq/run_config.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/search_progress.h"
#include "nibble/cli/search_report.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/study_argument.h"
#include "nibble/cli/study_metric.h"
#include "nibble/cli/table.h"
#include "nibble/cli/training_events.h"
#include "nibble/cli/trial_columns.h"
#include "nibble/cli/wording.h"
#include "nibble/core/atomic_file.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kLargestConfig = uint64_t{16} << 20;

struct AutoqOptions {
  fs::path run_config, output, tensorboard;
  std::string study;
  int workers = 0, max_trials = 0, epochs = 0;
  bool resume = false, any_version = false, json = false, debug = false;
};

// The text with the command line's numbers in place. Order of keys matters: the first
// key of `limit` that fits a layer counts.
std::string with_numbers(const std::string& text, int max_trials, int epochs) {
  if (max_trials == 0 && epochs == 0) return text;
  auto config = nlohmann::ordered_json::parse(text, nullptr, false, /*ignore_comments=*/true);
  if (!config.is_object()) return text;  // the library says what is wrong with it
  if (max_trials > 0) config["max_trials"] = max_trials;
  // Hyperband's own word for the epochs of its last round.
  if (epochs > 0) config[config.contains("max_epochs") ? "max_epochs" : "epochs"] = epochs;
  return config.dump(2);
}

std::string url_of(const AutoqOptions& o) { return o.study.empty() ? (o.output / "study.db").string() : o.study; }

// RUN as it is to be run; what is wrong with it is said with its name.
std::string text_of(const fs::path& path, int max_trials, int epochs) {
  const std::string given = read_file(path, kLargestConfig);
  try {
    // Both: what with_numbers() writes no longer shows every fault of what it was given.
    autoq::parse_run_config(given);
    std::string text = with_numbers(given, max_trials, epochs);
    autoq::parse_run_config(text);
    return text;
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("{}: {}", path.string(), error.what());
  }
}

// Without RUN, the study's own configuration is gone on with; empty where that is all there is to say.
std::string run_config_text(const AutoqOptions& o) {
  if (!o.run_config.empty()) return text_of(o.run_config, o.max_trials, o.epochs);
  if (std::error_code ignored; fs::exists(o.output / "run_config.json", ignored)) {  // by blocks
    return o.max_trials == 0 && o.epochs == 0 && !o.debug
               ? ""
               : text_of(o.output / "run_config.json", o.max_trials, o.epochs);
  }
  if (o.max_trials == 0 && o.epochs == 0 && !o.debug) return "";
  const std::string study = url_of(o);
  if (!search::Storage::holds_study(study)) return "";
  const search::StudyInfo info = search::Storage::open(study).info();
  return with_numbers(info.run_config, o.max_trials > 0 ? o.max_trials : info.max_trials, o.epochs);
}

// --output, or the key output_dir.
fs::path output_of(const AutoqOptions& o, const std::string& text) {
  if (!o.output.empty()) return o.output;
  const std::string named = text.empty() ? "" : autoq::parse_run_config(text).output_dir;
  if (named.empty()) throw UsageError("--output is missing, and RUN.json has no output_dir either. Give one of them.");
  return named;
}

void print_table(std::vector<search::Trial> trials, const search::Objective& judged, std::ostream& out) {
  std::erase_if(trials, [](const search::Trial& trial) { return !trial.finished(); });
  std::stable_sort(trials.begin(), trials.end(),
                   [](const auto& a, const auto& b) { return a.score.value_or(-1e300) > b.score.value_or(-1e300); });
  const TrialColumns columns = columns_of(judged, trials);
  Table table{.headers = {"trial", "state", "score", columns.metric, columns.cost_header(), "against reference"},
              .rows = {}};
  for (const search::Trial& trial : trials) {
    const auto factor = trial.metrics.find("total_factor");
    table.rows.push_back(
        {std::to_string(trial.number), std::string(search::to_string(trial.state)), columns.score_of(trial),
         columns.metric_of(trial), columns.cost_of(trial),
         factor == trial.metrics.end() ? trial.reason : fmt::format("{:+.1f} %", 100 * factor->second)});
  }
  print(table, out);
}

void print_result(const AutoqOptions& o, const autoq::SearchResult& result, Streams& streams) {
  const fs::path report = o.output / "report.html";
  const std::string run_config = search::Storage::open(url_of(o)).info().run_config;
  const search::Objective judged = metric_of(run_config, result.trials);
  if (o.json) {
    nlohmann::json best;
    if (result.best) {
      best = {{"number", result.best->number},
              {"score", *result.best->score},
              {"metrics", result.best->metrics},
              {"quantizers", result.best->values},
              {"keeps_budget", missed_bound_of(run_config, &*result.best).empty()},
              {"model", result.best_model.empty() ? nlohmann::json() : nlohmann::json(result.best_model.string())}};
    }
    print_json({{"trials", result.trials.size()},
                {"is_over", result.is_over},
                {"metric", metric_json(judged)},
                {"best", best},
                {"study", shown_study(url_of(o))},
                {"report", report.string()}},
               streams.out);
    return;
  }
  print_table(result.trials, judged, streams.out);
  streams.out << "\nstudy   " << shown_study(url_of(o)) << "\nreport  " << report.string() << "\n";
  if (!result.best_model.empty()) streams.out << "best    " << result.best_model.string() << "\n";
}

// Says on `err` which block is searched now, and to the events.
class BlockProgress final : public autoq::BlockObserver {
 public:
  BlockProgress(std::ostream& err, SearchEvents& events, const SearchProgress& progress)
      : err_(err), events_(events), progress_(progress) {}
  void on_block(int k, int count, const autoq::Block& block) override {
    begins_[k] = progress_.notices().size();
    events_.begin_block(k);
    err_ << fmt::format("block {} ({} of {}) '{}': {}, {}\n", k, k + 1, count, block.pattern,
                        counted(std::ssize(block.layers), "layer"), counted(block.trials, "trial"));
  }
  // What was said of block k since it was begun here.
  std::vector<std::string> notices(int k) const {
    const auto begin = begins_.find(k);
    if (begin == begins_.end()) return {};
    const auto end = std::next(begin);
    const std::vector<std::string>& all = progress_.notices();
    const size_t last = end == begins_.end() ? all.size() : end->second;
    return {all.begin() + static_cast<std::ptrdiff_t>(begin->second), all.begin() + static_cast<std::ptrdiff_t>(last)};
  }

 private:
  std::ostream& err_;
  SearchEvents& events_;
  const SearchProgress& progress_;
  std::map<int, size_t> begins_;  // block -> how many notices there were before it
};

json schedule_json(const autoq::BlockSchedule& schedule) {
  json blocks = json::array();
  for (const autoq::Block& block : schedule.blocks) {
    blocks.push_back({{"pattern", block.pattern},
                      {"layers", block.layers},
                      {"cost", block.cost},
                      {"trials", block.trials},
                      {"limit", block.limit}});
  }
  return {{"reference", schedule.reference}, {"blocks", blocks}};
}

// AutoQKerasScheduler's debug=True: the blocks, and nothing is trained.
int print_blocks(const AutoqOptions& o, const std::string& text, Streams& streams) {
  const autoq::RunConfig config = autoq::parse_run_config(text);
  const graph::Model model = autoq::load_search_model(config);
  const autoq::BlockSchedule schedule = autoq::schedule_blocks(model, config);
  // A search that was begun shows its blocks, whatever is thought of them today.
  if (!o.run_config.empty()) autoq::check_blocks(text, model, schedule);
  if (o.json) {
    print_json(schedule_json(schedule), streams.out);
  } else {
    streams.out << autoq::describe(schedule);
  }
  return kOk;
}

autoq::SearchObserver* observer_of(const AutoqOptions& o, SearchProgress& progress, SearchEvents& events) {
  return o.tensorboard.empty() ? static_cast<autoq::SearchObserver*>(&progress) : &events;
}

// As the file that run_schedule leaves says, all blocks are judged by the same.
void print_schedule(const AutoqOptions& o, const autoq::ScheduleResult& result, Streams& streams) {
  const std::string run_config = read_file(o.output / "run_config.json", kLargestConfig);
  const search::Objective judged = metric_of(run_config, result.last.trials);
  if (o.json) {
    json best;
    if (result.last.best) {
      best = {{"score", *result.last.best->score},
              {"metrics", result.last.best->metrics},
              {"keeps_budget", missed_bound_of(run_config, &*result.last.best).empty()}};
    }
    print_json({{"schedule", schedule_json(result.schedule)},
                {"blocks_done", result.blocks_done},
                {"is_over", result.is_over},
                {"metric", metric_json(judged)},
                {"best", best},
                {"model", result.best_model.string()}},
               streams.out);
  } else {
    if (result.last.best) print_table(result.last.trials, judged, streams.out);
    streams.out << fmt::format("\n{} of {} blocks done, in {}\n", result.blocks_done, result.schedule.blocks.size(),
                               o.output.string());
    if (!result.best_model.empty()) streams.out << "best    " << result.best_model.string() << "\n";
  }
}

int run_by_blocks(const AutoqOptions& o, const std::string& text, Streams& streams) {
  listen_for_stop();
  SearchProgress progress(streams.err, streams.err_is_terminal);
  SearchEvents events(o.tensorboard, progress);
  BlockProgress blocks(streams.err, events, progress);
  const autoq::ScheduleResult result = autoq::run_schedule(text,
                                                           {.directory = o.output,
                                                            .study = o.study,
                                                            .resume = o.resume,
                                                            .any_version = o.any_version,
                                                            .workers = o.workers,
                                                            .stop = &stop_requested(),
                                                            .observer = observer_of(o, progress, events)},
                                                           &blocks);
  progress.clear();
  for (size_t k = 0; k < result.schedule.blocks.size(); ++k) {
    const autoq::SearchOptions block =
        autoq::options_of_block({.directory = o.output, .study = o.study}, static_cast<int>(k));
    if (!search::Storage::holds_study(autoq::study_of(block))) continue;
    keep_notices(block.directory, blocks.notices(static_cast<int>(k)));
    write_search_report(autoq::study_of(block), block.directory, block.directory / "report.html");
  }
  print_schedule(o, result, streams);
  if (!result.last.missed_bound.empty()) streams.err << "note: " << result.last.missed_bound << "\n";
  if (result.is_over) return kOk;
  streams.err << "stopped; run the same command with --resume to go on: finished blocks and trials stay.\n";
  return kInterrupted;
}

int run(AutoqOptions o, Streams& streams) {
  if (o.run_config.empty() && !o.resume) {
    throw UsageError("RUN.json is missing. Only with --resume may it be left out.");
  }
  if (o.any_version && !o.resume) {
    throw UsageError("--any-version is for --resume: a new study is of this version. Leave one out, or add the other.");
  }
  if (!o.study.empty() && !search::is_server_url(o.study)) {
    throw UsageError("--study '{}' is no postgresql://USER@HOST/DATABASE?study=NAME; leave it out for a file in DIR.",
                     search::without_password(o.study));
  }
  const std::string text = run_config_text(o);
  if (o.debug && text.empty()) {
    throw UsageError("--debug prints the blocks of RUN.json; give one, or a DIR that holds a search.");
  }
  if (o.debug) return print_blocks(o, text, streams);
  o.output = output_of(o, text);
  std::error_code ignored;
  const bool by_blocks =
      text.empty() ? fs::exists(o.output / "run_config.json", ignored) : !autoq::parse_run_config(text).blocks.empty();
  if (by_blocks) return run_by_blocks(o, text, streams);
  listen_for_stop();
  SearchProgress progress(streams.err, streams.err_is_terminal);
  SearchEvents events(o.tensorboard, progress);
  const autoq::SearchResult result = autoq::run_search(text, {.directory = o.output,
                                                              .study = o.study,
                                                              .resume = o.resume,
                                                              .any_version = o.any_version,
                                                              .workers = o.workers,
                                                              .stop = &stop_requested(),
                                                              .observer = observer_of(o, progress, events)});
  progress.clear();
  keep_notices(o.output, progress.notices());
  write_search_report(url_of(o), o.output, o.output / "report.html");
  print_result(o, result, streams);
  if (!result.is_over && stop_requested()) {
    streams.err
        << "stopped; run the same command with --resume to go on: finished trials stay, running ones go on after their "
           "last finished epoch.\n";
    return kInterrupted;
  }
  if (!result.missed_bound.empty()) streams.err << "note: " << result.missed_bound << "\n";
  if (result.is_exhausted) {
    streams.err << fmt::format("note: the search ended after {}: no new combination was found.\n",
                               counted(std::ssize(result.trials), "trial"));
  }
  if (!result.best) throw Error("no trial was completed; 'nibble study trials' shows the reasons.");
  return kOk;
}

}  // namespace

Run declare_autoq(CLI::App& app) {
  auto o = std::make_shared<AutoqOptions>();
  app.add_option("RUN", o->run_config,
                 "The tutorial's run_config as JSON, with model, data, epochs, batch_size, learning_rate beside it")
      ->type_name("RUN.json");
  app.add_option("--output,-o", o->output,
                 "Folder for study.db, best/model.keras, report.html, trials; default: RUN's output_dir")
      ->type_name("DIR");
  app.add_option(
         "--study", o->study,
         "Keep the study on a server, for workers on many machines: postgresql://USER@HOST/DATABASE?study=NAME; "
         "default: study.db in DIR")
      ->type_name("URL");
  app.add_option("--tensorboard", o->tensorboard, "Also write event files for TensorBoard there")->type_name("DIR");
  app.add_option("--workers", o->workers, "Processes, one thread each; default: as RUN says, else one a core")
      ->check(between(1, 1024));
  app.add_option("--max-trials", o->max_trials, "Instead of RUN's")->check(between(1, 1000000));
  app.add_option("--epochs", o->epochs, "Of each trial, instead of RUN's")->check(between(1, 1000000));
  app.add_flag("--resume", o->resume, "Go on with the study in DIR");
  app.add_flag("--any-version", o->any_version, kAnyVersionHelp);
  app.add_flag("--debug", o->debug,
               "Print the blocks of RUN's key blocks, their costs, trials and limits; train nothing");
  app.add_flag("--json", o->json, "Print the result as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
