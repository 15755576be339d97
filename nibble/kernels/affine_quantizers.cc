#include "nibble/kernels/affine_quantizers.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/affine_quantizers.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef NIBBLE_KERNELS_AFFINE_QUANTIZERS_SHARED_
#define NIBBLE_KERNELS_AFFINE_QUANTIZERS_SHARED_
namespace nibble::kernels {

// Float sums are moved to double after so many vectors, long before they lose digits.
constexpr size_t kVectorsPerSum = 64;

struct LaneSpec {
  float low, high, scale, factor, zero_steps;
};

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE V Clip(V x, float low, float high) {
  const D d;
  return hn::Min(hn::Max(x, hn::Set(d, low)), hn::Set(d, high));
}

// Calls body(x, vector width) over n elements; the rest goes through a buffer of one vector.
template <class Body>
HWY_INLINE void ForEachVector(const float* x, float* y, size_t n, Body body) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(body(hn::LoadU(d, x + i)), d, y + i);
  if (i == n) return;
  HWY_ALIGN float rest[hn::MaxLanes(D())] = {};
  std::copy(x + i, x + n, rest);
  hn::Store(body(hn::Load(d, rest)), d, rest);
  std::copy(rest, rest + (n - i), y + i);
}

template <bool kDivides>
void Quantize(const float* x, const LaneSpec& spec, float* y, size_t n) {
  const D d;
  ForEachVector(x, y, n, [&](V v) HWY_ATTR {
    const V distance = hn::Sub(Clip(v, spec.low, spec.high), hn::Set(d, spec.low));
    const V factor = hn::Set(d, spec.factor);
    const V steps = kDivides ? hn::Div(distance, factor) : hn::Mul(distance, factor);
    const V code = hn::Floor(hn::Add(hn::Sub(steps, hn::Set(d, spec.zero_steps)), hn::Set(d, 0.5f)));
    return hn::IfThenElse(hn::IsNaN(v), v, hn::Mul(code, hn::Set(d, spec.scale)));
  });
}

void FakeQuant(const float* x, const LaneSpec& spec, bool divides, float* y, size_t n) {
  divides ? Quantize<true>(x, spec, y, n) : Quantize<false>(x, spec, y, n);
}

void LearnedStep(const float* x, const StepSpec& spec, float* y, size_t n) {
  const D d;
  const auto low = static_cast<float>(-spec.limits.qn), high = static_cast<float>(spec.limits.qp);
  ForEachVector(x, y, n, [&](V v) HWY_ATTR {
    const V steps = hn::Div(hn::Sub(v, hn::Set(d, spec.offset)), hn::Set(d, spec.step));
    const V code = hn::Round(Clip(steps, low, high));
    const V real = hn::Add(hn::Mul(code, hn::Set(d, spec.step)), hn::Set(d, spec.offset));
    return hn::IfThenElse(hn::IsNaN(v), v, real);
  });
}

// Calls body(x, upstream, first sum, second sum) -> dx. The rest's upstream gradients are padded with 0.
template <class Body>
HWY_INLINE void ForEachGradient(const float* x, const float* upstream, float* dx, size_t n, double* sums, Body body) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  while (i + lanes <= n) {
    V first = hn::Zero(d), second = hn::Zero(d);
    const size_t end = std::min(n - (n - i) % lanes, i + kVectorsPerSum * lanes);
    for (; i < end; i += lanes) {
      hn::StoreU(body(hn::LoadU(d, x + i), hn::LoadU(d, upstream + i), first, second), d, dx + i);
    }
    sums[0] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, first)));
    sums[1] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, second)));
  }
  if (i == n) return;
  HWY_ALIGN float rest_x[hn::MaxLanes(D())] = {};
  HWY_ALIGN float rest_g[hn::MaxLanes(D())] = {};
  std::copy(x + i, x + n, rest_x);
  std::copy(upstream + i, upstream + n, rest_g);
  V first = hn::Zero(d), second = hn::Zero(d);
  hn::Store(body(hn::Load(d, rest_x), hn::Load(d, rest_g), first, second), d, rest_x);
  sums[0] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, first)));
  sums[1] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, second)));
  std::copy(rest_x, rest_x + (n - i), dx + i);
}

void FakeQuantGradient(const float* x, const float* upstream, float low, float high, float* dx, size_t n,
                       double* sums) {
  const D d;
  ForEachGradient(x, upstream, dx, n, sums, [&](V v, V g, V& below, V& above) HWY_ATTR {
    const auto is_below = hn::Lt(v, hn::Set(d, low));
    const auto is_above = hn::Gt(v, hn::Set(d, high));
    below = hn::Add(below, hn::IfThenElseZero(is_below, g));
    above = hn::Add(above, hn::IfThenElseZero(is_above, g));
    return hn::IfThenZeroElse(hn::Or(is_below, is_above), g);
  });
}

void LearnedStepGradient(const float* x, const float* upstream, const StepSpec& spec, float* dx, size_t n,
                         double* sums) {
  const D d;
  const V low = hn::Set(d, static_cast<float>(-spec.limits.qn)), high = hn::Set(d, static_cast<float>(spec.limits.qp));
  ForEachGradient(x, upstream, dx, n, sums, [&](V v, V g, V& of_step, V& of_offset) HWY_ATTR {
    const V steps = hn::Div(hn::Sub(v, hn::Set(d, spec.offset)), hn::Set(d, spec.step));
    const auto is_low = hn::Le(steps, low);
    const auto is_outside = hn::Or(is_low, hn::Ge(steps, high));
    const V end = hn::IfThenElse(is_low, low, high);
    const V slope = hn::IfThenElse(is_outside, end, hn::Sub(hn::Round(steps), steps));
    of_step = hn::MulAdd(g, slope, of_step);
    of_offset = hn::Add(of_offset, hn::IfThenElseZero(is_outside, g));
    return hn::IfThenZeroElse(is_outside, g);
  });
}

void FindExtremes(const float* x, size_t n, float* found) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V low = hn::Set(d, x[0]), high = low, odd = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V v = hn::LoadU(d, x + i);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
    // 0 for every number; NaN for NaN and infinities, and it stays.
    odd = hn::Add(odd, hn::Mul(v, hn::Zero(d)));
  }
  found[0] = hn::GetLane(hn::MinOfLanes(d, low));
  found[1] = hn::GetLane(hn::MaxOfLanes(d, high));
  found[2] = hn::GetLane(hn::SumOfLanes(d, odd));
  for (; i < n; ++i) {
    found[0] = std::min(found[0], x[i]);
    found[1] = std::max(found[1], x[i]);
    found[2] += x[i] * 0.0f;
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {
HWY_EXPORT(FakeQuant);
HWY_EXPORT(FakeQuantGradient);
HWY_EXPORT(LearnedStep);
HWY_EXPORT(LearnedStepGradient);
HWY_EXPORT(FindExtremes);

void fake_quant(const float* x, const affine::NudgedRange& range, affine::StepRule rule, float* y, size_t n) {
  if (range.is_zero) {
    for (size_t i = 0; i < n; ++i) y[i] = std::isnan(x[i]) ? x[i] : 0.0f;
    return;
  }
  const bool divides = rule == affine::StepRule::kDivide;
  const LaneSpec spec{range.min, range.max, range.scale, divides ? range.scale : range.inverse_scale,
                      std::floor(-range.min * range.inverse_scale + 0.5f)};
  HWY_DYNAMIC_DISPATCH(FakeQuant)(x, spec, divides, y, n);
}

RangeSums fake_quant_gradient(const float* x, const float* upstream, const affine::NudgedRange& range, float* dx,
                              size_t n) {
  if (range.is_zero) {
    std::copy(upstream, upstream + n, dx);
    return {};
  }
  double sums[2] = {0.0, 0.0};
  HWY_DYNAMIC_DISPATCH(FakeQuantGradient)(x, upstream, range.min, range.max, dx, n, sums);
  return {sums[0], sums[1]};
}

void learned_step(const float* x, const StepSpec& spec, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(LearnedStep)(x, spec, y, n);
}

StepSums learned_step_gradient(const float* x, const float* upstream, const StepSpec& spec, float* dx, size_t n) {
  double sums[2] = {0.0, 0.0};
  HWY_DYNAMIC_DISPATCH(LearnedStepGradient)(x, upstream, spec, dx, n, sums);
  return {sums[0], sums[1]};
}

Extremes extremes(const float* x, size_t n) {
  float found[3];
  HWY_DYNAMIC_DISPATCH(FindExtremes)(x, n, found);
  return {found[0], found[1], found[2] == 0.0f};
}
}  // namespace nibble::kernels
#endif  // HWY_ONCE
