// A Gaussian process over the choices; proposes where score could be high: mean + beta * deviation.
//
//   k(x, x') = (1 + s + s^2 / 3) exp(-s),  s = sqrt(5) |x - x'| / length      Matern 5/2
//
// KerasTuner's tuner [spec/autoqkeras.md section 7]: alpha 1e-4 on the diagonal, beta 2.6, scores normalised, a choice
// of n stands at (index + 0.5) / n, the first max(3 * dimensions, 3) trials are uniform. Two things differ: the length
// is the likeliest of a fixed list instead of a local optimum, and the highest value is looked for among the points
// themselves (random ones and the neighbours of the best) instead of on the continuum between them.
#pragma once

#include "nibble/search/sampler.h"

namespace nibble::search {

struct BayesianOptions {
  double alpha = 1e-4;         // variance of the noise, of normalised scores; > 0
  double beta = 2.6;           // how much uncertainty is worth; >= 0
  int num_initial_points = 0;  // uniform trials at first; 0: max(3 * dimensions, 3)
};

class BayesianSampler final : public Sampler {
 public:
  // Of more trials only the best half and the latest half of this number are used: a proposal costs their cube.
  static constexpr int kMostTrials = 400;

  // Trial k draws from the Philox stream (seed, kSampler, layer 2, step k).
  //   throws  InvalidArgument for options out of range
  explicit BayesianSampler(uint64_t seed, BayesianOptions options = {});

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  uint64_t seed_;
  BayesianOptions options_;
};

}  // namespace nibble::search
