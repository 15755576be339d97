#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>

#include "nibble/core/error.h"
#include "nibble/train/fused_ops.h"

namespace nibble::train {
namespace {

// A slice's input, output and gradient should stay in a core's second-level cache together. Sizes are powers of two:
// each divides the largest.
int64_t slice_for(const ConvolutionGeometry& g) {
  constexpr uint64_t kSliceBytes = uint64_t{1} << 19;
  static_assert(std::has_single_bit(static_cast<uint64_t>(kLargestSlice)) && kLargestSlice % kUnitSamples == 0);
  const uint64_t sample_bytes = static_cast<uint64_t>(g.in_elements() + g.out_elements()) * sizeof(float);
  const auto fitting = static_cast<int64_t>(std::bit_floor(kSliceBytes / sample_bytes));
  return std::clamp(fitting, kUnitSamples, kLargestSlice);
}

// oneDNN plans a primitive for the number of threads at its making. Each thread runs its own primitives.
class SingleThreaded {
 public:
  SingleThreaded() : threads_(at::get_num_threads()) { at::set_num_threads(1); }
  ~SingleThreaded() { at::set_num_threads(threads_); }
  SingleThreaded(const SingleThreaded&) = delete;
  SingleThreaded& operator=(const SingleThreaded&) = delete;

 private:
  int threads_;
};

}  // namespace

ConvolutionMachine::ConvolutionMachine(const ConvolutionGeometry& one_sample, bool pools)
    : one_sample_(one_sample), pools_(pools), slice_samples_(slice_for(one_sample)) {}

std::vector<int64_t> ConvolutionMachine::slice_sizes(int64_t batch) const {
  std::vector<int64_t> sizes;
  if (batch >= slice_samples_) sizes.push_back(slice_samples_);
  if (batch % slice_samples_ != 0) sizes.push_back(batch % slice_samples_);
  return sizes;
}

void ConvolutionMachine::ensure(Workspace& workspace, int64_t samples, bool needs_gradient) const {
  // The full slice and the few remainders of training and evaluation batches.
  constexpr size_t kKept = 8;
  auto& entries = workspace.entries_;
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
    if (entry->samples != samples) continue;
    if (entry->needs_gradient || !needs_gradient) {
      std::rotate(entry, entry + 1, entries.end());  // the least recently used goes first
      return;
    }
    entries.erase(entry);
    break;
  }
  if (entries.size() == kKept) entries.erase(entries.begin());
  ConvolutionGeometry geometry = one_sample_;
  geometry.batch = samples;
  const SingleThreaded while_planning;
  entries.push_back({samples, needs_gradient, std::make_unique<Convolution>(geometry, needs_gradient)});
}

void ConvolutionMachine::prepare(int threads, int64_t batch, bool needs_gradient,
                                 const std::function<void(Convolution&)>& visit) {
  if (workspaces_.size() < static_cast<size_t>(threads)) workspaces_.resize(static_cast<size_t>(threads));
  for (int thread = 0; thread < threads; ++thread) {
    Workspace& workspace = workspaces_[static_cast<size_t>(thread)];
    for (const int64_t samples : slice_sizes(batch)) {
      ensure(workspace, samples, needs_gradient);
      visit(workspace.for_samples(samples));
    }
  }
}

void ConvolutionMachine::for_each_slice(int threads, int64_t batch, const Visit& visit) {
  const int64_t slices = (batch + slice_samples_ - 1) / slice_samples_;
  const auto run = [&](int thread) {
    for (int64_t s = slices * thread / threads; s < slices * (thread + 1) / threads; ++s) {
      const int64_t first = s * slice_samples_;
      visit(thread, workspaces_[static_cast<size_t>(thread)], first, std::min(slice_samples_, batch - first));
    }
  };
  if (threads == 1) return run(0);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) run(static_cast<int>(thread));
  });
}

Convolution& ConvolutionMachine::Workspace::for_samples(int64_t samples) const {
  for (const Entry& entry : entries_) {
    if (entry.samples == samples) return *entry.convolution;
  }
  throw InvalidArgument("[convolution] a slice of {} samples was not prepared.", samples);
}

float* ConvolutionMachine::Workspace::scratch(int which, int64_t elements) {
  const auto index = static_cast<size_t>(which);
  if (scratch_.size() <= index) scratch_.resize(index + 1);
  if (scratch_[index].size() < static_cast<size_t>(elements)) scratch_[index].resize(static_cast<size_t>(elements));
  return scratch_[index].data();
}

}  // namespace nibble::train
