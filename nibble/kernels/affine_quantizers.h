// nibble/kernels/affine_quantizers.h
// Affine fake quantization and learned steps of a whole tensor with one range or step, vectorised.
//
// Values and dx are those of quant/affine's scalar code to the bit; sums are the same up to their order of addition.
// nibble/quant/affine/fake_quant.h and learned_step.h hold the equations.
#pragma once

#include <cstddef>

#include "nibble/quant/affine/fake_quant.h"
#include "nibble/quant/affine/learned_step.h"

namespace nibble::kernels {

// x, y, upstream and dx below all have n elements. NaN gives NaN, and gradients of a NaN are passed on as they are.

void fake_quant(const float* x, const affine::NudgedRange& range, affine::StepRule rule, float* y, size_t n);

struct RangeSums {
  double min = 0.0, max = 0.0;  // of the upstream gradients below and above the range
};
RangeSums fake_quant_gradient(const float* x, const float* upstream, const affine::NudgedRange& range, float* dx,
                              size_t n);

struct StepSpec {
  float step = 1.0f, offset = 0.0f;
  affine::StepLimits limits;
};
void learned_step(const float* x, const StepSpec& spec, float* y, size_t n);

struct StepSums {
  double step = 0.0, offset = 0.0;  // before the gradient scale
};
StepSums learned_step_gradient(const float* x, const float* upstream, const StepSpec& spec, float* dx, size_t n);

struct Extremes {
  float min = 0.0f, max = 0.0f;
  bool is_finite = true;  // false: x holds NaN or an infinity, and the ends mean nothing
};
//   n  at least 1
Extremes extremes(const float* x, size_t n);

}  // namespace nibble::kernels
