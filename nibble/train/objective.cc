#include "nibble/train/objective.h"

#include <ATen/ATen.h>

#include "nibble/core/error.h"
#include "nibble/train/loss.h"

namespace nibble::train {

Objective::Objective(LossKind loss, Target target) : loss_(loss), target_(target) {
  if (is_error() || target == Target::kLabel) return;
  throw InvalidArgument(
      "[train] cross-entropy compares with labels, but the target is the input. Take the mean squared or absolute "
      "error "
      "for an autoencoder.");
}

void Objective::check(const std::string& model, const Shape& output, const data::Samples& samples) const {
  if (target_ == Target::kInput) {
    if (output.elements() == samples.shape().elements()) return;
    throw InvalidArgument("[train] model '{}' gives {}, but the samples that it should give back have {}.", model,
                          output.str(), samples.shape().str());
  }
  if (output.rank() != 1) {
    throw InvalidArgument(
        "[train] model '{}' gives {}; a classifier gives one value per class. End it with Flatten or Dense.", model,
        output.str());
  }
  if (is_error() && output[0] == 1) return;  // the label is a number
  for (const int32_t label : samples.labels()) {
    if (label >= 0 && label < output[0]) continue;
    throw InvalidArgument("[train] the data have the label {}, but model '{}' has {} outputs.", label, model,
                          output[0]);
  }
}

Answers Objective::answers(const at::Tensor& labels, const at::Tensor& x, const Shape& output) const {
  if (!is_error()) return {.labels = labels, .values = {}};
  std::vector<int64_t> extents = {labels.size(0)};
  for (const int64_t extent : output) extents.push_back(extent);
  if (target_ == Target::kInput) return {.labels = labels, .values = x.reshape(extents)};
  const at::Tensor values = output[0] == 1 ? labels : at::one_hot(labels, output[0]);
  return {.labels = labels, .values = values.to(at::kFloat).reshape(extents)};
}

at::Tensor Objective::loss(const at::Tensor& outputs, const Answers& answers, bool has_softmax, int64_t batch) const {
  switch (loss_) {
    case LossKind::kMeanSquaredError:
      return mean_squared_error(outputs, answers.values, batch);
    case LossKind::kMeanAbsoluteError:
      return mean_absolute_error(outputs, answers.values, batch);
    case LossKind::kCrossEntropy:
      break;
  }
  return cross_entropy(outputs, answers.labels, has_softmax, batch);
}

int64_t Objective::count_correct(const at::Tensor& outputs, const Answers& answers) const {
  if (target_ == Target::kInput) return 0;
  if (is_error() && outputs.size(1) == 1) return count_near(outputs, answers.labels);
  return train::count_correct(outputs, answers.labels);
}

}  // namespace nibble::train
