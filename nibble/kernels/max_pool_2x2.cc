#include "nibble/kernels/max_pool_2x2.h"

#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/max_pool_2x2.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef NIBBLE_KERNELS_MAX_POOL_2X2_GEOMETRY_
#define NIBBLE_KERNELS_MAX_POOL_2X2_GEOMETRY_
namespace nibble::kernels {

// Element counts between neighbours of a [batch, height, width, channels] tensor and of its pooled half.
struct PoolGeometry {
  size_t batch, height, width, channels;
  size_t out_height() const { return height / 2; }
  size_t out_width() const { return width / 2; }
  size_t row() const { return width * channels; }
  // The first element of the window of an output cell, and the cell's own.
  size_t window(size_t n, size_t i, size_t j) const { return ((n * height + 2 * i) * width + 2 * j) * channels; }
  size_t cell(size_t n, size_t i, size_t j) const { return ((n * out_height() + i) * out_width() + j) * channels; }
};

inline void pool_channel(const float* window, size_t right, size_t below, float* y, uint8_t* argmax) {
  const float candidates[4] = {window[0], window[right], window[below], window[below + right]};
  int best = 0;
  // A NaN is never less than anything and nothing exceeds it: the first NaN stays.
  for (int k = 1; k < 4; ++k) {
    if (candidates[k] > candidates[best] || (candidates[k] != candidates[k] && candidates[best] == candidates[best])) {
      best = k;
    }
  }
  *y = candidates[best];
  if (argmax) *argmax = static_cast<uint8_t>(best);
}

inline void unpool_channel(float upstream, uint8_t argmax, float* window, size_t right, size_t below) {
  window[0] = argmax == 0 ? upstream : 0.0f;
  window[right] = argmax == 1 ? upstream : 0.0f;
  window[below] = argmax == 2 ? upstream : 0.0f;
  window[below + right] = argmax == 3 ? upstream : 0.0f;
}

// What "valid" padding drops gets no gradient.
inline void clear_dropped(float* dx, const PoolGeometry& g) {
  for (size_t n = 0; n < g.batch; ++n) {
    float* image = dx + n * g.height * g.row();
    if (g.height % 2 == 1) std::memset(image + (g.height - 1) * g.row(), 0, g.row() * sizeof(float));
    if (g.width % 2 == 0) continue;
    for (size_t i = 0; i < g.height; ++i) {
      std::memset(image + i * g.row() + (g.width - 1) * g.channels, 0, g.channels * sizeof(float));
    }
  }
}

}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

// The later candidate wins if it is greater, or the first NaN met.
HWY_INLINE hn::Mask<D> Exceeds(V later, V earlier) {
  return hn::Or(hn::Gt(later, earlier), hn::AndNot(hn::IsNaN(earlier), hn::IsNaN(later)));
}

template <bool kArgmax>
HWY_INLINE void PoolVector(const float* window, size_t right, size_t below, float* y, uint8_t* argmax) {
  const D d;
  const DI di;
  const hn::Rebind<uint8_t, DI> d8;
  const V a = hn::LoadU(d, window), b = hn::LoadU(d, window + right);
  const V c = hn::LoadU(d, window + below), e = hn::LoadU(d, window + below + right);
  const auto right_wins = Exceeds(b, a), lower_right_wins = Exceeds(e, c);
  const V upper = hn::IfThenElse(right_wins, b, a), lower = hn::IfThenElse(lower_right_wins, e, c);
  const auto lower_wins = Exceeds(lower, upper);
  hn::StoreU(hn::IfThenElse(lower_wins, lower, upper), d, y);
  if constexpr (kArgmax) {
    const auto upper_code = hn::IfThenElseZero(hn::RebindMask(di, right_wins), hn::Set(di, 1));
    const auto lower_code = hn::IfThenElse(hn::RebindMask(di, lower_right_wins), hn::Set(di, 3), hn::Set(di, 2));
    const auto code = hn::IfThenElse(hn::RebindMask(di, lower_wins), lower_code, upper_code);
    hn::StoreU(hn::DemoteTo(d8, code), d8, argmax);
  }
}

template <bool kArgmax>
void PoolForward(const PoolGeometry& g, const float* x, float* y, uint8_t* argmax) {
  const size_t lanes = hn::Lanes(D());
  const size_t right = g.channels, below = g.row();
  for (size_t n = 0; n < g.batch; ++n) {
    for (size_t i = 0; i < g.out_height(); ++i) {
      const float* window = x + g.window(n, i, 0);
      size_t cell = g.cell(n, i, 0);
      for (size_t j = 0; j < g.out_width(); ++j, window += 2 * g.channels, cell += g.channels) {
        size_t c = 0;
        for (; c + lanes <= g.channels; c += lanes) {
          PoolVector<kArgmax>(window + c, right, below, y + cell + c, kArgmax ? argmax + cell + c : nullptr);
        }
        for (; c < g.channels; ++c) {
          pool_channel(window + c, right, below, y + cell + c, kArgmax ? argmax + cell + c : nullptr);
        }
      }
    }
  }
}

void MaxPoolForward(const PoolGeometry& g, const float* x, float* y, uint8_t* argmax) {
  if (argmax) return PoolForward<true>(g, x, y, argmax);
  return PoolForward<false>(g, x, y, argmax);
}

void MaxPoolGradient(const PoolGeometry& g, const float* upstream, const uint8_t* argmax, float* dx) {
  const D d;
  const DI di;
  const hn::Rebind<uint8_t, DI> d8;
  const size_t lanes = hn::Lanes(d);
  const size_t right = g.channels, below = g.row();
  for (size_t n = 0; n < g.batch; ++n) {
    for (size_t i = 0; i < g.out_height(); ++i) {
      float* window = dx + g.window(n, i, 0);
      size_t cell = g.cell(n, i, 0);
      for (size_t j = 0; j < g.out_width(); ++j, window += 2 * g.channels, cell += g.channels) {
        size_t c = 0;
        for (; c + lanes <= g.channels; c += lanes) {
          const V gradient = hn::LoadU(d, upstream + cell + c);
          const auto code = hn::PromoteTo(di, hn::LoadU(d8, argmax + cell + c));
          float* to = window + c;
          hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(code, hn::Zero(di))), gradient), d, to);
          hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(code, hn::Set(di, 1))), gradient), d, to + right);
          hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(code, hn::Set(di, 2))), gradient), d, to + below);
          hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(code, hn::Set(di, 3))), gradient), d,
                     to + below + right);
        }
        for (; c < g.channels; ++c) unpool_channel(upstream[cell + c], argmax[cell + c], window + c, right, below);
      }
    }
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {
namespace {

PoolGeometry geometry(int64_t batch, int64_t height, int64_t width, int64_t channels) {
  return {static_cast<size_t>(batch), static_cast<size_t>(height), static_cast<size_t>(width),
          static_cast<size_t>(channels)};
}

}  // namespace

HWY_EXPORT(MaxPoolForward);
HWY_EXPORT(MaxPoolGradient);

void max_pool_2x2_forward(const float* x, float* y, uint8_t* argmax, int64_t batch, int64_t height, int64_t width,
                          int64_t channels) {
  HWY_DYNAMIC_DISPATCH(MaxPoolForward)(geometry(batch, height, width, channels), x, y, argmax);
}

void max_pool_2x2_gradient(const float* upstream, const uint8_t* argmax, float* dx, int64_t batch, int64_t height,
                           int64_t width, int64_t channels) {
  const PoolGeometry g = geometry(batch, height, width, channels);
  clear_dropped(dx, g);
  HWY_DYNAMIC_DISPATCH(MaxPoolGradient)(g, upstream, argmax, dx);
}

namespace scalar {

void max_pool_2x2_forward(const float* x, float* y, uint8_t* argmax, int64_t batch, int64_t height, int64_t width,
                          int64_t channels) {
  const PoolGeometry g = geometry(batch, height, width, channels);
  for (size_t n = 0; n < g.batch; ++n) {
    for (size_t i = 0; i < g.out_height(); ++i) {
      for (size_t j = 0; j < g.out_width(); ++j) {
        for (size_t c = 0; c < g.channels; ++c) {
          const size_t cell = g.cell(n, i, j) + c;
          pool_channel(x + g.window(n, i, j) + c, g.channels, g.row(), y + cell, argmax ? argmax + cell : nullptr);
        }
      }
    }
  }
}

void max_pool_2x2_gradient(const float* upstream, const uint8_t* argmax, float* dx, int64_t batch, int64_t height,
                           int64_t width, int64_t channels) {
  const PoolGeometry g = geometry(batch, height, width, channels);
  clear_dropped(dx, g);
  for (size_t n = 0; n < g.batch; ++n) {
    for (size_t i = 0; i < g.out_height(); ++i) {
      for (size_t j = 0; j < g.out_width(); ++j) {
        for (size_t c = 0; c < g.channels; ++c) {
          const size_t cell = g.cell(n, i, j) + c;
          unpool_channel(upstream[cell], argmax[cell], dx + g.window(n, i, j) + c, g.channels, g.row());
        }
      }
    }
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
