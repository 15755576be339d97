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
#include "nibble/train/layer_op.h"
#include "nibble/train/layer_runtime.h"
#include "nibble/train/plain_ops.h"

namespace nibble::train {
namespace {

at::Tensor to_torch(const Tensor& t) {
  at::Tensor result = at::empty(t.shape().extents(), at::kFloat);
  std::copy(t.data().begin(), t.data().end(), result.data_ptr<float>());
  return result;
}

// What a layer remembers of the batches it saw: no gradient moves it.
bool is_state(const std::string& weight) {
  static const std::set<std::string> kNames = {"moving_mean", "moving_variance", "iteration",
                                               "ema_min",     "ema_max",         "step"};
  return kNames.contains(weight);
}

// The layer's attribute of a `kind` ("quantizer", "constraint", ...) for a weight. Of "depthwise_kernel" it is that of
// "depthwise" in most classes, of itself or of "kernel" in some. A class without one gives the first.
std::string attribute_of(const graph::Layer& layer, const std::string& weight, const char* kind) {
  std::vector<std::string> stems = {weight};
  if (weight == "moving_mean") stems = {"mean"};
  if (weight == "moving_variance") stems = {"variance"};
  for (const char* part : {"depthwise", "pointwise", "recurrent"}) {
    if (weight == std::string(part) + "_kernel") stems = {part, weight, "kernel"};
  }
  for (const std::string& stem : stems) {
    if (layer.attributes.contains(stem + "_" + kind)) return stem + "_" + kind;
  }
  return stems[0] + "_" + kind;
}

// Null where the class has no such quantizer.
quant::QuantizerPtr quantizer_of(const graph::Layer& layer, const std::string& attribute) {
  return layer.attributes.contains(attribute) ? graph::effective_quantizer(layer, attribute) : nullptr;
}

// QConv2D's mask as a tensor that broadcasts over the kernel's channels; undefined where there is none.
at::Tensor mask_of(const graph::Layer& layer) {
  const auto* given = std::get_if<graph::OpaqueJson>(&layer.attributes.at("mask"));
  if (given == nullptr) return {};
  std::vector<float> values;
  const auto collect = [&](const auto& self, const nlohmann::json& value) -> void {
    if (value.is_number()) values.push_back(value.get<float>());
    if (value.is_array()) {
      for (const nlohmann::json& item : value) self(self, item);
    }
  };
  const nlohmann::json parsed = nlohmann::json::parse(given->text, nullptr, /*allow_exceptions=*/false);
  collect(collect, parsed);
  const auto& kernel = layer.get_ints("kernel_size");
  const bool has_rows = parsed.is_array() && !parsed.empty() && parsed[0].is_array();
  if (!has_rows || static_cast<int64_t>(values.size()) != kernel[0] * kernel[1]) {
    throw InvalidArgument("[train] layer '{}': its mask must be {} lists of {} numbers, as the kernel; it is {:.80}.",
                          layer.name, kernel[0], kernel[1], given->text);
  }
  return at::tensor(values).reshape({kernel[0], kernel[1], 1, 1});
}

// QKeras clips a quantized weight that has no constraint of its own.
graph::Constraint constraint_on(const graph::Layer& layer, const std::string& weight,
                                const quant::QuantizerPtr& quantizer) {
  const std::string attribute = attribute_of(layer, weight, "constraint");
  if (layer.has(attribute)) return graph::constraint_of(layer, attribute);
  return quantizer == nullptr ? graph::Constraint{} : graph::automatic_constraint(*quantizer);
}

}  // namespace

Network::Network(graph::Model model, bool fused, uint64_t seed)
    : model_(std::move(model)), plan_(lower(model_)), fused_(fused), seed_(seed) {
  if (fused_) plan_ = fuse(plan_);
  for (const std::string& name : model_.inputs) {
    const int layer = model_.index_of(name);
    const auto found = std::find_if(plan_.steps.begin(), plan_.steps.end(), [&](const Step& step) {
      return step.kind == StepKind::kInput && step.layer == layer;
    });
    assert(found != plan_.steps.end() && "every input of a model is a step of its plan");
    input_steps_.push_back(static_cast<size_t>(found - plan_.steps.begin()));
  }
  make_parameters();
  machines_.resize(plan_.steps.size());
  for (size_t i = 0; fused_ && i < plan_.steps.size(); ++i) {
    const Step& step = plan_.steps[i];
    if (step.kind == StepKind::kConvolution) {
      machines_[i] = std::make_unique<ConvolutionMachine>(step.geometry, step.pools);
    }
  }
}

Network::~Network() = default;

void Network::make_parameters() {
  layers_.resize(model_.layers.size());
  for (size_t l = 0; l < model_.layers.size(); ++l) {
    const graph::Layer& layer = model_.layers[l];
    for (size_t w = 0; w < layer.weights.size(); ++w) {
      const std::string& name = layer.weights[w].name;
      // The weight of a layer inside: its quantizer, constraint and regularizer stand there.
      const std::optional<graph::InnerWeight> inner = graph::inner_weight(layer, name);
      const graph::Layer& owner = inner ? inner->layer : layer;
      const std::string& own_name = inner ? inner->name : name;
      Parameter parameter{static_cast<int>(l),
                          static_cast<int>(w),
                          layer.trainable && owner.trainable && !is_state(name),
                          to_torch(layer.weights[w].value),
                          {},
                          {}};
      parameter.value.set_requires_grad(parameter.trainable);
      const auto quantizer = quantizer_of(owner, attribute_of(owner, own_name, "quantizer"));
      if (!is_state(name)) {
        parameter.constraint = constraint_on(owner, own_name, quantizer);
        parameter.regularizer = graph::regularizer_of(owner, attribute_of(owner, own_name, "regularizer"));
      }
      layers_[l].add_weight(name, parameter.value, quantizer);
      if (name == "kernel" && layer.attributes.contains("mask")) layers_[l].weights.back().mask = mask_of(layer);
      parameters_.push_back(std::move(parameter));
    }
  }
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

// One forward pass: the values of the steps so far.
struct Network::Run {
  Network& network;
  Pass pass;
  uint32_t step_number;
  std::vector<Flow> flows;

  bool is_training() const { return pass == Pass::kTraining; }
  const Flow& input(const Step& step, size_t i = 0) const { return flows[static_cast<size_t>(step.inputs[i])]; }
  LayerRuntime& layer(int index) { return network.layers_[static_cast<size_t>(index)]; }

  quant::QuantizeOptions quantize_options(int layer, uint32_t role) const {
    quant::QuantizeOptions options;
    options.phase = is_training() ? quant::Phase::kTraining : quant::Phase::kInference;
    options.random = {network.seed_, RandomPurpose::kQuantizer, static_cast<uint32_t>(layer) * kRolesPerLayer + role,
                      step_number};
    return options;
  }

  // The weight as the layer uses it, or undefined if the layer has none of that name.
  at::Tensor weight(int index, std::string_view name) {
    LayerWeight* found = layer(index).find(name);
    if (found == nullptr) return {};
    at::Tensor value = found->value;
    if (found->quantizer != nullptr) {
      value = quantize(value, found->quantizer, quantize_options(index, found->role),
                       network.fused_ ? found->fast.get() : nullptr);
    }
    return found->mask.defined() ? value * found->mask : value;
  }

  RandomKey dropout_key(int index) const {
    return {network.seed_, RandomPurpose::kDropout, static_cast<uint32_t>(index), step_number};
  }

  BatchStatistics batch_norm_statistics(int index, const Flow& x);
  PrologueInputs prologue_inputs(const Prologue& prologue, const Flow& x);
  Flow convolution(size_t index);
  at::Tensor batch_norm(const Step& step);
  at::Tensor dense(const Step& step);
  at::Tensor activation(const Step& step);
  at::Tensor layer_op(const Step& step);
  Flow compute(size_t index);
};

// What a layer op sees of a pass.
class Network::OpContext : public LayerContext {
 public:
  OpContext(Run& run, const Step& step) : run_(run), step_(step) {}

  const graph::Layer& layer() const override { return run_.network.model_.layers[static_cast<size_t>(step_.layer)]; }
  const Shape& output_shape() const override { return step_.shape; }
  Pass pass() const override { return run_.pass; }
  at::Tensor weight(std::string_view name) override { return run_.weight(step_.layer, name); }

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
    if (layer().get_quantizer(attribute) != nullptr) return quantize(x, attribute, draw);
    return apply(x, layer(), attribute);
  }

  at::Tensor apply(const at::Tensor& x, const graph::Layer& layer, std::string_view attribute) override {
    Activation activation;
    activation.function = plain_function_name(layer, layer.activation_function(attribute));
    return plain_activation(x, activation, layer.name);
  }

  BatchStatistics batch_statistics(const at::Tensor& x) override {
    return run_.batch_norm_statistics(step_.layer, {x, {}, {}, nullptr});
  }

  RandomKey random_key(RandomPurpose purpose) const override {
    return {run_.network.seed_, purpose, static_cast<uint32_t>(step_.layer), run_.step_number};
  }

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
  const bool is_frozen = !network.model_.layers[static_cast<size_t>(index)].trainable;
  if (pass == Pass::kInference || is_frozen) return {mean.value.to(at::kDouble), variance.value.to(at::kDouble)};

  const double count = static_cast<double>(x.value.numel()) / static_cast<double>(x.value.size(-1));
  ChannelSums sums{x.sum, x.sum_of_squares};
  if (!sums.sum.defined()) sums = channel_sums(x.value);
  const BatchStatistics batch = statistics_of(sums, count);
  const at::NoGradGuard no_gradient;
  // Keras' fused batch norm keeps the corrected variance of images, the plain one of vectors; QKeras' own is never
  // fused.
  const bool is_fused = network.model_.layers[static_cast<size_t>(index)].class_name != "QBatchNormalization";
  const double correction = is_fused && x.value.dim() == 4 && count > 1 ? count / (count - 1) : 1.0;
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
    const graph::Layer& description = network.model_.layers[static_cast<size_t>(index)];
    const auto coefficients = batch_norm_coefficients(layer(index), statistics, description.get_float("epsilon"),
                                                      quantizer_of(description, "inverse_quantizer"),
                                                      [&](uint32_t role) { return quantize_options(index, role); });
    inputs.multiplier = coefficients.multiplier;
    inputs.offset = coefficients.offset;
  } else {
    inputs.multiplier = at::ones({channels}, at::kDouble);
    inputs.offset = at::zeros({channels}, at::kDouble);
  }
  if (prologue.activation) inputs.activation = *prologue.activation->fast;
  if (prologue.dropout_layer >= 0 && is_training()) {
    inputs.dropout_rate = static_cast<float>(prologue.dropout_rate);
    inputs.dropout_key = dropout_key(prologue.dropout_layer);
  }
  return inputs;
}

Flow Network::Run::convolution(size_t index) {
  const Step& step = network.plan_.steps[index];
  const graph::Layer& description = network.model_.layers[static_cast<size_t>(step.layer)];
  const bool depthwise = description.find_weight("depthwise_kernel") != nullptr;
  const at::Tensor kernel = weight(step.layer, depthwise ? "depthwise_kernel" : "kernel");
  const at::Tensor bias = weight(step.layer, "bias");
  const Flow& x = input(step);
  if (!network.fused_) return {plain_convolution(x.value, step.geometry, kernel, bias), {}, {}, nullptr};
  std::optional<PrologueInputs> prologue;
  if (step.prologue) prologue = prologue_inputs(*step.prologue, x);
  return fused_convolution(*network.machines_[index], x, prologue ? &*prologue : nullptr, kernel, bias,
                           step.gives_moments && pass != Pass::kInference, step.gradient_is_pending);
}

// Plain path only: y = x * multiplier + offset from torch operations.
at::Tensor Network::Run::batch_norm(const Step& step) {
  const Prologue prologue{step.layer, std::nullopt, -1, 0.0};
  const PrologueInputs inputs = prologue_inputs(prologue, {input(step).value, {}, {}, nullptr});
  return input(step).value * inputs.multiplier.to(at::kFloat) + inputs.offset.to(at::kFloat);
}

at::Tensor Network::Run::dense(const Step& step) {
  const at::Tensor bias = weight(step.layer, "bias");
  const at::Tensor product = at::matmul(input(step).value, weight(step.layer, "kernel"));
  return bias.defined() ? product + bias : product;
}

at::Tensor Network::Run::activation(const Step& step) {
  const Activation& activation = step.activation;
  const at::Tensor& x = input(step).value;
  if (activation.quantizer != nullptr)
    return quantize(x, activation.quantizer, quantize_options(step.layer, kActivationRole));
  return plain_activation(x, activation, network.model_.layers[static_cast<size_t>(step.layer)].name);
}

at::Tensor Network::Run::layer_op(const Step& step) {
  std::vector<at::Tensor> inputs;
  for (int i : step.inputs) inputs.push_back(flows[static_cast<size_t>(i)].value);
  OpContext context(*this, step);
  return find_layer_op(context.layer().class_name)(context, inputs);
}

Flow Network::Run::compute(size_t index) {
  const Step& step = network.plan_.steps[index];
  switch (step.kind) {
    case StepKind::kConvolution:
      return convolution(index);
    case StepKind::kFused:
      return {fused_prologue(input(step), prologue_inputs(*step.prologue, input(step))), {}, {}, nullptr};
    case StepKind::kDense:
      return {dense(step), {}, {}, nullptr};
    case StepKind::kBatchNorm:
      return {batch_norm(step), {}, {}, nullptr};
    case StepKind::kActivation:
      return {activation(step), {}, {}, nullptr};
    case StepKind::kDropout:
      if (!is_training()) return {input(step).value, {}, {}, nullptr};
      return {
          plain_dropout(input(step).value, static_cast<float>(step.rate), dropout_key(step.layer)), {}, {}, nullptr};
    case StepKind::kLayer:
      return {layer_op(step), {}, {}, nullptr};
    default: {
      std::vector<at::Tensor> inputs;
      for (int i : step.inputs) inputs.push_back(flows[static_cast<size_t>(i)].value);
      return {plain_step(step, inputs), {}, {}, nullptr};
    }
  }
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
  for (size_t i = 0; i < inputs.size(); ++i) run.flows[input_steps_[i]] = {inputs[i], {}, {}, nullptr};
  const auto all_readers = readers(plan_);
  const size_t last = *std::max_element(steps.begin(), steps.end());
  for (size_t i = 0; i <= last; ++i) {
    if (plan_.steps[i].kind != StepKind::kInput) run.flows[i] = run.compute(i);
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

void Network::require_trainable() const {
  require_single("train");
  for (const graph::Layer& layer : model_.layers) {
    if (!layer.has("activity_regularizer")) continue;
    throw Unsupported(
        "[train] layer '{}' has an activity_regularizer, which training does not apply. Remove it from the model, or "
        "regularize the kernel.",
        layer.name);
  }
}

at::Tensor Network::penalty() const {
  at::Tensor sum;
  for (const Parameter& parameter : parameters_) {
    if (parameter.regularizer.is_none() || !parameter.trainable) continue;
    const at::Tensor term = parameter.regularizer.l1 * parameter.value.abs().sum() +
                            parameter.regularizer.l2 * parameter.value.square().sum();
    sum = sum.defined() ? sum + term : term;
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

graph::Model Network::model() const {
  graph::Model result = model_;
  for (const Parameter& parameter : parameters_) {
    Tensor& target =
        result.layers[static_cast<size_t>(parameter.layer)].weights[static_cast<size_t>(parameter.weight)].value;
    const auto* data = parameter.value.data_ptr<float>();
    std::copy(data, data + parameter.value.numel(), target.data().begin());
  }
  return result;
}

}  // namespace nibble::train
