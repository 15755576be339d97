#include "nibble/kernels/affine_activation.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "nibble/kernels/philox_vector.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/affine_activation.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Included after foreach_target, which compiles all below once per target.
#include "hwy/highway.h"
#include "nibble/kernels/activation_vector-inl.h"

#ifndef NIBBLE_KERNELS_AFFINE_ACTIVATION_ARGUMENTS_
#define NIBBLE_KERNELS_AFFINE_ACTIVATION_ARGUMENTS_
namespace nibble::kernels {

struct ForwardArguments {
  const float* x;
  float* y;
  uint8_t* mask;  // with dropout: scratch memory if the caller wants none
  size_t elements, channels;
  const float* multiplier;
  const float* offset;
  const ActivationSpec& activation;
  const Dropout& dropout;
};

struct BackwardArguments {
  const float* upstream;
  const float* x;
  const uint8_t* mask;
  float* dx;
  size_t elements, channels;
  const float* multiplier;
  const float* offset;
  const ActivationSpec& activation;
  float keep_scale;
  const float* scale_h;
  const float* scale_x;
  const float* constant;
  double* sum_h;
  double* sum_hx;
};

struct MomentArguments {
  const float* x;
  size_t elements, channels;
  double* sum;
  double* sum_of_squares;
};

using AlignedFloats = hwy::AlignedFreeUniquePtr<float[]>;

// Channels repeat every lcm(channels, lanes) elements. A period is the smallest multiple of that with at least
// kVectors vectors, so that short inner loops and sums that wait for each other are rare, but no longer than the data.
struct Period {
  static constexpr size_t kVectors = 8;
  Period(size_t elements, size_t channels, size_t lanes) {
    const size_t shortest = std::lcm(channels, lanes);
    const size_t whole = shortest * std::max<size_t>(1, (kVectors * lanes + shortest - 1) / shortest);
    length = std::min(whole, (elements + lanes - 1) / lanes * lanes);
  }
  size_t length;  // a multiple of lanes, and of channels unless the data end before
};

inline AlignedFloats repeated(const float* per_channel, size_t channels, const Period& period) {
  auto values = hwy::AllocateAligned<float>(std::max<size_t>(period.length, 1));
  for (size_t i = 0, c = 0; i < period.length; ++i, c = c + 1 == channels ? 0 : c + 1) values[i] = per_channel[c];
  return values;
}

inline AlignedFloats zeros(const Period& period) {
  auto values = hwy::AllocateAligned<float>(std::max<size_t>(period.length, 1));
  std::fill_n(values.get(), period.length, 0.0f);
  return values;
}

// Adds factor * partial to the channels' sums and clears partial.
inline void flush(float* partial, const Period& period, size_t channels, double factor, double* sums) {
  for (size_t i = 0, c = 0; i < period.length; ++i, c = c + 1 == channels ? 0 : c + 1) {
    sums[c] += factor * double{partial[i]};
    partial[i] = 0.0f;
  }
}

// Periods whose float sums are kept before they go to the double ones.
constexpr size_t kPeriodsPerFlush = 256;

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// ---- bits ------------------------------------------------------------------
// element is a multiple of the lanes; with fewer than 8 of them a byte holds several vectors' bits.

HWY_INLINE hn::Mask<D> LoadBits(D d, const uint8_t* mask, size_t element) {
  if constexpr (hn::MaxLanes(d) >= 8) return hn::LoadMaskBits(d, mask + element / 8);
  alignas(8) uint8_t byte[8] = {};
  byte[0] = static_cast<uint8_t>(mask[element / 8] >> (element % 8));
  return hn::LoadMaskBits(d, byte);
}

HWY_INLINE void StoreBits(D d, hn::Mask<D> bits, uint8_t* mask, size_t element) {
  if constexpr (hn::MaxLanes(d) >= 8) {
    hn::StoreMaskBits(d, bits, mask + element / 8);
  } else {
    alignas(8) uint8_t byte[8] = {};
    hn::StoreMaskBits(d, bits, byte);
    const unsigned field = ((1u << hn::Lanes(d)) - 1) << (element % 8);
    uint8_t& target = mask[element / 8];
    target = static_cast<uint8_t>((target & ~field) | (unsigned{byte[0]} << (element % 8)));
  }
}

// A copy of the last, incomplete vector, with zeros behind.
struct Padded {
  Padded(const float* from, size_t count) {
    std::memset(values, 0, sizeof(values));
    std::memcpy(values, from, count * sizeof(float));
  }
  alignas(HWY_ALIGNMENT) float values[hn::MaxLanes(D())];
};

// ---- forward ---------------------------------------------------------------

struct ForwardParameters {
  const float* multiplier;
  const float* offset;
  float keep_scale;
};

template <bool kMask, bool kDropout, class Act>
HWY_INLINE V ForwardVector(D d, const Act& act, V x, const ForwardParameters& p, size_t k, uint8_t* mask,
                           size_t element) {
  // Not fused: z has the same bits on every machine, so the codes do.
  const V z = hn::Add(hn::Mul(x, hn::Load(d, p.multiplier + k)), hn::Load(d, p.offset + k));
  V y = act.value(d, z);
  if constexpr (kMask) {
    auto passes = act.passes(d, z);
    if constexpr (kDropout) {
      const auto keep = LoadBits(d, mask, element);
      y = hn::IfThenElseZero(keep, hn::Mul(y, hn::Set(d, p.keep_scale)));
      passes = hn::And(passes, keep);
    }
    StoreBits(d, passes, mask, element);
  }
  return y;
}

template <bool kMask, bool kDropout, class Act>
HWY_NOINLINE void ForwardRange(const Act& act_in, const ForwardArguments& a, const ForwardParameters& p_in,
                               size_t period, size_t begin, size_t end) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  // Copies, which stores through y cannot change.
  const Act act = act_in;
  const ForwardParameters p = p_in;
  const float* x = a.x;
  float* y = a.y;
  uint8_t* mask = a.mask;
  for (size_t i = begin; i < end;) {
    const size_t here = std::min(period, end - i);
    size_t k = 0;
    for (; k + lanes <= here; k += lanes) {
      hn::StoreU(ForwardVector<kMask, kDropout>(d, act, hn::LoadU(d, x + i + k), p, k, mask, i + k), d, y + i + k);
    }
    if (k < here) {
      Padded last(x + i + k, here - k);
      hn::Store(ForwardVector<kMask, kDropout>(d, act, hn::Load(d, last.values), p, k, mask, i + k), d, last.values);
      std::memcpy(y + i + k, last.values, (here - k) * sizeof(float));
    }
    i += here;
  }
}

template <ActivationKind kKind>
void ForwardKind(const ForwardArguments& a) {
  const Period period(a.elements, a.channels, hn::Lanes(D()));
  const auto multiplier = repeated(a.multiplier, a.channels, period);
  const auto offset = repeated(a.offset, a.channels, period);
  const ForwardParameters p{multiplier.get(), offset.get(), 1.0f / (1.0f - a.dropout.rate)};
  const Activation<kKind> act(a.activation);
  if (a.dropout.rate <= 0.0f) {
    if (a.mask) return ForwardRange<true, false>(act, a, p, period.length, 0, a.elements);
    return ForwardRange<false, false>(act, a, p, period.length, 0, a.elements);
  }
  // The keep bits of a few thousand elements are drawn ahead, into the mask itself, and found there in L1.
  constexpr size_t kElementsAhead = 16384;
  const size_t chunk = std::max<size_t>(1, kElementsAhead / period.length) * period.length;
  const uint32_t threshold = dropout_threshold(a.dropout.rate);
  size_t drawn = 0;
  for (size_t begin = 0; begin < a.elements; begin += chunk) {
    const size_t end = std::min(begin + chunk, a.elements);
    if (drawn < end) {
      const size_t count = (end - drawn + 127) / 128 * 128;
      dropout_keep_bits(a.dropout.key, a.dropout.first_element + drawn, count, threshold, a.mask + drawn / 8);
      drawn += count;
    }
    ForwardRange<true, true>(act, a, p, period.length, begin, end);
  }
}

// ---- backward --------------------------------------------------------------

struct BackwardParameters {
  const float* multiplier = nullptr;  // these two for tanh gradients only
  const float* offset = nullptr;
  const float* scale_h = nullptr;
  const float* scale_x = nullptr;
  const float* constant = nullptr;
  float keep_scale = 1.0f;
};

// upstream * dactivation/dz * kept, without keep_scale. With a gradient of tanh the last bits differ from the
// definition's (TanhGradient).
template <class Act>
HWY_INLINE V MaskedUpstream(D d, const Act&, V upstream, V x, const BackwardParameters& p, size_t k,
                            const uint8_t* mask, size_t element) {
  const V kept = hn::IfThenElseZero(LoadBits(d, mask, element), upstream);
  if constexpr (Act::kBinaryGradient) return kept;
  const V z = hn::Add(hn::Mul(x, hn::Load(d, p.multiplier + k)), hn::Load(d, p.offset + k));
  return hn::IfThenElseZero(LoadBits(d, mask, element), hn::Mul(upstream, TanhGradient(d, z)));
}

HWY_INLINE void AddTo(D d, float* sums, V value) { hn::Store(hn::Add(hn::Load(d, sums), value), d, sums); }

template <ActivationKind kKind>
void GradientSumsKind(const BackwardArguments& a) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const Period period(a.elements, a.channels, lanes);
  const Activation<kKind> act(a.activation);
  AlignedFloats multiplier, offset;
  if constexpr (!Activation<kKind>::kBinaryGradient) {
    multiplier = repeated(a.multiplier, a.channels, period);
    offset = repeated(a.offset, a.channels, period);
  }
  const BackwardParameters p{.multiplier = multiplier.get(), .offset = offset.get()};
  const auto partial_h = zeros(period), partial_hx = zeros(period);
  float* HWY_RESTRICT h_sums = partial_h.get();
  float* HWY_RESTRICT hx_sums = partial_hx.get();
  size_t periods = 0;
  for (size_t i = 0; i < a.elements;) {
    const size_t here = std::min(period.length, a.elements - i);
    size_t k = 0;
    for (; k + lanes <= here; k += lanes) {
      const V x = hn::LoadU(d, a.x + i + k);
      const V h = MaskedUpstream(d, act, hn::LoadU(d, a.upstream + i + k), x, p, k, a.mask, i + k);
      AddTo(d, h_sums + k, h);
      AddTo(d, hx_sums + k, hn::Mul(h, x));
    }
    if (k < here) {
      const Padded last_x(a.x + i + k, here - k), last_upstream(a.upstream + i + k, here - k);
      const V x = hn::Load(d, last_x.values);
      const V h = MaskedUpstream(d, act, hn::Load(d, last_upstream.values), x, p, k, a.mask, i + k);
      AddTo(d, h_sums + k, h);
      AddTo(d, hx_sums + k, hn::Mul(h, x));
    }
    i += here;
    if (++periods == kPeriodsPerFlush || i >= a.elements) {
      flush(h_sums, period, a.channels, double{a.keep_scale}, a.sum_h);
      flush(hx_sums, period, a.channels, double{a.keep_scale}, a.sum_hx);
      periods = 0;
    }
  }
}

template <class Act>
HWY_INLINE V GradientVector(D d, const Act& act, V upstream, V x, const BackwardParameters& p, size_t k,
                            const uint8_t* mask, size_t element) {
  const V scaled = hn::Mul(upstream, hn::Set(d, p.keep_scale));
  const V h = MaskedUpstream(d, act, scaled, x, p, k, mask, element);
  const V sum = hn::Add(hn::Mul(h, hn::Load(d, p.scale_h + k)), hn::Mul(x, hn::Load(d, p.scale_x + k)));
  return hn::Add(sum, hn::Load(d, p.constant + k));
}

template <ActivationKind kKind>
void GradientKind(const BackwardArguments& a) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const Period period(a.elements, a.channels, lanes);
  const Activation<kKind> act(a.activation);
  AlignedFloats multiplier, offset;
  if constexpr (!Activation<kKind>::kBinaryGradient) {
    multiplier = repeated(a.multiplier, a.channels, period);
    offset = repeated(a.offset, a.channels, period);
  }
  const auto scale_h = repeated(a.scale_h, a.channels, period);
  const auto scale_x = repeated(a.scale_x, a.channels, period);
  const auto constant = repeated(a.constant, a.channels, period);
  const BackwardParameters p{multiplier.get(), offset.get(),   scale_h.get(),
                             scale_x.get(),    constant.get(), a.keep_scale};
  const float* x = a.x;
  const float* upstream = a.upstream;
  const uint8_t* mask = a.mask;
  float* dx = a.dx;
  for (size_t i = 0; i < a.elements;) {
    const size_t here = std::min(period.length, a.elements - i);
    size_t k = 0;
    for (; k + lanes <= here; k += lanes) {
      const V result =
          GradientVector(d, act, hn::LoadU(d, upstream + i + k), hn::LoadU(d, x + i + k), p, k, mask, i + k);
      hn::StoreU(result, d, dx + i + k);
    }
    if (k < here) {
      const Padded last_x(x + i + k, here - k);
      Padded last(upstream + i + k, here - k);
      hn::Store(GradientVector(d, act, hn::Load(d, last.values), hn::Load(d, last_x.values), p, k, mask, i + k), d,
                last.values);
      std::memcpy(dx + i + k, last.values, (here - k) * sizeof(float));
    }
    i += here;
  }
}

// ---- moments ---------------------------------------------------------------

void Moments(const MomentArguments& a) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const Period period(a.elements, a.channels, lanes);
  const auto partial_sum = zeros(period), partial_square = zeros(period);
  float* HWY_RESTRICT sums = partial_sum.get();
  float* HWY_RESTRICT squares = partial_square.get();
  size_t periods = 0;
  for (size_t i = 0; i < a.elements;) {
    const size_t here = std::min(period.length, a.elements - i);
    size_t k = 0;
    for (; k + lanes <= here; k += lanes) {
      const V x = hn::LoadU(d, a.x + i + k);
      AddTo(d, sums + k, x);
      AddTo(d, squares + k, hn::Mul(x, x));
    }
    if (k < here) {
      const Padded last(a.x + i + k, here - k);
      const V x = hn::Load(d, last.values);
      AddTo(d, sums + k, x);
      AddTo(d, squares + k, hn::Mul(x, x));
    }
    i += here;
    if (++periods == kPeriodsPerFlush || i >= a.elements) {
      flush(sums, period, a.channels, 1.0, a.sum);
      flush(squares, period, a.channels, 1.0, a.sum_of_squares);
      periods = 0;
    }
  }
}

// ---- by kind ---------------------------------------------------------------

void Forward(const ForwardArguments& a) {
  switch (a.activation.kind) {
    case ActivationKind::kLinear:
      return ForwardKind<ActivationKind::kLinear>(a);
    case ActivationKind::kRelu:
      return ForwardKind<ActivationKind::kRelu>(a);
    case ActivationKind::kQuantizedRelu:
      return ForwardKind<ActivationKind::kQuantizedRelu>(a);
    case ActivationKind::kQuantizedReluPo2:
      return ForwardKind<ActivationKind::kQuantizedReluPo2>(a);
    case ActivationKind::kQuantizedBits:
      return ForwardKind<ActivationKind::kQuantizedBits>(a);
    case ActivationKind::kBinary:
      return ForwardKind<ActivationKind::kBinary>(a);
    case ActivationKind::kTernary:
      return ForwardKind<ActivationKind::kTernary>(a);
  }
}

// The backward pass asks only whether the gradient is a bit or that of tanh.
void GradientSums(const BackwardArguments& a) {
  if (has_binary_gradient(a.activation.kind)) return GradientSumsKind<ActivationKind::kLinear>(a);
  return GradientSumsKind<ActivationKind::kBinary>(a);
}

void Gradient(const BackwardArguments& a) {
  if (has_binary_gradient(a.activation.kind)) return GradientKind<ActivationKind::kLinear>(a);
  return GradientKind<ActivationKind::kBinary>(a);
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(GradientSums);
HWY_EXPORT(Gradient);
HWY_EXPORT(Moments);

void affine_activation_forward(const float* x, float* y, uint8_t* mask, int64_t rows, int64_t channels,
                               const float* multiplier, const float* offset, const ActivationSpec& activation,
                               const Dropout& dropout) {
  const size_t elements = static_cast<size_t>(rows * channels);
  if (elements == 0) return;
  std::vector<uint8_t> keep_bits;
  if (!mask && dropout.rate > 0.0f) {
    keep_bits.resize(mask_bytes(elements));
    mask = keep_bits.data();
  }
  HWY_DYNAMIC_DISPATCH(Forward)
  ({x, y, mask, elements, static_cast<size_t>(channels), multiplier, offset, activation, dropout});
}

void affine_activation_gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t rows,
                                     int64_t channels, const float* multiplier, const float* offset,
                                     const ActivationSpec& activation, float dropout_rate, double* sum_h,
                                     double* sum_hx) {
  if (rows * channels == 0) return;
  HWY_DYNAMIC_DISPATCH(GradientSums)
  ({.upstream = upstream,
    .x = x,
    .mask = mask,
    .dx = nullptr,
    .elements = static_cast<size_t>(rows * channels),
    .channels = static_cast<size_t>(channels),
    .multiplier = multiplier,
    .offset = offset,
    .activation = activation,
    .keep_scale = 1.0f / (1.0f - dropout_rate),
    .scale_h = nullptr,
    .scale_x = nullptr,
    .constant = nullptr,
    .sum_h = sum_h,
    .sum_hx = sum_hx});
}

void affine_activation_gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t rows,
                                int64_t channels, const float* multiplier, const float* offset,
                                const ActivationSpec& activation, float dropout_rate, const float* scale_h,
                                const float* scale_x, const float* constant) {
  if (rows * channels == 0) return;
  HWY_DYNAMIC_DISPATCH(Gradient)
  ({.upstream = upstream,
    .x = x,
    .mask = mask,
    .dx = dx,
    .elements = static_cast<size_t>(rows * channels),
    .channels = static_cast<size_t>(channels),
    .multiplier = multiplier,
    .offset = offset,
    .activation = activation,
    .keep_scale = 1.0f / (1.0f - dropout_rate),
    .scale_h = scale_h,
    .scale_x = scale_x,
    .constant = constant,
    .sum_h = nullptr,
    .sum_hx = nullptr});
}

void channel_moments(const float* x, int64_t rows, int64_t channels, double* sum, double* sum_of_squares) {
  if (rows * channels == 0) return;
  HWY_DYNAMIC_DISPATCH(Moments)
  ({x, static_cast<size_t>(rows * channels), static_cast<size_t>(channels), sum, sum_of_squares});
}

}  // namespace nibble::kernels
#endif  // HWY_ONCE
