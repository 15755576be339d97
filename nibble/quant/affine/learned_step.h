// nibble/quant/affine/learned_step.h
// Quantizers whose step (and offset) is trained: LSQ (Esser et al. 2020) and LSQ+ (Bhalgat et al. 2020).
//
//   v = (x - offset) / step,  q = round(clip(v, -qn, qp)),  y = q * step + offset     halves to even; LSQ: offset 0
//   dy/dx = 1 where -qn < v < qp, else 0
//   dy/dstep = round(v) - v inside, -qn where v <= -qn, qp where v >= qp
//   dy/doffset = 0 inside, 1 outside
//
// The gradients of step and offset are to be multiplied by 1 / sqrt(elements * qp).
// Source: spec/ptq-qat-experiments.md, 5.1 and 5.2. For float and double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"

namespace nibble::affine {

// Codes -qn .. qp.
struct StepLimits {
  int32_t qn = 128, qp = 127;
};

// Signed: -2^(b-1) .. 2^(b-1) - 1 (narrow: from -(2^(b-1) - 1)); unsigned: 0 .. 2^b - 1.
//   bit_width  2 .. 16
StepLimits step_limits(int bit_width, bool is_signed, bool narrow_range = false);

// One step per channel of a layout; an offset too, or none.
template <class Real>
struct LearnedStep {
  std::span<const Real> step;    // > 0
  std::span<const Real> offset;  // empty: LSQ
  StepLimits limits;
};

// throws InvalidArgument if lengths do not fit or a step is not positive and finite
template <class Real>
void learned_step_quantize(std::span<const Real> x, const ChannelLayout& layout, const LearnedStep<Real>& learned,
                           std::span<Real> y);

template <class Real>
struct LearnedStepGradient {
  std::vector<Real> step, offset;  // one per channel, before the gradient scale
};

//   dx  written
template <class Real>
LearnedStepGradient<Real> learned_step_gradient(std::span<const Real> x, std::span<const Real> upstream,
                                                const ChannelLayout& layout, const LearnedStep<Real>& learned,
                                                std::span<Real> dx);

// What the gradient scale counts as elements (spec 5.1).
enum class GradientElements {
  kShared,  // those that share the step: of a weight or of one of its channels; of activations, in one sample
  kTensor,  // all of the tensor, every channel and every sample of the batch: what some public code does
};
//   samples  of an activation's batch; 1 for a weight
//   returns  at least 1
int64_t gradient_elements(GradientElements counted, const ChannelLayout& layout, int64_t samples);

// 1 / sqrt(elements * qp).
//   elements  gradient_elements()
double learned_step_gradient_scale(int64_t elements, int32_t qp);

// LSQ's start: 2 * mean(|x|) / sqrt(qp). At least 1e-8, so that a tensor of zeros can be trained.
template <class Real>
Real initial_step(std::span<const Real> x, int32_t qp);

// LSQ+'s start for weights: max(|mean - 3 deviation|, |mean + 3 deviation|) / 2^(b-1). At least 1e-8.
template <class Real>
Real initial_step_of_weights(std::span<const Real> x, int bit_width);

}  // namespace nibble::affine
