#include "nibble/quant/affine/learned_step.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/quant/affine/fake_quant.h"

namespace nibble::affine {
namespace {

constexpr double kSmallestStep = 1e-8;

template <class Real>
void check(size_t x, size_t y, const ChannelLayout& layout, const LearnedStep<Real>& learned) {
  const auto channels = static_cast<size_t>(layout.channels);
  if (x != static_cast<size_t>(layout.elements()) || y != x) {
    throw InvalidArgument("[learned_step] a layout of {} elements does not fit {} values and {} results.",
                          layout.elements(), x, y);
  }
  if (learned.step.size() != channels || (!learned.offset.empty() && learned.offset.size() != channels)) {
    throw InvalidArgument("[learned_step] {} steps and {} offsets do not fit {} channels.", learned.step.size(),
                          learned.offset.size(), channels);
  }
  for (const Real step : learned.step) {
    if (!(step > Real{0}) || !std::isfinite(step)) {
      throw InvalidArgument(
          "[learned_step] a step of {} is not possible. Keep it positive: clamp it at {} after each "
          "update.",
          step, kSmallestStep);
    }
  }
}

template <class Real>
Real offset_of(const LearnedStep<Real>& learned, size_t channel) {
  return learned.offset.empty() ? Real{0} : learned.offset[channel];
}

template <class Real>
void check_not_empty(std::span<const Real> x) {
  if (x.empty()) throw InvalidArgument("[learned_step] a tensor without elements has no step to start from.");
}

}  // namespace

StepLimits step_limits(int bit_width, bool is_signed, bool narrow_range) {
  check_bit_width("step_limits", bit_width);
  if (!is_signed) return {0, (int32_t{1} << bit_width) - 1};
  const int32_t half = int32_t{1} << (bit_width - 1);
  return {narrow_range ? half - 1 : half, half - 1};
}

template <class Real>
void learned_step_quantize(std::span<const Real> x, const ChannelLayout& layout, const LearnedStep<Real>& learned,
                           std::span<Real> y) {
  check(x.size(), y.size(), layout, learned);
  const auto low = static_cast<Real>(-learned.limits.qn), high = static_cast<Real>(learned.limits.qp);
  for_each_element(layout, [&](size_t i, size_t c) {
    const Real offset = offset_of(learned, c);
    const Real v = (x[i] - offset) / learned.step[c];
    y[i] = std::nearbyint(std::clamp(v, low, high)) * learned.step[c] + offset;
  });
}

template <class Real>
LearnedStepGradient<Real> learned_step_gradient(std::span<const Real> x, std::span<const Real> upstream,
                                                const ChannelLayout& layout, const LearnedStep<Real>& learned,
                                                std::span<Real> dx) {
  check(x.size(), upstream.size(), layout, learned);
  check(x.size(), dx.size(), layout, learned);
  const auto low = static_cast<Real>(-learned.limits.qn), high = static_cast<Real>(learned.limits.qp);
  std::vector<double> step(learned.step.size()), offset(learned.step.size());
  for_each_element(layout, [&](size_t i, size_t c) {
    const Real v = (x[i] - offset_of(learned, c)) / learned.step[c];
    const bool is_inside = low < v && v < high;
    const Real of_step = is_inside ? std::nearbyint(v) - v : (v <= low ? low : high);
    step[c] += static_cast<double>(upstream[i]) * static_cast<double>(of_step);
    if (!is_inside) offset[c] += static_cast<double>(upstream[i]);
    dx[i] = is_inside ? upstream[i] : Real{0};
  });
  LearnedStepGradient<Real> gradient;
  for (size_t c = 0; c < step.size(); ++c) {
    gradient.step.push_back(static_cast<Real>(step[c]));
    gradient.offset.push_back(static_cast<Real>(offset[c]));
  }
  return gradient;
}

int64_t gradient_elements(GradientElements counted, const ChannelLayout& layout, int64_t samples) {
  if (samples < 1) throw InvalidArgument("[learned_step] a batch of {} samples has no elements.", samples);
  const int64_t parts = counted == GradientElements::kTensor ? 1 : layout.channels * samples;
  return std::max<int64_t>(1, layout.elements() / parts);
}

double learned_step_gradient_scale(int64_t elements, int32_t qp) {
  if (elements < 1 || qp < 1) {
    throw InvalidArgument("[learned_step] {} elements and a highest code of {} have no gradient scale.", elements, qp);
  }
  return 1.0 / std::sqrt(static_cast<double>(elements) * qp);
}

template <class Real>
Real initial_step(std::span<const Real> x, int32_t qp) {
  check_not_empty(x);
  double sum = 0.0;
  for (const Real v : x) sum += std::abs(static_cast<double>(v));
  const double step = 2.0 * sum / static_cast<double>(x.size()) / std::sqrt(static_cast<double>(qp));
  return static_cast<Real>(std::max(step, kSmallestStep));
}

template <class Real>
Real initial_step_of_weights(std::span<const Real> x, int bit_width) {
  check_not_empty(x);
  check_bit_width("initial_step_of_weights", bit_width);
  double mean = 0.0, square = 0.0;
  for (const Real v : x) mean += static_cast<double>(v);
  mean /= static_cast<double>(x.size());
  for (const Real v : x) square += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  const double reach = 3.0 * std::sqrt(square / static_cast<double>(x.size()));
  const double largest = std::max(std::abs(mean - reach), std::abs(mean + reach));
  return static_cast<Real>(std::max(std::ldexp(largest, 1 - bit_width), kSmallestStep));
}

#define NIBBLE_LEARNED_STEP(Real)                                                                                     \
  template void learned_step_quantize<Real>(std::span<const Real>, const ChannelLayout&, const LearnedStep<Real>&,    \
                                            std::span<Real>);                                                         \
  template LearnedStepGradient<Real> learned_step_gradient<Real>(                                                     \
      std::span<const Real>, std::span<const Real>, const ChannelLayout&, const LearnedStep<Real>&, std::span<Real>); \
  template Real initial_step<Real>(std::span<const Real>, int32_t);                                                   \
  template Real initial_step_of_weights<Real>(std::span<const Real>, int)
NIBBLE_LEARNED_STEP(float);
NIBBLE_LEARNED_STEP(double);
#undef NIBBLE_LEARNED_STEP

}  // namespace nibble::affine
