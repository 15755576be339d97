// nibble/train/layer_op.h
// A layer class as a function of torch operations: the way for every class that the fast path
// (plan.h) does not know. A new class is a new row in a file of layers/.
//
// Values are in Keras' layout, [N, H, W, C] or [N, T, C] or [N, C]. Whatever an op computes from
// weight() and its inputs is differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/train/exact_sums.h"
#include "nibble/train/layer_runtime.h"
#include "nibble/train/network.h"

namespace nibble::train {

// One layer in one forward pass, as its op sees it.
class LayerContext {
 public:
  virtual ~LayerContext() = default;

  virtual const graph::Layer& layer() const = 0;
  virtual const Shape& output_shape() const = 0;  // without the batch axis
  virtual Pass pass() const = 0;
  bool is_training() const { return pass() == Pass::kTraining; }
  // Training in a layer that is not frozen: only then may an op move what the layer remembers.
  bool updates_state() const { return is_training() && layer().trainable; }

  // The weight as the layer uses it: quantized where it has a quantizer. Undefined if the layer has none of that name.
  virtual at::Tensor weight(std::string_view name) = 0;
  // The weight as it is stored. An op that keeps state writes into it in place, under at::NoGradGuard.
  virtual at::Tensor stored(std::string_view name) = 0;

  // x through the quantizer in `attribute`, or x itself where there is none. `draw` tells apart the random numbers of
  // several calls in one pass.
  virtual at::Tensor quantize(const at::Tensor& x, std::string_view attribute, uint32_t draw = 0) = 0;
  // x through a quantizer that the op made.
  virtual at::Tensor quantize(const at::Tensor& x, const quant::QuantizerPtr& quantizer, uint32_t draw = 0) = 0;
  // x through the quantizer or the plain function in `attribute`.
  virtual at::Tensor activate(const at::Tensor& x, std::string_view attribute = "activation", uint32_t draw = 0) = 0;

  // x through the layer's affine quantizer at that point (graph/layer_quantization.h), or x itself where there is none.
  // weight() and activate() of "activation" do so by themselves.
  virtual at::Tensor quantize_point(const at::Tensor& x, std::string_view point) = 0;

  // Of an op whose step sums products (plan.h): how the integer program sums the codes of its input and of `kernel`;
  // nothing where they are none, or a gradient is asked for.
  virtual std::optional<SumGrid> sum_grid(std::string_view kernel) { return std::nullopt; }
  // The layer's bias as it is added elsewhere: on the grid of its accumulators, where there is one.
  virtual at::Tensor bias(std::string_view kernel) { return weight("bias"); }

  // x through the plain function that `attribute` of another layer names.
  virtual at::Tensor apply(const at::Tensor& x, const graph::Layer& layer, std::string_view attribute) = 0;

  // False while the statistics of batch normalizations are frozen (quantization_phase.h).
  virtual bool statistics_move() const = 0;

  // Mean and variance that normalization uses in this pass, over all axes of x but the last; they are the stored ones
  // (weights moving_mean and moving_variance) in inference, the batch's otherwise. In training the stored ones move by
  // attribute `momentum`; in re-estimation the batch's are collected.
  virtual BatchStatistics batch_statistics(const at::Tensor& x) = 0;

  virtual RandomKey random_key(RandomPurpose purpose) const = 0;
};

using LayerOp = at::Tensor (*)(LayerContext& context, std::span<const at::Tensor> inputs);

struct LayerOpRow {
  std::string_view class_name;
  LayerOp op;
};

// Null for a class that has no op.
LayerOp find_layer_op(std::string_view class_name);

// The classes that have one, in no order.
std::vector<std::string_view> layer_op_classes();

}  // namespace nibble::train
