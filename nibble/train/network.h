// nibble/train/network.h
// A graph::Model as torch computation: parameters, forward pass, gradients by autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nibble/graph/constraint.h"
#include "nibble/graph/model.h"
#include "nibble/graph/qnoise.h"
#include "nibble/train/fused_ops.h"
#include "nibble/train/plan.h"
#include "nibble/train/quantization_phase.h"

namespace nibble::train {

// What a forward pass is for.
enum class Pass {
  kTraining,     // batch statistics, dropout, stochastic quantizers, gradients
  kInference,    // stored statistics, nothing random
  kReestimation  // batch statistics but nothing random; the statistics are collected
};

// One weight of the model in torch's memory, Keras' layout.
struct Parameter {
  int layer = 0;   // index in the model
  int weight = 0;  // index in the layer
  bool trainable = true;
  at::Tensor value;
  graph::Constraint constraint = {};    // what it obeys after each update
  graph::Regularizer regularizer = {};  // what it adds to the loss
  // Of a learned range: the step or clipping level whose size is the natural unit of its changes. Undefined otherwise.
  at::Tensor measure = {};
};

class ProcessGroup;          // process_group.h
struct LayerRuntime;         // layer_runtime.h
struct CollectedStatistics;  // likewise

class Network {
 public:
  // fused: take the fast path; else plain torch operations, the reference of the tests.
  //   throws  Unsupported naming the layer that cannot be trained
  Network(graph::Model model, bool fused, uint64_t seed);
  ~Network();

  // x [N, sample shape] -> value of the model's output; `step` keys the random numbers.
  // With `logits` a final softmax is left out: has_softmax() says whether there is one.
  //   throws  Unsupported unless the model has one input and one output
  at::Tensor forward(const at::Tensor& x, Pass pass, uint32_t step, bool logits);
  // Models of several inputs or outputs: one tensor for each of the model's inputs, in its order, all of one batch
  // size -> the value of each of its outputs, in its order.
  //   throws  InvalidArgument if the tensors do not fit the inputs
  std::vector<at::Tensor> forward(std::span<const at::Tensor> inputs, Pass pass, uint32_t step);
  bool has_softmax() const;

  // Throws Unsupported in the name of `who` unless the model has one input and one output.
  void require_single(std::string_view who) const;

  // What the regularizers of weights add to the loss, differentiable; undefined where there are none.
  at::Tensor penalty() const;

  // What the regularizers of outputs make of the last pass: the sum over its samples, likewise. The loss, a mean, has
  // it divided by the size of the batch.
  at::Tensor activity_penalty() const { return activity_penalty_; }

  // Of layers whose biases have so few bits (LayerQuantization::bias_bits) that some are clipped: how many, as the last
  // inference had them.
  const std::map<std::string, int64_t>& saturated_biases() const { return saturated_biases_; }

  // Until the next call, batches are this process's share of those that all processes compute together: batch norms
  // see the statistics of the whole batch, dropout draws what it would draw there.
  //   processes     outlives the passes; null: batches are whole
  //   first_sample  of the share, a multiple of kUnitSamples
  void set_share(ProcessGroup* processes, int64_t first_sample);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  Shape input_shape(size_t i = 0) const;   // of the model's i-th input, without the batch axis
  Shape output_shape(size_t i = 0) const;  // likewise

  // Forgets the collected statistics; collects those of following kReestimation passes; makes
  // their mean the stored statistics.
  void begin_reestimation();
  void end_reestimation();

  // Kernels with a batch normalization in them change with its statistics. Trackers of last values (LastValue) take the
  // range of the kernel that inference uses, where the last batch's was another. x is one sample or more.
  void settle_folded_ranges(const at::Tensor& x);

  // What following passes do with affine quantization.
  void set_quantization_phase(const QuantizationPhase& phase) { phase_ = phase; }
  // True: passes of any kind move the ranges of affine quantization, and find learned ones.
  void set_calibrating(bool calibrating) { calibrates_ = calibrating; }

  // From now on all quantizers show that much of their quantization, until the next call.
  void set_qnoise(const graph::QNoise& noise);

  // The model with the parameters' present values and the present qnoise_factor, each quantizer's use_ste as given.
  graph::Model model() const;
  const graph::Model& structure() const { return model_; }  // as given

 private:
  struct Run;  // one forward pass
  class OpContext;

  void adopt_plan(Plan plan);
  std::optional<ConvolutionGeometry> dense_geometry(const Step& step) const;
  void make_parameters();
  // As it computes now: with the quantizers of set_qnoise(), but without weights.
  const graph::Layer& running(int layer) const {
    return (noisy_ ? *noisy_ : model_).layers[static_cast<size_t>(layer)];
  }
  std::vector<at::Tensor> values(std::span<const at::Tensor> inputs, std::span<const size_t> steps, Pass pass,
                                 uint32_t step);

  graph::Model model_;
  std::optional<graph::QNoise> noise_;  // of set_qnoise()
  std::optional<graph::Model> noisy_;   // model_ with it
  Plan plan_;
  std::vector<size_t> input_steps_;  // of each of the model's inputs
  bool fused_;
  uint64_t seed_;
  std::vector<Parameter> parameters_;
  std::vector<LayerRuntime> layers_;
  std::vector<std::unique_ptr<ConvolutionMachine>> machines_;  // one per step; null where none
  std::map<int, CollectedStatistics> collected_;               // by layer index
  at::Tensor activity_penalty_;                                // of the last pass
  std::map<std::string, int64_t> saturated_biases_;            // by layer's name
  QuantizationPhase phase_;
  bool calibrates_ = false;
  bool settles_ = false;               // in settle_folded_ranges()
  ProcessGroup* processes_ = nullptr;  // of set_share()
  int64_t first_sample_ = 0;           // likewise
};

}  // namespace nibble::train
