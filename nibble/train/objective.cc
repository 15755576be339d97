#include "nibble/train/objective.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/train/loss.h"

namespace nibble::train {
namespace {

bool is_probability(float value) { return value >= 0 && value <= 1; }

// Outside of 0 to 1 binary cross-entropy has no least value: the outputs would run away.
void check_inputs_are_probabilities(const data::Samples& samples) {
  std::vector<float> values(static_cast<size_t>(samples.shape().elements()));
  for (int64_t i = 0; i < samples.count(); ++i) {
    samples.gather(std::span(&i, 1), values);
    const auto bad = std::find_if_not(values.begin(), values.end(), is_probability);
    if (bad == values.end()) continue;
    throw InvalidArgument(
        "[train] binary_crossentropy compares with probabilities, but sample {} holds {}. Take the preprocessing "
        "'unit', which scales images to 0 to 1, or another loss, such as mse.",
        i, *bad);
  }
}

}  // namespace

Objective::Objective(LossKind loss, Target target) : loss_(loss), target_(target) {
  if (is_error() || target == Target::kLabel) return;
  throw InvalidArgument(
      "[train] cross-entropy compares with labels, but the target is the input. Take the mean squared or absolute "
      "error for an autoencoder.");
}

void Objective::check(const std::string& model, const Shape& output, const data::Samples& samples) const {
  if (target_ == Target::kInput) {
    if (output.elements() != samples.shape().elements()) {
      throw InvalidArgument("[train] model '{}' gives {}, but the samples that it should give back have {}.", model,
                            output.str(), samples.shape().str());
    }
    if (loss_ == LossKind::kBinaryCrossEntropy) check_inputs_are_probabilities(samples);
    return;
  }
  if (samples.has_targets() && is_error()) return check_targets(model, output, samples);
  if (output.rank() != 1) {
    throw InvalidArgument(
        "[train] model '{}' gives {}; a classifier gives one value per class. End it with Flatten or Dense.", model,
        output.str());
  }
  if (samples.has_targets()) return check_targets(model, output, samples);
  if (is_error() && output[0] == 1) return check_numbers(model, samples);
  for (const int32_t label : samples.labels()) {
    if (label >= 0 && label < output[0]) continue;
    throw InvalidArgument("[train] the data have the label {}, but model '{}' has {} outputs.", label, model,
                          output[0]);
  }
}

// Labels that a single output is compared with.
void Objective::check_numbers(const std::string& model, const data::Samples& samples) const {
  if (loss_ != LossKind::kBinaryCrossEntropy) return;
  for (const int32_t label : samples.labels()) {
    if (label == 0 || label == 1) continue;
    throw InvalidArgument(
        "[train] binary_crossentropy of one output tells two classes apart, 0 and 1, but the data have the label {}. "
        "Give model '{}' one output a class, or take another loss.",
        label, model);
  }
}

void Objective::check_targets(const std::string& model, const Shape& output, const data::Samples& samples) const {
  if (output.elements() != samples.target_shape().elements()) {
    throw InvalidArgument("[train] model '{}' gives {}, but the targets of a sample are {}.", model, output.str(),
                          samples.target_shape().str());
  }
  const auto targets = samples.targets().data();
  if (loss_ == LossKind::kBinaryCrossEntropy) {
    const auto bad = std::find_if_not(targets.begin(), targets.end(), is_probability);
    if (bad == targets.end()) return;
    throw InvalidArgument(
        "[train] binary_crossentropy compares with probabilities, but sample {} has the target {}; give 0 to 1.",
        (bad - targets.begin()) / output.elements(), *bad);
  }
  if (is_error()) return;
  constexpr double kTolerance = 1e-3;
  const auto classes = static_cast<size_t>(output.elements());
  for (size_t at = 0; at < targets.size(); at += classes) {
    const auto row = targets.subspan(at, classes);
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    if (classes > 1 && std::abs(sum - 1) <= kTolerance && *std::min_element(row.begin(), row.end()) >= 0) continue;
    throw InvalidArgument(
        "[train] cross-entropy compares with classes, or with probabilities that add up to 1; the {} targets of sample "
        "{} add up to {}. Take an error as the loss, such as mse, or save class numbers as integers.",
        classes, at / classes, sum);
  }
}

bool Objective::has_accuracy(const data::Samples& samples) const {
  if (target_ == Target::kInput) return false;
  return !samples.has_targets() || !is_error() || loss_ == LossKind::kBinaryCrossEntropy;
}

Answers Objective::answers(const data::Samples& samples, std::span<const int64_t> indices, const at::Tensor& x,
                           const Shape& output) const {
  std::vector<int64_t> extents = {std::ssize(indices)};
  for (const int64_t extent : output) extents.push_back(extent);
  if (target_ == Target::kInput) return {.labels = {}, .values = x.reshape(extents)};
  if (samples.has_targets()) {
    const at::Tensor values = at::empty(extents, at::kFloat);
    samples.gather_targets(indices, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
    return {.labels = {}, .values = values};
  }
  const at::Tensor labels = at::empty({std::ssize(indices)}, at::kLong);
  auto* out = labels.data_ptr<int64_t>();
  for (const int64_t index : indices) *out++ = samples.labels()[static_cast<size_t>(index)];
  if (!is_error()) return {.labels = labels, .values = {}};
  const at::Tensor values = output[0] == 1 ? labels : at::one_hot(labels, output[0]);
  return {.labels = labels, .values = values.to(at::kFloat).reshape(extents)};
}

at::Tensor Objective::loss(const at::Tensor& outputs, const Answers& answers, bool has_softmax, int64_t batch) const {
  if (is_error()) return error_loss(loss_, outputs, answers.values, batch);
  if (!answers.labels.defined()) return soft_cross_entropy(outputs, answers.values, has_softmax, batch);
  return cross_entropy(outputs, answers.labels, has_softmax, batch);
}

double Objective::count_correct(const at::Tensor& outputs, const Answers& answers) const {
  if (answers.labels.defined()) {
    const bool is_number = is_error() && outputs.size(1) == 1;
    // Of two classes: quantized sigmoids often give 0.5 itself, and outputs without one may be beyond 0 and 1.
    if (is_number && loss_ == LossKind::kBinaryCrossEntropy) return sum_on_right_side(outputs, answers.values);
    return static_cast<double>(is_number ? count_near(outputs, answers.labels)
                                         : train::count_correct(outputs, answers.labels));
  }
  if (target_ == Target::kInput) return 0;
  if (loss_ == LossKind::kBinaryCrossEntropy) return sum_on_right_side(outputs, answers.values);
  return is_error() ? 0.0 : static_cast<double>(train::count_correct(outputs, answers.values.argmax(1)));
}

}  // namespace nibble::train
