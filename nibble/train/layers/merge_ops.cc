// Merges outside the fast path.
#include <ATen/ATen.h>

#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

// [N, the other axes.., the contracted one] with the others flattened.
at::Tensor contracted_last(const at::Tensor& x, int64_t axis) {
  const at::Tensor moved = at::movedim(x, axis, -1);
  return moved.reshape({x.size(0), -1, x.size(axis)});
}

at::Tensor unit_length(const at::Tensor& x, int64_t axis) {
  const at::Tensor square = (x * x).sum({axis}, /*keepdim=*/true);
  return x * at::rsqrt(at::clamp_min(square, 1e-12));
}

at::Tensor dot(LayerContext& context, std::span<const at::Tensor> inputs) {
  const auto& axes = context.layer().get_ints("axes");
  at::Tensor a = inputs[0], b = inputs[1];
  const int64_t axis_a = axes[0] < 0 ? axes[0] + a.dim() : axes[0];
  const int64_t axis_b = axes.back() < 0 ? axes.back() + b.dim() : axes.back();
  if (context.layer().get_bool("normalize")) a = unit_length(a, axis_a), b = unit_length(b, axis_b);
  const at::Tensor product = at::matmul(contracted_last(a, axis_a), contracted_last(b, axis_b).transpose(1, 2));
  std::vector<int64_t> shape = {a.size(0)};
  for (const int64_t extent : context.output_shape()) shape.push_back(extent);
  return product.reshape(shape);
}

}  // namespace

std::vector<LayerOpRow> merge_ops() { return {{"Dot", dot}}; }

}  // namespace nibble::train::layers
