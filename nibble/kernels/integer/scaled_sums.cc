#include "nibble/kernels/integer/scaled_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/scaled_sums.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/dot_step-inl.h"
#include "nibble/kernels/integer/requantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

HWY_INLINE V32 LoadTerm(const ScaledTerm& term, size_t i) {
  const V32 x = LoadCodes(term.codes, term.format, i);
  return term.factor == 1 ? x : hn::Mul(x, hn::Set(D32(), term.factor));
}

HWY_INLINE V32 SumAt(const ScaledSums& s, int64_t sample, int64_t row, int64_t column, size_t channel) {
  V32 sum = hn::Zero(D32());
  for (const ScaledTerm& term : s.terms) {
    sum = hn::Add(sum, LoadTerm(term, static_cast<size_t>(term.layout.pixel(sample, row, column)) + channel));
  }
  if (s.channel_factors != nullptr) sum = hn::Mul(sum, hn::LoadU(D32(), s.channel_factors + channel));
  return sum;
}

// Two tensors of bytes with factors: an addition of a residual network.
HWY_INLINE void PairOfBytes(const ScaledSums& s, int64_t sample, int64_t row, size_t channel, uint8_t* to) {
  const D32 d;
  const hn::Rebind<uint8_t, D32> d8;
  const ScaledTerm &a = s.terms[0], &b = s.terms[1];
  const auto* x = static_cast<const uint8_t*>(a.codes) + a.layout.pixel(sample, row, 0) + channel;
  const auto* y = static_cast<const uint8_t*>(b.codes) + b.layout.pixel(sample, row, 0) + channel;
  const V32 factor_a = hn::Set(d, a.factor), factor_b = hn::Set(d, b.factor);
  const V32 zero = hn::Set(d, -a.factor * a.format.zero_point - b.factor * b.format.zero_point);
  const LineToBytes line(s.requantization, s.format, channel);
  const size_t count = static_cast<size_t>(s.channels) - channel;
  for (int64_t column = 0; column < s.columns; ++column) {
    // Products of 16 bits: several times quicker than those of 32.
    const V32 p = AddWordProducts(zero, hn::PromoteTo(d, hn::LoadU(d8, x)), factor_a);
    line.Store(AddWordProducts(p, hn::PromoteTo(d, hn::LoadU(d8, y)), factor_b), to, count);
    x += a.layout.pixel_stride, y += b.layout.pixel_stride, to += s.layout.pixel_stride;
  }
}

bool IsPairOfBytes(const ScaledSums& s) {
  const auto is_small = [](const ScaledTerm& term) {
    return term.format.type == CodeType::kUint8 && term.factor >= 0 && term.factor < (1 << 15);
  };
  return s.terms.size() == 2 && s.channel_factors == nullptr && is_small(s.terms[0]) && is_small(s.terms[1]);
}

void Row(const ScaledSums& s, bool is_pair, int64_t sample, int64_t row, void* results) {
  const auto channels = static_cast<size_t>(s.channels);
  for (size_t c = 0; c < channels; c += hn::Lanes(D32())) {
    const int64_t place = s.layout.pixel(sample, row, 0) + static_cast<int64_t>(c);
    if (is_pair && IsLineToBytes(s.requantization, s.format, c)) {
      PairOfBytes(s, sample, row, c, static_cast<uint8_t*>(results) + place);
      continue;
    }
    for (int64_t column = 0; column < s.columns; ++column) {
      const V32 code = Requantize(s.requantization, SumAt(s, sample, row, column, c), c);
      StoreCodes(code, results, s.format, static_cast<size_t>(place + column * s.layout.pixel_stride), channels - c);
    }
  }
}

void Scaled(const ScaledSums& s, int64_t samples, void* results) {
  const bool is_pair = IsPairOfBytes(s);
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < s.rows; ++row) Row(s, is_pair, sample, row, results);
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
