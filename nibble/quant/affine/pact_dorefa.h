// nibble/quant/affine/pact_dorefa.h
// PACT (Choi et al. 2018) and DoReFa (Zhou et al. 2016). Source: spec/ptq-qat-experiments.md, 5.3 and 5.4.
// Rounding is to the nearest, halves to even. For float and double; all spans of a call are equally long.
//
// Every result is code * scale, one rounding: scale is a / (2^b - 1) or 1 / (2^k - 1), itself rounded, and the code is
// the level, or 2 level - (2^k - 1) of weights. So a program of the codes has the very numbers (nibble/program).
#pragma once

#include <cstdint>
#include <span>

namespace nibble::affine {

// Activations clipped at a trained level:
//   y = round(clip(x, 0, a) * (2^b - 1) / a) * (a / (2^b - 1))
//   alpha      a > 0
//   bit_width  2 .. 16
template <class Real>
void pact_quantize(std::span<const Real> x, Real alpha, int bit_width, std::span<Real> y);

// dx = g for 0 < x < a, else 0. Returns d / da: the sum of g where x >= a. Add 2 lambda a for PACT's penalty.
template <class Real>
Real pact_gradient(std::span<const Real> x, std::span<const Real> upstream, Real alpha, std::span<Real> dx);

// Weights, one tensor:
//   k > 1   r = tanh(w) / (2 max|tanh w|) + 1/2,  y = (2 round((2^k - 1) r) - (2^k - 1)) / (2^k - 1), in [-1, 1]
//   k = 1   y = sign(w) * mean|w|, sign(0) = 1
// A tensor of zeros gives zeros for k = 1 and the code next to 0 otherwise (r = 1/2).
//   bit_width  1 .. 16
template <class Real>
void dorefa_quantize_weights(std::span<const Real> w, int bit_width, std::span<Real> y);

// dw = g * (1 - tanh(w)^2) / max|tanh w|, the maximum held constant; k = 1: dw = g.
template <class Real>
void dorefa_weight_gradient(std::span<const Real> w, std::span<const Real> upstream, int bit_width, std::span<Real> dw);

// Activations: y = round((2^k - 1) clip(x, 0, 1)) / (2^k - 1); dx = g where 0 <= x <= 1, else 0.
//   bit_width  1 .. 16
template <class Real>
void dorefa_quantize_activations(std::span<const Real> x, int bit_width, std::span<Real> y);
template <class Real>
void dorefa_activation_gradient(std::span<const Real> x, std::span<const Real> upstream, std::span<Real> dx);

// Gradients on their way back through activations, each sample with its own m = max|g|:
//   r = g / (2 m) + 1/2 + u / (2^k - 1), clipped to [0, 1],  q = 2 m (round((2^k - 1) r) / (2^k - 1) - 1/2)
// With u uniform in (-1/2, 1/2) the mean of q is g. A sample of zeros stays one, NaN stays NaN.
//   noise      u, one per element
//   samples    how many g holds, one behind the other; their number divides that of the elements
//   bit_width  1 .. 16
template <class Real>
void dorefa_quantize_gradient(std::span<const Real> g, std::span<const Real> noise, int64_t samples, int bit_width,
                              std::span<Real> q);

}  // namespace nibble::affine
