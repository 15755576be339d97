#include "nibble/kernels/integer/depthwise_sums.h"

#include <algorithm>
#include <array>

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

#if HWY_TARGET == HWY_AVX3_DL
HWY_INLINE __m128i LoadTap(const uint8_t* codes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)); }

// Four taps of 16 channels in one product: their bytes are loaded one after the other and dealt out to the channels.
// Returns how many taps are added.
template <int kRows>
HWY_INLINE size_t AddQuads(const DepthwiseSums& s, const uint8_t* input, const TilePixels<kRows>& pixels,
                           size_t channel, size_t padded, V32* sums) {
  HWY_ALIGN static constexpr auto kDealt = [] {
    std::array<uint8_t, 64> places{};  // byte 4 * channel + tap is byte 16 * tap + channel
    for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);
    return places;
  }();
  const __m512i dealt = _mm512_load_si512(kDealt.data());
  const size_t quads = s.tap_offsets.size() / 4;
  const int32_t* weights = s.quads + channel;
  for (size_t quad = 0; quad < quads; ++quad, weights += padded) {
    const uint8_t* codes[4];
#pragma GCC unroll 4
    for (size_t t = 0; t < 4; ++t) codes[t] = input + s.tap_offsets[4 * quad + t] + channel;
    const __m512i w = _mm512_load_si512(weights);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const int64_t place = pixels.codes[r];
      __m512i x = _mm512_castsi128_si512(LoadTap(codes[0] + place));
      x = _mm512_inserti32x4(x, LoadTap(codes[1] + place), 1);
      x = _mm512_inserti32x4(x, LoadTap(codes[2] + place), 2);
      x = _mm512_inserti32x4(x, LoadTap(codes[3] + place), 3);
      x = _mm512_permutexvar_epi8(dealt, x);
      asm("vpdpbusd %2, %1, %0" : "+v"(sums[r].raw) : "v"(x), "v"(w));
    }
  }
  return 4 * quads;
}
#endif

// One vector of channels of kRows pixels: the weights are loaded once for all of them.
template <class T, int kRows>
HWY_INLINE void Columns(const DepthwiseSums& s, const T* input, const TilePixels<kRows>& pixels, size_t channel,
                        size_t padded, void* results) {
  const D32 d;
  V32 sums[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r] = hn::LoadU(d, s.bias + channel);
  size_t tap = 0;
#if HWY_TARGET == HWY_AVX3_DL
  if constexpr (sizeof(T) == 1) {
    if (s.quads != nullptr) tap = AddQuads<kRows>(s, input, pixels, channel, padded, sums);
  }
#endif
  const int32_t* weights = s.weights + tap * padded + channel;
  for (; tap < s.tap_offsets.size(); ++tap, weights += padded) {
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

AlignedVector<int32_t> pack_tap_quads(std::span<const int32_t> weights, int64_t padded) {
  const bool are_bytes = std::ranges::all_of(weights, [](int32_t w) { return w >= -128 && w <= 127; });
  if (!are_bytes) return {};
  const auto channels = static_cast<size_t>(padded);
  AlignedVector<int32_t> quads(weights.size() / channels / 4 * channels);
  for (size_t i = 0; i < quads.size(); ++i) {
    const size_t first = i / channels * 4 * channels + i % channels;  // of the quad's four taps
    uint32_t quad = 0;
    for (size_t t = 0; t < 4; ++t) quad |= static_cast<uint32_t>(weights[first + t * channels] & 0xFF) << (8 * t);
    quads[i] = static_cast<int32_t>(quad);
  }
  return quads;
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
