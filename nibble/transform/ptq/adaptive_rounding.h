// nibble/transform/ptq/adaptive_rounding.h
// AdaRound for one layer: which weights round up is learned on the layer's own inputs [Nagel et al. 2020].
//
//   minimise  mean over positions of |f(W x + b) - f(W_q x_q + b)|^2 + lambda * sum of 1 - |2 h(v) - 1|^beta
//   W_q = scale * clip(floor(W / scale) + h(v), -q, q),   q = 2^(b-1) - 1
//
// Adam on v, batches of positions; beta falls from 20 to 2 after a fifth of the steps, before which there is no
// regularizer. The scales stay. Source: spec/ptq-qat-experiments.md, 5.5.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {

struct AdaptiveRoundingOptions {
  int steps = 1000;
  int batch_rows = 64;  // positions a step
  double learning_rate = 1e-2;
  double lambda = 0.01;
  double first_beta = 20.0, last_beta = 2.0;
  double warm_up = 0.2;  // share of the steps without regularizer
  uint64_t seed = 0;
};

struct RoundingProblem {
  std::span<const float> kernel;              // float weights, [fan_in][outputs]
  std::span<const float> scale;               // one per output
  std::span<const float> bias;                // one per output, or empty
  int bit_width = 8;                          // symmetric, narrow
  bool is_rectified = false;                  // f is ReLU; else the identity
  const Patches* float_inputs = nullptr;      // what the float network gives this layer
  const Patches* quantized_inputs = nullptr;  // the same positions of the network with quantized layers before
};

struct RoundedKernel {
  std::vector<float> kernel;  // on the grid
  double nearest_error = 0;   // mean squared error over all rows and outputs, rounded to nearest
  double error = 0;           // of `kernel`: never above nearest_error
  double changed = 0;         // share of weights that are not rounded to the nearest code
};

//   throws  InvalidArgument if sizes differ, or there are no rows
RoundedKernel round_adaptively(const RoundingProblem& problem, const AdaptiveRoundingOptions& options);

}  // namespace nibble::ptq
