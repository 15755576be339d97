#include "nibble/kernels/integer/sign_bits.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/sign_bits.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 32 bytes to 32 bits.
HWY_INLINE uint32_t Word(const uint8_t* codes, uint8_t zero_point) {
  const hn::CappedTag<uint8_t, 32> d;
  const size_t lanes = hn::Lanes(d);
  const auto zero = hn::Set(d, zero_point);
  uint32_t word = 0;
  for (size_t i = 0; i < 32; i += lanes) {
    const auto v = hn::LoadU(d, codes + i);
    // max(v, zero) differs from zero where v is above it.
    const auto above = hn::Not(hn::Eq(hn::Max(v, zero), zero));
    uint8_t bits[8] = {};  // StoreMaskBits may write that many
    hn::StoreMaskBits(d, above, bits);
    uint32_t part = 0;
    std::memcpy(&part, bits, sizeof(part));
    word |= part << i;
  }
  return word;
}

void Bits(const SignBits& s, const uint8_t* codes, int64_t samples, uint32_t* words) {
  const int64_t count = sign_words(s.channels), last = s.channels % 32;
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t y = 0; y < s.rows; ++y) {
      for (int64_t x = 0; x < s.columns; ++x) {
        const uint8_t* from = codes + s.codes.pixel(n, y, x);
        uint32_t* to = words + s.words.pixel(n, y, x);
        for (int64_t w = 0; w < count; ++w) to[w] = Word(from + w * 32, s.zero_point);
        if (last != 0) to[count - 1] &= (1u << last) - 1;
      }
    }
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Bits);

void sign_bits(const SignBits& s, const uint8_t* codes, int64_t samples, uint32_t* words) {
  HWY_DYNAMIC_DISPATCH(Bits)(s, codes, samples, words);
}

namespace scalar {

void sign_bits(const SignBits& s, const uint8_t* codes, int64_t samples, uint32_t* words) {
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t y = 0; y < s.rows; ++y) {
      for (int64_t x = 0; x < s.columns; ++x) {
        uint32_t* to = words + s.words.pixel(n, y, x);
        for (int64_t w = 0; w < sign_words(s.channels); ++w) to[w] = 0;
        for (int64_t c = 0; c < s.channels; ++c) {
          if (codes[s.codes.pixel(n, y, x) + c] > s.zero_point) to[c / 32] |= 1u << (c % 32);
        }
      }
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
