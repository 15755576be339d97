// nibble ptq: a trained float model as one of affine quantizers, without training.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/ptq_report.h"
#include "nibble/cli/samples.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/train/layer_function.h"
#include "nibble/train/loss_names.h"
#include "nibble/train/trainer.h"

namespace nibble::cli {
namespace {

struct PtqOptions {
  ModelArgument model;
  DataOptions data;
  std::filesystem::path output;
  int bits = 8, result_bits = 8, bias_bits = 32, threads = 1;
  std::string calibration = "mse", weights = "automatic", bias_correction = "none", ablate;
  int64_t samples = 512, batch_size = 64;
  double percentile = 99.99, decay = 0.99;
  int adaround_steps = 1000;
  uint64_t seed = 0;
  bool per_channel = false, equalize = false, adaround = false, keep_float = false;
  bool json = false;
};

void declare_options(CLI::App& app, PtqOptions& o) {
  add_model(app, o.model);
  add_weights(app, o.model);
  add_data_options(app, o.data);
  app.add_option("--bits,-b", o.bits, "Of weights, input and activations")
      ->check(between(2, 16))
      ->capture_default_str();
  app.add_option("--result-bits", o.result_bits, "The logits have this many at least: with few bits they tie")
      ->check(between(2, 16))
      ->capture_default_str();
  app.add_option("--bias-bits", o.bias_bits, "2 to 32, on the accumulator's grid; 0: float")
      ->check(between(0, 32))
      ->capture_default_str();
  app.add_option("--calibration", o.calibration, "min-max, moving-average, percentile, mse or entropy")
      ->capture_default_str();
  app.add_option("--calibration-samples", o.samples, "From the start of the training part")
      ->check(between<int64_t>(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size, "Samples that a moving average sees at once")
      ->check(between<int64_t>(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--percentile", o.percentile, "Only with --calibration percentile")->capture_default_str();
  app.add_option("--decay", o.decay, "Only with --calibration moving-average")->capture_default_str();
  app.add_flag("--per-channel", o.per_channel, "A scale for each output channel of the weights");
  app.add_option("--weights-by", o.weights,
                 "Range of weights: largest, mse (the least squared error), or automatic: mse below 6 bits")
      ->capture_default_str();
  app.add_flag("--equalize", o.equalize, "Cross-layer equalization first");
  app.add_option("--bias-correction", o.bias_correction,
                 "Give each output channel the float network's mean: empirical (by the samples; also without a word), "
                 "analytic (by the batch norms' statistics), or none")
      ->expected(0, 1)
      ->type_name("HOW");
  CLI::Option* adaround = app.add_flag("--adaround", o.adaround, "Learn which weights round up (AdaRound)");
  app.add_option("--adaround-steps", o.adaround_steps)
      ->check(between(1, 1000000))
      ->needs(adaround)
      ->capture_default_str();
  app.add_option(
         "--ablate", o.ablate,
         "A mistake to look at: fold-by-variance (batch norms divided by the variance), relu-range (a ReLU keeps "
         "the range of what enters it), result-bits (logits with --bits)")
      ->type_name("MISTAKE");
  app.add_flag("--keep-float-weights", o.keep_float, "Store weights off their grid, as a start of training");
  app.add_option("--seed", o.seed, "Of --adaround")->check(not_negative())->capture_default_str();
  app.add_option("--threads", o.threads)->check(between(1, 1024))->capture_default_str();
  app.add_option("--output,-o", o.output, "The quantized model")->type_name("OUT.keras");
  app.add_flag("--json", o.json, "Print layers and accuracies as JSON");
}

void ablate(const std::string& mistake, ptq::PostTrainingOptions& options) {
  if (mistake.empty()) return;
  enum Mistake { kFold, kRelu, kResult };
  switch (choose<Mistake>("--ablate", mistake,
                          {{"fold-by-variance", kFold}, {"relu-range", kRelu}, {"result-bits", kResult}})) {
    case kFold:
      options.fold_divisor = ptq::FoldDivisor::kVariance;
      break;
    case kRelu:
      options.range_before_activation = true;
      break;
    case kResult:
      options.least_result_bits = options.bit_width;
      break;
  }
}

ptq::PostTrainingOptions post_training_options(const PtqOptions& o) {
  using affine::CalibrationMethod;
  ptq::PostTrainingOptions options;
  options.bit_width = o.bits;
  options.least_result_bits = o.result_bits;
  options.bias_bits = o.bias_bits;
  options.calibration.method = choose<CalibrationMethod>("--calibration", o.calibration,
                                                         {{"min-max", CalibrationMethod::kMinMax},
                                                          {"moving-average", CalibrationMethod::kMovingAverage},
                                                          {"percentile", CalibrationMethod::kPercentile},
                                                          {"mse", CalibrationMethod::kMse},
                                                          {"entropy", CalibrationMethod::kEntropy}});
  options.calibration.percentile = o.percentile;
  options.calibration.decay = o.decay;
  options.batch_size = o.batch_size;
  options.per_axis = o.per_channel;
  options.weight_rule = choose<ptq::WeightRule>("--weights-by", o.weights,
                                                {{"automatic", ptq::WeightRule::kAutomatic},
                                                 {"largest", ptq::WeightRule::kLargest},
                                                 {"mse", ptq::WeightRule::kSquaredError}});
  options.equalize = o.equalize;
  // The bare option has no word.
  options.bias_correction =
      choose<ptq::BiasCorrection>("--bias-correction", o.bias_correction.empty() ? "empirical" : o.bias_correction,
                                  {{"none", ptq::BiasCorrection::kNone},
                                   {"empirical", ptq::BiasCorrection::kEmpirical},
                                   {"analytic", ptq::BiasCorrection::kAnalytic}});
  options.adaptive_rounding = o.adaround;
  options.rounding.steps = o.adaround_steps;
  options.rounding.seed = o.seed;
  options.keep_float_weights = o.keep_float;
  ablate(o.ablate, options);
  return options;
}

// The accuracy where the data have classes, else the mean squared error.
double measure(const graph::Model& model, const data::Dataset& dataset, int threads) {
  const train::LossKind loss = train::natural_loss(dataset.test);
  const auto evaluation = train::Trainer(model, {.loss = loss, .threads = threads}).evaluate(dataset.test);
  return evaluation.has_accuracy ? evaluation.accuracy : evaluation.loss;
}

// Ctrl-C.
struct Stopped {};

ptq::PostTrainingResult quantize(const graph::Model& model, const Tensor& samples,
                                 const ptq::PostTrainingOptions& options, Streams& streams) {
  ProgressBar bar(streams.err, streams.err_is_terminal);
  const auto before_layer = [&](const std::string& name, size_t index) {
    if (stop_requested()) throw Stopped{};
    // Separable convolutions become two layers.
    const double share = static_cast<double>(index) / static_cast<double>(model.layers.size());
    bar.update(std::min(share, 1.0), "quantizing " + name, "");
  };
  return ptq::quantize_after_training(model, samples, options, train::layer_function, before_layer);
}

int quantize_and_tell(const PtqOptions& o, Streams& streams) {
  if (!o.output.empty()) check_model_output(o.output);
  const ptq::PostTrainingOptions options = post_training_options(o);
  const graph::Model model = load_with_weights(o.model);
  graph::require_calibrated(model, "ptq");
  const Shape input = graph::infer_shapes(model).at(model.inputs.at(0));
  ptq::require_fixed_input(model.inputs[0], input);
  listen_for_stop();
  const data::Dataset dataset = load(o.data, streams);
  const int64_t count = std::min(o.samples, dataset.train.count());
  const ptq::PostTrainingResult result = quantize(model, gather(dataset.train, 0, count, input), options, streams);
  PtqAccuracy accuracies;
  if (dataset.test.count() > 0) {
    accuracies = {measure(model, dataset, o.threads), measure(result.model, dataset, o.threads), dataset.test.count(),
                  dataset.test.has_targets() ? "mean_squared_error" : "accuracy"};
  }
  if (!o.output.empty()) formats::keras::save_model(result.model, o.output);
  if (o.json) {
    print_json(ptq_json(result, accuracies), streams.out);
  } else {
    print_ptq(result, accuracies, streams.out);
    if (!o.output.empty()) streams.out << "wrote " << o.output.string() << "\n";
  }
  return kOk;
}

int run(const PtqOptions& o, Streams& streams) {
  try {
    return quantize_and_tell(o, streams);
  } catch (const Stopped&) {
    streams.err << "stopped; nothing was written\n";
    return kInterrupted;
  }
}

}  // namespace

Run declare_ptq(CLI::App& app) {
  auto o = std::make_shared<PtqOptions>();
  declare_options(app, *o);
  return [o, &app](Streams& streams) {
    for (const auto& [option, method] :
         {std::pair("--percentile", "percentile"), std::pair("--decay", "moving-average")}) {
      if (app.get_option(option)->count() == 0 || o->calibration == method) continue;
      throw UsageError("{} is for --calibration {}, and this is {}. Leave it out, or change the latter.", option,
                       method, o->calibration);
    }
    return run(*o, streams);
  };
}

}  // namespace nibble::cli
