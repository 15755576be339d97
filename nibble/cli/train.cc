// nibble train: trains a model in float or with the quantizers it has.
#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/distillation_options.h"
#include "nibble/cli/json_file.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/loss_options.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/qnoise_options.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/cli/training_choices.h"
#include "nibble/cli/training_events.h"
#include "nibble/cli/training_report.h"
#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/search/code_version.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/process_group.h"
#include "nibble/train/process_settings.h"
#include "nibble/transform/dropout_rate.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  ModelArgument model;
  DataOptions data;
  LossOptions loss;
  fs::path output, quantize, csv, save_best, tensorboard;
  int epochs = 10, validation_freq = 1;
  int64_t batch_size = 128;
  double learning_rate = 1e-3, momentum = 0.0;
  std::string optimizer = "adam", schedule = "constant", statistics = "reestimated", averaging, augment = "none";
  uint64_t seed = 0;
  int activation_bits = 4, threads = 1, early_stopping = -1;
  std::optional<double> dropout;
  QNoiseOptions qnoise;
  DistillationOptions distillation;
  bool resume = false, json = false;
};

void declare_options(CLI::App& app, TrainOptions& o) {
  add_model(app, o.model);
  add_data_options(app, o.data);
  add_loss_options(app, o.loss);
  app.add_option("--output,-o", o.output, "Folder for model.keras, result.json, history.csv and the checkpoint")
      ->required()
      ->type_name("DIR");
  app.add_option("--epochs", o.epochs, "In total, also when resumed")
      ->check(between(1, 1000000))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size)->check(between(1, 1 << 20))->capture_default_str();
  app.add_option("--lr", o.learning_rate, "Learning rate")->check(positive())->capture_default_str();
  app.add_option("--optimizer", o.optimizer, "adam or sgd")->capture_default_str();
  app.add_option("--momentum", o.momentum, "Only with --optimizer sgd")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--schedule", o.schedule, "constant, or cosine: the learning rate falls to 0 over all epochs")
      ->capture_default_str();
  add_validation_freq(app, o.validation_freq);
  add_augment_option(app, o.augment);
  app.add_option("--dropout", o.dropout,
                 "Of every layer that drops values, instead of the model's own rate; 0: none. Networks that few bits "
                 "leave small learn better without")
      ->check(between(0.0, 0.999))
      ->type_name("RATE");
  app.add_option("--seed", o.seed, "Same seed, same command: same bytes")->check(not_negative())->capture_default_str();
  app.add_option("--batch-norm-statistics", o.statistics,
                 "reestimated: measured anew before each evaluation; moving: Keras' moving averages")
      ->capture_default_str();
  app.add_option("--weight-averaging", o.averaging,
                 "tail: evaluate and save the mean of the weights over the second half of each epoch; none: the last "
                 "step's, as Keras. Default: tail, but none with moving statistics")
      ->type_name("TEXT");
  CLI::Option* quantize = app.add_option("--quantize", o.quantize,
                                         "Quantize the model first, by this configuration ('nibble quantize --help')")
                              ->type_name("CONFIG.json");
  app.add_option("--activation-bits", o.activation_bits, "Width of automatic activation quantizers with --quantize")
      ->check(between(1, 32))
      ->needs(quantize)
      ->capture_default_str();
  add_weights(app, o.model);
  app.add_option("--early-stopping", o.early_stopping,
                 "Stop after this many epochs without a better val_loss, and go back to the weights of the best one. "
                 "Counts epochs that are evaluated")
      ->check(between(0, 1000000))
      ->type_name("EPOCHS");
  app.add_option("--save-best", o.save_best,
                 "Also write the model there after each epoch with the lowest val_loss so far")
      ->type_name("FILE.keras");
  add_qnoise_options(app, o.qnoise);
  add_distillation_options(app, o.distillation);
  app.add_option("--tensorboard", o.tensorboard, "Also write event files for TensorBoard there")->type_name("DIR");
  app.add_option("--csv", o.csv, "Also write the log there")->type_name("FILE");
  app.add_option("--threads", o.threads, "Results repeat for the same number of threads")
      ->check(between(1, 1024))
      ->capture_default_str();
  app.add_flag("--resume", o.resume, "Go on after the last finished epoch of DIR");
  app.add_flag("--json", o.json, "Print the result as JSON");
}

train::CompileOptions compile_options(const TrainOptions& o) {
  check(o.loss);
  train::CompileOptions compile;
  compile.optimizer = chosen_optimizer(o.optimizer);
  if (o.momentum != 0 && compile.optimizer != train::OptimizerKind::kSgd) {
    throw UsageError("--momentum {} means nothing to {}; leave it out, or add --optimizer sgd.", o.momentum,
                     o.optimizer);
  }
  compile.learning_rate = o.learning_rate;
  compile.momentum = o.momentum;
  compile.batch_norm_statistics = chosen_statistics(o.statistics);
  if (!o.averaging.empty()) {
    compile.weight_averaging = choose<train::WeightAveraging>(
        "--weight-averaging", o.averaging,
        {{"tail", train::WeightAveraging::kTail}, {"none", train::WeightAveraging::kNone}});
  }
  compile.seed = o.seed;
  compile.threads = o.threads;
  return compile;
}

train::FitOptions fit_options(const TrainOptions& o) {
  train::FitOptions fit;
  fit.epochs = o.epochs;
  fit.batch_size = o.batch_size;
  fit.validation_freq = o.validation_freq;
  fit.schedule = chosen_schedule(o.schedule);
  fit.augmentation = chosen_augmentation(o.augment);
  fit.stop = &stop_requested();
  fit.checkpoint = o.output / "checkpoint.nibble";
  fit.resume = o.resume;
  return fit;
}

graph::Model model_to_train(const TrainOptions& o) {
  graph::Model model = load(o.model);
  if (o.dropout) model = transform::with_dropout_rate(std::move(model), *o.dropout);
  if (o.quantize.empty()) return model;
  return transform::model_quantize(model, read_json(o.quantize),
                                   {.activation_bits = o.activation_bits, .transfer_weights = true});
}

// The log of --csv. It comes after the one that it copies.
class LogCopy : public train::Callback {
 public:
  LogCopy(fs::path log, fs::path copy) : log_(std::move(log)), copy_(std::move(copy)) {}
  std::string name() const override { return "log_copy"; }
  bool on_epoch_end(const train::EpochLog&, train::Trainer&) override {
    write_file(copy_, read_file(log_));
    return false;
  }

 private:
  fs::path log_, copy_;
};

// The callbacks that the options ask for; they live as long as the training.
class Callbacks {
 public:
  Callbacks(const TrainOptions& o, Streams& streams) : progress_(streams.err, streams.err_is_terminal, o.batch_size) {
    if (auto ramp = qnoise_callback(o.qnoise)) owned_.push_back(std::move(ramp));
    owned_.push_back(train::csv_logger(o.output / "history.csv"));
    if (!o.csv.empty()) owned_.push_back(std::make_unique<LogCopy>(o.output / "history.csv", o.csv));
    if (!o.tensorboard.empty()) owned_.push_back(std::make_unique<TrainingEvents>(o.tensorboard));
    if (!o.save_best.empty()) owned_.push_back(train::model_checkpoint({.path = o.save_best, .save_best_only = true}));
    // Last: it sets the weights back, which the others must not see.
    if (o.early_stopping >= 0) {
      owned_.push_back(train::early_stopping({.patience = o.early_stopping, .restore_best_weights = true}));
    }
  }
  std::vector<train::Callback*> list() {
    std::vector<train::Callback*> result = {&progress_};
    for (const auto& callback : owned_) result.push_back(callback.get());
    return result;
  }
  int epochs_seen() const { return progress_.epochs_seen(); }

 private:
  TrainingProgress progress_;
  std::vector<std::unique_ptr<train::Callback>> owned_;
};

void check_paths(const TrainOptions& o) {
  if (!o.save_best.empty() && o.save_best.extension() != ".keras") {
    throw UsageError("--save-best cannot write '{}'; the file's name must end in .keras.", o.save_best.string());
  }
  // What could only be written after an epoch is tried now.
  for (const fs::path& path : {o.csv, o.save_best}) {
    if (!path.empty()) AtomicFile{path};
  }
  std::error_code ignored;
  if (o.resume && !fs::exists(o.output / "checkpoint.nibble", ignored)) {
    throw IoError("[train] there is no checkpoint in '{}' to go on with; leave --resume out to start a training.",
                  o.output.string());
  }
}

// Of the weights in model.keras, which after an early stop are not those of the last epoch. loss and accuracy are the
// training's, in its last epoch.
nlohmann::json result_of(const TrainOptions& o, const train::History& history, const train::Evaluation* test,
                         train::LossKind loss) {
  nlohmann::json result = {{"epochs", history.size()}, {"model", (o.output / "model.keras").string()}};
  if (!history.empty()) {
    result["loss"] = history.back().loss;
    result["accuracy"] = history.back().has_accuracy ? nlohmann::json(history.back().accuracy) : nlohmann::json();
  }
  add_training_errors(result, history);
  result["val_loss"] = result["val_accuracy"] = nullptr;
  if (test != nullptr) add_figures(result, "val_", *test, loss);
  return result;
}

void print_result(const TrainOptions& o, const nlohmann::json& result, const train::Evaluation* test,
                  train::LossKind loss, Streams& streams) {
  if (o.json) {
    print_json(result, streams.out);
    return;
  }
  if (test != nullptr) streams.out << "test " << told(*test, loss) << "\n";
  streams.out << "wrote " << result.at("model").get<std::string>() << "\n";
}

int report_stop(const TrainOptions& o, size_t epochs_done, Streams& streams) {
  streams.err << fmt::format("stopped after {} of {} epochs; model.keras holds the present weights. ", epochs_done,
                             o.epochs)
              << (epochs_done == 0 ? "No epoch is finished that --resume could go on after.\n"
                                   : "Run the same command with --resume to go on after the last finished epoch.\n");
  return kInterrupted;
}

// What the first process and the others must be told alike. Compared before data are read; the model, its weights and
// the data, whose paths may differ, are compared by fit().
train::Settings settings_of(const TrainOptions& o) {
  const QNoiseOptions& noise = o.qnoise;
  return {{"version", search::code_version()},
          {"--epochs", std::to_string(o.epochs)},
          {"--batch-size", std::to_string(o.batch_size)},
          {"--optimizer", o.optimizer},
          {"--lr", fmt::format("{}", o.learning_rate)},
          {"--momentum", fmt::format("{}", o.momentum)},
          {"--loss", o.loss.loss.empty() ? "as the data" : o.loss.loss},
          {"--target", o.loss.target},
          {"--batch-norm-statistics", o.statistics},
          {"--weight-averaging", o.averaging.empty() ? "default" : o.averaging},
          {"--schedule", o.schedule},
          {"--seed", std::to_string(o.seed)},
          {"--validation-freq", std::to_string(o.validation_freq)},
          {"--augment", o.augment},
          {"--early-stopping", std::to_string(o.early_stopping)},
          {"--qnoise-start", std::to_string(noise.start)},
          {"--qnoise-finish", std::to_string(noise.finish)},
          {"--qnoise-freq-type", noise.freq_type},
          {"--qnoise-update-freq", std::to_string(noise.update_freq)},
          {"--qnoise-initial", std::to_string(noise.initial)},
          {"--qnoise-exponent", fmt::format("{}", noise.exponent)},
          {"--qnoise-without-ste", noise.without_ste ? "yes" : "no"},
          {"--resume", o.resume ? "yes" : "no"}};
}

// Null where nibble was started alone.
std::shared_ptr<train::ProcessGroup> join_processes(const TrainOptions& o, Streams& streams) {
  constexpr std::chrono::minutes kTimeout{10};  // an epoch's evaluation of the slowest process is within it
  const train::Environment environment = train::process_environment();
  const auto place = train::place_of_process(environment);
  if (!place) return nullptr;
  train::JoinOptions join;
  join.deadline = train::join_deadline(environment);
  join.notice = [&streams](const std::string& line) { streams.err << line << std::endl; };
  join.stop = &stop_requested();
  auto processes = std::make_shared<train::ProcessGroup>(*place, kTimeout, join);
  train::require_equal_settings(*processes, settings_of(o));
  if (processes->is_first()) streams.err << fmt::format("{} processes train together\n", processes->size());
  return processes;
}

// Trains along with the first process, which tells and writes everything.
int follow(const TrainOptions& o, train::CompileOptions compile, train::FitOptions fit, const data::Dataset& data) {
  std::ostringstream quiet;
  Streams nowhere{quiet, quiet, false};
  set_loss(o.loss, data, compile);
  fit.distillation = learn_from_teacher(o.distillation, data, o.threads, nowhere);
  std::vector<std::unique_ptr<train::Callback>> steering;
  if (auto ramp = qnoise_callback(o.qnoise)) steering.push_back(std::move(ramp));
  if (o.early_stopping >= 0) {
    steering.push_back(train::early_stopping({.patience = o.early_stopping, .restore_best_weights = true}));
  }
  for (const auto& callback : steering) fit.callbacks.push_back(callback.get());
  train::Trainer trainer(model_to_train(o), compile);
  trainer.fit(data, fit);
  if (stop_requested()) return kInterrupted;
  if (data.test.count() > 0) trainer.evaluate(data.test);
  return kOk;
}

int run(const TrainOptions& o, Streams& streams) {
  listen_for_stop();
  check_paths(o);
  train::CompileOptions compile = compile_options(o);
  train::FitOptions fit = fit_options(o);
  try {
    compile.processes = join_processes(o, streams);
  } catch (const train::ProcessLost& lost) {
    if (!stop_requested()) throw;
    streams.err << fmt::format("{} Nothing was trained.\n", lost.what());
    return kInterrupted;
  }
  if (compile.processes != nullptr && !compile.processes->is_first()) {
    std::ostringstream quiet;
    Streams nowhere{quiet, quiet, false};
    return follow(o, compile, fit, load(o.data, nowhere));
  }
  const graph::Model model = model_to_train(o);
  make_directories(o.output);
  const data::Dataset dataset = load(o.data, streams);
  set_loss(o.loss, dataset, compile);
  fit.distillation = learn_from_teacher(o.distillation, dataset, o.threads, streams);

  Callbacks callbacks(o, streams);
  fit.callbacks = callbacks.list();
  train::Trainer trainer(model, compile);
  const train::History history = trainer.fit(dataset, fit);
  std::error_code ignored;
  fs::remove(o.output / kResultFile, ignored);  // it would tell of other weights
  formats::keras::save_model(trainer.model(), o.output / "model.keras");
  if (stop_requested()) return report_stop(o, history.size(), streams);
  if (callbacks.epochs_seen() == 0) {
    streams.err << fmt::format("note: nothing was left to train; this training ended after {} epochs.\n",
                               history.size());
  }
  std::optional<train::Evaluation> test;
  if (dataset.test.count() > 0) test = trainer.evaluate(dataset.test);
  const nlohmann::json result = result_of(o, history, test ? &*test : nullptr, compile.loss);
  write_json(o.output / kResultFile, result);
  print_result(o, result, test ? &*test : nullptr, compile.loss, streams);
  return kOk;
}

}  // namespace

Run declare_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  declare_options(app, *options);
  return [options](Streams& streams) { return run(*options, streams); };
}

}  // namespace nibble::cli
