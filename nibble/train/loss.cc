#include "nibble/train/loss.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace nibble::train {
namespace {

// Elements of the whole batch, of which x is a share.
double elements(const at::Tensor& x, int64_t batch) {
  return static_cast<double>(x.numel() / std::max<int64_t>(1, x.size(0)) * batch);
}

}  // namespace

at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits, int64_t batch) {
  constexpr double kEpsilon = 1e-7;
  at::Tensor log_probabilities;
  if (outputs_are_logits) {
    log_probabilities = at::log_softmax(outputs, 1);
  } else {
    const at::Tensor normalized = outputs / outputs.sum(1, true);
    log_probabilities = normalized.clamp(kEpsilon, 1.0 - kEpsilon).log();
  }
  return at::nll_loss(log_probabilities, labels, {}, at::Reduction::Sum) / static_cast<double>(batch);
}

at::Tensor mean_squared_error(const at::Tensor& outputs, const at::Tensor& targets, int64_t batch) {
  return at::mse_loss(outputs, targets, at::Reduction::Sum) / elements(outputs, batch);
}

at::Tensor mean_absolute_error(const at::Tensor& outputs, const at::Tensor& targets, int64_t batch) {
  return at::l1_loss(outputs, targets, at::Reduction::Sum) / elements(outputs, batch);
}

int64_t count_correct(const at::Tensor& outputs, const at::Tensor& labels) {
  return outputs.argmax(1).eq(labels).sum().item<int64_t>();
}

int64_t count_near(const at::Tensor& outputs, const at::Tensor& labels) {
  return (outputs.reshape({-1}) - labels).abs().lt(0.5).sum().item<int64_t>();
}

}  // namespace nibble::train
