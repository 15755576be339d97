#include "nibble/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "nibble/graph/layer_quantization.h"
#include "nibble/train/caching_allocator.h"
#include "nibble/train/trainer_impl.h"

namespace nibble::train {
namespace {

graph::Model with_weights(graph::Model model, uint64_t seed) {
  graph::validate(model);
  graph::initialize_weights(model, seed);
  return model;
}

// Images of one channel are saved with and without its axis.
Shape without_channel(const Shape& shape) {
  if (shape.rank() < 2 || shape[-1] != 1) return shape;
  return Shape(std::vector<int64_t>(shape.begin(), shape.end() - 1));
}

void check_averaging(const CompileOptions& options) {
  if (options.weight_averaging != WeightAveraging::kTail) return;
  if (options.batch_norm_statistics != BatchNormStatistics::kMoving) return;
  throw InvalidArgument(
      "[train] averaged weights need re-estimated batch-norm statistics: moving ones belong to the weights of single "
      "steps. Leave one of the two out.");
}

// The ranges of activations are measured: each process would measure its own share.
void check_processes(const CompileOptions& options, const graph::Model& model) {
  if (options.processes == nullptr) return;
  const auto is_measured = [](const graph::QuantizedPoint& point) {
    const bool is_given =
        point.quantizer.kind == graph::AffineKind::kFixed || point.quantizer.kind == graph::AffineKind::kDorefa;
    return !point.is_weight && !is_given;
  };
  for (const graph::Layer& layer : model.layers) {
    const auto points = graph::quantized_points(layer);
    if (layer.class_name != "QAdaptiveActivation" && std::ranges::none_of(points, is_measured)) continue;
    throw Unsupported(
        "[data-parallel] layer '{}' measures the range of its values, which several processes cannot do together yet; "
        "train model '{}' in one process, with threads.",
        layer.name, model.name);
  }
}

// One factor a trainable parameter.
std::vector<float> rate_factors(const Network& network, const std::map<std::string, double>& layers) {
  const std::vector<graph::Layer>& known = network.structure().layers;
  for (const auto& [name, factor] : layers) {
    if (!(factor >= 0) || !std::isfinite(factor)) {
      throw InvalidArgument("[train] the learning rate of layer '{}' is multiplied by {}; give 0 (frozen) or more.",
                            name, factor);
    }
    if (network.structure().find_layer(name) != nullptr) continue;
    throw InvalidArgument("[train] a learning rate is given for layer '{}', which model '{}' does not have.", name,
                          network.structure().name);
  }
  std::vector<float> factors;
  for (const Parameter& parameter : network.parameters()) {
    if (!parameter.trainable) continue;
    const auto found = layers.find(known[static_cast<size_t>(parameter.layer)].name);
    factors.push_back(found == layers.end() ? 1.0f : static_cast<float>(found->second));
  }
  return factors;
}

}  // namespace

void check_batch_size(int64_t batch_size) {
  if (batch_size < 1) throw InvalidArgument("[train] batch_size is {}; it must be at least 1.", batch_size);
}

Trainer::Impl::Impl(graph::Model model, const CompileOptions& compile_options)
    : options(compile_options),
      objective(options.loss, options.target),
      network(with_weights(std::move(model), options.seed), options.fused, options.seed),
      factors(rate_factors(network, options.layer_learning_rates)),
      average(network.parameters()) {
  std::vector<int64_t> sizes;
  for (const Parameter& parameter : network.parameters()) {
    if (parameter.trainable) sizes.push_back(parameter.value.numel());
  }
  optimizer = std::make_unique<Optimizer>(options, sizes);
}

namespace {

void check_fit(const std::string& model, const Shape& expected, const Shape& output, const Objective& objective,
               const data::Samples& samples) {
  const bool is_flat = samples.shape().rank() == 1 || expected.rank() == 1;
  const bool agrees = without_channel(samples.shape()) == without_channel(expected);
  const bool fits = agrees || (is_flat && samples.shape().elements() == expected.elements());
  if (!fits) {
    throw InvalidArgument("[train] model '{}' takes samples of shape {}, but the data have {}.", model, expected.str(),
                          samples.shape().str());
  }
  objective.check(model, output, samples);
}

}  // namespace

void check_samples(const graph::Model& model, LossKind loss, Target target, const data::Samples& samples) {
  const std::map<std::string, Shape> shapes = graph::infer_shapes(model);
  check_fit(model.name, shapes.at(model.inputs.at(0)), shapes.at(model.outputs.at(0)), Objective(loss, target),
            samples);
}

void Trainer::Impl::check_data(const data::Samples& samples) const {
  network.require_single("train");
  check_fit(network.structure().name, network.input_shape(), network.output_shape(), objective, samples);
}

Trainer::Trainer(graph::Model model, const CompileOptions& options) {
  check_averaging(options);
  check_processes(options, model);
  install_caching_allocator();
  empty_cache();  // the sizes of an earlier network are of no use to this one
  at::set_num_threads(std::max(1, options.threads));
  impl_ = std::make_unique<Impl>(std::move(model), options);
}

Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

Evaluation Trainer::evaluate(const data::Samples& samples, int64_t batch_size) {
  return impl_->evaluate(samples, batch_size);
}

namespace {

// Samples begin .. end-1.
at::Tensor rows_of(const Tensor& x, int64_t begin, int64_t end) {
  std::vector<int64_t> extents = x.shape().extents();
  const int64_t row = extents[0] == 0 ? 0 : x.size() / extents[0];
  extents[0] = end - begin;
  at::Tensor rows = at::empty(extents, at::kFloat);
  const auto* source = x.data().data() + begin * row;
  std::copy(source, source + rows.numel(), rows.data_ptr<float>());
  return rows;
}

Tensor to_tensor(const at::Tensor& x) {
  const at::Tensor values = x.contiguous();
  Tensor result{Shape(values.sizes().vec())};
  std::copy(values.data_ptr<float>(), values.data_ptr<float>() + values.numel(), result.data().begin());
  return result;
}

}  // namespace

Tensor Trainer::predict(const Tensor& x, int64_t batch_size) {
  check_batch_size(batch_size);
  impl_->network.require_single("predict");
  const Shape sample = impl_->network.input_shape(), output = impl_->network.output_shape();
  std::vector<int64_t> expected = {x.shape().rank() > 0 ? x.shape()[0] : 0};
  const Shape flat{expected[0], sample.elements()};
  expected.insert(expected.end(), sample.begin(), sample.end());
  if (x.shape() != Shape(expected) && x.shape() != flat) {
    throw InvalidArgument("[predict] model '{}' takes samples of shape {}, but x has shape {}.",
                          impl_->network.structure().name, sample.str(), x.shape().str());
  }
  const at::NoGradGuard no_gradient;
  const int64_t count = x.shape()[0];
  std::vector<int64_t> in = {0}, out = {count};
  in.insert(in.end(), sample.begin(), sample.end());
  out.insert(out.end(), output.begin(), output.end());
  Tensor result{Shape(out)};
  for (int64_t begin = 0; begin < count; begin += batch_size) {
    in[0] = std::min(batch_size, count - begin);
    at::Tensor batch = at::empty(in, at::kFloat);
    const auto* source = x.data().data() + begin * sample.elements();
    std::copy(source, source + batch.numel(), batch.data_ptr<float>());
    const at::Tensor y = impl_->network.forward(batch, Pass::kInference, 0, false).contiguous();
    std::copy(y.data_ptr<float>(), y.data_ptr<float>() + y.numel(), result.data().data() + begin * output.elements());
  }
  return result;
}

std::vector<Tensor> Trainer::predict(std::span<const Tensor> inputs, int64_t batch_size) {
  check_batch_size(batch_size);
  const int64_t count = inputs.empty() || inputs[0].shape().rank() == 0 ? 0 : inputs[0].shape()[0];
  for (const Tensor& input : inputs) {
    if (input.shape().rank() > 0 && input.shape()[0] == count) continue;
    throw InvalidArgument("[predict] the inputs hold different numbers of samples: {} and {}.", inputs[0].shape().str(),
                          input.shape().str());
  }
  const at::NoGradGuard no_gradient;
  std::vector<std::vector<at::Tensor>> parts(impl_->network.structure().outputs.size());
  // No samples are one empty batch, which checks the shapes all the same.
  for (int64_t begin = 0; begin == 0 || begin < count; begin += batch_size) {
    std::vector<at::Tensor> batch;
    for (const Tensor& input : inputs) batch.push_back(rows_of(input, begin, std::min(begin + batch_size, count)));
    const auto outputs = impl_->network.forward(batch, Pass::kInference, 0);
    for (size_t i = 0; i < outputs.size(); ++i) parts[i].push_back(outputs[i]);
  }
  std::vector<Tensor> result;
  for (const auto& part : parts) result.push_back(to_tensor(at::cat(part)));
  return result;
}

void Trainer::set_quantization_phase(const QuantizationPhase& phase) { impl_->network.set_quantization_phase(phase); }

void Trainer::calibrate(const data::Samples& samples, int64_t batch_size, int64_t batches) {
  check_batch_size(batch_size);
  impl_->check_data(samples);
  const at::NoGradGuard no_gradient;
  // Also where a batch is refused: ranges that moved stay so, and no pass after it moves any.
  struct Calibrating {
    Impl& impl;
    explicit Calibrating(Impl& of) : impl(of) { impl.network.set_calibrating(true); }
    ~Calibrating() {
      impl.network.set_calibrating(false);
      impl.average.forget_trained();
    }
  } const calibrating(*impl_);
  for (int64_t b = 0; b < batches && b * batch_size < samples.count(); ++b) {
    std::vector<int64_t> indices;
    for (int64_t i = b * batch_size; i < std::min((b + 1) * batch_size, samples.count()); ++i) indices.push_back(i);
    impl_->network.forward(impl_->inputs(samples, indices), Pass::kInference, 0, true);
  }
}

void Trainer::set_qnoise(const graph::QNoise& noise) { impl_->network.set_qnoise(noise); }

std::map<std::string, int64_t> Trainer::saturated_biases() const { return impl_->network.saturated_biases(); }

graph::Model Trainer::model() const { return impl_->network.model(); }

std::vector<std::vector<float>> Trainer::weights() const {
  std::vector<std::vector<float>> result;
  for (const Parameter& parameter : impl_->network.parameters()) {
    const auto values = values_of(parameter.value);
    result.emplace_back(values.begin(), values.end());
  }
  return result;
}

void Trainer::set_weights(const std::vector<std::vector<float>>& weights) {
  const auto& parameters = impl_->network.parameters();
  bool fits = weights.size() == parameters.size();
  for (size_t i = 0; fits && i < weights.size(); ++i) {
    fits = static_cast<int64_t>(weights[i].size()) == parameters[i].value.numel();
  }
  if (!fits) throw InvalidArgument("[set_weights] the weights are not those of model '{}'.", model().name);
  for (size_t i = 0; i < weights.size(); ++i) {
    std::copy(weights[i].begin(), weights[i].end(), parameters[i].value.data_ptr<float>());
  }
  impl_->average.forget_trained();
}

}  // namespace nibble::train
