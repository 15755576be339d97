// nibble/train/network.h
// A graph::Model as torch computation: parameters, forward pass, gradients by autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nibble/graph/constraint.h"
#include "nibble/graph/model.h"
#include "nibble/train/fused_ops.h"
#include "nibble/train/plan.h"

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
};

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

  // Throws Unsupported where there is more than one input or output, or naming the layer with a regularizer of its
  // output, which training does not apply.
  void require_trainable() const;

  // What the regularizers add to the loss, differentiable; undefined where there are none.
  at::Tensor penalty() const;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  Shape input_shape(size_t i = 0) const;   // of the model's i-th input, without the batch axis
  Shape output_shape(size_t i = 0) const;  // likewise

  // Forgets the collected statistics; collects those of following kReestimation passes; makes
  // their mean the stored statistics.
  void begin_reestimation();
  void end_reestimation();

  // The model with the parameters' present values.
  graph::Model model() const;
  const graph::Model& structure() const { return model_; }

 private:
  struct Run;  // one forward pass
  class OpContext;

  void make_parameters();
  std::vector<at::Tensor> values(std::span<const at::Tensor> inputs, std::span<const size_t> steps, Pass pass,
                                 uint32_t step);

  graph::Model model_;
  Plan plan_;
  std::vector<size_t> input_steps_;  // of each of the model's inputs
  bool fused_;
  uint64_t seed_;
  std::vector<Parameter> parameters_;
  std::vector<LayerRuntime> layers_;
  std::vector<std::unique_ptr<ConvolutionMachine>> machines_;  // one per step; null where none
  std::map<int, CollectedStatistics> collected_;               // by layer index
};

}  // namespace nibble::train
