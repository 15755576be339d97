#include "nibble/train/exact_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nibble/quant/affine/common_grid.h"
#include "nibble/train/plain_ops.h"

namespace nibble::train {
namespace {

// Whole numbers up to here, and sums of them, are exact in float32.
constexpr double kExactFloat = 0x1p24;

at::Tensor codes_of(const at::Tensor& x, float step) { return (x / step).round_(); }

// The channel of the output runs fastest in every kernel.
at::Tensor codes_of(const at::Tensor& kernel, std::span<const float> steps) {
  if (steps.size() == 1) return codes_of(kernel, steps[0]);
  const at::Tensor by_channel = at::tensor(std::vector<float>(steps.begin(), steps.end()));
  const auto channels = static_cast<int64_t>(steps.size());
  return (kernel.reshape({-1, channels}) / by_channel).round_().reshape(kernel.sizes());
}

// No sum of products, in any order, is larger.
double largest_sum(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid, int64_t channels) {
  if (x.numel() == 0) return 0.0;
  const double input = x.abs().max().item<double>();
  const double weights = kernel.reshape({-1, channels}).abs().sum(0).max().item<double>();
  double bias = 0.0;
  for (const double code : grid.bias_codes) bias = std::max(bias, std::abs(code));
  return input * weights + bias;
}

// sum: of two tensors of whole numbers, in float32 where that is exact, else in double.
at::Tensor scaled_sum(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid, int64_t channels,
                      const SumOfProducts& sum) {
  const at::Tensor codes = codes_of(x, grid.input_step), weights = codes_of(kernel, grid.weight_steps);
  const bool fits = largest_sum(codes, weights, grid, channels) < kExactFloat;
  const auto type = fits ? at::kFloat : at::kDouble;
  at::Tensor y = sum(codes.to(type), weights.to(type));
  if (!grid.bias_codes.empty()) y = y + at::tensor(grid.bias_codes).to(type);
  y = y.to(at::kFloat) * at::tensor(grid.scales());
  return grid.bias.defined() ? y + grid.bias : y;
}

// Of the numbers in it; 0: there is none that float32 holds.
int64_t common_multiple(const at::Tensor& cells) {
  int64_t common = 1;
  for (int64_t i = 0; i < cells.numel(); ++i) {
    common = std::lcm(common, static_cast<int64_t>(cells.data_ptr<float>()[i]));
    if (static_cast<double>(common) > kExactFloat) return 0;
  }
  return common;
}

}  // namespace

std::vector<float> SumGrid::scales() const {
  std::vector<float> scales = weight_steps;
  for (float& step : scales) step *= input_step;
  return scales;
}

std::vector<double> SumGrid::sum_scales() const {
  if (bias.defined()) return {};
  const std::vector<float> steps = scales();
  return {steps.begin(), steps.end()};
}

at::Tensor exact_convolution(const at::Tensor& x, const ConvolutionGeometry& geometry, const at::Tensor& kernel,
                             const SumGrid& grid) {
  return scaled_sum(x, kernel, grid, geometry.out_channels,
                    [&](const at::Tensor& a, const at::Tensor& b) { return plain_convolution(a, geometry, b, {}); });
}

at::Tensor exact_dense(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid) {
  return scaled_sum(x, kernel, grid, kernel.size(-1),
                    [](const at::Tensor& a, const at::Tensor& b) { return at::matmul(a, b); });
}

int64_t cells_of_average(const at::Tensor& x, const Step& step) {
  if (step.kind == StepKind::kGlobalAveragePool) return x.size(1) * x.size(2);
  return common_multiple(cells_inside(step.window, x.size(1), x.size(2)));
}

at::Tensor exact_sum(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid, const SumOfProducts& sum) {
  return scaled_sum(x, kernel, grid, kernel.size(-1), sum);
}

at::Tensor exact_average(const at::Tensor& x, const Step& step, float input_step) {
  const at::Tensor codes = codes_of(x, input_step);
  if (step.kind == StepKind::kGlobalAveragePool) {
    const auto cells = static_cast<float>(x.size(1) * x.size(2));
    std::vector<int64_t> extents = {x.size(0)};
    extents.insert(extents.end(), step.shape.begin(), step.shape.end());
    return (codes.sum({1, 2}) * input_step / cells).reshape(extents);
  }
  const at::Tensor sums = window_sums(codes, step.window), cells = cells_inside(step.window, x.size(1), x.size(2));
  const int64_t common = common_multiple(cells);
  if (common == 0) return sums * input_step / cells;
  return sums * (static_cast<float>(common) / cells) * input_step / static_cast<float>(common);
}

at::Tensor exact_add(std::span<const at::Tensor> x, std::span<const float> steps) {
  const affine::CommonGrid grid = affine::common_grid(steps);
  at::Tensor sum;
  for (size_t i = 0; i < x.size(); ++i) {
    const at::Tensor term = codes_of(x[i], steps[i]) * static_cast<float>(grid.factors[i]);
    sum = sum.defined() ? sum + term : term;
  }
  return sum * grid.step;
}

at::Tensor max_pool_2x2(const at::Tensor& x) {
  return at::max_pool2d(x.permute({0, 3, 1, 2}), {2, 2}, {2, 2}).permute({0, 2, 3, 1}).contiguous();
}

}  // namespace nibble::train
