// nibble/train/fused_ops.h
// The autograd functions of training's fast path (torch inside train/ only).
//
//   fused_convolution   [prologue -> convolution -> 2x2 max pool -> batch moments]
//   fused_prologue      [batch-norm apply -> activation -> dropout] on its own
//   channel_sums        batch moments of a value that no convolution made
//   quantize            any quantizer on any tensor, straight-through or as its rule says
//
// Activations are [N, H, W, C] contiguous (or [N, C]), kernels in Keras' layout. Batch norm is
// split: the sums over the batch are differentiable outputs, the small arithmetic on [C] vectors is
// ordinary torch, and its results come back in as `multiplier` and `offset`. So any batch norm,
// quantized or not, takes the fast path.
//
// A batch is cut in slices that fit the cache. Between two fused functions only the raw convolution
// outputs live in memory; the activated values are computed again where they are needed. If a raw
// value has one reader, that reader hands back the gradient of the *activated* value, and the
// producer finishes the prologue's gradient slice by slice: the Junction is how they agree.
//
// Sums over the batch are float64 sums of float32 sums of slices. Slices of a batch are the same however it is shared
// among threads and processes. Threads add theirs in the order of the slices, so the sums are those of one thread.
// Those of several processes may differ from them in the last bit of a float64, and once in some 10^8 such sums the
// nearest float32 is another.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "nibble/kernels/weight_quantizer.h"
#include "nibble/train/convolution.h"
#include "nibble/train/prologue.h"

namespace nibble::train {

class ProcessGroup;

// No slice has more samples, so that shares of a batch that are multiples of it are cut like the batch itself.
constexpr int64_t kLargestSlice = 256;

// Shared by the producer of a raw value and its one reader, for one training step.
struct Junction {
  std::shared_ptr<const BoundPrologue> prologue;  // set by the reader's forward pass
  std::shared_ptr<std::vector<uint8_t>> mask;     // likewise
};

// A value on its way through the network.
struct Flow {
  at::Tensor value;
  at::Tensor sum, sum_of_squares;      // [C] double, differentiable; undefined if not computed
  std::shared_ptr<Junction> junction;  // set if the producer finishes the reader's prologue
  // Where the value is whole numbers times a real step, rounded to float32 and clipped by a ReLU at most: the step, one
  // or one a channel (exact_sums.h). Else empty.
  std::vector<double> sum_scales = {};
};

// A prologue's parameters in a step. multiplier and offset are [C] double, differentiable.
struct PrologueInputs {
  at::Tensor multiplier, offset;
  kernels::ActivationSpec activation;
  float dropout_rate = 0.0f;
  RandomKey dropout_key;
  int64_t first_unit = 0;             // of the batch, where x is a process's share of it (prologue.h)
  ProcessGroup* processes = nullptr;  // that share the batch; null: this one is alone
};

// Two sums by channel of one slice, on their way to those over the batch.
struct SliceSums {
  std::vector<double> first, second;

  void start(int64_t channels);
  void add_to(const at::Tensor& first_total, const at::Tensor& second_total) const;  // [channels] double
};

// Convolution primitives of one layer for the slices of any batch, made when first needed.
class ConvolutionMachine {
 public:
  //   pools  a 2x2 max pool follows
  ConvolutionMachine(const ConvolutionGeometry& one_sample, bool pools);

  const ConvolutionGeometry& geometry() const { return one_sample_; }
  bool pools() const { return pools_; }
  // Height and width of the output, after the pool.
  int64_t out_height() const { return pools_ ? one_sample_.out_height / 2 : one_sample_.out_height; }
  int64_t out_width() const { return pools_ ? one_sample_.out_width / 2 : one_sample_.out_width; }
  int64_t out_elements() const { return out_height() * out_width() * one_sample_.out_channels; }

  // What one thread works with; never shared between threads.
  class Workspace {
   public:
    // Primitives for a slice of this many samples.
    Convolution& for_samples(int64_t samples) const;
    // A buffer that lives on between calls; `which` names it. Contents are not kept.
    float* scratch(int which, int64_t elements);
    // From compute() to add().
    SliceSums sums;

   private:
    friend class ConvolutionMachine;
    struct Entry {
      int64_t samples;
      bool needs_gradient;
      std::unique_ptr<Convolution> convolution;
    };
    std::vector<Entry> entries_;
    std::vector<std::vector<float>> scratch_;
  };

  // Makes the workspaces of `threads` threads ready for a batch and hands every convolution to `visit`.
  void prepare(int threads, int64_t batch, bool needs_gradient, const std::function<void(Convolution&)>& visit);

  // Cuts the batch in slices. `compute` is called for each, on `threads` threads side by side, then `add`, for one
  // slice after another in their order: sums over the slices do not depend on the number of threads. After prepare().
  //   throws  what compute or add threw first; slices that had not begun are left out then
  using Compute = std::function<void(Workspace& workspace, int64_t first, int64_t samples)>;
  using Add = std::function<void(Workspace& workspace, int64_t samples)>;
  void for_each_slice(int threads, int64_t batch, const Compute& compute, const Add& add);

  // What a slice's gradient of the weights is added to, and where the sums are moved from: the first workspace's.
  Convolution& gradient_sums(int64_t samples) const { return workspaces_.front().for_samples(samples); }
  // Adds the sums over the slices of a batch, [as the weights] and [out]; null: no bias.
  void move_gradient_sums(int64_t batch, double* dweights, double* dbias) const;

 private:
  // The one or two sizes of the slices of a batch: full ones, and the rest.
  std::vector<int64_t> slice_sizes(int64_t batch) const;
  void ensure(Workspace& workspace, int64_t samples, bool needs_gradient) const;

  ConvolutionGeometry one_sample_;
  bool pools_;
  int64_t slice_samples_;
  std::vector<Workspace> workspaces_;
};

//   x         its value is [N, H, W, C]
//   prologue  null: x goes straight into the convolution
//   weights   Keras' layout, already quantized;  bias [out] or undefined
//   gives_moments         fill in sum and sum_of_squares of the result
//   gradient_is_pending   the result's one reader has a prologue: make a junction for it
//   processes             that share the batch; null: this one is alone
struct ConvolutionResultUse {
  bool gives_moments = false, gradient_is_pending = false;
};
Flow fused_convolution(ConvolutionMachine& machine, const Flow& x, const PrologueInputs* prologue,
                       const at::Tensor& weights, const at::Tensor& bias, const ConvolutionResultUse& use,
                       ProcessGroup* processes = nullptr);

at::Tensor fused_prologue(const Flow& x, const PrologueInputs& prologue);

// u + factor * (q(x) - u), with the gradient of u: a straight-through quantizer with a qnoise_factor.
//   whole  q: a quantized_bits (u = x), or a quantized_relu or _relu_po2 (u = x between 0 and their end)
at::Tensor noisy_activation(const at::Tensor& x, const kernels::ActivationSpec& whole, float factor);

// sum and sum of squares over all axes but the last, [C] double, differentiable.
struct ChannelSums {
  at::Tensor sum, sum_of_squares;
};
ChannelSums channel_sums(const at::Tensor& value);

// options.phase and options.random choose what stochastic quantizers do.
//   fast  null: the quantizer's scalar code
at::Tensor quantize(const at::Tensor& x, const quant::QuantizerPtr& quantizer, const quant::QuantizeOptions& options,
                    const kernels::WeightQuantizer* fast = nullptr);

}  // namespace nibble::train
