#include "nibble/train/optimizer.h"

#include <cmath>

#include "nibble/core/error.h"

namespace nibble::train {

Optimizer::Optimizer(const CompileOptions& options, const std::vector<int64_t>& sizes)
    : options_(options), parameters_(sizes.size()) {
  const bool adam = options.optimizer == OptimizerKind::kAdam;
  const int slots = adam ? 2 : (options.momentum != 0.0 ? 1 : 0);
  for (int slot = 0; slot < slots; ++slot) {
    for (int64_t size : sizes) state_.slots.emplace_back(static_cast<size_t>(size), 0.0f);
  }
}

void Optimizer::begin_step(double learning_rate) {
  ++state_.step;
  rate_ = static_cast<float>(learning_rate);
  if (options_.optimizer != OptimizerKind::kAdam) return;
  const auto t = static_cast<double>(state_.step);
  rate_ = static_cast<float>(learning_rate * std::sqrt(1.0 - std::pow(options_.beta_2, t)) /
                             (1.0 - std::pow(options_.beta_1, t)));
}

void Optimizer::update(size_t parameter, std::span<float> values, std::span<const float> gradient, float factor) {
  const float rate = rate_ * factor;
  const size_t count = values.size();
  const float* g = gradient.data();
  float* w = values.data();
  if (options_.optimizer == OptimizerKind::kAdam) {
    float* m = state_.slots[parameter].data();
    float* v = state_.slots[parameters_ + parameter].data();
    const auto b1 = static_cast<float>(options_.beta_1), b2 = static_cast<float>(options_.beta_2);
    const auto epsilon = static_cast<float>(options_.epsilon);
    for (size_t i = 0; i < count; ++i) {
      m[i] = b1 * m[i] + (1.0f - b1) * g[i];
      v[i] = b2 * v[i] + (1.0f - b2) * g[i] * g[i];
      w[i] -= rate * m[i] / (std::sqrt(v[i]) + epsilon);
    }
    return;
  }
  if (options_.momentum == 0.0) {
    for (size_t i = 0; i < count; ++i) w[i] -= rate * g[i];
    return;
  }
  float* velocity = state_.slots[parameter].data();
  const auto momentum = static_cast<float>(options_.momentum);
  for (size_t i = 0; i < count; ++i) {
    velocity[i] = momentum * velocity[i] - rate * g[i];
    w[i] += options_.nesterov ? momentum * velocity[i] - rate * g[i] : velocity[i];
  }
}

void Optimizer::restore(State state) {
  bool fits = state.slots.size() == state_.slots.size() && state.step >= 0;
  for (size_t i = 0; fits && i < state.slots.size(); ++i) fits = state.slots[i].size() == state_.slots[i].size();
  if (!fits) throw CorruptFile("[checkpoint] the optimizer's state is not that of this model and optimizer.");
  state_ = std::move(state);
}

}  // namespace nibble::train
