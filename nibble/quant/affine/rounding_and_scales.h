// nibble/quant/affine/rounding_and_scales.h
// The rules behind two ways of better post-training weights: AdaRound (Nagel et al. 2020) learns which way to round,
// cross-layer equalization (Nagel et al. 2019) evens out the ranges of channels.
// Source: spec/ptq-qat-experiments.md, 5.5 and 5.6. In double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"

namespace nibble::affine {

// h(v) = clip(sigmoid(v) * (zeta - gamma) + gamma, 0, 1): how far a weight rounds up.
struct AdaRound {
  double zeta = 1.1, gamma = -0.1;

  double share(double v) const;           // h(v)
  double share_gradient(double v) const;  // dh/dv; 0 where clipped
  // The v with h(v) = fraction.
  //   fraction  of w / scale above its floor, in [0, 1)
  double start(double fraction) const;
  // sum of 1 - |2 h(v) - 1|^beta: 0 when every weight has chosen a side.
  double regularizer(std::span<const double> v, double beta) const;
};

// Evens out a layer that feeds another through a positively homogeneous activation (none, ReLU, leaky ReLU):
// s = sqrt(r1 / r2) per channel, r the largest magnitudes; first / s, bias / s, second * s. The function of the pair
// stays, both ranges become sqrt(r1 r2). Where a range is 0, s is 1.
//   first, first_layout    weights whose channels are the first layer's outputs
//   bias                   one per channel, or empty
//   second, second_layout  weights whose channels are the second layer's inputs
//   returns                s per channel
//   throws                 InvalidArgument if channel counts or lengths differ, or a weight is not finite
std::vector<double> equalize(std::span<double> first, const ChannelLayout& first_layout, std::span<double> bias,
                             std::span<double> second, const ChannelLayout& second_layout);

}  // namespace nibble::affine
