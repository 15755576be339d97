#include "nibble/train/prologue.h"

#include <algorithm>
#include <cassert>

namespace nibble::train {

BoundPrologue::BoundPrologue(std::vector<float> multiplier, std::vector<float> offset,
                             const kernels::ActivationSpec& activation, float dropout_rate,
                             const RandomKey& dropout_key, int64_t sample_elements, int64_t first_unit)
    : multiplier_(std::move(multiplier)),
      offset_(std::move(offset)),
      activation_(activation),
      dropout_rate_(dropout_rate),
      dropout_key_(dropout_key),
      sample_elements_(sample_elements),
      first_unit_(first_unit) {
  assert(multiplier_.size() == offset_.size() && "one offset for every multiplier");
  assert(sample_elements_ % channels() == 0 && "channels are the last axis");
}

size_t BoundPrologue::mask_size(int64_t samples) const {
  return static_cast<size_t>((samples + kUnitSamples - 1) / kUnitSamples) * unit_mask_bytes();
}

// visit(offset of the unit's first element, rows, offset of its mask bytes, unit number)
template <class Visit>
void BoundPrologue::for_each_unit(int64_t first_sample, int64_t samples, const Visit& visit) const {
  assert(first_sample % kUnitSamples == 0 && "slices begin at a unit");
  for (int64_t begin = 0; begin < samples; begin += kUnitSamples) {
    const int64_t count = std::min(kUnitSamples, samples - begin);
    const int64_t unit = (first_sample + begin) / kUnitSamples;
    visit(begin * sample_elements_, count * sample_elements_ / channels(),
          static_cast<size_t>(unit) * unit_mask_bytes(), unit);
  }
}

void BoundPrologue::forward(const float* x, float* y, uint8_t* mask, int64_t first_sample, int64_t samples) const {
  // Each unit has its own stretch of the random stream, a multiple of 128 elements long.
  const auto stretch = static_cast<uint64_t>((kUnitSamples * sample_elements_ + 127) / 128 * 128);
  for_each_unit(first_sample, samples, [&](int64_t at, int64_t rows, size_t mask_at, int64_t unit) {
    const kernels::Dropout dropout{dropout_rate_, dropout_key_, static_cast<uint64_t>(first_unit_ + unit) * stretch};
    kernels::affine_activation_forward(x + at, y + at, mask == nullptr ? nullptr : mask + mask_at, rows, channels(),
                                       multiplier_.data(), offset_.data(), activation_, dropout);
  });
}

void BoundPrologue::gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t first_sample,
                                  int64_t samples, double* sum_h, double* sum_hx) const {
  for_each_unit(first_sample, samples, [&](int64_t at, int64_t rows, size_t mask_at, int64_t) {
    kernels::affine_activation_gradient_sums(upstream + at, x + at, mask + mask_at, rows, channels(),
                                             multiplier_.data(), offset_.data(), activation_, dropout_rate_, sum_h,
                                             sum_hx);
  });
}

void BoundPrologue::gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx,
                             int64_t first_sample, int64_t samples, const float* scale_x, const float* constant) const {
  for_each_unit(first_sample, samples, [&](int64_t at, int64_t rows, size_t mask_at, int64_t) {
    kernels::affine_activation_gradient(upstream + at, x + at, mask + mask_at, dx + at, rows, channels(),
                                        multiplier_.data(), offset_.data(), activation_, dropout_rate_,
                                        multiplier_.data(), scale_x, constant);
  });
}

}  // namespace nibble::train
