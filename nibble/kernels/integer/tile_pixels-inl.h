// nibble/kernels/integer/tile_pixels-inl.h
// Where the pixels of a tile of sums begin, and where their results go. Included once a target, see
// hwy/foreach_target.h.
#if defined(NIBBLE_KERNELS_INTEGER_TILE_PIXELS_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_KERNELS_INTEGER_TILE_PIXELS_INL_
#undef NIBBLE_KERNELS_INTEGER_TILE_PIXELS_INL_
#else
#define NIBBLE_KERNELS_INTEGER_TILE_PIXELS_INL_
#endif

#include <algorithm>
#include <bit>

#include "hwy/highway.h"
#include "nibble/kernels/integer/integer_sums.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One of the pixels of all samples, which lie one after the other.
struct PixelNumber {
  int64_t sample = 0, pixel = 0;

  HWY_INLINE void Advance(int64_t count, int64_t pixels) {
    for (pixel += count; pixel >= pixels; pixel -= pixels) ++sample;
  }
};
HWY_INLINE PixelNumber NumberOf(int64_t pixel, int64_t pixels) { return {pixel / pixels, pixel % pixels}; }

// begin + offsets[i] for i below kCount. Tiles can be short work, so this is too.
template <int kCount>
HWY_INLINE void PlacesOf(int64_t begin, const int32_t* offsets, int64_t* places) {
  // Four places at once never cross a cache line, which stores that are loaded from soon must not.
  constexpr int kMostLanes = std::min(4, static_cast<int>(hn::MaxLanes(hn::ScalableTag<int64_t>())));
  constexpr int kLanes = std::min(static_cast<int>(std::bit_floor(unsigned{kCount})), kMostLanes);
  const hn::CappedTag<int64_t, kLanes> d;
  const hn::Rebind<int32_t, decltype(d)> d32;
#pragma GCC unroll 16
  for (int i = 0; i < kCount; i += kLanes) {
    const int at = std::min(i, kCount - kLanes);  // the last ones overlap
    hn::StoreU(hn::Add(hn::Set(d, begin), hn::PromoteTo(d, hn::LoadU(d32, offsets + at))), d, places + at);
  }
}

template <int kCount>
struct TilePixels {
  alignas(64) int64_t codes[kCount];
  alignas(64) int64_t results[kCount];  // elements, of the pixel's channel 0
  const int32_t* bias[kCount];          // for bits

  // `codes` count from `begin` on, in what the offsets of `Sums` are: bytes or elements.
  template <bool kBias, class Sums>
  HWY_INLINE void Take(const Sums& s, int64_t begin, PixelNumber first) {
    const auto pixels = static_cast<int64_t>(s.pixel_offsets.size());
    if (first.pixel + kCount <= pixels) {
      PlacesOf<kCount>(begin + first.sample * s.sample_stride, s.pixel_offsets.data() + first.pixel, codes);
      PlacesOf<kCount>(first.sample * s.result_stride, s.result_offsets.data() + first.pixel, results);
      if constexpr (kBias) {
        for (int i = 0; i < kCount; ++i) bias[i] = BiasOf(s, first.pixel + i);
      }
      return;
    }
    for (int i = 0; i < kCount; ++i, first.Advance(1, pixels)) {
      const auto at = static_cast<size_t>(first.pixel);
      codes[i] = begin + first.sample * s.sample_stride + s.pixel_offsets[at];
      results[i] = first.sample * s.result_stride + s.result_offsets[at];
      if constexpr (kBias) bias[i] = BiasOf(s, first.pixel);
    }
  }

 private:
  static HWY_INLINE const int32_t* BiasOf(const IntegerSums& s, int64_t pixel) {
    return s.bias + (s.bias_offsets.empty() ? 0 : s.bias_offsets[static_cast<size_t>(pixel)]);
  }
};

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
