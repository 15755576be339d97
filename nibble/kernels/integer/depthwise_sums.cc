#include "nibble/kernels/integer/depthwise_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/depthwise_sums.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/dot_step-inl.h"
#include "nibble/kernels/integer/requantization-inl.h"
#include "nibble/kernels/integer/tile_pixels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

HWY_INLINE V32 LoadInput(const uint8_t* codes) {
  return hn::PromoteTo(D32(), hn::LoadU(hn::Rebind<uint8_t, D32>(), codes));
}
HWY_INLINE V32 LoadInput(const int16_t* codes) {
  return hn::PromoteTo(D32(), hn::LoadU(hn::Rebind<int16_t, D32>(), codes));
}
HWY_INLINE V32 LoadInput(const int32_t* codes) { return hn::LoadU(D32(), codes); }

// A 32-bit multiplication is several times slower than one of pairs of 16 bits. The upper half of the weights is
// cleared, so that of a code's sign extension nothing remains.
template <class T>
HWY_INLINE V32 AddProduct(V32 sum, V32 code, V32 weight) {
#if NIBBLE_HAS_WORD_PAIRS
  if constexpr (sizeof(T) < 4) return AddWordProducts(sum, code, weight);
#endif
  return hn::Add(sum, hn::Mul(code, weight));
}

template <class T>
HWY_INLINE V32 LoadWeights(const int32_t* weights) {
  const D32 d;
  const V32 w = hn::Load(d, weights);
#if NIBBLE_HAS_WORD_PAIRS
  if constexpr (sizeof(T) < 4) return hn::And(w, hn::Set(d, 0xFFFF));
#endif
  return w;
}

// One vector of channels of kRows pixels: the weights are loaded once for all of them.
template <class T, int kRows>
HWY_INLINE void Columns(const DepthwiseSums& s, const T* input, const TilePixels<kRows>& pixels, size_t channel,
                        size_t padded, void* results) {
  const D32 d;
  V32 sums[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r] = hn::LoadU(d, s.bias + channel);
  const int32_t* weights = s.weights + channel;
  for (size_t tap = 0; tap < s.tap_offsets.size(); ++tap, weights += padded) {
    const V32 w = LoadWeights<T>(weights);
    const T* codes = input + s.tap_offsets[tap] + channel;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sums[r] = AddProduct<T>(sums[r], LoadInput(codes + pixels.codes[r]), w);
  }
  const size_t count = static_cast<size_t>(s.channels) - channel;
  if (IsLineToBytes(s.requantization, s.format, channel)) {
    const LineToBytes line(s.requantization, s.format, channel);
    auto* bytes = static_cast<uint8_t*>(results) + channel;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) line.Store(sums[r], bytes + pixels.results[r], count);
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const V32 code = Requantize(s.requantization, sums[r], channel);
    StoreCodes(code, results, s.format, static_cast<size_t>(pixels.results[r]) + channel, count);
  }
}

template <class T, int kRows>
void Pixels(const DepthwiseSums& s, const T* input, PixelNumber first, void* results) {
  TilePixels<kRows> pixels;
  pixels.template Take<false>(s, 0, first);
  const size_t lanes = hn::Lanes(D32());
  const size_t channels = static_cast<size_t>(s.channels), padded = (channels + 15) / 16 * 16;
  for (size_t c = 0; c < channels; c += lanes) Columns<T, kRows>(s, input, pixels, c, padded, results);
}

// The last tile overlaps the one before it.
template <class T>
void All(const DepthwiseSums& s, const T* input, int64_t samples, void* results) {
  constexpr int kRows = 6;
  const auto pixels = static_cast<int64_t>(s.pixel_offsets.size());
  const int64_t all = samples * pixels;
  PixelNumber p;
  if (all < kRows) {
    for (int64_t i = 0; i < all; ++i, p.Advance(1, pixels)) Pixels<T, 1>(s, input, p, results);
    return;
  }
  int64_t left = all;
  for (; left >= kRows; left -= kRows, p.Advance(kRows, pixels)) Pixels<T, kRows>(s, input, p, results);
  if (left > 0) Pixels<T, kRows>(s, input, NumberOf(all - kRows, pixels), results);
}

void Depthwise(const DepthwiseSums& s, const void* input, int64_t samples, void* results) {
  switch (s.input) {
    case CodeType::kUint8:
      All(s, static_cast<const uint8_t*>(input), samples, results);
      return;
    case CodeType::kInt16:
      All(s, static_cast<const int16_t*>(input), samples, results);
      return;
    case CodeType::kInt32:
      All(s, static_cast<const int32_t*>(input), samples, results);
      return;
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Depthwise);

void depthwise_sums(const DepthwiseSums& sums, const void* input, int64_t samples, void* results) {
  HWY_DYNAMIC_DISPATCH(Depthwise)(sums, input, samples, results);
}

namespace scalar {

void depthwise_sums(const DepthwiseSums& s, const void* input, int64_t samples, void* results) {
  const int64_t padded = (s.channels + 15) / 16 * 16;
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (size_t p = 0; p < s.pixel_offsets.size(); ++p) {
      for (int64_t c = 0; c < s.channels; ++c) {
        auto sum = static_cast<uint32_t>(s.bias[c]);
        for (size_t tap = 0; tap < s.tap_offsets.size(); ++tap) {
          const int64_t place = sample * s.sample_stride + s.pixel_offsets[p] + s.tap_offsets[tap] + c;
          const auto code = static_cast<uint32_t>(load_code(input, {s.input, 0}, place));
          sum += code * static_cast<uint32_t>(s.weights[static_cast<int64_t>(tap) * padded + c]);
        }
        const int32_t code = requantize(s.requantization, static_cast<int32_t>(sum), c);
        store_code(code, results, s.format, sample * s.result_stride + s.result_offsets[p] + c);
      }
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
