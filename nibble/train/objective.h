// What a training minimises: the loss of a batch's outputs against its answers. Private to train/.
#pragma once

#include <ATen/core/Tensor.h>

#include "nibble/train/trainer.h"

namespace nibble::train {

// What the outputs of a batch should be.
struct Answers {
  at::Tensor labels;  // [n], int64; undefined where the samples have targets
  at::Tensor values;  // as the outputs; undefined for cross-entropy with labels
};

class Objective {
 public:
  //   throws  InvalidArgument for cross-entropy against the input
  Objective(LossKind loss, Target target);

  bool is_error() const { return loss_ != LossKind::kCrossEntropy; }
  // Cross-entropy is computed from what stands before a last softmax.
  bool takes_logits() const { return !is_error(); }
  // False where an error is measured against numbers: the input, or targets.
  bool has_accuracy(const data::Samples& samples) const;

  //   model   named in messages
  //   output  shape of one sample's output
  //   throws  InvalidArgument if outputs and answers cannot be compared
  void check(const std::string& model, const Shape& output, const data::Samples& samples) const;

  // Of the samples at `indices`, which the network sees as x.
  Answers answers(const data::Samples& samples, std::span<const int64_t> indices, const at::Tensor& x,
                  const Shape& output) const;
  // Scalar, differentiable: the mean over the batch, or what a share of it adds to that.
  //   has_softmax  cross-entropy: outputs are logits
  //   batch        samples of the whole batch
  at::Tensor loss(const at::Tensor& outputs, const Answers& answers, bool has_softmax, int64_t batch) const;
  // Samples that are answered rightly (in part, where binary cross-entropy has several targets): by their largest
  // output, or by their one output being nearer to the label than to any other whole number; with binary cross-entropy
  // by their one output being above 0.5 where the label is 1, and not above it where it is 0. 0 where nothing can be
  // right or wrong (has_accuracy).
  double count_correct(const at::Tensor& outputs, const Answers& answers) const;

 private:
  void check_numbers(const std::string& model, const data::Samples& samples) const;
  void check_targets(const std::string& model, const Shape& output, const data::Samples& samples) const;

  LossKind loss_;
  Target target_;
};

}  // namespace nibble::train
