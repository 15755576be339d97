// nibble/kernels/channel_period.h
// Per-channel parameters as vector code over channels-last data wants them: repeated until vectors and
// channels end together. Internal to nibble/kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "hwy/aligned_allocator.h"

namespace nibble::kernels {

using AlignedFloats = hwy::AlignedFreeUniquePtr<float[]>;

// Channels repeat every lcm(channels, lanes) elements. A period is the smallest multiple of that with at least
// kVectors vectors, so that inner loops are not too short, but no longer than the data.
struct ChannelPeriod {
  static constexpr size_t kVectors = 8;
  ChannelPeriod(size_t elements, size_t channels, size_t lanes) {
    const size_t shortest = std::lcm(channels, lanes);
    const size_t whole = shortest * std::max<size_t>(1, (kVectors * lanes + shortest - 1) / shortest);
    length = std::min(whole, (elements + lanes - 1) / lanes * lanes);
  }
  size_t length;  // a multiple of lanes, and of channels unless the data end before
};

inline AlignedFloats repeat_over(const ChannelPeriod& period, const float* per_channel, size_t channels) {
  auto values = hwy::AllocateAligned<float>(period.length);
  for (size_t i = 0, c = 0; i < period.length; ++i, c = c + 1 == channels ? 0 : c + 1) values[i] = per_channel[c];
  return values;
}

inline AlignedFloats zeros_over(const ChannelPeriod& period) {
  auto values = hwy::AllocateAligned<float>(period.length);
  std::fill_n(values.get(), period.length, 0.0f);
  return values;
}

// Adds factor * partial to the channels' sums and clears partial.
inline void flush_to_channels(const ChannelPeriod& period, float* partial, size_t channels, double factor,
                              double* sums) {
  for (size_t i = 0, c = 0; i < period.length; ++i, c = c + 1 == channels ? 0 : c + 1) {
    sums[c] += factor * double{partial[i]};
    partial[i] = 0.0f;
  }
}

}  // namespace nibble::kernels
