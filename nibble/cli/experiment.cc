// nibble experiment: published tables, computed again.
#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/experiment_options.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/cli/training_choices.h"
#include "nibble/cli/worker_processes.h"
#include "nibble/core/atomic_file.h"
#include "nibble/data/checksum.h"
#include "nibble/experiment/cell_queue.h"
#include "nibble/experiment/cell_runner.h"
#include "nibble/experiment/ptq_qat_report.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using experiment::Cell;
using experiment::FinishedCell;

constexpr int kKillAfterMs = 20'000;

// Data sets that stand in for missing ones would give figures that compare with nothing.
data::Dataset load_for(const ExperimentOptions& o, const std::string& name, Streams& streams) {
  const DataOptions options{.name = name,
                            .holdout = name == "cifar10" ? "batch5" : "",
                            .preprocessing = "none",
                            .data_dir = o.data_dir,
                            .offline = o.offline};
  ProgressBar bar(streams.err, streams.err_is_terminal);
  data::LoadOptions load = load_options(options, bar);
  load.allow_synthetic = false;
  data::Dataset dataset = data::load_dataset(name, load);
  bar.clear();
  streams.err << fmt::format("data: {} from {}: {} training and {} test samples\n", name, dataset.source,
                             dataset.train.count(), dataset.test.count());
  return dataset;
}

// Computes every study, and nothing anew.
std::string studies_command(const ExperimentOptions& o) {
  ExperimentOptions all = o;
  all.plan.studies = {"all"};
  return experiment_command(all);
}

experiment::Document document_of(const ExperimentOptions& o, const std::vector<FinishedCell>& finished) {
  return experiment::ptq_qat_document(o.plan, finished, studies_command(o));
}

void write_report(const ExperimentOptions& o, const std::vector<FinishedCell>& finished) {
  const experiment::Document document = document_of(o, finished);
  write_file(o.output / "report.md", experiment::to_markdown(document));
  write_file(o.output / "report.html", experiment::to_html(document));
}

void print_cells(const ExperimentOptions& o, const std::vector<FinishedCell>& finished, Streams& streams) {
  if (!o.json) {
    streams.out << experiment::to_markdown(document_of(o, finished));
    streams.out << (o.output / "report.html").string() << "\n";
    return;
  }
  nlohmann::json cells = nlohmann::json::array();
  for (const FinishedCell& f : finished) {
    const auto reference = experiment::published(f.cell);
    cells.push_back({{"key", f.cell.key()},
                     {"dataset", f.cell.dataset},
                     {"network", f.cell.network()},
                     {"method", experiment::name(f.cell.method)},
                     {"bits", f.cell.bits},
                     {"seed", f.cell.seed},
                     {"study", f.cell.variation.study},
                     {"variation", f.cell.variation.name},
                     {"accuracy", f.result.accuracy},
                     {"saturated_biases", f.result.saturated_biases},
                     {"published", reference ? nlohmann::json(*reference) : nlohmann::json()}});
  }
  nlohmann::json claims = nlohmann::json::array();
  for (const experiment::Claim& claim : experiment::claims_of(o.plan, finished)) {
    claims.push_back({{"claim", claim.text},
                      {"line", claim.line},
                      {"holds", claim.holds},
                      {"margin", claim.margin},
                      {"lowest_margin", claim.lowest},
                      {"highest_margin", claim.highest},
                      {"seeds", claim.seeds}});
  }
  nlohmann::json result = {
      {"cells", cells}, {"claims", claims}, {"studies_not_computed", experiment::other_studies(o.plan)}};
  if (!experiment::other_studies(o.plan).empty()) result["studies_command"] = studies_command(o);
  print_json(result, streams.out);
}

// What one process computes, beside any others that work in the directory.
//   returns  false where it was stopped
bool compute(const ExperimentOptions& o, const std::vector<Cell>& cells, const experiment::CellStore& store,
             Streams& streams) {
  const auto progress = [&](int64_t batch_size) {
    return std::make_unique<TrainingProgress>(streams.err, streams.err_is_terminal, batch_size);
  };
  experiment::CellRunner runner(o.plan, store,
                                {.load_dataset = [&](const std::string& name) { return load_for(o, name, streams); },
                                 .progress = progress,
                                 .stop = &stop_requested()});
  const auto tell_cell = [&](const Cell& cell, size_t done) {
    streams.err << fmt::format("{} ({} of {})\n", cell.key(), done + 1, cells.size()) << std::flush;
  };
  const auto tell_result = [&](const Cell&, const experiment::CellResult& result) {
    streams.err << fmt::format("  {:.2f} % in {}\n", result.accuracy, format_duration(result.seconds)) << std::flush;
    write_report(o, experiment::finished_cells(cells, o.plan, store));
  };
  const auto tell_wait = [&](size_t left) {
    streams.err << fmt::format("waiting for {} cells that other processes compute\n", left) << std::flush;
  };
  return experiment::compute_cells(cells, o.plan, store,
                                   {.compute = [&](const Cell& cell) { return runner.run(cell); },
                                    .before_cell = tell_cell,
                                    .after_cell = tell_result,
                                    .on_wait = tell_wait,
                                    .stop = &stop_requested()});
}

// Tells the cells that were finished since the last look.
class FinishedTeller {
 public:
  FinishedTeller(const ExperimentOptions& o, const std::vector<Cell>& cells, const experiment::CellStore& store)
      : o_(o), cells_(cells), store_(store), is_told_(cells.size()) {}

  // Returns how many are finished.
  size_t look(std::ostream* err) {
    for (size_t i = 0; i < cells_.size(); ++i) {
      if (is_told_[i]) continue;
      const auto result = store_.find(cells_[i], o_.plan);
      if (!result) continue;
      is_told_[i] = true;
      ++count_;
      if (err == nullptr) continue;
      *err << fmt::format("{}: {:.2f} % in {} ({} of {})\n", cells_[i].key(), result->accuracy,
                          format_duration(result->seconds), count_, cells_.size())
           << std::flush;
    }
    return count_;
  }

 private:
  const ExperimentOptions& o_;
  const std::vector<Cell>& cells_;
  const experiment::CellStore& store_;
  std::vector<bool> is_told_;
  size_t count_ = 0;
};

// Workers compute; this process tells what is finished.
//   returns  false where it was stopped
bool watch_workers(const ExperimentOptions& o, const std::vector<Cell>& cells, const experiment::CellStore& store,
                   Streams& streams) {
  FinishedTeller teller(o, cells, store);
  if (teller.look(nullptr) == cells.size()) return true;
  // One download, not one a worker.
  for (const std::string& dataset : o.plan.datasets) load_for(o, dataset, streams);
  if (stop_requested()) return false;
  const fs::path logs = o.output / "logs";
  WorkerProcesses workers(experiment_arguments(o), o.workers, o.plan.threads, logs);
  streams.err << fmt::format("{} workers; what they say is in {}\n", o.workers, logs.string()) << std::flush;
  for (;;) {
    if (stop_requested()) {
      workers.stop(kKillAfterMs);
      return false;
    }
    const bool any_runs = workers.running() > 0;  // before the look: none is missed
    const size_t done = teller.look(&streams.err);
    if (done == cells.size()) break;
    if (!workers.failure().empty() || !any_runs) {
      if (stop_requested()) return false;  // Ctrl-C reached them first
      throw IoError("[experiment] {} of {} cells are computed, but {} Run the same command again to go on.", done,
                    cells.size(), workers.failure().empty() ? "all workers have ended." : workers.failure());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  workers.finish(kKillAfterMs);
  return true;
}

int run_ptq_qat(const ExperimentOptions& o, Streams& streams) {
  const std::vector<Cell> cells = experiment::cells_of(o.plan);
  const experiment::CellStore store(o.output);
  const bool is_done = o.workers > 1 ? watch_workers(o, cells, store, streams) : compute(o, cells, store, streams);
  const std::vector<FinishedCell> finished = experiment::finished_cells(cells, o.plan, store);
  if (!is_done) {
    streams.err << fmt::format("stopped after {} of {} cells. Run the same command again to go on.\n", finished.size(),
                               cells.size());
    return kInterrupted;
  }
  write_report(o, finished);
  print_cells(o, finished, streams);
  return kOk;
}

// The file of a trained model that can teach.
experiment::Teacher teacher_in(const std::string& model) {
  const ModelArgument argument{.model = model, .weights = {}};
  graph::require_calibrated(load_with_weights(argument), "teacher");
  const std::optional<fs::path> file = model_file(argument);
  return {.model = *file, .sha256 = data::sha256_of_file(*file)};
}

std::map<std::string, experiment::Teacher> chosen_teachers(const ExperimentOptions& o) {
  std::map<std::string, experiment::Teacher> teachers;
  for (const std::string& word : o.teachers) {
    const size_t equals = word.find('=');
    if (equals == word.npos) {
      if (word != "float") {
        throw UsageError("--teacher cannot be '{}': give float, or DATASET=FILE, such as fashion_mnist=teacher.keras.",
                         word);
      }
      for (const std::string& dataset : o.plan.datasets) teachers.try_emplace(dataset);
      continue;
    }
    const std::string dataset = word.substr(0, equals), model = word.substr(equals + 1);
    teachers[dataset] = model == "float" ? experiment::Teacher{} : teacher_in(model);
  }
  return teachers;
}

int run(const ExperimentOptions& given, Streams& streams) {
  enum Experiment { kPtqQat };
  choose<Experiment>("EXPERIMENT", given.experiment, {{"ptq-qat", kPtqQat}});
  ExperimentOptions o = given;
  o.plan.teachers = chosen_teachers(o);
  o.plan.augmentation = chosen_augmentation(o.augment);
  if (o.qat_augment != "usual") o.plan.qat_augmentation = chosen_augmentation(o.qat_augment, "--qat-augment");
  o.plan.corrects_biases =
      choose<bool>("--ptq-bias-correction", o.ptq_bias_correction, {{"empirical", true}, {"none", false}});
  o.plan.methods.clear();
  try {
    o.plan.studies = experiment::studies_named(o.plan.studies);
    for (const std::string& method : o.methods) o.plan.methods.push_back(experiment::method_of(method));
    experiment::check(o.plan);
  } catch (const InvalidArgument& error) {
    throw UsageError("{}", error.what());
  }
  listen_for_stop();
  return run_ptq_qat(o, streams);
}

}  // namespace

Run declare_experiment(CLI::App& app) {
  auto o = std::make_shared<ExperimentOptions>();
  declare_experiment_options(app, *o);
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
