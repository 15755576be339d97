#include "nibble/train/loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numbers>

namespace nibble::train {
namespace {

// Elements of the whole batch, of which x is a share.
double elements(const at::Tensor& x, int64_t batch) {
  return static_cast<double>(x.numel() / std::max<int64_t>(1, x.size(0)) * batch);
}

constexpr double kEpsilon = 1e-7;  // Keras'

// Element by element; not of cross-entropy.
at::Tensor errors(LossKind loss, const at::Tensor& p, const at::Tensor& t) {
  const at::Tensor difference = p - t;
  switch (loss) {
    case LossKind::kMeanAbsoluteError:
      return difference.abs();
    case LossKind::kMeanAbsolutePercentageError:
      return 100 * (difference / t.abs().clamp_min(kEpsilon)).abs();
    case LossKind::kMeanSquaredLogarithmicError:
      return (p.clamp_min(kEpsilon).log1p() - t.clamp_min(kEpsilon).log1p()).square();
    case LossKind::kHuber: {
      const at::Tensor size = difference.abs();
      return at::where(size.le(1.0), 0.5 * difference.square(), size - 0.5);
    }
    case LossKind::kLogCosh:  // log((e^x + e^-x) / 2), without overflow
      return difference + at::softplus(-2 * difference) - std::numbers::ln2;
    case LossKind::kBinaryCrossEntropy: {
      const at::Tensor q = p.clamp(kEpsilon, 1.0 - kEpsilon);
      return -(t * q.log() + (1 - t) * (1 - q).log());
    }
    case LossKind::kPoisson:
      return p - t * (p + kEpsilon).log();
    case LossKind::kKlDivergence: {
      const at::Tensor clipped = t.clamp(kEpsilon, 1.0);
      return clipped * (clipped / p.clamp(kEpsilon, 1.0)).log();
    }
    case LossKind::kMeanSquaredError:
    case LossKind::kCrossEntropy:
      break;
  }
  return difference.square();
}

at::Tensor log_probabilities(const at::Tensor& outputs, bool outputs_are_logits) {
  if (outputs_are_logits) return at::log_softmax(outputs, 1);
  const at::Tensor normalized = outputs / outputs.sum(1, true);
  return normalized.clamp(kEpsilon, 1.0 - kEpsilon).log();
}

}  // namespace

at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, bool outputs_are_logits, int64_t batch) {
  return at::nll_loss(log_probabilities(outputs, outputs_are_logits), labels, {}, at::Reduction::Sum) /
         static_cast<double>(batch);
}

at::Tensor soft_cross_entropy(const at::Tensor& outputs, const at::Tensor& targets, bool outputs_are_logits,
                              int64_t batch) {
  return -(targets * log_probabilities(outputs, outputs_are_logits)).sum() / static_cast<double>(batch);
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

at::Tensor error_loss(LossKind loss, const at::Tensor& outputs, const at::Tensor& targets, int64_t batch) {
  if (loss == LossKind::kMeanSquaredError) return mean_squared_error(outputs, targets, batch);
  if (loss == LossKind::kMeanAbsoluteError) return mean_absolute_error(outputs, targets, batch);
  const double last = loss == LossKind::kKlDivergence ? static_cast<double>(outputs.size(-1)) : 1.0;
  return errors(loss, outputs, targets).sum() * (last / elements(outputs, batch));
}

int64_t count_correct(const at::Tensor& outputs, const at::Tensor& labels) {
  return outputs.argmax(1).eq(labels).sum().item<int64_t>();
}

int64_t count_near(const at::Tensor& outputs, const at::Tensor& labels) {
  return (outputs.reshape({-1}) - labels).abs().lt(0.5).sum().item<int64_t>();
}

double sum_on_right_side(const at::Tensor& outputs, const at::Tensor& targets) {
  const at::Tensor agrees = outputs.gt(0.5).eq(targets.gt(0.5));
  const auto each = static_cast<double>(outputs.numel() / std::max<int64_t>(1, outputs.size(0)));
  return static_cast<double>(agrees.sum().item<int64_t>()) / std::max(1.0, each);
}

}  // namespace nibble::train
