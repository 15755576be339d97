// nibble qat: trains a model with affine fake quantization, the TFMOT way.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/affine_table.h"
#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/distillation_options.h"
#include "nibble/cli/json_file.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/loss_options.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/cli/training_choices.h"
#include "nibble/cli/training_report.h"
#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/train/callbacks.h"
#include "nibble/train/process_group.h"
#include "nibble/train/quantization_schedule.h"
#include "nibble/transform/qat/quantize_apply.h"
#include "nibble/transform/qat/snap_offsets.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct QatOptions {
  ModelArgument model;
  DataOptions data;
  LossOptions loss;
  fs::path output;
  std::string scheme = "int8", quantizer, ranges, batch_norm;
  int epochs = 3, validation_freq = 1, edge_bits = -1, bias_bits = -1, threads = 1;
  int64_t batch_size = 128;
  double learning_rate = 0.01;
  std::optional<double> penalty;   // of pact; the scheme's where it is not given
  std::optional<double> momentum;  // of sgd; 0.9 where it is not given
  double begin = 0.0, freeze_ranges = -1.0, freeze_batch_norm = -1.0;
  std::string optimizer = "sgd", schedule = "cosine", statistics = "reestimated", augment = "none";
  uint64_t seed = 0;
  DistillationOptions distillation;
  bool resume = false, json = false;
  bool asks_for_quantizers = false;  // by an option of its own
};

void declare_quantization(CLI::App& app, QatOptions& o) {
  app.add_option(
         "--scheme", o.scheme,
         "int8, int4 (int2 to int16): weights and activations of so many bits; tfmot8, ...: placed as by TFMOT; "
         "or a file {\"scheme\": {...}, \"layers\": {...}}")
      ->type_name("SCHEME")
      ->capture_default_str();
  app.add_option("--quantizer", o.quantizer,
                 "moving_average, last_value, all_values, lsq, lsq_plus, pact or dorefa. Default: the scheme's")
      ->type_name("NAME");
  app.add_option("--ranges", o.ranges,
                 "What trackers take from a batch. extremes: its smallest and largest value; mse: the range of least "
                 "squared error, finer and clipped. Default: the scheme's; else mse below 6 bits, where weights and "
                 "activations both have trackers, and extremes with tfmot8, ...")
      ->type_name("RULE");
  app.add_option(
         "--penalty", o.penalty,
         "Of pact: for each clipping level a, L * a^2 is added to the loss; the usual weight decay works, 1e-4. "
         "Default: the scheme's, 0")
      ->check(between(0.0, 1e6))
      ->type_name("L");
  app.add_option("--batch-norm", o.batch_norm,
                 "float: behind quantized kernels; fold: into the weights before training; fold_running, fold_batch: "
                 "in each step. Default: the scheme's; else fold where the model has weights, else float")
      ->type_name("MODE");
  app.add_option("--edge-weight-bits", o.edge_bits, "Of the first and the last layer's weights")->check(between(2, 16));
  app.add_option("--bias-bits", o.bias_bits, "2 to 32, on the accumulator's grid; 0: float. Default: the scheme's")
      ->check(between(0, 32));
  app.add_option("--begin", o.begin, "Train in float for so many epochs first; 0.5 is half an epoch")
      ->check(between(0.0, 1e6))
      ->type_name("EPOCHS")
      ->capture_default_str();
  app.add_option("--freeze-ranges", o.freeze_ranges, "Ranges stay from then on")
      ->check(between(0.0, 1e6))
      ->type_name("EPOCHS");
  app.add_option("--freeze-batch-norm", o.freeze_batch_norm, "Batch-norm statistics stay from then on")
      ->check(between(0.0, 1e6))
      ->type_name("EPOCHS");
}

void declare_training(CLI::App& app, QatOptions& o) {
  app.add_option("--epochs", o.epochs, "In total, also when resumed")
      ->check(between(1, 1000000))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size)->check(between<int64_t>(1, 1 << 20))->capture_default_str();
  app.add_option("--lr", o.learning_rate, "Learning rate")->check(positive())->capture_default_str();
  app.add_option("--optimizer", o.optimizer, "sgd or adam")->capture_default_str();
  app.add_option("--momentum", o.momentum, "Only with --optimizer sgd, where it is 0.9 if not given")
      ->check(between(0.0, 1.0));
  app.add_option("--schedule", o.schedule, "cosine: the learning rate falls to 0 over all epochs; or constant")
      ->capture_default_str();
  app.add_option("--batch-norm-statistics", o.statistics,
                 "reestimated: measured anew before each evaluation; moving: Keras' moving averages")
      ->capture_default_str();
  add_validation_freq(app, o.validation_freq);
  add_augment_option(app, o.augment);
  add_distillation_options(app, o.distillation);
  app.add_option("--seed", o.seed, "Same seed, same command: same bytes")->check(not_negative())->capture_default_str();
  app.add_option("--threads", o.threads, "Results repeat for the same number of threads")
      ->check(between(1, 1024))
      ->capture_default_str();
  app.add_flag("--resume", o.resume, "Go on after the last finished epoch of DIR");
  app.add_flag("--json", o.json, "Print the result as JSON");
}

void declare_options(CLI::App& app, QatOptions& o) {
  add_model(app, o.model);
  add_weights(app, o.model);
  add_data_options(app, o.data);
  add_loss_options(app, o.loss);
  app.add_option("--output,-o", o.output, "Folder for model.keras, result.json, history.csv and the checkpoint")
      ->required()
      ->type_name("DIR");
  declare_quantization(app, o);
  declare_training(app, o);
}

// What the option says, else the scheme; where neither does, folding, which needs trained weights.
qat::BatchNormMode batch_norm_mode(const QatOptions& o, bool has_trained_weights, const qat::Scheme& scheme) {
  using qat::BatchNormMode;
  if (o.batch_norm.empty()) {
    return scheme.batch_norm.value_or(has_trained_weights ? BatchNormMode::kFold : BatchNormMode::kFloat);
  }
  return choose<BatchNormMode>("--batch-norm", o.batch_norm,
                               {{"float", BatchNormMode::kFloat},
                                {"fold", BatchNormMode::kFold},
                                {"fold_batch", BatchNormMode::kFoldBatch},
                                {"fold_running", BatchNormMode::kFoldRunning}});
}

// What --scheme says: a name, or a file of a scheme and of layers.
struct Plan {
  qat::Scheme scheme;
  nlohmann::json layers = nlohmann::json::object();
};

Plan plan_of(const QatOptions& o, bool has_trained_weights) {
  Plan plan;
  if (o.scheme.ends_with(".json")) {
    const nlohmann::json file = read_json(o.scheme);
    if (!file.is_object()) throw UsageError("--scheme {}: the file must hold an object.", o.scheme);
    for (const auto& [key, value] : file.items()) {
      if (key != "scheme" && key != "layers") {
        throw UsageError("--scheme {}: there is no '{}'; a file holds 'scheme' and 'layers'.", o.scheme, key);
      }
    }
    const nlohmann::json scheme = file.value("scheme", nlohmann::json::object());
    plan.scheme = scheme.is_string() ? qat::scheme_named(scheme.get<std::string>()) : qat::scheme_from_json(scheme);
    plan.layers = file.value("layers", nlohmann::json::object());
  } else {
    plan.scheme = qat::scheme_named(o.scheme);
  }
  if (!o.quantizer.empty()) qat::set_quantizer(plan.scheme, o.quantizer);
  if (!o.ranges.empty()) {
    plan.scheme.ranges = choose<affine::RangeRule>(
        "--ranges", o.ranges, {{"extremes", affine::RangeRule::kExtremes}, {"mse", affine::RangeRule::kMse}});
  }
  if (o.penalty) plan.scheme.penalty = *o.penalty;
  if (o.edge_bits >= 0) plan.scheme.edge_weight_bits = o.edge_bits;
  if (o.bias_bits >= 0) plan.scheme.bias_bits = o.bias_bits;
  plan.scheme.batch_norm = batch_norm_mode(o, has_trained_weights, plan.scheme);
  return plan;
}

train::CompileOptions compile_options(const QatOptions& o) {
  check(o.loss);
  train::CompileOptions compile;
  compile.optimizer = chosen_optimizer(o.optimizer);
  compile.learning_rate = o.learning_rate;
  if (compile.optimizer == train::OptimizerKind::kSgd) {
    compile.momentum = o.momentum.value_or(0.9);
  } else if (o.momentum) {
    throw UsageError("--momentum {} means nothing to {}; leave it out, or add --optimizer sgd.", *o.momentum,
                     o.optimizer);
  }
  compile.batch_norm_statistics = chosen_statistics(o.statistics);
  compile.seed = o.seed;
  compile.threads = o.threads;
  return compile;
}

train::FitOptions fit_options(const QatOptions& o) {
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

train::QuantizationSchedule schedule_of(const QatOptions& o) {
  train::QuantizationSchedule schedule{.begin = o.begin};
  if (o.freeze_ranges >= 0) schedule.freeze_ranges = o.freeze_ranges;
  if (o.freeze_batch_norm >= 0) schedule.freeze_batch_norm = o.freeze_batch_norm;
  return schedule;
}

nlohmann::json result_of(const QatOptions& o, const train::History& history, const train::Evaluation& test,
                         train::LossKind loss) {
  const bool knows_accuracy = !history.empty() && history.back().has_accuracy;
  nlohmann::json result = {{"epochs", history.size()},
                           {"model", (o.output / "model.keras").string()},
                           {"loss", history.empty() ? nlohmann::json() : nlohmann::json(history.back().loss)},
                           {"accuracy", knows_accuracy ? nlohmann::json(history.back().accuracy) : nlohmann::json()}};
  add_training_errors(result, history);
  add_figures(result, "val_", test, loss);
  return result;
}

//   start  what the accuracy before training is one of: "in float"
void print_result(const QatOptions& o, const nlohmann::json& result, const std::string& figures,
                  const graph::Model& model, std::string_view start, Streams& streams) {
  if (o.json) {
    print_json(result, streams.out);
    return;
  }
  print_affine_points(model, streams.out);
  if (result.at("float_accuracy").is_number()) {
    streams.out << fmt::format("{}: test accuracy {:.4f}\n", start, result.at("float_accuracy").get<double>());
  }
  if (result.contains("float_loss") && result.at("float_loss").is_number()) {
    streams.out << fmt::format("{}: test loss {:.6g}\n", start, result.at("float_loss").get<double>());
  }
  streams.out << fmt::format("quantized: test {}\nwrote {}\n", figures, result.at("model").get<std::string>());
}

// Offsets that training left between two codes.
void snap_offsets(graph::Model& model, Streams& streams) {
  const std::vector<qat::SnappedOffset> offsets = qat::snap_offsets(model);
  if (offsets.empty()) return;
  streams.err << fmt::format(
      "note: {} learned offsets moved to the nearest multiple of their steps, so that real 0 has a code. model.keras "
      "has them as fixed ranges.\n",
      offsets.size());
}

// A step of many codes is small, and its gradient is as large as the codes: training may throw it about.
void warn_of_wide_steps(const graph::Model& quantized, Streams& streams) {
  constexpr int kSafeBits = 8;
  const auto is_wide = [](const graph::QuantizedPoint& point) {
    const bool has_step =
        point.quantizer.kind == graph::AffineKind::kLsq || point.quantizer.kind == graph::AffineKind::kLsqPlus;
    return has_step && point.quantizer.num_bits > kSafeBits;
  };
  for (const graph::Layer& layer : quantized.layers) {
    const auto points = graph::quantized_points(layer);
    const auto wide = std::find_if(points.begin(), points.end(), is_wide);
    if (wide == points.end()) continue;
    streams.err << fmt::format(
        "note: layer '{}' learns a step of {} bits. Above {} bits learned steps can run away with sgd, to almost 0 or "
        "to many times their size: look at them with 'nibble inspect', and give a lower --lr, or --quantizer "
        "moving_average.\n",
        layer.name, wide->quantizer.num_bits, kSafeBits);
    return;
  }
}

void note_no_batch_norms(const QatOptions& o, const graph::Model& quantized, Streams& streams) {
  const auto is_one = [](const graph::Layer& layer) {
    return layer.class_name.find("BatchNorm") != std::string::npos ||
           layer.class_name.find("Batchnorm") != std::string::npos;
  };
  if (o.freeze_batch_norm < 0 || std::any_of(quantized.layers.begin(), quantized.layers.end(), is_one)) return;
  streams.err << "note: the quantized network has no batch normalizations of its own, so --freeze-batch-norm changes "
                 "nothing.\n";
}

// The ranges of activations are measured, which several processes cannot do together.
void refuse_processes() {
  const auto place = train::place_of_process(train::process_environment());
  if (!place) return;
  throw UsageError(
      "'nibble qat' trains in one process, but {} were started; leave the launcher out, and give --threads.",
      place->size);
}

int64_t quantized_layers(const graph::Model& model) {
  return std::count_if(model.layers.begin(), model.layers.end(),
                       [](const graph::Layer& layer) { return layer.quantization.has_value(); });
}

// Layers that have affine quantizers already keep them.
void check_what_stays(const QatOptions& o, const graph::Model& start, const graph::Model& quantized, Streams& streams) {
  const int64_t before = quantized_layers(start), after = quantized_layers(quantized);
  if (before == 0 || o.resume) return;
  if (after == before && o.asks_for_quantizers) {
    throw UsageError(
        "the layers of '{}' have affine quantizers already, which stay as they are. Leave --scheme and its companions "
        "out to train them on, or give the float model.",
        start.name);
  }
  streams.err << fmt::format("note: {} layers have affine quantizers already, which stay as they are{}.\n", before,
                             after == before ? "" : fmt::format("; {} more get theirs now", after - before));
}

int run(const QatOptions& o, Streams& streams) {
  listen_for_stop();
  refuse_processes();
  train::CompileOptions compile = compile_options(o);
  train::FitOptions fit = fit_options(o);
  const auto schedule = train::quantization_schedule(schedule_of(o));
  const graph::Model start = load(o.model);
  const bool is_trained = has_weights(start);
  const Plan plan = plan_of(o, is_trained);
  const graph::Model quantized = qat::quantize_apply(qat::annotate_from_json(start, plan.layers), plan.scheme);
  check_what_stays(o, start, quantized, streams);
  if (compile.optimizer == train::OptimizerKind::kSgd) warn_of_wide_steps(quantized, streams);
  note_no_batch_norms(o, quantized, streams);
  make_directories(o.output);
  const data::Dataset dataset = load(o.data, streams);
  set_loss(o.loss, dataset, compile);
  fit.distillation = learn_from_teacher(o.distillation, dataset, o.threads, streams);

  nlohmann::json float_accuracy, float_loss;
  if (is_trained && !o.resume) {
    const train::Evaluation before = train::Trainer(start, compile).evaluate(dataset.test);
    (before.has_accuracy ? float_accuracy : float_loss) = before.has_accuracy ? before.accuracy : before.loss;
  }
  TrainingProgress progress(streams.err, streams.err_is_terminal, o.batch_size);
  const auto log = train::csv_logger(o.output / "history.csv");
  fit.callbacks = {&progress, schedule.get(), log.get()};
  train::Trainer trainer(quantized, compile);
  const train::History history = trainer.fit(dataset, fit);
  // What trained with its batch norms merged in each step is, from now on, a plain network.
  graph::Model deployed = qat::unfold_batch_norms(trainer.model());
  snap_offsets(deployed, streams);
  formats::keras::save_model(deployed, o.output / "model.keras");
  if (stop_requested()) {
    streams.err << fmt::format("stopped after {} of {} epochs; run the same command with --resume to go on.\n",
                               history.size(), o.epochs);
    return kInterrupted;
  }
  train::Trainer judge(deployed, compile);
  const train::Evaluation test = judge.evaluate(dataset.test);
  nlohmann::json result = result_of(o, history, test, compile.loss);
  for (const auto& [layer, count] : judge.saturated_biases()) {
    streams.err << fmt::format(
        "note: layer '{}': {} of its {} biases do not fit {} bits and are clipped; give more --bias-bits (0: float).\n",
        layer, count, deployed.layer(layer).find_weight("bias")->value.size(),
        deployed.layer(layer).quantization->bias_bits);
  }
  result["float_accuracy"] = float_accuracy;
  if (!float_loss.is_null()) result["float_loss"] = float_loss;
  write_json(o.output / kResultFile, result);
  print_result(o, result, told(test, compile.loss), deployed, quantized_layers(start) == 0 ? "in float" : "before",
               streams);
  return kOk;
}

}  // namespace

Run declare_qat(CLI::App& app) {
  auto options = std::make_shared<QatOptions>();
  declare_options(app, *options);
  return [options, &app](Streams& streams) {
    for (const char* name : {"--scheme", "--quantizer", "--ranges", "--penalty", "--edge-weight-bits", "--bias-bits"}) {
      if (app.get_option(name)->count() > 0) options->asks_for_quantizers = true;
    }
    return run(*options, streams);
  };
}

}  // namespace nibble::cli
