#include "nibble/kernels/integer/scaled_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/scaled_sums.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/requantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

HWY_INLINE V32 LoadTerm(const ScaledTerm& term, size_t i) {
  const V32 x = LoadCodes(term.codes, term.format, i);
  return term.factor == 1 ? x : hn::Mul(x, hn::Set(D32(), term.factor));
}

HWY_INLINE void Pixel(const ScaledSums& s, int64_t sample, int64_t row, int64_t column, void* results) {
  const D32 d;
  const auto place = static_cast<size_t>(s.layout.pixel(sample, row, column));
  const auto channels = static_cast<size_t>(s.channels);
  for (size_t c = 0; c < channels; c += hn::Lanes(d)) {
    V32 sum = hn::Zero(d);
    for (const ScaledTerm& term : s.terms) {
      sum = hn::Add(sum, LoadTerm(term, static_cast<size_t>(term.layout.pixel(sample, row, column)) + c));
    }
    if (s.channel_factors != nullptr) sum = hn::Mul(sum, hn::LoadU(d, s.channel_factors + c));
    StoreCodes(Requantize(s.requantization, sum, c), results, s.format, place + c, channels - c);
  }
}

void Scaled(const ScaledSums& s, int64_t samples, void* results) {
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int64_t column = 0; column < s.columns; ++column) Pixel(s, sample, row, column, results);
    }
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Scaled);

void scaled_sums(const ScaledSums& sums, int64_t samples, void* results) {
  HWY_DYNAMIC_DISPATCH(Scaled)(sums, samples, results);
}

namespace scalar {
namespace {

int32_t sum_at(const ScaledSums& s, int64_t sample, int64_t row, int64_t column, int64_t channel) {
  uint32_t sum = 0;
  for (const ScaledTerm& term : s.terms) {
    const int32_t code = load_code(term.codes, term.format, term.layout.pixel(sample, row, column) + channel);
    sum += static_cast<uint32_t>(code) * static_cast<uint32_t>(term.factor);
  }
  if (s.channel_factors != nullptr) sum *= static_cast<uint32_t>(s.channel_factors[channel]);
  return static_cast<int32_t>(sum);
}

}  // namespace

void scaled_sums(const ScaledSums& s, int64_t samples, void* results) {
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int64_t column = 0; column < s.columns; ++column) {
        for (int64_t c = 0; c < s.channels; ++c) {
          const int32_t code = requantize(s.requantization, sum_at(s, sample, row, column, c), c);
          store_code(code, results, s.format, s.layout.pixel(sample, row, column) + c);
        }
      }
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
