// nibble/kernels/mask_bits-inl.h
// Masks as bits, and the last incomplete vector of an array. Only for sources that Highway compiles
// once per target.
#if defined(NIBBLE_KERNELS_MASK_BITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_KERNELS_MASK_BITS_INL_H_
#undef NIBBLE_KERNELS_MASK_BITS_INL_H_
#else
#define NIBBLE_KERNELS_MASK_BITS_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// element is a multiple of the lanes; with fewer than 8 of them a byte holds several vectors' bits.
HWY_INLINE hn::Mask<D> LoadBits(D d, const uint8_t* mask, size_t element) {
  if constexpr (hn::MaxLanes(d) >= 8) {
    return hn::LoadMaskBits(d, mask + element / 8);
  } else {
    alignas(8) uint8_t byte[8] = {};
    byte[0] = static_cast<uint8_t>(mask[element / 8] >> (element % 8));
    return hn::LoadMaskBits(d, byte);
  }
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

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
