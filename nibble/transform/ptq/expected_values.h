// nibble/transform/ptq/expected_values.h
// Mean of each channel of a network's values from its batch normalizations alone, without data
// [Nagel et al. 2019, 4.2]: behind a batch norm a channel is taken to be normal with mean beta and deviation |gamma|,
// and a rectifier clips it.
//
//   E[clip(x, a, b)] = a F(u) + b (1 - F(v)) + mean (F(v) - F(u)) + deviation (f(u) - f(v))
//   u = (a - mean) / deviation, v = (b - mean) / deviation;  f, F of the standard normal distribution
//
// Average pooling, Flatten, Concatenate and Add keep means known; the zeros of a padding are overlooked. Behind max
// pooling, other activations and layers without a batch norm nothing is known.
// Source: spec/ptq-qat-experiments.md, 5.7.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/transform/ptq/fold_batch_norms.h"

namespace nibble::ptq {

// E[min(max(x, low), high)] of a normal x. low <= high; both may be infinite.
double clipped_mean(double mean, double deviation, double low, double high);

class ExpectedValues {
 public:
  //   model    with its weights
  //   folded   moments of layers that took a batch normalization in; those that stay in the model are read there
  ExpectedValues(const graph::Model& model, const std::map<std::string, ChannelMoments>& folded);

  // One mean for each element of the last axis of what the layer gives; null: not known.
  const std::vector<double>* mean_of(const std::string& layer) const;

 private:
  std::map<std::string, std::vector<double>> means_;
};

}  // namespace nibble::ptq
