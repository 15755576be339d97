#include "nibble/kernels/integer/float_codes.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/float_codes.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/requantization-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

HWY_INLINE V32 CodesOf(const FloatCodes& f, hn::Vec<DF> x) {
  const DF d;
  const auto y = hn::Add(hn::Mul(x, hn::Set(d, f.multiplier)), hn::Set(d, f.offset));
  return RoundSmall(hn::Min(hn::Max(y, hn::Set(d, f.low)), hn::Set(d, f.high)));
}

// Calls store(vector, index, count) for all of x.
template <class Store>
HWY_INLINE bool ForVectors(const float* x, size_t count, const Store& store) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  auto seen = hn::Zero(d);  // becomes NaN with the first one
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    seen = hn::IfThenElse(hn::IsNaN(v), v, seen);
    store(v, i, lanes);
  }
  if (i < count) {
    HWY_ALIGN float last[16] = {};
    std::memcpy(last, x + i, (count - i) * sizeof(float));
    const auto v = hn::Load(d, last);
    seen = hn::IfThenElse(hn::IsNaN(v), v, seen);
    store(v, i, count - i);
  }
  return hn::AllFalse(d, hn::IsNaN(seen));
}

bool Codes(const FloatCodes& f, const float* x, int64_t count, void* codes, int64_t first) {
  const auto elements = static_cast<size_t>(count), begin = static_cast<size_t>(first);
  if (f.format.type != CodeType::kUint8) {
    return ForVectors(x, elements, [&](hn::Vec<DF> v, size_t i, size_t n) HWY_ATTR {
      StoreCodes(CodesOf(f, v), codes, f.format, begin + i, n);
    });
  }
  const LineToBytes line(f.multiplier, f.offset, f.low, f.high, f.format.zero_point);
  auto* bytes = static_cast<uint8_t*>(codes) + begin;
  return ForVectors(x, elements, [&](hn::Vec<DF> v, size_t i, size_t n) HWY_ATTR { line.Store(v, bytes + i, n); });
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(Codes);

bool float_codes(const FloatCodes& f, const float* x, int64_t count, void* codes, int64_t first) {
  return HWY_DYNAMIC_DISPATCH(Codes)(f, x, count, codes, first);
}

namespace scalar {

bool float_codes(const FloatCodes& f, const float* x, int64_t count, void* codes, int64_t first) {
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(x[i])) return false;
    const float product = x[i] * f.multiplier;
    const float y = std::min(std::max(product + f.offset, f.low), f.high);
    store_code(static_cast<int32_t>(std::nearbyint(y)), codes, f.format, first + i);
  }
  return true;
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
