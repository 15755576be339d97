// nibble train: trains a model in float or with the quantizers it has.
#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/json_file.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/train/callbacks.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  ModelArgument model;
  DataOptions data;
  fs::path output, quantize, csv;
  int epochs = 10;
  int64_t batch_size = 128;
  double learning_rate = 1e-3, momentum = 0.0;
  std::string optimizer = "adam", schedule = "constant", statistics = "reestimated";
  uint64_t seed = 0;
  int activation_bits = 4, threads = 1, early_stopping = -1;
  bool resume = false, json = false;
};

void declare_options(CLI::App& app, TrainOptions& o) {
  add_model(app, o.model);
  add_data_options(app, o.data);
  app.add_option("--output,-o", o.output, "Folder for model.keras, history.csv and the checkpoint")
      ->required()
      ->type_name("DIR");
  app.add_option("--epochs", o.epochs, "In total, also when resumed")
      ->check(between(1, 1000000))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size)->check(between(1, 1 << 20))->capture_default_str();
  app.add_option("--lr", o.learning_rate, "Learning rate")->check(positive())->capture_default_str();
  app.add_option("--optimizer", o.optimizer, "adam or sgd")->capture_default_str();
  app.add_option("--momentum", o.momentum, "Of sgd")->check(between(0.0, 1.0))->capture_default_str();
  app.add_option("--schedule", o.schedule, "constant, or cosine: the learning rate falls to 0 over all epochs")
      ->capture_default_str();
  app.add_option("--seed", o.seed, "Same seed, same command: same bytes")->capture_default_str();
  app.add_option("--batch-norm-statistics", o.statistics,
                 "reestimated: measured anew before each evaluation; moving: Keras' moving averages")
      ->capture_default_str();
  app.add_option("--quantize", o.quantize, "Quantize the model first, by this configuration ('nibble quantize --help')")
      ->type_name("CONFIG.json");
  app.add_option("--activation-bits", o.activation_bits, "Width of automatic activation quantizers with --quantize")
      ->check(between(1, 32))
      ->capture_default_str();
  add_weights(app, o.model);
  app.add_option("--early-stopping", o.early_stopping, "Stop after this many epochs without a better val_loss")
      ->check(between(0, 1000000))
      ->type_name("EPOCHS");
  app.add_option("--csv", o.csv, "Also write the log there")->type_name("FILE");
  app.add_option("--threads", o.threads, "Results repeat for the same number of threads")
      ->check(between(1, 1024))
      ->capture_default_str();
  app.add_flag("--resume", o.resume, "Go on after the last finished epoch of DIR");
  app.add_flag("--json", o.json, "Print the result as JSON");
}

train::CompileOptions compile_options(const TrainOptions& o) {
  train::CompileOptions compile;
  compile.optimizer = choose<train::OptimizerKind>(
      "--optimizer", o.optimizer, {{"adam", train::OptimizerKind::kAdam}, {"sgd", train::OptimizerKind::kSgd}});
  compile.learning_rate = o.learning_rate;
  compile.momentum = o.momentum;
  compile.batch_norm_statistics = choose<train::BatchNormStatistics>(
      "--batch-norm-statistics", o.statistics,
      {{"reestimated", train::BatchNormStatistics::kReestimated}, {"moving", train::BatchNormStatistics::kMoving}});
  compile.seed = o.seed;
  compile.threads = o.threads;
  return compile;
}

train::FitOptions fit_options(const TrainOptions& o) {
  train::FitOptions fit;
  fit.epochs = o.epochs;
  fit.batch_size = o.batch_size;
  fit.schedule = choose<train::ScheduleKind>(
      "--schedule", o.schedule,
      {{"constant", train::ScheduleKind::kConstant}, {"cosine", train::ScheduleKind::kCosine}});
  fit.stop = &stop_requested();
  fit.checkpoint = o.output / "checkpoint.nibble";
  fit.resume = o.resume;
  return fit;
}

graph::Model model_to_train(const TrainOptions& o) {
  graph::Model model = load(o.model);
  if (o.quantize.empty()) return model;
  return transform::model_quantize(model, read_json(o.quantize),
                                   {.activation_bits = o.activation_bits, .transfer_weights = true});
}

void print_result(const TrainOptions& o, const train::History& history, Streams& streams) {
  const train::EpochLog last = history.empty() ? train::EpochLog{} : history.back();
  const auto or_null = [](const std::optional<double>& v) { return v ? nlohmann::json(*v) : nlohmann::json(); };
  if (o.json) {
    print_json({{"epochs", history.size()},
                {"loss", last.loss},
                {"accuracy", last.accuracy},
                {"val_loss", or_null(last.val_loss)},
                {"val_accuracy", or_null(last.val_accuracy)},
                {"model", (o.output / "model.keras").string()}},
               streams.out);
    return;
  }
  streams.out << fmt::format("test loss {:.4f}, accuracy {:.4f}\nwrote {}\n", last.val_loss.value_or(last.loss),
                             last.val_accuracy.value_or(last.accuracy), (o.output / "model.keras").string());
}

int run(const TrainOptions& o, Streams& streams) {
  listen_for_stop();
  const train::CompileOptions compile = compile_options(o);
  train::FitOptions fit = fit_options(o);
  const graph::Model model = model_to_train(o);
  make_directories(o.output);
  const data::Dataset dataset = load(o.data, streams);

  TrainingProgress progress(streams.err, streams.err_is_terminal, o.batch_size);
  const auto log = train::csv_logger(o.output / "history.csv");
  fit.callbacks = {&progress, log.get()};
  std::unique_ptr<train::Callback> second_log, stopping;
  if (!o.csv.empty()) {
    second_log = train::csv_logger(o.csv);
    fit.callbacks.push_back(second_log.get());
  }
  if (o.early_stopping >= 0) {
    stopping = train::early_stopping({.patience = o.early_stopping, .restore_best_weights = true});
    fit.callbacks.push_back(stopping.get());
  }
  train::Trainer trainer(model, compile);
  const train::History history = trainer.fit(dataset, fit);
  formats::keras::save_model(trainer.model(), o.output / "model.keras");
  if (stop_requested()) {
    streams.err << fmt::format(
        "stopped after {} of {} epochs; model.keras holds the present weights. Run the same command with --resume to "
        "go on "
        "after the last finished epoch.\n",
        history.size(), o.epochs);
    return kInterrupted;
  }
  print_result(o, history, streams);
  return kOk;
}

}  // namespace

Run declare_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  declare_options(app, *options);
  return [options](Streams& streams) { return run(*options, streams); };
}

}  // namespace nibble::cli
