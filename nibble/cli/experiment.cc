// nibble experiment: published tables, computed again.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/core/atomic_file.h"
#include "nibble/experiment/cell_runner.h"
#include "nibble/experiment/ptq_qat_report.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using experiment::Cell;
using experiment::FinishedCell;

struct ExperimentOptions {
  std::string experiment;
  fs::path output, data_dir;
  experiment::PtqQatOptions plan;
  std::vector<std::string> methods = {"fine-tuned", "ptq", "qat", "lsq"};
  bool offline = false, json = false;
};

void declare_options(CLI::App& app, ExperimentOptions& o) {
  experiment::PtqQatOptions& plan = o.plan;
  app.add_option("EXPERIMENT", o.experiment, "ptq-qat: the table of Quantization-DNNs")->required();
  app.add_option("--out,-o", o.output, "Folder for cells, models, report.md and report.html; goes on where it was")
      ->required()
      ->type_name("DIR");
  app.add_option("--datasets", plan.datasets, "fashion_mnist, cifar10 (trained without batch 5, measured on it)")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--networks", plan.networks, "cnn, cnn_bn")->delimiter(',')->capture_default_str();
  app.add_option("--methods", o.methods, "Beside float: fine-tuned, ptq, qat, lsq")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--bits", plan.bits, "Widths, 2 to 16")->delimiter(',')->capture_default_str();
  app.add_option("--studies", plan.studies,
                 fmt::format("Also vary one thing: {}", fmt::join(experiment::study_names(), ", ")))
      ->delimiter(',');
  app.add_option("--seeds", plan.seeds, "So many, from 1")->check(between(1, 1000))->capture_default_str();
  app.add_option("--epochs", plan.epochs, "Of float training")->check(between(1, 10000))->capture_default_str();
  app.add_option("--qat-epochs", plan.qat_epochs, "Of QAT and fine-tuning after it")
      ->check(between(1, 10000))
      ->capture_default_str();
  app.add_option("--qat-lr", plan.qat_learning_rate, "Of SGD, falling to 0")->check(positive())->capture_default_str();
  app.add_option("--qat-batch-size", plan.qat_batch_size, "Of QAT and fine-tuning; float training has 64")
      ->check(between<int64_t>(1, 65536))
      ->capture_default_str();
  app.add_option("--qat-weight-decay", plan.qat_weight_decay,
                 "Of QAT and fine-tuning: so much of a kernel's weights is added to their gradient")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--train-samples", plan.train_samples, "Only the first so many; 0: all")
      ->check(between<int64_t>(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--calibration-samples", plan.calibration_samples)
      ->check(between<int64_t>(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", plan.threads)->check(between(1, 1024))->capture_default_str();
  app.add_option("--data-dir", o.data_dir, "Look for the data in this folder only")->type_name("DIR");
  app.add_flag("--offline", o.offline, "Never download");
  app.add_flag("--json", o.json, "Print all finished cells as JSON");
}

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

void write_report(const ExperimentOptions& o, const std::vector<FinishedCell>& finished) {
  const experiment::Document document = experiment::ptq_qat_document(o.plan, finished);
  write_file(o.output / "report.md", experiment::to_markdown(document));
  write_file(o.output / "report.html", experiment::to_html(document));
}

void print_cells(const ExperimentOptions& o, const std::vector<FinishedCell>& finished, Streams& streams) {
  if (!o.json) {
    streams.out << experiment::to_markdown(experiment::ptq_qat_document(o.plan, finished));
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
  print_json({{"cells", cells}, {"claims", claims}}, streams.out);
}

int report_stop(size_t done, size_t all, Streams& streams) {
  streams.err << fmt::format("stopped after {} of {} cells. Run the same command again to go on.\n", done, all);
  return kInterrupted;
}

int run_ptq_qat(const ExperimentOptions& o, Streams& streams) {
  const std::vector<Cell> cells = experiment::cells_of(o.plan);
  const experiment::CellStore store(o.output);
  const auto progress = [&](int64_t batch_size) {
    return std::make_unique<TrainingProgress>(streams.err, streams.err_is_terminal, batch_size);
  };
  experiment::CellRunner runner(o.plan, store,
                                {.load_dataset = [&](const std::string& name) { return load_for(o, name, streams); },
                                 .progress = progress,
                                 .stop = &stop_requested()});
  std::vector<FinishedCell> finished;
  for (const Cell& cell : cells) {
    auto result = store.find(cell, o.plan);
    if (!result) {
      if (stop_requested()) return report_stop(finished.size(), cells.size(), streams);
      streams.err << fmt::format("{} ({} of {})\n", cell.key(), finished.size() + 1, cells.size());
      try {
        result = runner.run(cell);
      } catch (const experiment::Stopped&) {
        return report_stop(finished.size(), cells.size(), streams);
      }
      store.save(cell, o.plan, *result);
      streams.err << fmt::format("  {:.2f} % in {}\n", result->accuracy, format_duration(result->seconds));
    }
    finished.push_back({cell, *result});
    write_report(o, finished);
  }
  print_cells(o, finished, streams);
  return kOk;
}

int run(const ExperimentOptions& given, Streams& streams) {
  enum Experiment { kPtqQat };
  choose<Experiment>("EXPERIMENT", given.experiment, {{"ptq-qat", kPtqQat}});
  ExperimentOptions o = given;
  o.plan.methods.clear();
  try {
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
  declare_options(app, *o);
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
