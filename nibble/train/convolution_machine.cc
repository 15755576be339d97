#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <exception>
#include <optional>

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

// Hands out slices in order, and lets their takers add what they found in the same order.
class SliceQueue {
 public:
  explicit SliceQueue(int64_t slices) : slices_(slices) {}

  // The next slice; none when all are taken, or one has failed.
  std::optional<int64_t> take() {
    if (failed_.load()) return std::nullopt;
    const int64_t slice = next_.fetch_add(1);
    return slice < slices_ ? std::optional(slice) : std::nullopt;
  }

  // A slice's place in the order of adding; left behind, with whatever it waited for, when its work is done or fails.
  class Turn {
   public:
    Turn(SliceQueue& queue, int64_t slice) : queue_(queue), slice_(slice), exceptions_(std::uncaught_exceptions()) {}
    ~Turn() {
      if (std::uncaught_exceptions() > exceptions_) queue_.failed_ = true;
      wait();
      queue_.turn_.store(slice_ + 1);
      queue_.turn_.notify_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // Until the slices before have been left behind: whoever took them is at work on them, so this ends.
    void wait() const {
      for (int64_t at = queue_.turn_.load(); at != slice_; at = queue_.turn_.load()) queue_.turn_.wait(at);
    }

   private:
    SliceQueue& queue_;
    int64_t slice_;
    int exceptions_;
  };

 private:
  int64_t slices_;
  std::atomic<int64_t> next_ = 0, turn_ = 0;
  std::atomic<bool> failed_ = false;
};

}  // namespace

void SliceSums::start(int64_t channels) {
  first.assign(static_cast<size_t>(channels), 0.0);
  second.assign(static_cast<size_t>(channels), 0.0);
}

void SliceSums::add_to(const at::Tensor& first_total, const at::Tensor& second_total) const {
  auto* a = first_total.data_ptr<double>();
  auto* b = second_total.data_ptr<double>();
  for (size_t c = 0; c < first.size(); ++c) a[c] += first[c], b[c] += second[c];
}

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

void ConvolutionMachine::for_each_slice(int threads, int64_t batch, const Compute& compute, const Add& add) {
  const int64_t slices = (batch + slice_samples_ - 1) / slice_samples_;
  SliceQueue queue(slices);
  const auto run = [&](int64_t thread) {
    Workspace& workspace = workspaces_[static_cast<size_t>(thread)];
    while (const auto slice = queue.take()) {
      const int64_t first = *slice * slice_samples_, samples = std::min(slice_samples_, batch - first);
      const SliceQueue::Turn turn(queue, *slice);
      compute(workspace, first, samples);
      turn.wait();
      add(workspace, samples);
    }
  };
  if (threads == 1) return run(0);
  // A run that gets to work late, or alone, takes what is left: none is waited for before it has a slice.
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t) { run(begin); });
}

void ConvolutionMachine::move_gradient_sums(int64_t batch, double* dweights, double* dbias) const {
  for (const int64_t samples : slice_sizes(batch)) gradient_sums(samples).move_gradient_sums(dweights, dbias);
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
