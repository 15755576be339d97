#include "nibble/train/loss.h"

#include <ATen/ATen.h>

namespace nibble::train {

at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits) {
  constexpr double kEpsilon = 1e-7;
  at::Tensor log_probabilities;
  if (outputs_are_logits) {
    log_probabilities = at::log_softmax(outputs, 1);
  } else {
    const at::Tensor normalized = outputs / outputs.sum(1, true);
    log_probabilities = normalized.clamp(kEpsilon, 1.0 - kEpsilon).log();
  }
  return at::nll_loss(log_probabilities, labels);
}

int64_t count_correct(const at::Tensor& outputs, const at::Tensor& labels) {
  return outputs.argmax(1).eq(labels).sum().item<int64_t>();
}

}  // namespace nibble::train
