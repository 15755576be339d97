// nibble/train/loss.h
// Cross-entropy and accuracy of one batch.
#pragma once

#include <ATen/core/Tensor.h>

namespace nibble::train {

//   outputs  [n, classes]: logits, or probabilities
//   labels   [n], int64
//   returns  the mean over the batch, scalar, differentiable:
//            logits  -log_softmax(outputs)[label]
//            probabilities  -log(p[label] / sum p) with p clipped to [1e-7, 1 - 1e-7], as Keras does
at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits);

// Samples whose largest output is at the label.
int64_t count_correct(const at::Tensor& outputs, const at::Tensor& labels);

}  // namespace nibble::train
