// nibble/train/prologue.h
// [batch-norm apply -> activation -> dropout] bound to one layer and one training step, run on
// any range of samples.
//
// The bits that say which elements pass gradient are kept in units of kUnitSamples samples, each
// padded on its own: whoever reads them may cut the batch differently from whoever wrote them, as
// long as both cut at unit boundaries. No torch.
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/kernels/affine_activation.h"

namespace nibble::train {

inline constexpr int64_t kUnitSamples = 8;

class BoundPrologue {
 public:
  // multiplier, offset   one per channel (the last axis)
  // sample_elements      elements of one sample; a multiple of the number of channels
  // first_unit           samples before ours in the batch / kUnitSamples: random numbers belong to the batch
  BoundPrologue(std::vector<float> multiplier, std::vector<float> offset, const kernels::ActivationSpec& activation,
                float dropout_rate, const RandomKey& dropout_key, int64_t sample_elements, int64_t first_unit = 0);

  int64_t channels() const { return static_cast<int64_t>(multiplier_.size()); }
  const std::vector<float>& multiplier() const { return multiplier_; }

  // Room for the mask of a batch.
  size_t mask_size(int64_t samples) const;

  // All functions below: pointers are to the first of `samples` samples, mask is the whole batch's,
  // first_sample is a multiple of kUnitSamples.

  //   mask  written, or null
  void forward(const float* x, float* y, uint8_t* mask, int64_t first_sample, int64_t samples) const;

  // sum_h, sum_hx  [channels], added to
  void gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t first_sample, int64_t samples,
                     double* sum_h, double* sum_hx) const;

  // dx = h * multiplier + x * scale_x + constant; dx may be upstream.
  void gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t first_sample,
                int64_t samples, const float* scale_x, const float* constant) const;

 private:
  size_t unit_mask_bytes() const { return kernels::mask_bytes(static_cast<size_t>(kUnitSamples * sample_elements_)); }
  template <class Visit>
  void for_each_unit(int64_t first_sample, int64_t samples, const Visit& visit) const;

  std::vector<float> multiplier_, offset_;
  kernels::ActivationSpec activation_;
  float dropout_rate_;
  RandomKey dropout_key_;
  int64_t sample_elements_;
  int64_t first_unit_;
};

}  // namespace nibble::train
