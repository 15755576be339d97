// nibble/train/affine_points.h
// The points of a layer that are quantized affinely (graph/layer_quantization.h), as a network computes them: their
// variables are the layer's weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/quant/affine/sum_quantizer.h"
#include "nibble/train/layer_runtime.h"

namespace nibble::train {

struct PointMode {
  bool observes = false;  // ranges move by x before they are used; learned parameters that were never found are
  bool applies = true;    // false: x comes back as it is
  RandomKey random = {};  // of stochastic gradients; one for each layer, point and step
  // With `observes`: x is all that the ranges will ever see, so that an average does not go on from its start.
  bool observes_once = false;
};

// True while nothing has moved the point's variables from where they begin.
bool stands_at_start(const graph::QuantizedPoint& point, LayerRuntime& runtime);

//   x       a weight, or an activation with the batch axis
//   throws  affine::NonFiniteValue naming the layer if x holds NaN or infinity while it is watched; InvalidArgument if
//           learned parameters were never found
at::Tensor quantize_point(const graph::Layer& layer, const graph::QuantizedPoint& point, LayerRuntime& runtime,
                          const at::Tensor& x, PointMode mode);

// Real steps between neighbouring codes, one or one a channel; empty where there is no such grid.
std::vector<float> point_steps(const graph::QuantizedPoint& point, LayerRuntime& runtime);

// The point's codes, relative to that of real 0; nothing where it has several scales, or an offset.
std::optional<affine::CodeGrid> code_grid(const graph::QuantizedPoint& point, LayerRuntime& runtime);

// The bias in units of its accumulator, input_step * weight_steps[c], saturated to so many bits; no codes where it
// stays a real number (affine::stays_float).
//   weight_steps  one, or one per element of the bias
struct BiasGrid {
  std::vector<double> codes = {};
  int64_t saturated = 0;  // how many were clipped
};
BiasGrid bias_codes(const at::Tensor& bias, float input_step, std::span<const float> weight_steps, int bit_width);

// The bias rounded to its accumulator's grid, input_step * weight_steps[c], saturated to so many bits, or as it is
// where it stays a real number; its gradient passes.
//   weight_steps  one, or one per element of the bias
at::Tensor bias_on_grid(const at::Tensor& bias, float input_step, std::span<const float> weight_steps, int bit_width);

}  // namespace nibble::train
