#include "nibble/experiment/cell_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/models/builtin.h"
#include "nibble/train/layer_function.h"
#include "nibble/train/quantization_schedule.h"
#include "nibble/transform/qat/quantize_apply.h"
#include "nibble/transform/qat/scheme.h"

namespace nibble::experiment {
namespace {

constexpr double kMomentum = 0.9;

data::Dataset validation_split(const data::Dataset& dataset) {
  const int64_t count = dataset.train.count(), kept = count - count / 10;
  data::Dataset split;
  split.name = dataset.name;
  split.num_classes = dataset.num_classes;
  split.max_value = dataset.max_value;
  split.train = dataset.train.slice(0, kept);
  split.test = dataset.train.slice(kept, count);
  return split;
}

Tensor first_samples(const data::Samples& samples, int64_t count) {
  std::vector<int64_t> indices(static_cast<size_t>(std::min(count, samples.count())));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  std::vector<int64_t> extents = {static_cast<int64_t>(indices.size())};
  extents.insert(extents.end(), samples.shape().begin(), samples.shape().end());
  Tensor x{Shape(extents)};
  samples.gather(indices, x.data());
  return x;
}

graph::AffineQuantizer learned(graph::AffineQuantizer quantizer, bool is_signed) {
  if (quantizer.is_none()) return quantizer;
  quantizer.kind = graph::AffineKind::kLsq;
  quantizer.symmetric = is_signed;
  return quantizer;
}

bool goes_below_zero(std::span<const affine::Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [](affine::Range range) { return range.min < 0.0f; });
}

// The steps that give a learned quantizer the calibrated ranges; a channel of zeros begins with 1.
Tensor steps_of(std::span<const affine::Range> ranges, const Tensor& variable, int bit_width) {
  const float highest = std::ldexp(1.0f, goes_below_zero(ranges) ? bit_width - 1 : bit_width) - 1.0f;
  Tensor steps = variable;
  for (size_t c = 0; c < ranges.size(); ++c) {
    const float reach = std::max(-ranges[c].min, ranges[c].max);
    steps[static_cast<int64_t>(c)] = reach > 0.0f ? reach / highest : 1.0f;
  }
  return steps;
}

}  // namespace

void use_usual_ranges(graph::Model& model) {
  for (const graph::Layer& layer : graph::Model(model).layers) {
    if (!layer.quantization) continue;
    graph::LayerQuantization q = *layer.quantization;
    const auto change = [](graph::AffineQuantizer& quantizer) {
      quantizer.range = affine::usual_range_rule(quantizer.num_bits);
    };
    for (graph::WeightQuantizer& weight : q.weights) change(weight.quantizer);
    for (graph::AffineQuantizer* quantizer : {&q.pre_activation, &q.post_activation, &q.output}) change(*quantizer);
    graph::set_quantization(model, layer.name, q);  // keeps the ranges
  }
}

void use_learned_steps(graph::Model& model) {
  for (const graph::Layer& before : graph::Model(model).layers) {
    if (!before.quantization) continue;
    std::map<std::string, std::vector<affine::Range>, std::less<>> ranges;
    for (const graph::QuantizedPoint& point : graph::quantized_points(before)) {
      ranges[point.name] = graph::stored_ranges(before, point.name);
    }
    const auto is_signed = [&](std::string_view point) {
      const auto found = ranges.find(point);
      return found != ranges.end() && goes_below_zero(found->second);
    };
    graph::LayerQuantization q = *before.quantization;
    for (graph::WeightQuantizer& weight : q.weights) weight.quantizer = learned(weight.quantizer, true);
    q.pre_activation = learned(q.pre_activation, is_signed(graph::kPreActivation));
    q.post_activation = learned(q.post_activation, is_signed(graph::kPostActivation));
    q.output = learned(q.output, is_signed(graph::kOutput));
    graph::set_quantization(model, before.name, q);
    graph::Layer& layer = model.layer(before.name);
    for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
      Tensor& steps = layer.find_weight(point.name + "_step")->value;
      steps = steps_of(ranges.at(point.name), steps, point.quantizer.num_bits);
    }
  }
}

graph::Model with_moved_statistics(graph::Model model, const Tensor& samples, double momentum, int threads) {
  std::map<std::string, double> kept;
  for (graph::Layer& layer : model.layers) {
    if (layer.class_name != "BatchNormalization") continue;
    kept[layer.name] = layer.get_float("momentum");
    layer.attributes["momentum"] = momentum;
  }
  train::CompileOptions compile;
  compile.optimizer = train::OptimizerKind::kSgd;
  compile.learning_rate = 1e-30;  // no weight of any size moves by that
  compile.batch_norm_statistics = train::BatchNormStatistics::kMoving;
  compile.threads = threads;
  const std::vector<int64_t>& extents = samples.shape().extents();
  data::Dataset dataset;
  dataset.train = data::Samples(Shape(std::vector<int64_t>(extents.begin() + 1, extents.end())),
                                std::vector<float>(samples.data().begin(), samples.data().end()),
                                std::vector<int32_t>(static_cast<size_t>(extents[0]), 0));
  train::Trainer trainer(std::move(model), compile);
  train::FitOptions fit;
  fit.epochs = 1;
  fit.batch_size = kBatchSize;
  fit.validate = false;
  trainer.fit(dataset, fit);
  graph::Model moved = trainer.model();
  for (const auto& [name, value] : kept) moved.layer(name).attributes["momentum"] = value;
  return moved;
}

void set_weight_decay(graph::Model& model, double decay) {
  for (graph::Layer& layer : model.layers) {
    const auto found = layer.attributes.find("kernel_regularizer");
    if (found == layer.attributes.end()) continue;
    found->second = graph::None{};
    if (decay == 0) continue;
    const nlohmann::json l2 = {{"class_name", "L2"}, {"config", {{"l2", decay / 2}}}};
    found->second = graph::OpaqueJson{l2.dump()};
  }
}

void prepare(data::Dataset& dataset, int64_t train_samples) {
  if (train_samples > 0 && train_samples < dataset.train.count()) {
    dataset.train = dataset.train.slice(0, train_samples);
  }
  data::apply_preprocessing(dataset, data::Preprocessing::kUnit);
  if (dataset.name != "cifar10") return;
  for (data::Samples* samples : {&dataset.train, &dataset.test}) {
    samples->set_transform(2.0f / dataset.max_value,
                           std::vector<float>(static_cast<size_t>(samples->shape().elements()), 1.0f));
  }
}

CellRunner::CellRunner(const PtqQatOptions& options, const CellStore& store, RunnerHooks hooks)
    : options_(options), store_(store), hooks_(std::move(hooks)) {}

const data::Dataset& CellRunner::dataset_of(const Cell& cell) {
  auto found = datasets_.find(cell.dataset);
  if (found == datasets_.end()) {
    data::Dataset dataset = hooks_.load_dataset(cell.dataset);
    prepare(dataset, options_.train_samples);
    found = datasets_.emplace(cell.dataset, std::move(dataset)).first;
  }
  if (!cell.variation.on_validation) return found->second;
  const std::string key = cell.dataset + "/validation";
  if (!datasets_.contains(key)) datasets_.emplace(key, validation_split(found->second));
  return datasets_.at(key);
}

graph::Model CellRunner::trained(const Cell& cell, graph::Model model, const data::Dataset& dataset) {
  const bool is_float = cell.method == Method::kFloat;
  train::CompileOptions compile;
  const bool uses_adam = is_float || cell.variation.adam;
  compile.optimizer = uses_adam ? train::OptimizerKind::kAdam : train::OptimizerKind::kSgd;
  compile.momentum = uses_adam ? 0.0 : kMomentum;
  compile.learning_rate = learning_rate_of(cell, options_);
  compile.seed = cell.seed;
  compile.threads = options_.threads;
  train::FitOptions fit;
  fit.epochs = is_float ? options_.epochs : options_.qat_epochs;
  fit.batch_size = is_float ? kBatchSize : options_.qat_batch_size;
  fit.schedule = is_float ? train::ScheduleKind::kConstant : train::ScheduleKind::kCosine;
  fit.augmentation = is_float ? options_.augmentation : qat_augmentation_of(options_, cell.dataset);
  fit.validate = false;
  fit.stop = hooks_.stop;
  fit.checkpoint = store_.checkpoint_path(cell, options_);
  fit.resume = true;
  if (!is_float && options_.teachers.contains(cell.dataset)) fit.distillation = teacher_of(cell, dataset);
  const auto progress = hooks_.progress ? hooks_.progress(fit.batch_size) : nullptr;
  if (progress != nullptr) fit.callbacks = {progress.get()};
  std::unique_ptr<train::Callback> schedule;
  if (const auto epochs = batch_norms_freeze_at(cell, options_)) {
    schedule = train::quantization_schedule({.freeze_batch_norm = epochs});
    fit.callbacks.push_back(schedule.get());
  }
  const double decay = weight_decay_of(cell, options_);
  if (decay > 0) set_weight_decay(model, decay);
  train::Trainer trainer(std::move(model), compile);
  trainer.set_quantization_phase({.overwrites_convolutions = cell.variation.overwrites_convolutions});
  trainer.fit(dataset, fit);
  if (hooks_.stop != nullptr && hooks_.stop->load()) throw Stopped{};
  std::error_code ignored;
  std::filesystem::remove(fit.checkpoint, ignored);
  graph::Model result = trainer.model();
  if (decay > 0) set_weight_decay(result, 0);  // what is measured is the loss and accuracy of the network alone
  return result;
}

graph::Model CellRunner::float_model(const Cell& cell) {
  const Cell base = float_cell(cell);
  const std::filesystem::path path = store_.model_path(base, options_);
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return formats::keras::load_model(path);
  graph::Model model = models::make_builtin(fmt::format("{}_{}", base.dataset, base.network()));
  model = trained(base, std::move(model), dataset_of(base));
  formats::keras::save_model(model, path);
  return model;
}

const train::Distillation& CellRunner::teacher_of(const Cell& cell, const data::Dataset& dataset) {
  const std::filesystem::path& file = options_.teachers.at(cell.dataset).model;
  const std::string key =
      file.empty() ? float_cell(cell).key() : cell.dataset + (cell.variation.on_validation ? "/validation" : "");
  if (key == teacher_key_) return teacher_;
  const auto teacher =
      std::make_shared<const graph::Model>(file.empty() ? float_model(cell) : formats::keras::load_model(file));
  teacher_ = {.outputs = train::teacher_outputs(*teacher, dataset.train, options_.threads),
              .weight = options_.teacher_weight,
              .temperature = options_.temperature,
              .teacher = teacher};
  teacher_key_ = key;
  return teacher_;
}

CellRunner::Quantized CellRunner::quantized(const Cell& cell, const data::Dataset& dataset) {
  const Variation& v = cell.variation;
  ptq::PostTrainingOptions options;
  options.bit_width = cell.bits;
  options.least_result_bits = std::max(v.least_result_bits, 2);
  options.bias_bits = v.bias_bits;
  options.bias_scale = v.bias_scale;
  options.calibration.method = v.calibration;
  options.per_axis = v.per_axis;
  options.equalize = v.equalize;
  if (corrects_biases(cell, options_)) options.bias_correction = ptq::BiasCorrection::kEmpirical;
  options.adaptive_rounding = v.adaptive_rounding;
  options.rounding.seed = cell.seed;
  options.fold_divisor = v.fold_divisor;
  options.range_before_activation = v.range_before_activation;
  options.keep_float_weights = cell.method != Method::kPtq;
  const auto before_layer = [&](const std::string&, size_t) {
    if (hooks_.stop != nullptr && hooks_.stop->load()) throw Stopped{};
  };
  const Tensor samples = first_samples(dataset.train, options_.calibration_samples);
  graph::Model start = float_model(cell);
  if (v.statistics_momentum < 1.0) {
    start = with_moved_statistics(std::move(start), samples, v.statistics_momentum, options_.threads);
  }
  ptq::PostTrainingResult result =
      ptq::quantize_after_training(std::move(start), samples, options, train::layer_function, before_layer);
  Quantized quantized{.model = std::move(result.model)};
  int64_t saturated = 0, biases = 0;
  for (const ptq::QuantizedLayer& layer : result.layers) {
    saturated += layer.saturated_biases;
    const graph::Weight* bias = quantized.model.layer(layer.layer).find_weight("bias");
    if (layer.weight_bits > 0 && bias != nullptr) biases += bias->value.size();
  }
  quantized.saturated_biases = biases == 0 ? 0.0 : static_cast<double>(saturated) / static_cast<double>(biases);
  return quantized;
}

graph::Model CellRunner::with_folding_layers(const Cell& cell) {
  qat::Scheme scheme = qat::scheme_named(fmt::format("int{}", cell.bits));
  if (cell.method == Method::kLsq) qat::set_quantizer(scheme, "lsq");
  scheme.batch_norm = qat::BatchNormMode::kFoldBatch;
  return qat::quantize_model(float_model(cell), scheme);
}

void CellRunner::measure(const Cell& cell, const data::Dataset& dataset, CellResult& result) {
  graph::Model model;
  switch (cell.method) {
    case Method::kFloat:
      model = float_model(cell);
      break;
    case Method::kFineTuned:
      model = trained(cell, float_model(cell), dataset);
      break;
    case Method::kQat:
    case Method::kLsq:
      if (folds_in_training(cell)) {
        model = qat::unfold_batch_norms(trained(cell, with_folding_layers(cell), dataset));
        break;
      }
      [[fallthrough]];
    case Method::kPtq: {
      Quantized start = quantized(cell, dataset);
      result.saturated_biases = start.saturated_biases;
      if (cell.method == Method::kQat) use_usual_ranges(start.model);
      if (cell.method == Method::kLsq) use_learned_steps(start.model);
      model = cell.method == Method::kPtq ? std::move(start.model) : trained(cell, std::move(start.model), dataset);
    }
  }
  train::Trainer trainer(std::move(model), {.threads = options_.threads});
  result.accuracy = 100.0 * trainer.evaluate(dataset.test).accuracy;
}

// What a study of learning rates is there to find out.
void CellRunner::measure_if_it_converges(const Cell& cell, const data::Dataset& dataset, CellResult& result) {
  try {
    measure(cell, dataset, result);
    return;
  } catch (const train::NonFiniteLoss&) {
  } catch (const affine::NonFiniteValue&) {
  }
  result.accuracy = 0;
  std::error_code ignored;
  std::filesystem::remove(store_.checkpoint_path(cell, options_), ignored);
}

CellResult CellRunner::run(const Cell& cell) {
  const auto begin = std::chrono::steady_clock::now();
  const data::Dataset& dataset = dataset_of(cell);
  CellResult result;
  if (cell.variation.learning_rate) {
    measure_if_it_converges(cell, dataset, result);
  } else {
    measure(cell, dataset, result);
  }
  result.samples = dataset.test.count();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace nibble::experiment
