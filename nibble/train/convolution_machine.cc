#include <algorithm>

#include "nibble/train/fused_ops.h"

namespace nibble::train {
namespace {

// A slice's input, output and gradient should stay in a core's second-level cache together.
int64_t slice_for(const ConvolutionGeometry& g) {
  constexpr int64_t kSliceBytes = int64_t{1} << 19;
  const int64_t sample_bytes = (g.in_elements() + g.out_elements()) * static_cast<int64_t>(sizeof(float));
  const int64_t units = std::max<int64_t>(1, kSliceBytes / (sample_bytes * kUnitSamples));
  return std::min<int64_t>(units, 64) * kUnitSamples;
}

}  // namespace

ConvolutionMachine::ConvolutionMachine(const ConvolutionGeometry& one_sample, bool pools)
    : one_sample_(one_sample), pools_(pools), slice_samples_(slice_for(one_sample)) {}

std::vector<int64_t> ConvolutionMachine::slice_sizes(int64_t batch) const {
  std::vector<int64_t> sizes;
  if (batch >= slice_samples_) sizes.push_back(slice_samples_);
  if (batch % slice_samples_ != 0) sizes.push_back(batch % slice_samples_);
  return sizes;
}

Convolution& ConvolutionMachine::for_samples(int64_t samples, bool needs_gradient) {
  // The full slice and the few remainders of training and evaluation batches.
  constexpr size_t kKept = 8;
  for (Entry& entry : entries_) {
    if (entry.samples == samples && (entry.needs_gradient || !needs_gradient)) return *entry.convolution;
  }
  if (entries_.size() == kKept) entries_.erase(entries_.begin() + 1);
  ConvolutionGeometry geometry = one_sample_;
  geometry.batch = samples;
  entries_.push_back({samples, needs_gradient, std::make_unique<Convolution>(geometry, needs_gradient)});
  return *entries_.back().convolution;
}

float* ConvolutionMachine::scratch(int which, int64_t elements) {
  const auto index = static_cast<size_t>(which);
  if (scratch_.size() <= index) scratch_.resize(index + 1);
  if (scratch_[index].size() < static_cast<size_t>(elements)) scratch_[index].resize(static_cast<size_t>(elements));
  return scratch_[index].data();
}

}  // namespace nibble::train
