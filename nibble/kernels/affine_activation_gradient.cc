#include <algorithm>
#include <cstring>

#include "nibble/kernels/affine_activation.h"
#include "nibble/kernels/channel_period.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/affine_activation_gradient.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Included after foreach_target, which compiles all below once per target.
#include "hwy/highway.h"
#include "nibble/kernels/activation_vector-inl.h"
#include "nibble/kernels/mask_bits-inl.h"

#ifndef NIBBLE_KERNELS_AFFINE_ACTIVATION_GRADIENT_ARGUMENTS_
#define NIBBLE_KERNELS_AFFINE_ACTIVATION_GRADIENT_ARGUMENTS_
namespace nibble::kernels {

struct GradientArguments {
  const float* upstream;
  const float* x;
  const uint8_t* mask;
  size_t elements, channels;
  const float* multiplier;
  const float* offset;
  bool binary_gradient;
  float keep_scale;
};

struct GradientCoefficients {
  const float* scale_h;
  const float* scale_x;
  const float* constant;
};

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// upstream * dactivation/dz * kept, without dropout's factor. The backward pass asks only whether the gradient is
// a bit of the mask or that of tanh.
template <bool kBinaryGradient>
struct MaskedUpstream {
  MaskedUpstream(const GradientArguments& a, const ChannelPeriod& period) : upstream(a.upstream), mask(a.mask) {
    if constexpr (!kBinaryGradient) {
      multiplier = repeat_over(period, a.multiplier, a.channels);
      offset = repeat_over(period, a.offset, a.channels);
    }
  }
  // given: upstream at `element`, which is at k of its period
  HWY_INLINE V operator()(D d, V x, V given, size_t k, size_t element) const {
    const auto kept = LoadBits(d, mask, element);
    if constexpr (kBinaryGradient) {
      return hn::IfThenElseZero(kept, given);
    } else {
      const V z = hn::Add(hn::Mul(x, hn::Load(d, multiplier.get() + k)), hn::Load(d, offset.get() + k));
      return hn::IfThenElseZero(kept, hn::Mul(given, TanhGradient(d, z)));
    }
  }
  const float* upstream;
  const uint8_t* mask;
  AlignedFloats multiplier, offset;
};

// channel_moments asks for no more than x.
struct OnlyX {
  HWY_INLINE V operator()(D, V x, V, size_t, size_t) const { return x; }
  const float* upstream;  // x again, so that nothing more is read
};

// ---- sums ------------------------------------------------------------------

// Adds first = source(x) and first * x of kColumns neighbouring vectors, over `rows` periods from `begin`, to the
// partial sums. Sums in memory would cost two stores a vector, so they stay in registers meanwhile.
template <size_t kColumns, class Source>
HWY_INLINE void SumColumns(D d, const Source& source, const float* x, size_t begin, size_t rows, size_t period,
                           size_t k, float* firsts, float* products) {
  static_assert(kColumns >= 1 && kColumns <= 4);
  const size_t lanes = hn::Lanes(d);
  const size_t k1 = k + lanes, k2 = k + 2 * lanes, k3 = k + 3 * lanes;
  V first0 = hn::Load(d, firsts + k), product0 = hn::Load(d, products + k);
  V first1 = first0, product1 = product0, first2 = first0, product2 = product0, first3 = first0, product3 = product0;
  if constexpr (kColumns > 1) first1 = hn::Load(d, firsts + k1), product1 = hn::Load(d, products + k1);
  if constexpr (kColumns > 2) first2 = hn::Load(d, firsts + k2), product2 = hn::Load(d, products + k2);
  if constexpr (kColumns > 3) first3 = hn::Load(d, firsts + k3), product3 = hn::Load(d, products + k3);
  const auto add = [&](size_t row, size_t column, V& first, V& product) HWY_ATTR {
    const size_t element = row + column;
    const V values = hn::LoadU(d, x + element);
    const V value = source(d, values, hn::LoadU(d, source.upstream + element), column, element);
    first = hn::Add(first, value);
    product = hn::MulAdd(value, values, product);
  };
  for (size_t row = begin; row < begin + rows * period; row += period) {
    add(row, k, first0, product0);
    if constexpr (kColumns > 1) add(row, k1, first1, product1);
    if constexpr (kColumns > 2) add(row, k2, first2, product2);
    if constexpr (kColumns > 3) add(row, k3, first3, product3);
  }
  hn::Store(first0, d, firsts + k), hn::Store(product0, d, products + k);
  if constexpr (kColumns > 1) hn::Store(first1, d, firsts + k1), hn::Store(product1, d, products + k1);
  if constexpr (kColumns > 2) hn::Store(first2, d, firsts + k2), hn::Store(product2, d, products + k2);
  if constexpr (kColumns > 3) hn::Store(first3, d, firsts + k3), hn::Store(product3, d, products + k3);
}

// All columns of a block of rows that fits L1, four at a time: eight sums are independent, enough to hide the
// latency of additions, and leave registers for the rest even on AVX2. `width` is a multiple of the lanes.
template <class Source>
HWY_INLINE void SumBlock(D d, const Source& source, const float* x, size_t begin, size_t rows, size_t period,
                         size_t width, float* firsts, float* products) {
  const size_t lanes = hn::Lanes(d);
  size_t k = 0;
  for (; k + 4 * lanes <= width; k += 4 * lanes) {
    SumColumns<4>(d, source, x, begin, rows, period, k, firsts, products);
  }
  switch ((width - k) / lanes) {
    case 3:
      return SumColumns<3>(d, source, x, begin, rows, period, k, firsts, products);
    case 2:
      return SumColumns<2>(d, source, x, begin, rows, period, k, firsts, products);
    case 1:
      return SumColumns<1>(d, source, x, begin, rows, period, k, firsts, products);
    default:
      return;
  }
}

// first_sums[c] += factor * sum source(x),  product_sums[c] += factor * sum source(x) * x
template <class Source>
void SumProducts(const Source& source, const float* x, size_t elements, size_t channels, const ChannelPeriod& period,
                 double factor, double* first_sums, double* product_sums) {
  constexpr size_t kBlockElements = 2048;  // 16 KiB of x and upstream: half of a small L1
  constexpr size_t kPeriodsPerFlush = 256;
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto partial_firsts = zeros_over(period), partial_products = zeros_over(period);
  float* firsts = partial_firsts.get();
  float* products = partial_products.get();
  const size_t rows_per_block = std::clamp<size_t>(kBlockElements / period.length, 1, kPeriodsPerFlush);
  const size_t rows = elements / period.length;
  size_t unflushed = 0;
  for (size_t row = 0; row < rows;) {
    const size_t here = std::min(rows_per_block, rows - row);
    SumBlock(d, source, x, row * period.length, here, period.length, period.length, firsts, products);
    row += here;
    unflushed += here;
    if (unflushed < kPeriodsPerFlush && row < rows) continue;
    flush_to_channels(period, firsts, channels, factor, first_sums);
    flush_to_channels(period, products, channels, factor, product_sums);
    unflushed = 0;
  }
  const size_t rest = rows * period.length;
  const size_t width = (elements - rest) / lanes * lanes;
  SumBlock(d, source, x, rest, 1, period.length, width, firsts, products);
  if (const size_t last = rest + width; last < elements) {
    const Padded last_x(x + last, elements - last), last_upstream(source.upstream + last, elements - last);
    const V values = hn::Load(d, last_x.values);
    const V first = source(d, values, hn::Load(d, last_upstream.values), width, last);
    hn::Store(hn::Add(hn::Load(d, firsts + width), first), d, firsts + width);
    hn::Store(hn::MulAdd(first, values, hn::Load(d, products + width)), d, products + width);
  }
  flush_to_channels(period, firsts, channels, factor, first_sums);
  flush_to_channels(period, products, channels, factor, product_sums);
}

template <bool kBinaryGradient>
void GradientSumsOf(const GradientArguments& a, double* sum_h, double* sum_hx) {
  const ChannelPeriod period(a.elements, a.channels, hn::Lanes(D()));
  SumProducts(MaskedUpstream<kBinaryGradient>(a, period), a.x, a.elements, a.channels, period, double{a.keep_scale},
              sum_h, sum_hx);
}

void GradientSums(const GradientArguments& a, double* sum_h, double* sum_hx) {
  if (a.binary_gradient) return GradientSumsOf<true>(a, sum_h, sum_hx);
  return GradientSumsOf<false>(a, sum_h, sum_hx);
}

void ChannelMoments(const float* x, size_t elements, size_t channels, double* sum, double* sum_of_squares) {
  const ChannelPeriod period(elements, channels, hn::Lanes(D()));
  SumProducts(OnlyX{x}, x, elements, channels, period, 1.0, sum, sum_of_squares);
}

// ---- gradient --------------------------------------------------------------

struct RepeatedCoefficients {
  RepeatedCoefficients(const GradientCoefficients& c, size_t channels, const ChannelPeriod& period)
      : scale_h(repeat_over(period, c.scale_h, channels)),
        scale_x(repeat_over(period, c.scale_x, channels)),
        constant(repeat_over(period, c.constant, channels)) {}
  AlignedFloats scale_h, scale_x, constant;
};

// Not fused, so that dx has the same bits on every machine.
template <bool kReadsX, class Source>
HWY_INLINE V GradientVector(D d, const Source& source, V x, V upstream, const GradientCoefficients& c, float keep_scale,
                            size_t k, size_t element) {
  const V h = source(d, x, hn::Mul(upstream, hn::Set(d, keep_scale)), k, element);
  V sum = hn::Mul(h, hn::Load(d, c.scale_h + k));
  if constexpr (kReadsX) sum = hn::Add(sum, hn::Mul(x, hn::Load(d, c.scale_x + k)));
  return hn::Add(sum, hn::Load(d, c.constant + k));
}

template <bool kBinaryGradient, bool kReadsX>
void GradientOf(const GradientArguments& a, const GradientCoefficients& coefficients, float* dx) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const ChannelPeriod period(a.elements, a.channels, lanes);
  const MaskedUpstream<kBinaryGradient> source(a, period);
  const RepeatedCoefficients repeated(coefficients, a.channels, period);
  // Copies: what stores through dx cannot change stays in registers.
  const GradientCoefficients c{repeated.scale_h.get(), repeated.scale_x.get(), repeated.constant.get()};
  const float* x = a.x;
  const float* upstream = a.upstream;
  const float keep_scale = a.keep_scale;
  const size_t elements = a.elements, length = period.length;
  for (size_t i = 0; i < elements;) {
    const size_t here = std::min(length, elements - i);
    size_t k = 0;
    for (; k + lanes <= here; k += lanes) {
      const size_t element = i + k;
      const V value = kReadsX ? hn::LoadU(d, x + element) : hn::Zero(d);
      const V result =
          GradientVector<kReadsX>(d, source, value, hn::LoadU(d, upstream + element), c, keep_scale, k, element);
      hn::StoreU(result, d, dx + element);
    }
    if (k < here) {
      const Padded last_x(x + i + k, here - k);
      Padded last(upstream + i + k, here - k);
      const V result = GradientVector<kReadsX>(d, source, hn::Load(d, last_x.values), hn::Load(d, last.values), c,
                                               keep_scale, k, i + k);
      hn::Store(result, d, last.values);
      std::memcpy(dx + i + k, last.values, (here - k) * sizeof(float));
    }
    i += here;
  }
}

void Gradient(const GradientArguments& a, const GradientCoefficients& coefficients, float* dx) {
  if (!a.binary_gradient) return GradientOf<false, true>(a, coefficients, dx);
  // Without a batch norm before it nothing of x is needed but the mask: a third less to read. Of finite x the results
  // are the same bits, for x * 0 added to a number leaves it, and the constant comes after.
  const float* scale_x = coefficients.scale_x;
  const bool reads_x = std::any_of(scale_x, scale_x + a.channels, [](float scale) { return scale != 0.0f; });
  if (reads_x) return GradientOf<true, true>(a, coefficients, dx);
  return GradientOf<true, false>(a, coefficients, dx);
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(GradientSums);
HWY_EXPORT(ChannelMoments);
HWY_EXPORT(Gradient);

void affine_activation_gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t rows,
                                     int64_t channels, const float* multiplier, const float* offset,
                                     const ActivationSpec& activation, float dropout_rate, double* sum_h,
                                     double* sum_hx) {
  if (rows * channels == 0) return;
  const GradientArguments arguments{upstream,
                                    x,
                                    mask,
                                    static_cast<size_t>(rows * channels),
                                    static_cast<size_t>(channels),
                                    multiplier,
                                    offset,
                                    has_binary_gradient(activation.kind),
                                    1.0f / (1.0f - dropout_rate)};
  HWY_DYNAMIC_DISPATCH(GradientSums)(arguments, sum_h, sum_hx);
}

void affine_activation_gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t rows,
                                int64_t channels, const float* multiplier, const float* offset,
                                const ActivationSpec& activation, float dropout_rate, const float* scale_h,
                                const float* scale_x, const float* constant) {
  if (rows * channels == 0) return;
  const GradientArguments arguments{upstream,
                                    x,
                                    mask,
                                    static_cast<size_t>(rows * channels),
                                    static_cast<size_t>(channels),
                                    multiplier,
                                    offset,
                                    has_binary_gradient(activation.kind),
                                    1.0f / (1.0f - dropout_rate)};
  HWY_DYNAMIC_DISPATCH(Gradient)(arguments, {scale_h, scale_x, constant}, dx);
}

void channel_moments(const float* x, int64_t rows, int64_t channels, double* sum, double* sum_of_squares) {
  if (rows * channels == 0) return;
  HWY_DYNAMIC_DISPATCH(ChannelMoments)
  (x, static_cast<size_t>(rows * channels), static_cast<size_t>(channels), sum, sum_of_squares);
}

}  // namespace nibble::kernels
#endif  // HWY_ONCE
