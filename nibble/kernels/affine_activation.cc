#include "nibble/kernels/affine_activation.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "nibble/kernels/channel_period.h"
#include "nibble/kernels/philox_vector.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/affine_activation.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Included after foreach_target, which compiles all below once per target.
#include "hwy/highway.h"
#include "nibble/kernels/activation_vector-inl.h"
#include "nibble/kernels/mask_bits-inl.h"

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

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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
  const ChannelPeriod period(a.elements, a.channels, hn::Lanes(D()));
  const auto multiplier = repeat_over(period, a.multiplier, a.channels);
  const auto offset = repeat_over(period, a.offset, a.channels);
  const ForwardParameters p{multiplier.get(), offset.get(), 1.0f / (1.0f - a.dropout.rate)};
  const Activation<kKind> act(a.activation);
  if (a.dropout.rate <= 0.0f) {
    if (a.mask) return ForwardRange<true, false>(act, a, p, period.length, 0, a.elements);
    return ForwardRange<false, false>(act, a, p, period.length, 0, a.elements);
  }
  // The keep bits of a few thousand elements are drawn ahead, into the mask itself, and found there in L1.
  constexpr size_t kElementsAhead = 2048;
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

void AffineActivationForward(const ForwardArguments& a) {
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

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(AffineActivationForward);

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
  HWY_DYNAMIC_DISPATCH(AffineActivationForward)
  ({x, y, mask, elements, static_cast<size_t>(channels), multiplier, offset, activation, dropout});
}

}  // namespace nibble::kernels
#endif  // HWY_ONCE
