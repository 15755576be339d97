#include "nibble/train/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/graph/quantizer_errors.h"
#include "nibble/train/layer_op.h"
#include "nibble/train/network_run.h"
#include "nibble/train/plain_ops.h"
#include "nibble/train/process_sums.h"

namespace nibble::train {
namespace {

// Keras' fused batch norm keeps the corrected variance of images, the plain one of vectors. It is fused on axis 1 or 3;
// QKeras' own never is.
bool keeps_corrected_variance(const graph::Layer& batch_norm) {
  return batch_norm.class_name != "QBatchNormalization" && batch_norm.get_int("axis") % 2 != 0;
}

void add_penalty(at::Tensor& sum, const graph::Regularizer& regularizer, const at::Tensor& x) {
  const at::Tensor term = regularizer.l1 * x.abs().sum() + regularizer.l2 * x.square().sum();
  sum = sum.defined() ? sum + term : term;
}

}  // namespace

Network::Network(graph::Model model, bool fused, uint64_t seed) : model_(std::move(model)), fused_(fused), seed_(seed) {
  adopt_plan(lower(model_));
  make_parameters();
}

Network::~Network() = default;

void Network::adopt_plan(Plan plan) {
  plan_ = fused_ ? fuse(plan) : std::move(plan);
  find_input_points(plan_, model_);
  input_steps_.clear();
  for (const std::string& name : model_.inputs) {
    const int layer = model_.index_of(name);
    const auto found = std::find_if(plan_.steps.begin(), plan_.steps.end(), [&](const Step& step) {
      return step.kind == StepKind::kInput && step.layer == layer;
    });
    assert(found != plan_.steps.end() && "every input of a model is a step of its plan");
    input_steps_.push_back(static_cast<size_t>(found - plan_.steps.begin()));
  }
  machines_.clear();
  machines_.resize(plan_.steps.size());
  for (size_t i = 0; fused_ && i < plan_.steps.size(); ++i) {
    const Step& step = plan_.steps[i];
    if (step.kind == StepKind::kConvolution) {
      machines_[i] = std::make_unique<ConvolutionMachine>(step.geometry, step.pools);
    } else if (const auto geometry = dense_geometry(step)) {
      machines_[i] = std::make_unique<ConvolutionMachine>(*geometry, false);
    }
  }
}

// A dense layer of a vector is the convolution of an image of one pixel.
std::optional<ConvolutionGeometry> Network::dense_geometry(const Step& step) const {
  if (step.kind != StepKind::kDense) return std::nullopt;
  const Shape& input = plan_.steps[static_cast<size_t>(step.inputs[0])].shape;
  if (input.rank() != 1) return std::nullopt;
  ConvolutionGeometry geometry;
  geometry.in_channels = input[0];
  geometry.out_channels = step.shape[0];
  geometry.has_bias = model_.layers[static_cast<size_t>(step.layer)].get_bool("use_bias");
  return geometry;
}

void Network::require_single(std::string_view who) const {
  if (model_.inputs.size() == 1 && model_.outputs.size() == 1) return;
  throw Unsupported(
      "[{}] model '{}' has {} inputs and {} outputs; this needs one of each. predict() with a list of tensors runs it.",
      who, model_.name, model_.inputs.size(), model_.outputs.size());
}

Shape Network::input_shape(size_t i) const { return plan_.steps[input_steps_.at(i)].shape; }

Shape Network::output_shape(size_t i) const { return plan_.steps[static_cast<size_t>(plan_.outputs.at(i))].shape; }

bool Network::has_softmax() const {
  const Step& last = plan_.steps[static_cast<size_t>(plan_.outputs[0])];
  return last.kind == StepKind::kActivation && last.activation.function == "softmax";
}

// What a layer op sees of a pass.
class Network::OpContext : public LayerContext {
 public:
  OpContext(Run& run, const Step& step) : run_(run), step_(step) {}

  const graph::Layer& layer() const override { return run_.network.running(step_.layer); }
  const Shape& output_shape() const override { return step_.shape; }
  Pass pass() const override { return run_.pass; }
  at::Tensor weight(std::string_view name) override { return run_.weight(step_.layer, name); }

  at::Tensor quantize_point(const at::Tensor& x, std::string_view point) override {
    return run_.quantize_point(step_.layer, point, x);
  }

  std::optional<SumGrid> sum_grid(std::string_view kernel) override {
    auto grid = run_.sum_grid(step_, kernel);
    if (grid) sum_scales = grid->sum_scales();
    return grid;
  }
  at::Tensor bias(std::string_view kernel) override { return run_.bias(step_, kernel); }

  bool statistics_move() const override { return run_.network.phase_.statistics_move; }

  at::Tensor stored(std::string_view name) override {
    const LayerWeight* found = run_.layer(step_.layer).find(name);
    return found == nullptr ? at::Tensor() : found->value;
  }

  at::Tensor quantize(const at::Tensor& x, std::string_view attribute, uint32_t draw) override {
    const auto quantizer = quantizer_of(layer(), std::string(attribute));
    return quantizer == nullptr ? x : quantize(x, quantizer, draw);
  }

  at::Tensor quantize(const at::Tensor& x, const quant::QuantizerPtr& quantizer, uint32_t draw) override {
    return train::quantize(x, quantizer, run_.quantize_options(step_.layer, kFirstDraw + draw));
  }

  at::Tensor activate(const at::Tensor& x, std::string_view attribute, uint32_t draw) override {
    const bool is_quantizer = layer().get_quantizer(attribute) != nullptr;
    const auto activated = [&](const at::Tensor& v) {
      return is_quantizer ? quantize(v, attribute, draw) : apply(v, layer(), attribute);
    };
    if (attribute != "activation") return activated(x);
    return quantize_point(activated(quantize_point(x, graph::kPreActivation)), graph::kPostActivation);
  }

  at::Tensor apply(const at::Tensor& x, const graph::Layer& layer, std::string_view attribute) override {
    Activation activation;
    activation.function = graph::plain_function_name(layer, layer.activation_function(attribute));
    return plain_activation(x, activation, layer.name);
  }

  BatchStatistics batch_statistics(const at::Tensor& x) override {
    return run_.batch_norm_statistics(step_.layer, {x, {}, {}, nullptr});
  }

  RandomKey random_key(RandomPurpose purpose) const override {
    return {run_.network.seed_, purpose, static_cast<uint32_t>(step_.layer), run_.own_step()};
  }

  std::vector<double> sum_scales;  // of what the op gives, if it asked for a grid (Flow)

 private:
  Run& run_;
  const Step& step_;
};

// Mean and variance that a batch norm uses in this pass; in training they also move the averages.
BatchStatistics Network::Run::batch_norm_statistics(int index, const Flow& x) {
  LayerRuntime& runtime = layer(index);
  LayerWeight& mean = *runtime.find("moving_mean");
  LayerWeight& variance = *runtime.find("moving_variance");
  // A frozen batch norm runs in the inference phase, as Keras' does.
  const bool is_frozen =
      !network.model_.layers[static_cast<size_t>(index)].trainable || !network.phase_.statistics_move;
  if (pass == Pass::kInference || is_frozen) return {mean.value.to(at::kDouble), variance.value.to(at::kDouble)};

  double count = static_cast<double>(x.value.numel()) / static_cast<double>(x.value.size(-1));
  ChannelSums sums{x.sum, x.sum_of_squares};
  if (!sums.sum.defined()) sums = channel_sums(x.value);
  if (network.processes_ != nullptr) sums = sum_over(*network.processes_, sums, count);
  const BatchStatistics batch = statistics_of(sums, count);
  const at::NoGradGuard no_gradient;
  const bool is_corrected = keeps_corrected_variance(network.model_.layers[static_cast<size_t>(index)]);
  const double correction = is_corrected && x.value.dim() == 4 && count > 1 ? count / (count - 1) : 1.0;
  if (is_training()) {
    const double momentum = network.model_.layers[static_cast<size_t>(index)].get_float("momentum");
    mean.value.mul_(momentum).add_((batch.mean.detach() * (1 - momentum)).to(at::kFloat));
    variance.value.mul_(momentum).add_((batch.variance.detach() * (correction * (1 - momentum))).to(at::kFloat));
  } else {
    CollectedStatistics& collected = network.collected_[index];
    collected.add(batch.mean.detach(), batch.variance.detach());
  }
  return batch;
}

PrologueInputs Network::Run::prologue_inputs(const Prologue& prologue, const Flow& x) {
  PrologueInputs inputs;
  const int64_t channels = x.value.size(-1);
  if (prologue.batch_norm_layer >= 0) {
    const int index = prologue.batch_norm_layer;
    const BatchStatistics statistics = batch_norm_statistics(index, x);
    const graph::Layer& description = network.running(index);
    const auto coefficients = batch_norm_coefficients(layer(index), statistics, description.get_float("epsilon"),
                                                      quantizer_of(description, "inverse_quantizer"),
                                                      [&](uint32_t role) { return quantize_options(index, role); });
    inputs.multiplier = coefficients.multiplier;
    inputs.offset = coefficients.offset;
  } else {
    inputs.multiplier = at::ones({channels}, at::kDouble);
    inputs.offset = at::zeros({channels}, at::kDouble);
  }
  inputs.processes = network.processes_;
  if (prologue.activation) inputs.activation = *prologue.activation->fast;
  if (prologue.dropout_layer >= 0 && is_training()) {
    inputs.dropout_rate = static_cast<float>(prologue.dropout_rate);
    inputs.dropout_key = dropout_key(prologue.dropout_layer);
    inputs.first_unit = first_unit();
  }
  return inputs;
}

Flow Network::Run::convolution(size_t index) {
  const Step& step = network.plan_.steps[index];
  const graph::Layer& description = network.model_.layers[static_cast<size_t>(step.layer)];
  const bool depthwise = description.find_weight("depthwise_kernel") != nullptr;
  const at::Tensor kernel = weight(step.layer, depthwise ? "depthwise_kernel" : "kernel");
  const Flow& x = input(step);
  if (const auto grid = sum_grid(step, depthwise ? "depthwise_kernel" : "kernel")) {
    const at::Tensor y = exact_convolution(x.value, step.geometry, kernel, *grid);
    return {step.pools ? max_pool_2x2(y) : y, {}, {}, nullptr, grid->sum_scales()};
  }
  const at::Tensor bias = this->bias(step, depthwise ? "depthwise_kernel" : "kernel");
  if (!network.fused_) return {plain_convolution(x.value, step.geometry, kernel, bias), {}, {}, nullptr};
  std::optional<PrologueInputs> prologue;
  if (step.prologue) prologue = prologue_inputs(*step.prologue, x);
  return fused_convolution(*network.machines_[index], x, prologue ? &*prologue : nullptr, kernel, bias,
                           {step.gives_moments && pass != Pass::kInference, step.gradient_is_pending},
                           network.processes_);
}

// y = x * multiplier + offset from torch operations: the plain path, and another axis than the last.
at::Tensor Network::Run::batch_norm(const Step& step) {
  const Prologue prologue{step.layer, std::nullopt, -1, 0.0};
  const at::Tensor x = input(step).value.movedim(step.axis, -1);
  const PrologueInputs inputs = prologue_inputs(prologue, {x, {}, {}, nullptr});
  const at::Tensor y = x * inputs.multiplier.to(at::kFloat) + inputs.offset.to(at::kFloat);
  return y.movedim(-1, step.axis).contiguous();
}

Flow Network::Run::dense(size_t index) {
  const Step& step = network.plan_.steps[index];
  const at::Tensor kernel = weight(step.layer, "kernel"), &x = input(step).value;
  if (const auto grid = sum_grid(step, "kernel")) {
    return {exact_dense(x, kernel, *grid), {}, {}, nullptr, grid->sum_scales()};
  }
  const at::Tensor bias = this->bias(step, "kernel");
  if (ConvolutionMachine* machine = network.machines_[index].get()) {
    const Flow pixels{x.reshape({x.size(0), 1, 1, x.size(1)}), {}, {}, nullptr};
    const at::Tensor y = fused_convolution(*machine, pixels, nullptr, kernel, bias, {}, network.processes_).value;
    return {y.reshape({x.size(0), y.size(-1)}), {}, {}, nullptr};
  }
  const at::Tensor product = at::matmul(x, kernel);
  return {bias.defined() ? product + bias : product, {}, {}, nullptr};
}

at::Tensor Network::Run::activation(const Step& step) {
  const Activation& activation = step.activation;
  const at::Tensor& x = input(step).value;
  if (network.fused_ && activation.whole) return noisy_activation(x, *activation.whole, activation.qnoise_factor);
  if (activation.quantizer != nullptr) {
    quant::QuantizeOptions options = quantize_options(step.layer, kActivationRole);
    options.random.step = own_step();
    return quantize(x, activation.quantizer, options);
  }
  return plain_activation(x, activation, network.model_.layers[static_cast<size_t>(step.layer)].name);
}

Flow Network::Run::layer_op(const Step& step) {
  std::vector<at::Tensor> inputs;
  for (int i : step.inputs) inputs.push_back(flows[static_cast<size_t>(i)].value);
  OpContext context(*this, step);
  at::Tensor value = find_layer_op(context.layer().class_name)(context, inputs);
  return {std::move(value), {}, {}, nullptr, std::move(context.sum_scales)};
}

Flow Network::Run::compute(size_t index) {
  const Step& step = network.plan_.steps[index];
  switch (step.kind) {
    case StepKind::kConvolution:
      return convolution(index);
    case StepKind::kFused:
      return {fused_prologue(input(step), prologue_inputs(*step.prologue, input(step))), {}, {}, nullptr};
    case StepKind::kDense:
      return dense(index);
    case StepKind::kBatchNorm:
      return {batch_norm(step), {}, {}, nullptr};
    case StepKind::kActivation:
      return {activation(step), {}, {}, nullptr};
    case StepKind::kDropout:
      if (!is_training()) return {input(step).value, {}, {}, nullptr};
      return {plain_dropout(input(step).value, static_cast<float>(step.rate), dropout_key(step.layer), first_unit()),
              {},
              {},
              nullptr};
    case StepKind::kPenalty: {
      const graph::Layer& layer = network.model_.layers[static_cast<size_t>(step.layer)];
      if (!is_training() && !graph::knows_regularizer(layer, "activity_regularizer")) return {};
      add_penalty(network.activity_penalty_, graph::regularizer_of(layer, "activity_regularizer"), input(step).value);
      return {};
    }
    case StepKind::kFakeQuant:
      return {fake_quant(step), {}, {}, nullptr};
    case StepKind::kLayer:
      return layer_op(step);
    default: {
      if (auto average = average_of_codes(step)) return std::move(*average);
      if (auto sum = sum_of_codes(step)) return std::move(*sum);
      std::vector<at::Tensor> inputs;
      for (int i : step.inputs) inputs.push_back(flows[static_cast<size_t>(i)].value);
      return {plain_step(step, inputs), {}, {}, nullptr};
    }
  }
}

void Network::set_share(ProcessGroup* processes, int64_t first_sample) {
  processes_ = processes;
  first_sample_ = first_sample;
}

at::Tensor Network::forward(const at::Tensor& x, Pass pass, uint32_t step, bool logits) {
  require_single("train");
  const auto output = static_cast<size_t>(plan_.outputs[0]);
  const size_t last = logits && has_softmax() ? static_cast<size_t>(plan_.steps[output].inputs[0]) : output;
  return values({&x, 1}, {&last, 1}, pass, step)[0];
}

std::vector<at::Tensor> Network::forward(std::span<const at::Tensor> inputs, Pass pass, uint32_t step) {
  if (inputs.size() != input_steps_.size()) {
    throw InvalidArgument("[train] model '{}' has {} inputs ({}), but {} tensors are given.", model_.name,
                          input_steps_.size(), fmt::join(model_.inputs, ", "), inputs.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape expected = input_shape(i);
    const at::IntArrayRef sizes = inputs[i].sizes();
    bool fits = static_cast<int>(sizes.size()) == expected.rank() + 1 && sizes[0] == inputs[0].size(0);
    for (int axis = 0; fits && axis < expected.rank(); ++axis) {
      fits = expected[axis] == Shape::kFree || sizes[static_cast<size_t>(axis) + 1] == expected[axis];
    }
    if (fits) continue;
    throw InvalidArgument("[train] input '{}' of model '{}' takes [N, {}] with one N for all inputs, but gets [{}].",
                          model_.inputs[i], model_.name, fmt::join(expected, ", "), fmt::join(sizes, ", "));
  }
  const std::vector<size_t> wanted(plan_.outputs.begin(), plan_.outputs.end());
  return values(inputs, wanted, pass, step);
}

// The values of some steps.
std::vector<at::Tensor> Network::values(std::span<const at::Tensor> inputs, std::span<const size_t> steps, Pass pass,
                                        uint32_t step) {
  Run run{*this, pass, step, {}};
  run.flows.resize(plan_.steps.size());
  run.look_for_moved_ranges();
  for (size_t i = 0; i < inputs.size(); ++i) run.flows[input_steps_[i]] = {inputs[i], {}, {}, nullptr};
  const auto all_readers = readers(plan_);
  activity_penalty_ = at::Tensor();
  const bool has_penalties = std::any_of(plan_.steps.begin(), plan_.steps.end(),
                                         [](const Step& step) { return step.kind == StepKind::kPenalty; });
  const size_t last = has_penalties ? plan_.steps.size() - 1 : *std::max_element(steps.begin(), steps.end());
  for (size_t i = 0; i <= last; ++i) {
    const Step& current = plan_.steps[i];
    if (current.kind != StepKind::kInput) {
      const auto compute = [&] { return run.compute(i); };
      const bool has_layer = current.layer >= 0;
      run.flows[i] =
          has_layer ? graph::naming_layer(model_.layers[static_cast<size_t>(current.layer)], "", compute) : compute();
      if (current.keeps_sums) run.flows[i].sum_scales = run.input(current).sum_scales;
    }
    // Values whose last reader has run are not needed any more.
    for (int input : plan_.steps[i].inputs) {
      const auto source = static_cast<size_t>(input);
      const bool is_wanted = std::find(steps.begin(), steps.end(), source) != steps.end();
      if (!is_wanted && all_readers[source].back() == static_cast<int>(i)) run.flows[source] = {};
    }
  }
  std::vector<at::Tensor> result;
  for (const size_t i : steps) result.push_back(run.flows[i].value);
  return result;
}

at::Tensor Network::penalty() const {
  at::Tensor sum;
  for (const Parameter& parameter : parameters_) {
    if (parameter.regularizer.is_none() || !parameter.trainable) continue;
    add_penalty(sum, parameter.regularizer, parameter.value);
  }
  return sum;
}

void Network::begin_reestimation() { collected_.clear(); }

void Network::end_reestimation() {
  const at::NoGradGuard no_gradient;
  for (auto& [index, collected] : collected_) {
    LayerRuntime& runtime = layers_[static_cast<size_t>(index)];
    runtime.find("moving_mean")->value.copy_(collected.mean());
    runtime.find("moving_variance")->value.copy_(collected.variance());
  }
  collected_.clear();
}

}  // namespace nibble::train
