// nibble/train/affine_ops.h
// Affine quantizers as autograd functions. The arithmetic is nibble/quant/affine's, or that of its fast twins in
// nibble/kernels where one range serves the whole tensor.
//
// x may have any shape; a layout says which elements share a range. Where x and the learned parameters need no gradient
// nothing is recorded.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nibble/core/philox.h"
#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"
#include "nibble/quant/affine/learned_step.h"

namespace nibble::train {

// Straight-through: gradients pass where x lies in the nudged range, ends included.
//   ranges  one per channel
at::Tensor affine_fake_quant(const at::Tensor& x, const affine::ChannelLayout& layout,
                             std::vector<affine::NudgedRange> ranges, affine::StepRule rule);

struct LearnedStepOptions {
  affine::StepLimits limits;
  double gradient_scale = 1.0;  // of step and offset
};
// LSQ, and LSQ+ with an offset.
//   step, offset  one per channel, or scalars; offset undefined: LSQ. Differentiable.
at::Tensor learned_step_quant(const at::Tensor& x, const affine::ChannelLayout& layout, const at::Tensor& step,
                              const at::Tensor& offset, const LearnedStepOptions& options);

//   alpha  one number, differentiable
at::Tensor pact_quant(const at::Tensor& x, const at::Tensor& alpha, int bit_width);

at::Tensor dorefa_quant_weights(const at::Tensor& w, int bit_width);

struct GradientQuantization {
  int bit_width = 0;  // 0: gradients stay as they are
  RandomKey random = {};
};
//   x         [samples, ...]
//   gradient  of what leaves towards x, by affine::dorefa_quantize_gradient()
at::Tensor dorefa_quant_activations(const at::Tensor& x, int bit_width, const GradientQuantization& gradient = {});

// `values` in the place of x, with x's gradient.
at::Tensor straight_through(const at::Tensor& x, const at::Tensor& values);

}  // namespace nibble::train
