#include "nibble/kernels/weight_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "hwy/aligned_allocator.h"
#include "nibble/kernels/philox_vector.h"
#include "nibble/quant/rounding.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/weight_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Included after foreach_target, which compiles all below once per target.
#include "hwy/highway.h"
#include "nibble/kernels/activation_vector-inl.h"
#include "nibble/kernels/mask_bits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A panel: one vector's worth of neighbouring channels, all rows, copied together. Everything about a channel happens
// in one lane, in the order of the rows, so sums have the bits of the scalar ones.
struct Panel {
  float* w;  // [rows, lanes]: weights / unit_range, zeros in lanes that are no channel
  size_t rows;
  alignas(HWY_ALIGNMENT) float largest[hn::MaxLanes(D())];  // max |w|
  alignas(HWY_ALIGNMENT) float step[hn::MaxLanes(D())];
  alignas(HWY_ALIGNMENT) float coded_step[hn::MaxLanes(D())];  // the step that the codes belong to
};

// Double sums of float lanes.
struct WideSums {
  alignas(HWY_ALIGNMENT) double lanes[hn::MaxLanes(D())] = {};
};

#if HWY_TARGET == HWY_SCALAR
using DWide = hn::ScalableTag<double>;
struct Wide {
  hn::Vec<DWide> low;
};
HWY_INLINE Wide ZeroWide() { return {hn::Zero(DWide())}; }
HWY_INLINE void AddWide(Wide& sums, V v) { sums.low = hn::Add(sums.low, hn::PromoteTo(DWide(), v)); }
HWY_INLINE void StoreWide(const Wide& sums, WideSums& to) { hn::Store(sums.low, DWide(), to.lanes); }
#else
using DWide = hn::Repartition<double, D>;
struct Wide {
  hn::Vec<DWide> low, high;
};
HWY_INLINE Wide ZeroWide() { return {hn::Zero(DWide()), hn::Zero(DWide())}; }
HWY_INLINE void AddWide(Wide& sums, V v) {
  const DWide wide;
  const hn::Half<D> half;
  sums.low = hn::Add(sums.low, hn::PromoteTo(wide, hn::LowerHalf(half, v)));
  sums.high = hn::Add(sums.high, hn::PromoteTo(wide, hn::UpperHalf(half, v)));
}
HWY_INLINE void StoreWide(const Wide& sums, WideSums& to) {
  const DWide wide;
  hn::Store(sums.low, wide, to.lanes);
  hn::Store(sums.high, wide, to.lanes + hn::Lanes(wide));
}
#endif

// ---- codes -----------------------------------------------------------------

// divisor: the step, or its reciprocal where that is exact (powers of two).
template <WeightCode kCode, bool kReciprocal>
HWY_INLINE V Code(D d, V w, V divisor, V half_step, float largest_code) {
  const V one = hn::Set(d, 1.0f);
  if constexpr (kCode == WeightCode::kSign) {
    return hn::IfThenElse(hn::Ge(w, hn::Zero(d)), one, hn::Set(d, -1.0f));
  } else if constexpr (kCode == WeightCode::kSignZeroOne) {
    return hn::IfThenElseZero(hn::Ge(w, hn::Zero(d)), one);
  } else if constexpr (kCode == WeightCode::kThreshold) {
    const auto is_large = hn::And(hn::Ge(hn::Abs(w), half_step), hn::Ne(w, hn::Zero(d)));
    return hn::IfThenElseZero(is_large, hn::CopySignToAbs(one, w));
  } else {
    const V magnitude = hn::Abs(w);
    const V steps = kReciprocal ? hn::Mul(magnitude, divisor) : hn::Div(magnitude, divisor);
    if constexpr (kCode == WeightCode::kTernary) {
      return hn::IfThenElseZero(hn::Gt(steps, hn::Set(d, 0.5f)), hn::CopySignToAbs(one, w));
    } else {
      const V rounded = hn::Floor(hn::Add(steps, hn::Set(d, 0.5f)));
      return hn::CopySignToAbs(hn::Min(rounded, hn::Set(d, largest_code)), w);
    }
  }
}

// What Code() divides by. A step of 0 belongs to a channel of zeros, whose codes are 0.
template <bool kReciprocal>
HWY_INLINE V Divisor(D d, const float* step) {
  const V s = hn::Load(d, step);
  const V safe = hn::IfThenElse(hn::Eq(s, hn::Zero(d)), hn::Set(d, std::numeric_limits<float>::infinity()), s);
  return kReciprocal ? hn::Div(hn::Set(d, 1.0f), safe) : safe;
}

// ---- fitting ---------------------------------------------------------------

inline float RoundedStep(const FittedPlan& plan, float step) {
  return plan.is_power_of_two ? quant::nearest_power_of_two(step) : step;
}

inline void FirstSteps(const FittedPlan& plan, Panel& panel) {
  for (size_t i = 0; i < hn::Lanes(D()); ++i) {
    panel.step[i] = RoundedStep(plan, plan.first_step_numerator * panel.largest[i] / plan.first_step_denominator);
  }
}

// Least squares for the codes of the present steps. Returns whether any step changed.
template <WeightCode kCode, bool kReciprocal>
bool Refit(const FittedPlan& plan, Panel& panel) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const V divisor = Divisor<kReciprocal>(d, panel.step);
  const V half_step = hn::Mul(hn::Load(d, panel.step), hn::Set(d, 0.5f));
  const float largest_code = plan.largest_code;
  Wide products = ZeroWide(), squares = ZeroWide();
  for (size_t row = 0; row < panel.rows; ++row) {
    const V w = hn::Load(d, panel.w + row * lanes);
    const V code = Code<kCode, kReciprocal>(d, w, divisor, half_step, largest_code);
    // Rounded to float before they are added, as the definition's are.
    AddWide(products, hn::Mul(w, code));
    AddWide(squares, hn::Mul(code, code));
  }
  WideSums product_sums, square_sums;
  StoreWide(products, product_sums);
  StoreWide(squares, square_sums);
  bool changed = false;
  for (size_t i = 0; i < lanes; ++i) {
    const double count = static_cast<double>(panel.rows);
    const float mean_product = static_cast<float>(product_sums.lanes[i] / count);
    const float mean_square = static_cast<float>(square_sums.lanes[i] / count);
    float step = RoundedStep(plan, mean_product / (mean_square + quant::kEpsilon));
    step = std::max(step, plan.min_step);
    if (plan.max_step > 0.0f) step = std::min(step, plan.max_step);
    panel.coded_step[i] = panel.step[i];
    changed |= step != panel.step[i];
    panel.step[i] = step;
  }
  return changed;
}

template <WeightCode kCode, bool kReciprocal>
void Fit(const FittedPlan& plan, Panel& panel) {
  FirstSteps(plan, panel);
  // A step that stays leads to the same codes and so stays for good.
  for (int i = 0; i < plan.refits; ++i) {
    if (!Refit<kCode, kReciprocal>(plan, panel)) break;
  }
  if (plan.recode_after_fit || plan.refits == 0) {
    std::copy_n(panel.step, hn::Lanes(D()), panel.coded_step);
  }
}

// ---- writing ---------------------------------------------------------------

HWY_INLINE void WriteRow(D d, V value, float* to, size_t width) {
  if (width == hn::Lanes(d)) return hn::StoreU(value, d, to);
  alignas(HWY_ALIGNMENT) float values[hn::MaxLanes(D())];
  hn::Store(value, d, values);
  std::memcpy(to, values, width * sizeof(float));
}

template <WeightCode kCode, bool kReciprocal>
void WriteCodes(const FittedPlan& plan, const Panel& panel, float* real, size_t channels, size_t width) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const V divisor = Divisor<kReciprocal>(d, panel.coded_step);
  const V half_step = hn::Mul(hn::Load(d, panel.coded_step), hn::Set(d, 0.5f));
  const V scale = hn::Mul(hn::Load(d, panel.step), hn::Set(d, plan.codes_per_range));
  const V unit = hn::Set(d, plan.unit_range / plan.codes_per_range);
  const float largest_code = plan.largest_code;
  for (size_t row = 0; row < panel.rows; ++row) {
    const V code = Code<kCode, kReciprocal>(d, hn::Load(d, panel.w + row * lanes), divisor, half_step, largest_code);
    WriteRow(d, hn::Mul(scale, hn::Mul(unit, code)), real + row * channels, width);
  }
}

// ---- draws -----------------------------------------------------------------

// The population deviation of every lane, + 1e-7.
void Deviations(const Panel& panel, float* deviation) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const double count = static_cast<double>(panel.rows);
  Wide sums = ZeroWide();
  WideSums stored;
  for (size_t row = 0; row < panel.rows; ++row) AddWide(sums, hn::Load(d, panel.w + row * lanes));
  StoreWide(sums, stored);
  for (size_t i = 0; i < lanes; ++i) deviation[i] = static_cast<float>(stored.lanes[i] / count);
  const V mean = hn::Load(d, deviation);
  sums = ZeroWide();
  for (size_t row = 0; row < panel.rows; ++row) {
    const V centred = hn::Sub(hn::Load(d, panel.w + row * lanes), mean);
    AddWide(sums, hn::Mul(centred, centred));
  }
  StoreWide(sums, stored);
  for (size_t i = 0; i < lanes; ++i) {
    deviation[i] = std::sqrt(static_cast<float>(stored.lanes[i] / count)) + quant::kEpsilon;
  }
}

// 1 / (1 + exp(-v)), within 1e-6; a NaN gives one half or a NaN.
HWY_INLINE V Sigmoid(D d, V v) {
  constexpr float kLog2E = 1.442695041f;
  const V one = hn::Set(d, 1.0f);
  const V t = hn::Max(hn::Mul(hn::Abs(v), hn::Set(d, -kLog2E)), hn::Set(d, -126.0f));
  const V e = ExpTwo(d, t);
  const V numerator = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), e, one);
  return hn::Div(numerator, hn::Add(one, e));
}

// +1 with probability p, else -1. words: one per lane, `stride` apart; the last row may have fewer than the lanes.
HWY_INLINE V DrawSign(D d, V p, const uint32_t* words, size_t stride, size_t width) {
  alignas(HWY_ALIGNMENT) uint32_t gathered[hn::MaxLanes(D())] = {};
  for (size_t i = 0; i < width; ++i) gathered[i] = words[i * stride] >> 8;
  const hn::RebindToSigned<D> di;
  const V u =
      hn::Mul(hn::ConvertTo(d, hn::BitCast(di, hn::Load(hn::RebindToUnsigned<D>(), gathered))), hn::Set(d, 0x1p-24f));
  return hn::IfThenElse(hn::Lt(u, p), hn::Set(d, 1.0f), hn::Set(d, -1.0f));
}

void WriteDraws(const FittedPlan& plan, const Panel& panel, const uint32_t* words, float* real, size_t channels,
                size_t width) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  alignas(HWY_ALIGNMENT) float deviation[hn::MaxLanes(D())];
  Deviations(panel, deviation);
  const V scale = hn::Load(d, panel.step), spread = hn::Load(d, deviation), temperature = hn::Set(d, plan.temperature);
  const V threshold = hn::Div(scale, hn::Mul(hn::Set(d, 2.0f), spread));
  const bool is_binary = plan.draw == FittedPlan::Draw::kBinary;
  for (size_t row = 0; row < panel.rows; ++row) {
    const V w = hn::Load(d, panel.w + row * lanes);
    V code;
    if (is_binary) {
      const V p = Sigmoid(d, hn::Div(hn::Mul(temperature, w), spread));
      code = DrawSign(d, p, words + row * channels, 1, width);
    } else {
      const V centred = hn::Div(w, spread);
      const V p0 = Sigmoid(d, hn::Mul(temperature, hn::Sub(centred, threshold)));
      const V p1 = Sigmoid(d, hn::Mul(temperature, hn::Add(centred, threshold)));
      const uint32_t* row_words = words + 2 * row * channels;
      const V sum = hn::Add(DrawSign(d, p0, row_words, 2, width), DrawSign(d, p1, row_words + 1, 2, width));
      code = hn::Mul(sum, hn::Set(d, 0.5f));
    }
    WriteRow(d, hn::Mul(scale, code), real + row * channels, width);
  }
}

// ---- panels ----------------------------------------------------------------

// Copies `width` channels; false if the scalar code has to deal with them.
bool Gather(const FittedPlan& plan, const float* weights, size_t channels, size_t width, Panel& panel) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const V inverse_range = hn::Set(d, 1.0f / plan.unit_range);
  V largest = hn::Zero(d);
  auto is_finite = hn::Eq(largest, largest);
  for (size_t row = 0; row < panel.rows; ++row) {
    const float* from = weights + row * channels;
    const V raw = width == lanes ? hn::LoadU(d, from) : hn::Load(d, Padded(from, width).values);
    const V w = hn::Mul(raw, inverse_range);
    hn::Store(w, d, panel.w + row * lanes);
    largest = hn::Max(largest, hn::Abs(w));
    is_finite = hn::And(is_finite, hn::Lt(hn::Abs(w), hn::Set(d, 1e30f)));
  }
  hn::Store(largest, d, panel.largest);
  const auto is_ordinary = hn::Or(hn::Eq(largest, hn::Zero(d)), hn::Gt(largest, hn::Set(d, 1e-30f)));
  return hn::AllTrue(d, hn::And(is_finite, is_ordinary));
}

template <WeightCode kCode, bool kReciprocal>
bool QuantizeFittedAs(const FittedPlan& plan, const float* weights, size_t rows, size_t channels, float* real) {
  const size_t lanes = hn::Lanes(D());
  const auto copy = hwy::AllocateAligned<float>(rows * lanes);
  const bool draws = plan.draw != FittedPlan::Draw::kNone;
  const size_t word_count = draws ? rows * channels * (plan.draw == FittedPlan::Draw::kTernary ? 2 : 1) : 0;
  const auto words = hwy::AllocateAligned<uint32_t>(std::max<size_t>(word_count, 1));
  random_words(plan.random, 0, word_count, words.get());
  for (size_t c = 0; c < channels; c += lanes) {
    const size_t width = std::min(lanes, channels - c);
    Panel panel{.w = copy.get(), .rows = rows, .largest = {}, .step = {}, .coded_step = {}};
    if (!Gather(plan, weights + c, channels, width, panel)) return false;
    Fit<kCode, kReciprocal>(plan, panel);
    if (draws) {
      const size_t words_per_element = word_count / (rows * channels);
      WriteDraws(plan, panel, words.get() + c * words_per_element, real + c, channels, width);
    } else {
      WriteCodes<kCode, kReciprocal>(plan, panel, real + c, channels, width);
    }
  }
  return true;
}

// ---- rows ------------------------------------------------------------------

// The weights / unit_range of `width` channels.
HWY_INLINE V LoadWeights(D d, const float* from, size_t width, V inverse_range) {
  return hn::Mul(width == hn::Lanes(d) ? hn::LoadU(d, from) : hn::Load(d, Padded(from, width).values), inverse_range);
}

// max |w| of every channel; false if the scalar code has to deal with them.
bool LargestWeights(const FittedPlan& plan, const float* weights, size_t rows, size_t channels, float* largest) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const V inverse_range = hn::Set(d, 1.0f / plan.unit_range);
  auto is_finite = hn::Eq(hn::Zero(d), hn::Zero(d));
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < channels; c += lanes) {
      const size_t width = std::min(lanes, channels - c);
      const V magnitude = hn::Abs(LoadWeights(d, weights + row * channels + c, width, inverse_range));
      hn::Store(hn::Max(hn::Load(d, largest + c), magnitude), d, largest + c);
      is_finite = hn::And(is_finite, hn::Lt(magnitude, hn::Set(d, 1e30f)));
    }
  }
  for (size_t c = 0; c < channels; c += lanes) {
    const V l = hn::Load(d, largest + c);
    is_finite = hn::And(is_finite, hn::Or(hn::Eq(l, hn::Zero(d)), hn::Gt(l, hn::Set(d, 1e-30f))));
  }
  return hn::AllTrue(d, is_finite);
}

// Steps that the largest weight gives and nothing fits: one pass over the rows for them and one for the codes, without
// the panels' copy and in the order of the memory. Channel by channel the arithmetic is the panels'.
template <WeightCode kCode>
bool QuantizeByRows(const FittedPlan& plan, const float* weights, size_t rows, size_t channels, float* real) {
  const D d;
  const size_t lanes = hn::Lanes(d), padded = (channels + lanes - 1) / lanes * lanes;
  const auto numbers = hwy::AllocateAligned<float>(3 * padded);
  float *step = numbers.get(), *divisor = step + padded, *scale = divisor + padded;
  std::fill_n(step, padded, 0.0f);
  if (!LargestWeights(plan, weights, rows, channels, step)) return false;
  for (size_t c = 0; c < padded; ++c) {
    step[c] = RoundedStep(plan, plan.first_step_numerator * step[c] / plan.first_step_denominator);
  }
  for (size_t c = 0; c < padded; c += lanes) {
    hn::Store(Divisor<false>(d, step + c), d, divisor + c);
    hn::Store(hn::Mul(hn::Load(d, step + c), hn::Set(d, plan.codes_per_range)), d, scale + c);
  }
  const V inverse_range = hn::Set(d, 1.0f / plan.unit_range);
  const V unit = hn::Set(d, plan.unit_range / plan.codes_per_range), half = hn::Set(d, 0.5f);
  const float largest_code = plan.largest_code;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < channels; c += lanes) {
      const size_t width = std::min(lanes, channels - c), at = row * channels + c;
      const V w = LoadWeights(d, weights + at, width, inverse_range);
      const V half_step = hn::Mul(hn::Load(d, step + c), half);
      const V code = Code<kCode, false>(d, w, hn::Load(d, divisor + c), half_step, largest_code);
      WriteRow(d, hn::Mul(hn::Load(d, scale + c), hn::Mul(unit, code)), real + at, width);
    }
  }
  return true;
}

template <WeightCode kCode>
bool QuantizeFittedCode(const FittedPlan& plan, const float* weights, size_t rows, size_t channels, float* real) {
  // With few channels a panel's sums and steps, which stay in registers, are worth its copy.
  constexpr size_t kFewVectors = 4;
  const bool is_fitted = plan.refits > 0 || plan.draw != FittedPlan::Draw::kNone;
  if (!is_fitted && !plan.is_power_of_two && channels >= kFewVectors * hn::Lanes(D())) {
    return QuantizeByRows<kCode>(plan, weights, rows, channels, real);
  }
  if (plan.is_power_of_two) return QuantizeFittedAs<kCode, true>(plan, weights, rows, channels, real);
  return QuantizeFittedAs<kCode, false>(plan, weights, rows, channels, real);
}

bool QuantizeFitted(const FittedPlan& plan, const float* weights, size_t rows, size_t channels, float* real) {
  switch (plan.code) {
    case WeightCode::kRounded:
      return QuantizeFittedCode<WeightCode::kRounded>(plan, weights, rows, channels, real);
    case WeightCode::kSign:
      return QuantizeFittedCode<WeightCode::kSign>(plan, weights, rows, channels, real);
    case WeightCode::kSignZeroOne:
      return QuantizeFittedCode<WeightCode::kSignZeroOne>(plan, weights, rows, channels, real);
    case WeightCode::kTernary:
      return QuantizeFittedCode<WeightCode::kTernary>(plan, weights, rows, channels, real);
    case WeightCode::kThreshold:
      return QuantizeFittedCode<WeightCode::kThreshold>(plan, weights, rows, channels, real);
  }
  return false;
}

void QuantizePowerOfTwo(const float* weights, size_t count, const ActivationSpec& exponents, float* real) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const Activation<ActivationKind::kQuantizedReluPo2> power(exponents);
  for (size_t i = 0; i < count; i += lanes) {
    const size_t width = std::min(lanes, count - i);
    const V w = width == lanes ? hn::LoadU(d, weights + i) : hn::Load(d, Padded(weights + i, width).values);
    const V magnitude = power.value(d, hn::Abs(w));
    WriteRow(d, hn::IfThenElse(hn::Lt(w, hn::Zero(d)), hn::Neg(magnitude), magnitude), real + i, width);
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(QuantizeFitted);
HWY_EXPORT(QuantizePowerOfTwo);

bool quantize_fitted(const FittedPlan& plan, const float* weights, int64_t rows, int64_t channels, float* real) {
  if (rows * channels == 0) return true;
  return HWY_DYNAMIC_DISPATCH(QuantizeFitted)(plan, weights, static_cast<size_t>(rows), static_cast<size_t>(channels),
                                              real);
}

void quantize_power_of_two(const float* weights, int64_t count, const ActivationSpec& exponents, float* real) {
  HWY_DYNAMIC_DISPATCH(QuantizePowerOfTwo)(weights, static_cast<size_t>(count), exponents, real);
}

}  // namespace nibble::kernels
#endif  // HWY_ONCE
