#include "nibble/quant/affine/rounding_and_scales.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

double sigmoid(double v) { return 1.0 / (1.0 + std::exp(-v)); }

std::vector<double> magnitudes(std::span<const double> w, const ChannelLayout& layout) {
  if (w.size() != static_cast<size_t>(layout.elements())) {
    throw InvalidArgument("[equalize] {} weights do not fit a layout of {}.", w.size(), layout.elements());
  }
  std::vector<double> largest(static_cast<size_t>(layout.channels));
  for_each_element(layout, [&](size_t i, size_t c) {
    if (!std::isfinite(w[i])) throw InvalidArgument("[equalize] weight {} (channel {}) is {}.", i, c, w[i]);
    largest[c] = std::max(largest[c], std::abs(w[i]));
  });
  return largest;
}

}  // namespace

double AdaRound::share(double v) const { return std::clamp(sigmoid(v) * (zeta - gamma) + gamma, 0.0, 1.0); }

double AdaRound::share_gradient(double v) const {
  const double s = sigmoid(v), stretched = s * (zeta - gamma) + gamma;
  return stretched > 0.0 && stretched < 1.0 ? (zeta - gamma) * s * (1.0 - s) : 0.0;
}

double AdaRound::start(double fraction) const {
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    throw InvalidArgument("[adaround] the fraction {} is not in [0, 1).", fraction);
  }
  return -std::log((zeta - gamma) / (fraction - gamma) - 1.0);
}

double AdaRound::regularizer(std::span<const double> v, double beta) const {
  double sum = 0.0;
  for (const double value : v) sum += 1.0 - std::pow(std::abs(2.0 * share(value) - 1.0), beta);
  return sum;
}

std::vector<double> equalize(std::span<double> first, const ChannelLayout& first_layout, std::span<double> bias,
                             std::span<double> second, const ChannelLayout& second_layout) {
  const auto channels = static_cast<size_t>(first_layout.channels);
  if (second_layout.channels != first_layout.channels || (!bias.empty() && bias.size() != channels)) {
    throw InvalidArgument("[equalize] {} outputs, {} biases and {} inputs are not the same channels.",
                          first_layout.channels, bias.size(), second_layout.channels);
  }
  const std::vector<double> r1 = magnitudes(first, first_layout), r2 = magnitudes(second, second_layout);
  std::vector<double> scale(channels, 1.0);
  for (size_t c = 0; c < channels; ++c) {
    if (r1[c] > 0.0 && r2[c] > 0.0) scale[c] = std::sqrt(r1[c] / r2[c]);
  }
  for_each_element(first_layout, [&](size_t i, size_t c) { first[i] /= scale[c]; });
  for_each_element(second_layout, [&](size_t i, size_t c) { second[i] *= scale[c]; });
  for (size_t c = 0; c < bias.size(); ++c) bias[c] /= scale[c];
  return scale;
}

}  // namespace nibble::affine
