// nibble/train/exact_sums.h
// Sums of affine values as the integer program (nibble/program) has them: the codes are summed as whole numbers, and
// the sum becomes a real number once.
//
//   y = (sum of x / input_step * w / weight_step[c] + bias code) * (weight_step[c] * input_step) + bias
//
// Sums of the real numbers themselves are rounded on the way, and near a tie of the next quantizer that is a code.
// For the inference phase: nothing here is differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "nibble/train/plan.h"

namespace nibble::train {

struct SumGrid {
  float input_step = 1.0f;
  std::vector<float> weight_steps;  // one, or one a channel of the output
  std::vector<double> bias_codes;   // whole numbers, one a channel; empty: none
  at::Tensor bias;                  // added afterwards, [out]; undefined: none

  // Real step of a sum by channel, as float32 multiplies; one or one a channel.
  std::vector<float> scales() const;
  // The same, if sums are all there is to the result: empty where a bias is added afterwards.
  std::vector<double> sum_scales() const;
};

//   x       real values on their grid, [N, H, W, C]; kernel likewise, Keras' layout
at::Tensor exact_convolution(const at::Tensor& x, const ConvolutionGeometry& geometry, const at::Tensor& kernel,
                             const SumGrid& grid);

//   x       [..., in];  kernel [in, out]
at::Tensor exact_dense(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid);

// Of any sum of products of the two.
//   kernel  the channel of the output runs fastest
//   sum     of x and kernel as whole numbers, in float32 or double -> [..., out]
using SumOfProducts = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& kernel)>;
at::Tensor exact_sum(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid, const SumOfProducts& sum);

// What exact_average() divides by; 0: windows at the border differ so much that there is no one number.
int64_t cells_of_average(const at::Tensor& x, const Step& step);

// An average pool, also the global one: (sum of codes * step) / cells. Where windows overlap the border, the sums are
// brought to one number of cells first, a multiple of all (program/window_cells.h).
at::Tensor exact_average(const at::Tensor& x, const Step& step, float input_step);

// The sum of values on their grids, as multiples of one step (quant/affine/common_grid.h).
//   steps  one for each of x, above 0
at::Tensor exact_add(std::span<const at::Tensor> x, std::span<const float> steps);

at::Tensor max_pool_2x2(const at::Tensor& x);

}  // namespace nibble::train
