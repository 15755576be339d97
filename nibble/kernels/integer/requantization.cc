#include "nibble/kernels/integer/requantization.h"

#include <algorithm>
#include <cmath>

namespace nibble::kernels::scalar {
namespace {

int32_t on_line(const Requantization& r, int32_t x, int64_t channel) {
  const float product = static_cast<float>(x) * r.multiplier[channel];
  const float y = product + r.offset[channel];
  return static_cast<int32_t>(std::nearbyint(std::min(std::max(y, r.low[channel]), r.high[channel])));
}

int32_t corrected(const Requantization& r, int32_t x, int64_t channel) {
  const int32_t guess = on_line(r, x, channel);
  const int32_t last = r.last[r.first[channel] + guess - static_cast<int32_t>(r.low[channel])];
  return r.sign[channel] * (guess + (x > last ? 1 : 0));
}

int32_t selected(const Requantization& r, int32_t x, int64_t channel) {
  int32_t passed = 0;
  while (passed < r.steps && x > r.last[passed * r.channels + channel]) ++passed;
  return r.values[passed * r.channels + channel];
}

int32_t searched(const Requantization& r, int32_t x, int64_t channel) {
  const int32_t* last = r.last + r.first[channel];
  const auto passed = std::lower_bound(last, last + r.steps, x) - last;
  return r.values[r.first[channel] + channel + passed];
}

}  // namespace

int32_t requantize(const Requantization& r, int32_t x, int64_t channel) {
  switch (r.kind) {
    case RequantizationKind::kNone:
      return x;
    case RequantizationKind::kLinear:
      return on_line(r, x, channel);
    case RequantizationKind::kCorrected:
      return r.is_line[channel / 16] != 0 ? on_line(r, x, channel) : corrected(r, x, channel);
    case RequantizationKind::kSelect:
      return selected(r, x, channel);
    case RequantizationKind::kSearch:
      break;
  }
  return searched(r, x, channel);
}

}  // namespace nibble::kernels::scalar
