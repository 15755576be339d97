#include "nibble/quant/affine/pact_dorefa.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

void check_lengths(const char* where, size_t a, size_t b) {
  if (a != b) throw InvalidArgument("[{}] {} values do not fit {}.", where, a, b);
}

void check_width(const char* where, int bit_width, int lowest) {
  if (bit_width >= lowest && bit_width <= 16) return;
  throw InvalidArgument("[{}] a width of {} bits is not possible; {} .. 16 are.", where, bit_width, lowest);
}

template <class Real>
Real steps_of(int bit_width) {
  return static_cast<Real>((1 << bit_width) - 1);
}

// r in [0, 1] to the nearest of the levels 0 .. steps.
template <class Real>
Real nearest_level(Real r, Real steps) {
  return std::nearbyint(steps * r);
}

template <class Real>
Real largest_tanh(std::span<const Real> w) {
  Real largest{0};
  for (const Real v : w) largest = std::max(largest, std::abs(std::tanh(v)));
  return largest > Real{0} ? largest : Real{1};
}

template <class Real>
void check_alpha(Real alpha) {
  if (!(alpha > Real{0}) || !std::isfinite(alpha)) {
    throw InvalidArgument("[pact] a clipping level of {} is not possible; keep it positive.", alpha);
  }
}

}  // namespace

template <class Real>
void pact_quantize(std::span<const Real> x, Real alpha, int bit_width, std::span<Real> y) {
  check_lengths("pact", x.size(), y.size());
  check_width("pact", bit_width, 2);
  check_alpha(alpha);
  const auto steps = steps_of<Real>(bit_width);
  const Real scale = alpha / steps;
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = std::nearbyint(std::clamp(x[i], Real{0}, alpha) * steps / alpha) * scale;
  }
}

template <class Real>
Real pact_gradient(std::span<const Real> x, std::span<const Real> upstream, Real alpha, std::span<Real> dx) {
  check_lengths("pact", x.size(), upstream.size());
  check_lengths("pact", x.size(), dx.size());
  check_alpha(alpha);
  double of_alpha = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    dx[i] = x[i] > Real{0} && x[i] < alpha ? upstream[i] : Real{0};
    if (x[i] >= alpha) of_alpha += static_cast<double>(upstream[i]);
  }
  return static_cast<Real>(of_alpha);
}

template <class Real>
void dorefa_quantize_weights(std::span<const Real> w, int bit_width, std::span<Real> y) {
  check_lengths("dorefa", w.size(), y.size());
  check_width("dorefa", bit_width, 1);
  if (bit_width == 1) {
    double sum = 0.0;
    for (const Real v : w) sum += std::abs(static_cast<double>(v));
    const Real magnitude = w.empty() ? Real{0} : static_cast<Real>(sum / static_cast<double>(w.size()));
    for (size_t i = 0; i < w.size(); ++i) y[i] = w[i] >= Real{0} ? magnitude : -magnitude;
    return;
  }
  const Real largest = largest_tanh(w), steps = steps_of<Real>(bit_width);
  const Real scale = 1 / steps;
  for (size_t i = 0; i < w.size(); ++i) {
    const Real r = std::tanh(w[i]) / (2 * largest) + Real{0.5};
    y[i] = (2 * nearest_level(r, steps) - steps) * scale;
  }
}

template <class Real>
void dorefa_weight_gradient(std::span<const Real> w, std::span<const Real> upstream, int bit_width,
                            std::span<Real> dw) {
  check_lengths("dorefa", w.size(), upstream.size());
  check_lengths("dorefa", w.size(), dw.size());
  check_width("dorefa", bit_width, 1);
  const Real largest = bit_width == 1 ? Real{1} : largest_tanh(w);
  for (size_t i = 0; i < w.size(); ++i) {
    const Real t = bit_width == 1 ? Real{0} : std::tanh(w[i]);
    dw[i] = upstream[i] * (1 - t * t) / largest;
  }
}

template <class Real>
void dorefa_quantize_activations(std::span<const Real> x, int bit_width, std::span<Real> y) {
  check_lengths("dorefa", x.size(), y.size());
  check_width("dorefa", bit_width, 1);
  const auto steps = steps_of<Real>(bit_width);
  const Real scale = 1 / steps;
  for (size_t i = 0; i < x.size(); ++i) y[i] = nearest_level(std::clamp(x[i], Real{0}, Real{1}), steps) * scale;
}

template <class Real>
void dorefa_activation_gradient(std::span<const Real> x, std::span<const Real> upstream, std::span<Real> dx) {
  check_lengths("dorefa", x.size(), upstream.size());
  check_lengths("dorefa", x.size(), dx.size());
  for (size_t i = 0; i < x.size(); ++i) dx[i] = x[i] >= Real{0} && x[i] <= Real{1} ? upstream[i] : Real{0};
}

template <class Real>
void dorefa_quantize_gradient(std::span<const Real> g, std::span<const Real> noise, int64_t samples, int bit_width,
                              std::span<Real> q) {
  check_lengths("dorefa", g.size(), noise.size());
  check_lengths("dorefa", g.size(), q.size());
  check_width("dorefa", bit_width, 1);
  if (samples < 1 || g.size() % static_cast<size_t>(samples) != 0) {
    throw InvalidArgument("[dorefa] {} gradients are not those of {} samples.", g.size(), samples);
  }
  const auto steps = steps_of<Real>(bit_width);
  const size_t size = g.size() / static_cast<size_t>(samples);
  for (size_t first = 0; first < g.size(); first += size) {
    Real largest{0};
    for (size_t i = first; i < first + size; ++i) largest = std::max(largest, std::abs(g[i]));
    const Real reach = largest > Real{0} ? 2 * largest : Real{1};
    for (size_t i = first; i < first + size; ++i) {
      const Real r = std::clamp(g[i] / reach + Real{0.5} + noise[i] / steps, Real{0}, Real{1});
      q[i] = largest > Real{0} ? reach * (nearest_level(r, steps) / steps - Real{0.5}) : g[i];
    }
  }
}

#define NIBBLE_PACT_DOREFA(Real)                                                                                  \
  template void pact_quantize<Real>(std::span<const Real>, Real, int, std::span<Real>);                           \
  template Real pact_gradient<Real>(std::span<const Real>, std::span<const Real>, Real, std::span<Real>);         \
  template void dorefa_quantize_weights<Real>(std::span<const Real>, int, std::span<Real>);                       \
  template void dorefa_weight_gradient<Real>(std::span<const Real>, std::span<const Real>, int, std::span<Real>); \
  template void dorefa_quantize_activations<Real>(std::span<const Real>, int, std::span<Real>);                   \
  template void dorefa_activation_gradient<Real>(std::span<const Real>, std::span<const Real>, std::span<Real>);  \
  template void dorefa_quantize_gradient<Real>(std::span<const Real>, std::span<const Real>, int64_t, int,        \
                                               std::span<Real>)
NIBBLE_PACT_DOREFA(float);
NIBBLE_PACT_DOREFA(double);
#undef NIBBLE_PACT_DOREFA

}  // namespace nibble::affine
