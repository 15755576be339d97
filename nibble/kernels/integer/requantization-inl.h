// nibble/kernels/integer/requantization-inl.h
// Vectors of up to 16 integers of neighbouring channels: loaded from codes, requantized, stored as codes. Included
// once a target, see hwy/foreach_target.h.
#if defined(NIBBLE_KERNELS_INTEGER_REQUANTIZATION_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_KERNELS_INTEGER_REQUANTIZATION_INL_
#undef NIBBLE_KERNELS_INTEGER_REQUANTIZATION_INL_
#else
#define NIBBLE_KERNELS_INTEGER_REQUANTIZATION_INL_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Channels are padded to 16, so no vector is longer.
using D32 = hn::CappedTag<int32_t, 16>;
using DF = hn::RebindToFloat<D32>;
using V32 = hn::Vec<D32>;

HWY_INLINE V32 LoadCodes(const void* codes, CodeFormat format, size_t i) {
  const D32 d;
  switch (format.type) {
    case CodeType::kUint8: {
      const hn::Rebind<uint8_t, D32> d8;
      const V32 stored = hn::PromoteTo(d, hn::LoadU(d8, static_cast<const uint8_t*>(codes) + i));
      return hn::Sub(stored, hn::Set(d, format.zero_point));
    }
    case CodeType::kInt16:
      return hn::PromoteTo(d, hn::LoadU(hn::Rebind<int16_t, D32>(), static_cast<const int16_t*>(codes) + i));
    case CodeType::kInt32:
      break;
  }
  return hn::LoadU(d, static_cast<const int32_t*>(codes) + i);
}

template <class D, class T>
HWY_INLINE void StoreFirst(hn::Vec<D> v, D d, T* to, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) {
    hn::StoreU(v, d, to);
    return;
  }
  HWY_ALIGN T all[16];
  hn::StoreU(v, d, all);
  std::memcpy(to, all, count * sizeof(T));
}

// Writes min(count, lanes) codes.
HWY_INLINE void StoreCodes(V32 v, void* codes, CodeFormat format, size_t i, size_t count) {
  const D32 d;
  switch (format.type) {
    case CodeType::kUint8: {
      const hn::Rebind<uint8_t, D32> d8;
      v = hn::Add(v, hn::Set(d, format.zero_point));
      StoreFirst(hn::DemoteTo(d8, v), d8, static_cast<uint8_t*>(codes) + i, count);
      return;
    }
    case CodeType::kInt16: {
      const hn::Rebind<int16_t, D32> d16;
      StoreFirst(hn::DemoteTo(d16, v), d16, static_cast<int16_t*>(codes) + i, count);
      return;
    }
    case CodeType::kInt32:
      StoreFirst(v, d, static_cast<int32_t*>(codes) + i, count);
  }
}

// Rounds |x| <= 2^22 to the nearest integer, ties to even: 1.5 * 2^23 leaves no bits for a fraction, and the integer
// stands in the lowest bits.
HWY_INLINE V32 RoundSmall(hn::Vec<DF> x) {
  const D32 d;
  return hn::Sub(hn::BitCast(d, hn::Add(x, hn::Set(DF(), 12582912.0f))), hn::Set(d, 0x4B400000));
}

// Not fused: the steps were checked with a product and a sum that are rounded each.
HWY_INLINE V32 OnLine(const Requantization& r, V32 x, size_t channel) {
  const DF d;
  const auto product = hn::Mul(hn::ConvertTo(d, x), hn::LoadU(d, r.multiplier + channel));
  const auto y = hn::Add(product, hn::LoadU(d, r.offset + channel));
  return RoundSmall(hn::Min(hn::Max(y, hn::LoadU(d, r.low + channel)), hn::LoadU(d, r.high + channel)));
}

HWY_INLINE V32 Corrected(const Requantization& r, V32 x, size_t channel) {
  const D32 d;
  const V32 guess = OnLine(r, x, channel);
  const V32 low = hn::ConvertTo(d, hn::LoadU(DF(), r.low + channel));
  const V32 index = hn::Add(hn::LoadU(d, r.first + channel), hn::Sub(guess, low));
  const V32 last = hn::GatherIndex(d, r.last, index);
  // A comparison that holds is -1.
  const V32 code = hn::Sub(guess, hn::VecFromMask(d, hn::Gt(x, last)));
  const V32 falls = hn::ShiftRight<31>(hn::LoadU(d, r.sign + channel));
  return hn::Sub(hn::Xor(code, falls), falls);
}

HWY_INLINE V32 Selected(const Requantization& r, V32 x, size_t channel) {
  const D32 d;
  const auto stride = static_cast<size_t>(r.channels);
  V32 value = hn::LoadU(d, r.values + channel);
  for (size_t k = 0; k < static_cast<size_t>(r.steps); ++k) {
    const auto passed = hn::Gt(x, hn::LoadU(d, r.last + k * stride + channel));
    value = hn::IfThenElse(passed, hn::LoadU(d, r.values + (k + 1) * stride + channel), value);
  }
  return value;
}

HWY_INLINE V32 Searched(const Requantization& r, V32 x, size_t channel) {
  const D32 d;
  const V32 first = hn::LoadU(d, r.first + channel);
  V32 passed = hn::Zero(d);
  for (int32_t half = (r.steps + 1) / 2; half > 0; half /= 2) {
    const V32 index = hn::Add(hn::Add(first, passed), hn::Set(d, half - 1));
    const auto beyond = hn::Gt(x, hn::GatherIndex(d, r.last, index));
    passed = hn::Add(passed, hn::IfThenElseZero(beyond, hn::Set(d, half)));
  }
  const V32 channels = hn::Iota(d, static_cast<int32_t>(channel));
  return hn::GatherIndex(d, r.values, hn::Add(hn::Add(first, channels), passed));
}

HWY_INLINE V32 Requantize(const Requantization& r, V32 x, size_t channel) {
  switch (r.kind) {
    case RequantizationKind::kNone:
      return x;
    case RequantizationKind::kLinear:
      return OnLine(r, x, channel);
    case RequantizationKind::kCorrected:
      return r.is_line[channel / 16] != 0 ? OnLine(r, x, channel) : Corrected(r, x, channel);
    case RequantizationKind::kSelect:
      return Selected(r, x, channel);
    case RequantizationKind::kSearch:
      break;
  }
  return Searched(r, x, channel);
}

// Whether the channels of a vector become bytes on a line: what nearly all do, and worth a loop of its own.
HWY_INLINE bool IsLineToBytes(const Requantization& r, CodeFormat format, size_t channel) {
  if (format.type != CodeType::kUint8) return false;
  if (r.kind == RequantizationKind::kCorrected) return r.is_line[channel / 16] != 0;
  return r.kind == RequantizationKind::kLinear;
}

// The channels' parameters in registers, for many pixels.
struct LineToBytes {
  hn::Vec<DF> multiplier, offset, low, high;
  V32 zero_point;

  HWY_INLINE LineToBytes(const Requantization& r, CodeFormat format, size_t channel)
      : multiplier(hn::LoadU(DF(), r.multiplier + channel)),
        offset(hn::LoadU(DF(), r.offset + channel)),
        low(hn::LoadU(DF(), r.low + channel)),
        high(hn::LoadU(DF(), r.high + channel)),
        zero_point(hn::Set(D32(), format.zero_point)) {}
  // The same for all lanes.
  HWY_INLINE LineToBytes(float m, float o, float l, float h, int32_t zero)
      : multiplier(hn::Set(DF(), m)),
        offset(hn::Set(DF(), o)),
        low(hn::Set(DF(), l)),
        high(hn::Set(DF(), h)),
        zero_point(hn::Set(D32(), zero)) {}

  HWY_INLINE void Store(V32 x, uint8_t* to, size_t count) const { Store(hn::ConvertTo(DF(), x), to, count); }

  // As RoundSmall, of which the lowest byte is all that is needed. The zero point comes after: it may be odd, and ties
  // go to even codes.
  HWY_INLINE void Store(hn::Vec<DF> x, uint8_t* to, size_t count) const {
    const DF d;
    const D32 d32;
    const auto y = hn::Add(hn::Mul(x, multiplier), offset);
    const auto rounded = hn::Add(hn::Min(hn::Max(y, low), high), hn::Set(d, 12582912.0f));
    const V32 bits = hn::Add(hn::BitCast(d32, rounded), zero_point);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const auto lanes = static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1u << count) - 1);
    _mm512_mask_cvtepi32_storeu_epi8(to, lanes, bits.raw);
#else
    const hn::Rebind<uint8_t, D32> d8;
    StoreFirst(hn::DemoteTo(d8, hn::And(bits, hn::Set(d32, 0xFF))), d8, to, count);
#endif
  }
};

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
