// nibble/train/network.h
// A graph::Model as torch computation: parameters, forward pass, gradients by autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
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
  at::Tensor forward(const at::Tensor& x, Pass pass, uint32_t step, bool logits);
  bool has_softmax() const;

  // Throws Unsupported naming the layer with a regularizer of its output, which training does not apply.
  void require_trainable() const;

  // What the regularizers add to the loss, differentiable; undefined where there are none.
  at::Tensor penalty() const;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  Shape input_shape() const;
  Shape output_shape() const;

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

  graph::Model model_;
  Plan plan_;
  bool fused_;
  uint64_t seed_;
  std::vector<Parameter> parameters_;
  std::vector<LayerRuntime> layers_;
  std::vector<std::unique_ptr<ConvolutionMachine>> machines_;  // one per step; null where none
  std::map<int, CollectedStatistics> collected_;               // by layer index
};

}  // namespace nibble::train
