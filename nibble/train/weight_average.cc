#include "nibble/train/weight_average.h"

#include <ATen/ATen.h>

#include "nibble/core/error.h"

namespace nibble::train {

void WeightAverage::begin() {
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < trained_.size(); ++i) parameters_[i].value.copy_(trained_[i]);
  trained_.clear();
  sums_.clear();
  added_ = 0;
}

void WeightAverage::add() {
  const at::NoGradGuard no_gradient;
  sums_.resize(parameters_.size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].trainable) continue;
    if (added_ == 0) sums_[i] = at::zeros(parameters_[i].value.sizes(), at::kDouble);
    sums_[i].add_(parameters_[i].value);
  }
  ++added_;
}

void WeightAverage::show() {
  if (added_ == 0) return;
  const at::NoGradGuard no_gradient;
  for (const Parameter& parameter : parameters_) trained_.push_back(parameter.value.detach().clone());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trainable) parameters_[i].value.copy_(sums_[i] / static_cast<double>(added_));
  }
}

std::vector<std::vector<float>> WeightAverage::trained() const {
  std::vector<std::vector<float>> result;
  for (const at::Tensor& value : trained_) {
    result.emplace_back(value.data_ptr<float>(), value.data_ptr<float>() + value.numel());
  }
  return result;
}

void WeightAverage::restore_trained(const std::vector<std::vector<float>>& values) {
  trained_.clear();
  if (values.empty()) return;
  bool fits = values.size() == parameters_.size();
  for (size_t i = 0; fits && i < values.size(); ++i) {
    fits = static_cast<int64_t>(values[i].size()) == parameters_[i].value.numel();
  }
  if (!fits) throw CorruptFile("[checkpoint] the weights that train are not those of the network.");
  for (size_t i = 0; i < values.size(); ++i) {
    at::Tensor value = at::empty(parameters_[i].value.sizes(), at::kFloat);
    std::copy(values[i].begin(), values[i].end(), value.data_ptr<float>());
    trained_.push_back(std::move(value));
  }
}

}  // namespace nibble::train
