#include "nibble/kernels/integer/pools.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/integer/pools.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "nibble/kernels/integer/requantization-inl.h"

#ifndef NIBBLE_KERNELS_INTEGER_POOLS_
#define NIBBLE_KERNELS_INTEGER_POOLS_
namespace nibble::kernels {

// The rows or columns [begin, end) of a window that lie inside.
struct Reach {
  int64_t begin, end;
  Reach(int64_t position, int64_t stride, int64_t pad, int64_t size, int64_t extent)
      : begin(std::max<int64_t>(position * stride - pad, 0)), end(std::min(position * stride - pad + size, extent)) {}
  int64_t cells() const { return end - begin; }
};

inline int32_t factor_of(const Pool& p, const Reach& ys, const Reach& xs) {
  return p.common == 0 ? 1 : p.common / static_cast<int32_t>(ys.cells() * xs.cells());
}

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {

template <PoolKind kKind>
HWY_INLINE void PoolCell(const Pool& p, const void* input, int64_t sample, int64_t row, int64_t column, void* results) {
  const D32 d;
  const Reach ys(row, p.stride_height, p.pad_top, p.height, p.in_rows);
  const Reach xs(column, p.stride_width, p.pad_left, p.width, p.in_columns);
  const V32 factor = hn::Set(d, kKind == PoolKind::kSum ? factor_of(p, ys, xs) : 1);
  const auto channels = static_cast<size_t>(p.channels);
  const auto place = static_cast<size_t>(p.layout.pixel(sample, row, column));
  for (size_t c = 0; c < channels; c += hn::Lanes(d)) {
    const bool flips = kKind == PoolKind::kExtremum && p.takes_minimum != nullptr;
    const V32 flip = flips ? hn::LoadU(d, p.takes_minimum + c) : hn::Zero(d);  // ~x falls where x rises
    V32 result = hn::Set(d, kKind == PoolKind::kSum ? 0 : std::numeric_limits<int32_t>::min());
    for (int64_t y = ys.begin; y < ys.end; ++y) {
      for (int64_t x = xs.begin; x < xs.end; ++x) {
        const V32 code = LoadCodes(input, p.in_format, static_cast<size_t>(p.in_layout.pixel(sample, y, x)) + c);
        result = kKind == PoolKind::kSum ? hn::Add(result, code) : hn::Max(result, hn::Xor(code, flip));
      }
    }
    if constexpr (kKind == PoolKind::kSum) result = hn::Mul(result, factor);
    result = Requantize(p.requantization, hn::Xor(result, flip), c);
    StoreCodes(result, results, p.format, place + c, channels - c);
  }
}

// The maximum of bytes that stay bytes of the same meaning needs no integers.
HWY_INLINE void MaxOfBytes(const Pool& p, const uint8_t* input, int64_t sample, int64_t row, int64_t column,
                           uint8_t* results) {
  const hn::CappedTag<uint8_t, 64> d;
  const size_t lanes = hn::Lanes(d);
  const Reach ys(row, p.stride_height, p.pad_top, p.height, p.in_rows);
  const Reach xs(column, p.stride_width, p.pad_left, p.width, p.in_columns);
  const auto channels = static_cast<size_t>(p.channels);
  uint8_t* place = results + p.layout.pixel(sample, row, column);
  HWY_ALIGN uint8_t last[64];
  for (size_t c = 0; c < channels; c += lanes) {
    auto result = hn::Zero(d);
    for (int64_t y = ys.begin; y < ys.end; ++y) {
      for (int64_t x = xs.begin; x < xs.end; ++x) {
        result = hn::Max(result, hn::LoadU(d, input + p.in_layout.pixel(sample, y, x) + c));
      }
    }
    if (c + lanes <= channels) {
      hn::StoreU(result, d, place + c);
    } else {
      hn::Store(result, d, last);
      std::memcpy(place + c, last, channels - c);
    }
  }
}

void PoolAll(const Pool& p, const void* input, int64_t samples, void* results) {
  const bool bytes = p.kind == PoolKind::kExtremum && p.takes_minimum == nullptr && p.in_format == p.format &&
                     p.format.type == CodeType::kUint8 && p.requantization.kind == RequantizationKind::kNone;
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t column = 0; column < p.columns; ++column) {
        if (bytes) {
          MaxOfBytes(p, static_cast<const uint8_t*>(input), sample, row, column, static_cast<uint8_t*>(results));
        } else if (p.kind == PoolKind::kSum) {
          PoolCell<PoolKind::kSum>(p, input, sample, row, column, results);
        } else {
          PoolCell<PoolKind::kExtremum>(p, input, sample, row, column, results);
        }
      }
    }
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {

HWY_EXPORT(PoolAll);

void pool(const Pool& p, const void* input, int64_t samples, void* results) {
  HWY_DYNAMIC_DISPATCH(PoolAll)(p, input, samples, results);
}

namespace scalar {
namespace {

int32_t pooled(const Pool& p, const void* input, int64_t sample, int64_t row, int64_t column, int64_t channel) {
  const Reach ys(row, p.stride_height, p.pad_top, p.height, p.in_rows);
  const Reach xs(column, p.stride_width, p.pad_left, p.width, p.in_columns);
  const bool minimum = p.takes_minimum != nullptr && p.takes_minimum[channel] != 0;
  bool is_first = true;
  int32_t result = 0;
  for (int64_t y = ys.begin; y < ys.end; ++y) {
    for (int64_t x = xs.begin; x < xs.end; ++x) {
      const int32_t code = load_code(input, p.in_format, p.in_layout.pixel(sample, y, x) + channel);
      if (p.kind == PoolKind::kSum) {
        result += code;
      } else {
        result = is_first ? code : (minimum ? std::min(result, code) : std::max(result, code));
      }
      is_first = false;
    }
  }
  if (p.kind == PoolKind::kSum) result *= factor_of(p, ys, xs);
  return requantize(p.requantization, result, channel);
}

}  // namespace

void pool(const Pool& p, const void* input, int64_t samples, void* results) {
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t column = 0; column < p.columns; ++column) {
        for (int64_t c = 0; c < p.channels; ++c) {
          const int32_t code = pooled(p, input, sample, row, column, c);
          store_code(code, results, p.format, p.layout.pixel(sample, row, column) + c);
        }
      }
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
