// What Trainer does with one batch after another: training steps, re-estimated statistics, evaluation.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "nibble/graph/channel_order.h"
#include "nibble/train/fused_ops.h"
#include "nibble/train/loss.h"
#include "nibble/train/trainer_impl.h"

namespace nibble::train {
namespace {

// Adam moves every number by about the learning rate, whatever its size. A step between codes may be a hundred times
// smaller than that: its changes are measured by its own size.
// With SGD a step gets a tenth of the rate of weights: it moves all of them at once.
float natural_rate(const CompileOptions& options, const Parameter& parameter) {
  if (!parameter.measure.defined()) return 1.0f;
  if (options.optimizer != OptimizerKind::kAdam) return 0.1f;
  return parameter.measure.detach().abs().mean().item<float>();
}

}  // namespace

// Of a batch, what this process computes.
Share Trainer::Impl::share(int64_t batch) const {
  if (options.processes == nullptr) return {0, batch};
  const int size = options.processes->size();
  return share_of(batch, options.processes->rank(), size, unit_of_shares(batch, size, kUnitSamples, kLargestSlice));
}

// One process that is asked to stop stops all.
bool Trainer::Impl::stops(const FitOptions& fit) const {
  const bool asked = fit.stop != nullptr && fit.stop->load();
  if (options.processes == nullptr) return asked;
  double votes = asked ? 1.0 : 0.0;
  options.processes->sum(std::span(&votes, 1));
  return votes > 0;
}

// The gradients of all processes, in one message.
void Trainer::Impl::sum_gradients() {
  std::vector<float> all;
  const auto each = [&](const auto& visit) {
    for (const Parameter& parameter : network.parameters()) {
      if (parameter.value.grad().defined()) visit(parameter.value.grad());
    }
  };
  each([&](const at::Tensor& gradient) {
    const at::Tensor values = gradient.contiguous();
    all.insert(all.end(), values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  });
  options.processes->sum(all);
  const float* next = all.data();
  each([&](const at::Tensor& gradient) {
    gradient.copy_(at::from_blob(const_cast<float*>(next), gradient.sizes(), at::kFloat));
    next += gradient.numel();
  });
}

at::Tensor Trainer::Impl::inputs(const data::Samples& samples, std::span<const int64_t> indices) const {
  std::vector<int64_t> extents = {static_cast<int64_t>(indices.size())};
  for (const int64_t extent : network.input_shape()) extents.push_back(extent);
  at::Tensor x = at::empty(extents, at::kFloat);
  samples.gather(indices, values_of(x));
  return x;
}

Trainer::Impl::StepResult Trainer::Impl::sum_over_processes(const StepResult& own) const {
  std::array<double, 4> sums = {own.loss, own.correct, own.mse, own.mae};
  options.processes->sum(sums);
  return {sums[0], sums[1], sums[2], sums[3]};
}

void Trainer::Impl::check_distillation(const Distillation& distillation, const data::Samples& samples) const {
  const auto& [outputs, weight, temperature, model] = distillation;
  if (!(weight >= 0 && weight <= 1)) {
    throw InvalidArgument("[distillation] the weight of the teacher is {}; give 0 (none) to 1 (no labels).", weight);
  }
  if (!(temperature > 0) || !std::isfinite(temperature)) {
    throw InvalidArgument("[distillation] the temperature is {}; it must be a number above 0.", temperature);
  }
  if (objective.is_error()) {
    throw InvalidArgument("[distillation] a teacher needs cross-entropy as the loss, since it teaches classes.");
  }
  const int64_t classes = network.output_shape().elements();
  if (outputs.shape().rank() == 2 && outputs.shape()[1] != classes) {
    throw InvalidArgument(
        "[distillation] the teacher knows {} classes, but model '{}' gives {}; both must know the same.",
        outputs.shape()[1], network.structure().name, classes);
  }
  if (outputs.shape() == Shape{samples.count(), classes}) return;
  throw InvalidArgument("[distillation] the teacher's outputs have the shape {}; {} training samples need {}.",
                        outputs.shape().str(), samples.count(), Shape{samples.count(), classes}.str());
}

void Trainer::Impl::set_teacher(const FitOptions& fit) {
  teacher.reset();
  if (fit.augmentation.is_none() || !fit.distillation || fit.distillation->weight == 0) return;
  if (fit.distillation->teacher == nullptr) {
    throw InvalidArgument(
        "[distillation] augmentation '{}' changes the images, and the teacher must see them as the student does; give "
        "Distillation::teacher, the model, besides its outputs.",
        data::to_string(fit.augmentation));
  }
  const graph::Model& model = *fit.distillation->teacher;
  teacher = std::make_unique<Network>(model, options.fused, options.seed);
  teacher->require_single("distillation");
  const Shape classes{fit.distillation->outputs.shape()[1]};
  if (teacher->input_shape().elements() == network.input_shape().elements() && teacher->output_shape() == classes) {
    return;
  }
  throw InvalidArgument(
      "[distillation] the teacher '{}' takes samples of shape {} and gives {}; model '{}' takes {}, and the outputs "
      "that "
      "were computed before have {} classes.",
      model.name, teacher->input_shape().str(), teacher->output_shape().str(), network.structure().name,
      network.input_shape().str(), classes[0]);
}

at::Tensor Trainer::Impl::lessons(const at::Tensor& x, std::span<const int64_t> indices,
                                  const Distillation& distillation) const {
  if (teacher != nullptr) {
    const at::NoGradGuard no_gradient;
    std::vector<int64_t> extents = {x.size(0)};
    for (const int64_t extent : teacher->input_shape()) extents.push_back(extent);
    return teacher->forward(x.reshape(extents), Pass::kInference, 0, false);
  }
  const int64_t classes = distillation.outputs.shape()[1];
  at::Tensor rows = at::empty({std::ssize(indices), classes}, at::kFloat);
  auto* row = rows.data_ptr<float>();
  for (const int64_t index : indices) {
    row = std::copy_n(distillation.outputs.data().data() + index * classes, classes, row);
  }
  return rows;
}

at::Tensor Trainer::Impl::with_teacher(const at::Tensor& loss, const at::Tensor& outputs, const at::Tensor& x,
                                       std::span<const int64_t> indices, int64_t batch,
                                       const Distillation& distillation) const {
  const double weight = distillation.weight;
  if (weight == 0) return loss;
  const at::Tensor taught = distillation_loss(outputs, lessons(x, indices, distillation), network.has_softmax(),
                                              distillation.temperature, batch);
  return weight == 1 ? taught : loss * (1 - weight) + taught * weight;
}

Shape Trainer::Impl::image_shape(const data::Samples& samples) const {
  return samples.shape().rank() == 1 ? network.input_shape() : samples.shape();
}

void Trainer::Impl::check_augmentation(const data::Augmentation& augmentation, const data::Samples& samples) const {
  if (augmentation.is_none()) return;
  const graph::Model& model = network.structure();
  const std::string& input = model.inputs[0];
  data::check_augmentation(augmentation, image_shape(samples), input);
  for (const graph::Layer& layer : model.layers) {
    if (!graph::is_channels_first(layer) || std::ranges::find(layer.inputs, input) == layer.inputs.end()) continue;
    throw Unsupported(
        "[augmentation] layer '{}' reads input '{}', of shape {}, with its channels first; images are changed as "
        "[height, width, channels] only. Leave {} out for this model.",
        layer.name, input, image_shape(samples).str(), data::to_string(augmentation));
  }
  if (!samples.has_targets() || samples.target_shape().rank() < 2) return;
  throw Unsupported(
      "[augmentation] the targets have the shape {}; they would have to move with the images, which only classes and "
      "single numbers need not. Leave {} out for these data.",
      samples.target_shape().str(), data::to_string(augmentation));
}

Trainer::Impl::StepResult Trainer::Impl::train_step(const data::Samples& samples, std::span<const int64_t> indices,
                                                    double learning_rate, const FitOptions& fit, int64_t epoch) {
  const Share mine = share(std::ssize(indices));
  const auto own = indices.subspan(static_cast<size_t>(mine.first), static_cast<size_t>(mine.count));
  const at::Tensor x = inputs(samples, own);
  data::augment(fit.augmentation, image_shape(samples), options.seed, epoch, own, values_of(x));
  const Answers y = objective.answers(samples, own, x, network.output_shape());
  network.set_share(options.processes.get(), mine.first);
  for (const Parameter& parameter : network.parameters()) parameter.value.mutable_grad().reset();
  const at::Tensor outputs = network.forward(x, Pass::kTraining, static_cast<uint32_t>(step), objective.takes_logits());
  at::Tensor loss = objective.loss(outputs, y, network.has_softmax(), std::ssize(indices));
  if (fit.distillation) loss = with_teacher(loss, outputs, x, own, std::ssize(indices), *fit.distillation);
  const at::Tensor penalty = network.penalty();
  const bool is_first = options.processes == nullptr || options.processes->is_first();
  if (penalty.defined() && is_first) loss = loss + penalty;
  if (const at::Tensor activity = network.activity_penalty(); activity.defined()) {
    loss = loss + activity / static_cast<double>(std::ssize(indices));
  }
  StepResult result{loss.item<float>(), objective.count_correct(outputs, y)};
  if (objective.is_error()) {
    const at::Tensor told = outputs.detach();
    result.mse = mean_squared_error(told, y.values, std::ssize(indices)).item<double>();
    result.mae = mean_absolute_error(told, y.values, std::ssize(indices)).item<double>();
  }
  if (options.processes != nullptr) result = sum_over_processes(result);
  if (!std::isfinite(result.loss)) return result;
  if (!loss.requires_grad()) {
    throw InvalidArgument(
        "[train] no layer of the network has a weight that is trained. Give it one with weights, such as Dense, or set "
        "'trainable' of its layers to true.");
  }
  loss.backward();

  const at::NoGradGuard no_gradient;
  if (options.processes != nullptr) sum_gradients();
  optimizer->begin_step(learning_rate);
  size_t index = 0;
  for (const Parameter& parameter : network.parameters()) {
    if (!parameter.trainable) continue;
    const size_t slot = index++;
    if (!parameter.value.grad().defined() || factors[slot] == 0.0f) continue;
    const at::Tensor gradient = parameter.value.grad().contiguous();
    const std::span<float> values = values_of(parameter.value);
    optimizer->update(slot, values, values_of(gradient), factors[slot] * natural_rate(options, parameter));
    graph::apply_constraint(parameter.constraint, Shape(parameter.value.sizes().vec()), values);
  }
  ++step;
  return result;
}

void Trainer::Impl::reestimate(const data::Samples& samples, int64_t batch_size) {
  const at::NoGradGuard no_gradient;
  if (options.batch_norm_statistics == BatchNormStatistics::kReestimated) reestimate_statistics(samples, batch_size);
  constexpr int64_t kAnySample = 0;
  network.settle_folded_ranges(inputs(samples, std::array{kAnySample}));
}

void Trainer::Impl::reestimate_statistics(const data::Samples& samples, int64_t batch_size) {
  const int64_t count = samples.count();
  const int64_t batch = std::min(batch_size, count);
  const int64_t batches = std::min<int64_t>(options.reestimation_batches, count / batch);
  network.begin_reestimation();
  for (int64_t b = 0; b < batches; ++b) {
    // Spread evenly over the training set, whatever its order.
    std::vector<int64_t> indices;
    const Share mine = share(batch);
    for (int64_t i = mine.first; i < mine.first + mine.count; ++i) {
      indices.push_back((i * batches + b) * count / (batch * batches));
    }
    network.set_share(options.processes.get(), mine.first);
    network.forward(inputs(samples, indices), Pass::kReestimation, 0, true);
  }
  network.end_reestimation();
}

Evaluation Trainer::Impl::evaluate(const data::Samples& samples, int64_t batch_size) {
  check_batch_size(batch_size);
  check_data(samples);
  const at::NoGradGuard no_gradient;
  double loss = 0, correct = 0, mse = 0, mae = 0;
  std::vector<int64_t> indices;
  // Whole batches are dealt out to the processes in turn.
  const int64_t rank = options.processes == nullptr ? 0 : options.processes->rank();
  const int64_t size = options.processes == nullptr ? 1 : options.processes->size();
  for (int64_t begin = rank * batch_size; begin < samples.count(); begin += size * batch_size) {
    indices.clear();
    for (int64_t i = begin; i < std::min(begin + batch_size, samples.count()); ++i) indices.push_back(i);
    const at::Tensor x = inputs(samples, indices);
    const Answers y = objective.answers(samples, indices, x, network.output_shape());
    const at::Tensor outputs = network.forward(x, Pass::kInference, 0, objective.takes_logits());
    const int64_t size = std::ssize(indices);
    const auto sum = [&](const at::Tensor& mean) { return mean.item<double>() * static_cast<double>(size); };
    loss += sum(objective.loss(outputs, y, network.has_softmax(), size));
    if (const at::Tensor activity = network.activity_penalty(); activity.defined()) loss += activity.item<double>();
    if (objective.is_error()) {
      mse += sum(mean_squared_error(outputs, y.values, size));
      mae += sum(mean_absolute_error(outputs, y.values, size));
    }
    correct += objective.count_correct(outputs, y);
  }
  if (options.processes != nullptr) {
    std::array<double, 4> sums = {loss, correct, mse, mae};
    options.processes->sum(sums);
    loss = sums[0], correct = sums[1], mse = sums[2], mae = sums[3];
  }
  const auto count = static_cast<double>(std::max<int64_t>(1, samples.count()));
  if (const at::Tensor penalty = network.penalty(); penalty.defined()) loss += count * penalty.item<double>();
  return {loss / count, correct / count, mse / count, mae / count, objective.has_accuracy(samples)};
}

}  // namespace nibble::train
