#include "nibble/train/exact_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

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
                      const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& sum) {
  const at::Tensor codes = codes_of(x, grid.input_step), weights = codes_of(kernel, grid.weight_steps);
  const bool fits = largest_sum(codes, weights, grid, channels) < kExactFloat;
  const auto type = fits ? at::kFloat : at::kDouble;
  at::Tensor y = sum(codes.to(type), weights.to(type));
  if (!grid.bias_codes.empty()) y = y + at::tensor(grid.bias_codes).to(type);
  std::vector<float> scale = grid.weight_steps;
  for (float& step : scale) step *= grid.input_step;
  y = y.to(at::kFloat) * at::tensor(scale);
  return grid.bias.defined() ? y + grid.bias : y;
}

}  // namespace

at::Tensor exact_convolution(const at::Tensor& x, const ConvolutionGeometry& geometry, const at::Tensor& kernel,
                             const SumGrid& grid) {
  return scaled_sum(x, kernel, grid, geometry.out_channels,
                    [&](const at::Tensor& a, const at::Tensor& b) { return plain_convolution(a, geometry, b, {}); });
}

at::Tensor exact_dense(const at::Tensor& x, const at::Tensor& kernel, const SumGrid& grid) {
  return scaled_sum(x, kernel, grid, kernel.size(-1),
                    [](const at::Tensor& a, const at::Tensor& b) { return at::matmul(a, b); });
}

bool has_exact_average(const Step& step) {
  if (step.kind == StepKind::kGlobalAveragePool) return true;
  const Window& w = step.window;
  return step.kind == StepKind::kAveragePool && w.pad_top + w.pad_left + w.pad_bottom + w.pad_right == 0;
}

at::Tensor exact_average(const at::Tensor& x, const Step& step, float input_step) {
  const at::Tensor codes = codes_of(x, input_step);
  if (step.kind == StepKind::kGlobalAveragePool) {
    const auto cells = static_cast<float>(x.size(1) * x.size(2));
    std::vector<int64_t> extents = {x.size(0)};
    extents.insert(extents.end(), step.shape.begin(), step.shape.end());
    return (codes.sum({1, 2}) * input_step / cells).reshape(extents);
  }
  const Window& w = step.window;
  const at::Tensor sums = at::avg_pool2d(codes.permute({0, 3, 1, 2}), {w.height, w.width},
                                         {w.stride_height, w.stride_width}, {0, 0}, /*ceil_mode=*/false,
                                         /*count_include_pad=*/true, /*divisor_override=*/1);
  return (sums.permute({0, 2, 3, 1}).contiguous() * input_step) / static_cast<float>(w.height * w.width);
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
