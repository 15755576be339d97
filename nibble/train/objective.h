// What a training minimises: the loss of a batch's outputs against its answers. Private to train/.
#pragma once

#include <ATen/core/Tensor.h>

#include "nibble/train/trainer.h"

namespace nibble::train {

// What the outputs of a batch should be.
struct Answers {
  at::Tensor labels;  // [n], int64
  at::Tensor values;  // as the outputs; undefined for cross-entropy
};

class Objective {
 public:
  //   throws  InvalidArgument for cross-entropy against the input
  Objective(LossKind loss, Target target);

  bool is_error() const { return loss_ != LossKind::kCrossEntropy; }
  // Cross-entropy is computed from what stands before a last softmax.
  bool takes_logits() const { return !is_error(); }

  //   model   named in messages
  //   output  shape of one sample's output
  //   throws  InvalidArgument if outputs and answers cannot be compared
  void check(const std::string& model, const Shape& output, const data::Samples& samples) const;

  //   x  the batch's samples
  Answers answers(const at::Tensor& labels, const at::Tensor& x, const Shape& output) const;
  // Scalar, differentiable: the mean over the batch, or what a share of it adds to that.
  //   has_softmax  cross-entropy: outputs are logits
  //   batch        samples of the whole batch
  at::Tensor loss(const at::Tensor& outputs, const Answers& answers, bool has_softmax, int64_t batch) const;
  // Samples that are answered rightly: by their largest output, or by their one output being nearer to the
  // label than to any other whole number. 0 where the answer is the input.
  int64_t count_correct(const at::Tensor& outputs, const Answers& answers) const;

 private:
  LossKind loss_;
  Target target_;
};

}  // namespace nibble::train
