#include "nibble/kernels/integer/integer_sums.h"

#include <algorithm>
#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/integer_sums.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/dot_step-inl.h"
#include "nibble/kernels/integer/requantization-inl.h"
#include "nibble/kernels/integer/tile_pixels-inl.h"

#ifndef NIBBLE_KERNELS_INTEGER_INTEGER_SUMS_
#define NIBBLE_KERNELS_INTEGER_INTEGER_SUMS_
namespace nibble::kernels {

constexpr bool counts_bits(Terms terms) { return terms == Terms::kBits || terms == Terms::kTernaryBits; }

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

constexpr int kPanelVectors = static_cast<int>(kPanel / hn::MaxLanes(D32()));

// One comparison a channel, whose parameters stay in registers: binary activations.
struct OneStep {
  V32 last, below, above;

  HWY_INLINE OneStep(const Requantization& r, size_t channel)
      : last(hn::LoadU(D32(), r.last + channel)),
        below(hn::LoadU(D32(), r.values + channel)),
        above(hn::LoadU(D32(), r.values + static_cast<size_t>(r.channels) + channel)) {}
  HWY_INLINE V32 operator()(V32 x) const { return hn::IfThenElse(hn::Gt(x, last), above, below); }
};

// Requantizes and stores a tile [rows][vectors][lanes]: `count` channels from number `first` on of results that begin
// at `pixels`. Not inlined, for the sums would leave their registers for it.
HWY_NOINLINE void StoreTile(const IntegerSums& s, const int64_t* pixels, int rows, int vectors, size_t first,
                            size_t count, const int32_t* tile, void* results) {
  const D32 d;
  const size_t lanes = hn::Lanes(d), row = static_cast<size_t>(vectors) * lanes;
  const auto place = [&](int r) { return static_cast<size_t>(pixels[r]) + first; };
  for (size_t c = 0; c < count; c += lanes) {
    const int32_t* sums = tile + c;
    if (s.requantization.kind == RequantizationKind::kSelect && s.requantization.steps == 1) {
      const OneStep step(s.requantization, first + c);
      for (int r = 0; r < rows; ++r, sums += row) {
        StoreCodes(step(hn::Load(d, sums)), results, s.format, place(r) + c, count - c);
      }
      continue;
    }
    for (int r = 0; r < rows; ++r, sums += row) {
      const V32 code = Requantize(s.requantization, hn::Load(d, sums), first + c);
      StoreCodes(code, results, s.format, place(r) + c, count - c);
    }
  }
}

// The same pointer, of which the compiler does not know so: what it points to is read again. It would keep many places
// in vector registers for want of others, and to move one from there takes the port of a product.
template <int kRows>
HWY_INLINE const int64_t* Reloaded(const int64_t* places) {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  if (kRows > 8) asm volatile("" : "+r"(places));
#endif
  return places;
}

// The sums of kRows pixels times kVectors vectors of channels, all in registers. Loops over them are unrolled so that
// the compiler keeps the arrays in registers; g++ 12 does where every index is a constant.
template <Terms kTerms, int kRows, int kVectors>
struct TileSums {
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(D32()));
  static constexpr size_t kStep = static_cast<size_t>(kPanel * weight_ints(kTerms));
  using Pixels = TilePixels<kRows>;
  V32 sums[kRows][kVectors];

  HWY_INLINE TileSums(const IntegerSums& s, const Pixels& pixels, const int32_t* HWY_RESTRICT weights,
                      int64_t channel) {
    const D32 d;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = counts_bits(kTerms) ? hn::Zero(d) : hn::LoadU(d, s.bias + channel + v * kLanes);
      }
    }
    if constexpr (kTerms == Terms::kBytePairs) {
      AddPairs(s, pixels, weights);
    } else {
      AddSteps(s, pixels, weights);
    }
    if constexpr (counts_bits(kTerms)) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          const V32 twice = hn::Add(sums[r][v], sums[r][v]);
          sums[r][v] = hn::Sub(hn::LoadU(d, pixels.bias[r] + channel + v * kLanes), twice);
        }
      }
    }
  }

  // Where the weights of a step's vector are, from the first panel's on.
  static HWY_INLINE size_t PlaceOf(const IntegerSums& s, int vector) {
    const size_t panel = static_cast<size_t>(s.steps) * kStep;
    return static_cast<size_t>(vector / kPanelVectors) * panel + static_cast<size_t>(vector % kPanelVectors * kLanes);
  }

  HWY_INLINE void AddSteps(const IntegerSums& s, const Pixels& pixels, const int32_t* HWY_RESTRICT weights) {
    const D32 d;
    for (int64_t k = 0; k < s.steps; ++k, weights += kStep) {
      const int64_t offset = s.step_offsets[k];
      const int64_t* places = Reloaded<kRows>(pixels.codes);
      Operand<kTerms> w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) w[v] = Operand<kTerms>::Weights(weights + PlaceOf(s, v));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        int32_t four = 0;
        std::memcpy(&four, reinterpret_cast<const void*>(places[r] + offset), sizeof(four));
        const auto codes = Operand<kTerms>::Codes(hn::Set(d, four));
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sums[r][v] = Dot<kTerms>(sums[r][v], codes, w[v]);
      }
    }
  }

#if HWY_TARGET == HWY_SCALAR  // has no vectors to turn, see Sums()
  void AddPairs(const IntegerSums&, const Pixels&, const int32_t*) {}
#else
  // One load of 8 codes for two products. Two partial sums have every two channels one way and the other (see
  // pair_place); they are turned and added when all steps are done.
  HWY_INLINE void AddPairs(const IntegerSums& s, const Pixels& pixels, const int32_t* HWY_RESTRICT weights) {
    const D32 d;
    const hn::Repartition<int64_t, D32> d64;
    constexpr Terms kBytes = Terms::kBytes;
    V32 turned[kRows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) turned[r][v] = hn::Zero(d);
    }
    for (int64_t k = 0; k < s.steps; ++k, weights += kStep) {
      const int64_t offset = s.step_offsets[k];
      const int64_t* places = Reloaded<kRows>(pixels.codes);
      Operand<kBytes> w[kVectors], turned_w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        w[v] = Operand<kBytes>::Weights(weights + PlaceOf(s, v));
        turned_w[v] = Operand<kBytes>::Weights(weights + PlaceOf(s, v) + kPanel);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        int64_t eight = 0;
        std::memcpy(&eight, reinterpret_cast<const void*>(places[r] + offset), sizeof(eight));
        const auto codes = Operand<kBytes>::Codes(hn::BitCast(d, hn::Set(d64, eight)));
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = Dot<kBytes>(sums[r][v], codes, w[v]);
          turned[r][v] = Dot<kBytes>(turned[r][v], codes, turned_w[v]);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Add(sums[r][v], hn::Shuffle2301(turned[r][v]));
    }
  }
#endif

  // Requantizes and stores `count` channels from number `first` on. Where all of them become bytes on a line, sums and
  // what belongs to a channel stay in registers.
  HWY_INLINE void Store(const IntegerSums& s, const Pixels& pixels, size_t first, size_t count, void* results) {
    bool lines = true;
    for (size_t c = 0; c < count; c += kLanes) lines = lines && IsLineToBytes(s.requantization, s.format, first + c);
    if (!lines) {
      HWY_ALIGN int32_t tile[kRows * kVectors * kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) hn::Store(sums[r][v], D32(), tile + (r * kVectors + v) * kLanes);
      }
      StoreTile(s, pixels.results, kRows, kVectors, first, count, tile, results);
      return;
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const size_t c = static_cast<size_t>(v * kLanes);
      if (c >= count) return;
      const LineToBytes line(s.requantization, s.format, first + c);
      auto* bytes = static_cast<uint8_t*>(results) + first + c;
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) line.Store(sums[r][v], bytes + pixels.results[r], count - c);
    }
  }
};

template <Terms kTerms, int kPanels, int kRows>
void Tile(const IntegerSums& s, const uint8_t* input, PixelNumber pixel, int64_t channel, void* results) {
  TilePixels<kRows> pixels;
  pixels.template Take<counts_bits(kTerms)>(s, reinterpret_cast<int64_t>(input), pixel);
  const int32_t* weights = s.weights + static_cast<size_t>(channel * s.steps * weight_ints(kTerms));
  TileSums<kTerms, kRows, kPanels * kPanelVectors> tile(s, pixels, weights, channel);
  const auto count = static_cast<size_t>(std::min<int64_t>(kPanels * kPanel, s.channels - channel));
  tile.Store(s, pixels, static_cast<size_t>(s.first_channel + channel), count, results);
}

// As many rows as registers hold: 24 sums of 32 registers with AVX-512, and 12 addresses of pixels; 8 of 16 elsewhere,
// where products need registers of their own. Pairs have two sums each; elsewhere they are for tests only.
constexpr int RowsOf(Terms terms, int panels) {
  if (terms == Terms::kBytePairs) return kPanelVectors > 1 ? 2 : std::max(1, 12 / panels);
  if (kPanelVectors > 1) return panels * kPanelVectors >= 8 ? 1 : 8 / (panels * kPanelVectors);
  return panels <= 2 ? 12 : (panels == 3 ? 8 : 6);
}

// All pixels for kPanels panels that begin at `channel`. The last tile overlaps the one before it.
template <Terms kTerms, int kPanels>
void Panels(const IntegerSums& s, const uint8_t* input, int64_t samples, int64_t channel, void* results) {
  constexpr int kRows = RowsOf(kTerms, kPanels);
  const auto pixels = static_cast<int64_t>(s.pixel_offsets.size());
  const int64_t all = samples * pixels;
  int64_t left = all;
  PixelNumber p;
  if (all >= kRows) {
    for (; left >= kRows; left -= kRows, p.Advance(kRows, pixels)) {
      Tile<kTerms, kPanels, kRows>(s, input, p, channel, results);
    }
    if (left > 0) Tile<kTerms, kPanels, kRows>(s, input, NumberOf(all - kRows, pixels), channel, results);
    return;
  }
  if constexpr (kRows > 4) {
    for (; left >= 4; left -= 4, p.Advance(4, pixels)) Tile<kTerms, kPanels, 4>(s, input, p, channel, results);
  }
  for (; left > 0; --left, p.Advance(1, pixels)) Tile<kTerms, kPanels, 1>(s, input, p, channel, results);
}

// More panels at once use each broadcast code more often; with few registers one is all that fits.
constexpr int64_t kMostPanels = kPanelVectors > 1 ? 1 : 4;

template <Terms kTerms>
void SumAll(const IntegerSums& s, const uint8_t* input, int64_t samples, void* results) {
  int64_t left = (s.channels + kPanel - 1) / kPanel, channel = 0;
  int64_t blocks = (left + kMostPanels - 1) / kMostPanels;
  for (; blocks > 0; --blocks) {
    const int64_t panels = (left + blocks - 1) / blocks;  // of about equal size
    switch (panels) {
      case 1:
        Panels<kTerms, 1>(s, input, samples, channel, results);
        break;
      case 2:
        Panels<kTerms, kMostPanels == 1 ? 1 : 2>(s, input, samples, channel, results);
        break;
      case 3:
        Panels<kTerms, kMostPanels == 1 ? 1 : 3>(s, input, samples, channel, results);
        break;
      default:
        Panels<kTerms, kMostPanels == 1 ? 1 : 4>(s, input, samples, channel, results);
        break;
    }
    left -= panels, channel += panels * kPanel;
  }
}

void Sums(const IntegerSums& s, const uint8_t* input, int64_t samples, void* results) {
  switch (s.terms) {
    case Terms::kBytes:
      SumAll<Terms::kBytes>(s, input, samples, results);
      return;
    case Terms::kBytePairs:
#if HWY_TARGET == HWY_SCALAR
      scalar::integer_sums(s, input, samples, results);
#else
      SumAll<Terms::kBytePairs>(s, input, samples, results);
#endif
      return;
    case Terms::kWords:
      SumAll<Terms::kWords>(s, input, samples, results);
      return;
    case Terms::kInts:
      SumAll<Terms::kInts>(s, input, samples, results);
      return;
    case Terms::kBits:
      SumAll<Terms::kBits>(s, input, samples, results);
      return;
    case Terms::kTernaryBits:
      SumAll<Terms::kTernaryBits>(s, input, samples, results);
  }
}

// Where a product is one instruction, loads take longer; elsewhere what spreads and widens codes and weights does.
Terms ByteTerms(int64_t channels, int64_t row_terms) {
  const bool fills_pairs = (row_terms - 1) % 8 >= 4;  // the last pair of a row has codes in both halves
  return HWY_TARGET == HWY_AVX3_DL && channels <= kPanel && fills_pairs ? Terms::kBytePairs : Terms::kBytes;
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Sums);
HWY_EXPORT(ByteTerms);

Terms byte_terms(int64_t channels, int64_t row_terms) { return HWY_DYNAMIC_DISPATCH(ByteTerms)(channels, row_terms); }

void integer_sums(const IntegerSums& sums, const void* input, int64_t samples, void* results) {
  HWY_DYNAMIC_DISPATCH(Sums)(sums, static_cast<const uint8_t*>(input), samples, results);
}

namespace scalar {
namespace {

uint32_t int_at(const void* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

uint32_t dot_of_four(Terms terms, const uint8_t* codes, const int32_t* weights) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(weights);
  const uint32_t a = int_at(codes), b = int_at(weights);
  uint32_t sum = 0;
  switch (terms) {
    case Terms::kBytes:
      for (int i = 0; i < 4; ++i) sum += static_cast<uint32_t>(codes[i] * static_cast<int8_t>(bytes[i]));
      return sum;
    case Terms::kWords:
      for (int shift = 0; shift < 32; shift += 16) {
        sum += static_cast<uint32_t>(static_cast<int16_t>(a >> shift) * static_cast<int16_t>(b >> shift));
      }
      return sum;
    case Terms::kInts:
      return a * b;
    case Terms::kBits:
      return 0u - 2u * static_cast<uint32_t>(std::popcount(a ^ b));
    case Terms::kBytePairs:  // are not of four
    case Terms::kTernaryBits:
      break;
  }
  return 0u - 2u * static_cast<uint32_t>(std::popcount((a ^ b) & int_at(weights + kPanel)));
}

// `weights`: of the step's panel.
uint32_t dot(Terms terms, const uint8_t* codes, const int32_t* weights, int64_t channel) {
  if (terms == Terms::kBytePairs) {
    uint32_t sum = 0;
    for (int64_t half = 0; half < 2; ++half) {
      sum += dot_of_four(Terms::kBytes, codes + 4 * half, weights + pair_place(channel, half));
    }
    return sum;
  }
  return dot_of_four(terms, codes, weights + channel % kPanel);
}

}  // namespace

void integer_sums(const IntegerSums& s, const void* input, int64_t samples, void* results) {
  const auto pixels = static_cast<int64_t>(s.pixel_offsets.size());
  for (int64_t p = 0; p < samples * pixels; ++p) {
    const int64_t sample = p / pixels;
    const auto at = static_cast<size_t>(p % pixels);
    const uint8_t* codes = static_cast<const uint8_t*>(input) + sample * s.sample_stride + s.pixel_offsets[at];
    const int64_t result = sample * s.result_stride + s.result_offsets[at] + s.first_channel;
    const int32_t* bias = s.bias + (counts_bits(s.terms) && !s.bias_offsets.empty() ? s.bias_offsets[at] : 0);
    for (int64_t c = 0; c < s.channels; ++c) {
      auto sum = static_cast<uint32_t>(bias[c]);
      for (int64_t k = 0; k < s.steps; ++k) {
        const int64_t step = ((c / kPanel) * s.steps + k) * weight_ints(s.terms) * kPanel;
        sum += dot(s.terms, codes + s.step_offsets[k], s.weights + step, c);
      }
      const int32_t code = requantize(s.requantization, static_cast<int32_t>(sum), s.first_channel + c);
      store_code(code, results, s.format, result + c);
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
