// A quantizer that is not whole, out of the kernel of the whole one and two passes of torch.
#include <ATen/ATen.h>

#include <cmath>

#include "nibble/train/fused_ops.h"

namespace nibble::train {
namespace {

at::Tensor unquantized(const at::Tensor& x, const kernels::ActivationSpec& whole) {
  if (whole.kind == kernels::ActivationKind::kQuantizedBits) return x;
  return std::isfinite(whole.upper) ? x.clamp(0.0, whole.upper) : x.clamp_min(0.0);
}

}  // namespace

at::Tensor noisy_activation(const at::Tensor& x, const kernels::ActivationSpec& whole, float factor) {
  PrologueInputs inputs;
  inputs.multiplier = at::ones({x.size(-1)}, at::kDouble);
  inputs.offset = at::zeros({x.size(-1)}, at::kDouble);
  inputs.activation = whole;
  const at::Tensor q = fused_prologue({x, {}, {}, nullptr}, inputs);
  at::Tensor rest;
  {
    const at::NoGradGuard no_gradient;
    rest = unquantized(x.detach(), whole).sub(q.detach()).mul_(1.0 - static_cast<double>(factor));
  }
  // q has the gradient of u already.
  return q + rest;
}

}  // namespace nibble::train
