// nibble/graph/small_quantized.h
// For tests of layers' quantization: a network with every kind of tensor that can be quantized, and short ways to say
// how.
#pragma once

#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/model.h"

namespace nibble::graph {

inline constexpr auto kLast = AffineKind::kLastValue;
inline constexpr auto kAverage = AffineKind::kMovingAverage;
inline constexpr auto kAll = AffineKind::kAllValues;

// Every kind of tensor that can be quantized: (8, 8, 3) -> 32 filters -> 2 per channel -> transposed to 5 -> 10.
inline Model small() {
  using namespace build;
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  Node x = Conv2D({.filters = 32, .kernel_size = {3, 3}, .activation = "relu", .name = "conv"})(in);
  x = DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .name = "depthwise"})(x);
  x = layer("Conv2DTranspose", "transposed", {{"filters", int64_t{5}}, {"kernel_size", std::vector<int64_t>{2, 2}}})(x);
  x = Dense({.units = 10, .name = "dense"})(Flatten({.name = "flatten"})(ReLU({.name = "relu"})(x)));
  return build_model({in}, {x}, "small");
}

inline AffineQuantizer of(AffineKind kind, bool per_axis, int axis = -1, int num_bits = 4) {
  return {.kind = kind, .num_bits = num_bits, .per_axis = per_axis, .symmetric = true, .axis = axis};
}

inline LayerQuantization on_weight(const char* weight, const AffineQuantizer& quantizer) {
  return {.weights = {{weight, quantizer}}};
}

inline AffineQuantizer fixed(float min, float max) { return {.kind = AffineKind::kFixed, .fixed = {min, max}}; }

// Ranges that are not known yet, a learned step and a fixed range.
inline Model quantized() {
  Model model = small();
  initialize_weights(model, 3);
  set_quantization(model, "in", LayerQuantization{.output = {.kind = kAll}});
  set_quantization(model, "conv",
                   LayerQuantization{.weights = {{"kernel", of(kLast, true)}},
                                     .post_activation = {.kind = kAverage,
                                                         .num_bits = 4,
                                                         .ema_decay = 0.9,
                                                         .average_start = affine::AverageStart::kFirstBatch,
                                                         .range = affine::RangeRule::kMse},
                                     .bias_bits = 16});
  set_quantization(model, "transposed", on_weight("kernel", of(AffineKind::kLsq, true, -2)));
  set_quantization(model, "relu", LayerQuantization{.output = fixed(0, 6)});
  set_quantization(model, "dense", LayerQuantization{.pre_activation = of(AffineKind::kLsqPlus, false)});
  return model;
}

}  // namespace nibble::graph
