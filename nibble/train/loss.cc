#include "nibble/train/loss.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace nibble::train {
namespace {

// Elements of the whole batch, of which x is a share.
double elements(const at::Tensor& x, int64_t batch) {
  return static_cast<double>(x.numel() / std::max<int64_t>(1, x.size(0)) * batch);
}

at::Tensor log_probabilities(const at::Tensor& outputs, bool outputs_are_logits) {
  constexpr double kEpsilon = 1e-7;
  if (outputs_are_logits) return at::log_softmax(outputs, 1);
  const at::Tensor normalized = outputs / outputs.sum(1, true);
  return normalized.clamp(kEpsilon, 1.0 - kEpsilon).log();
}

}  // namespace

at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits, int64_t batch) {
  return at::nll_loss(log_probabilities(outputs, outputs_are_logits), labels, {}, at::Reduction::Sum) /
         static_cast<double>(batch);
}

at::Tensor distillation_loss(const at::Tensor& outputs, const at::Tensor& teacher, bool outputs_are_logits,
                             double temperature, int64_t batch) {
  constexpr double kTiny = 1e-37;  // a float softmax gives 0 for what is smaller
  const at::Tensor student = at::log_softmax(log_probabilities(outputs, outputs_are_logits) / temperature, 1);
  const at::Tensor taught = at::log_softmax(teacher.clamp_min(kTiny).log() / temperature, 1);
  const at::Tensor divergence = (taught.exp() * (taught - student)).sum();
  return divergence * (temperature * temperature / static_cast<double>(batch));
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
