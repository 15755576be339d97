// nibble/train/loss.h
// Losses and accuracy of one batch, or of one process's share of it.
#pragma once

#include <ATen/core/Tensor.h>

#include "nibble/train/trainer.h"

namespace nibble::train {

//   outputs  [n, classes]: logits, or probabilities
//   labels   [n], int64
//   batch    samples of the whole batch
//   returns  the sum over the samples / batch, scalar, differentiable:
//            logits  -log_softmax(outputs)[label]
//            probabilities  -log(p[label] / sum p) with p clipped to [1e-7, 1 - 1e-7], as Keras does
at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits, int64_t batch);

//   outputs  [n, classes], as above
//   targets  [n, classes], probabilities
//   returns  -sum(targets * log p) likewise
at::Tensor soft_cross_entropy(const at::Tensor& outputs, const at::Tensor& targets, bool outputs_are_logits,
                              int64_t batch);

//   outputs, targets  [n, ...], the same
//   returns  (outputs - targets)^2 or |outputs - targets|: the sum / elements of the whole batch, scalar,
//   differentiable
at::Tensor mean_squared_error(const at::Tensor& outputs, const at::Tensor& targets, int64_t batch);
at::Tensor mean_absolute_error(const at::Tensor& outputs, const at::Tensor& targets, int64_t batch);

//   outputs  [n, classes], as above
//   teacher  [n, classes], probabilities
//   returns  temperature^2 * the sum over the samples of KL(teacher_T || student_T) / batch, scalar, differentiable
//            (distillation.h)
at::Tensor distillation_loss(const at::Tensor& outputs, const at::Tensor& teacher, bool outputs_are_logits,
                             double temperature, int64_t batch);

// Of loss_names.h, all but cross-entropy: the sum over this share, divided as a mean over the whole batch is.
//   outputs, targets  [n, ...], the same
at::Tensor error_loss(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets, int64_t batch);

// Samples whose largest output is at the label.
int64_t count_correct(const at::Tensor& outputs, const at::Tensor& labels);
// Samples of one output each that are nearer to the label than to any other whole number.
int64_t count_near(const at::Tensor& outputs, const at::Tensor& labels);
// Of each sample the part of its outputs that lie on the same side of 0.5 as the targets, summed; 0.5 itself counts as
// below. Keras' binary accuracy where targets are 0 and 1.
double sum_on_right_side(const at::Tensor& outputs, const at::Tensor& targets);

}  // namespace nibble::train
