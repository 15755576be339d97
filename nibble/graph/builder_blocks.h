// nibble/graph/builder_blocks.h
// QKeras' functions that build several layers: a depthwise separable convolution with an activation between its two
// halves, and convolutions of two resolutions; see builder.h. What they build are ordinary layers: a model with them
// trains, saves and loads as any other.
#pragma once

#include <functional>

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

// QDepthwiseConv2D without bias -> QActivation -> Dropout -> QConv2D of 1 x 1, the middle ones only where they are
// asked for; pw_first: the 1 x 1 convolution first. Layers are called name + "_dw", "_dw_act", "_dw_dropout", "_pw",
// "_pw_act"; without a name they get automatic ones.
struct QMobileNetSeparableConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  int64_t depth_multiplier = 1;
  std::string activation = "";  // after both, as an Activation layer
  bool use_bias = true;         // of the 1 x 1 convolution
  std::string depthwise_initializer = "he_normal";
  std::string pointwise_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string depthwise_regularizer = "", pointwise_regularizer = "", bias_regularizer = "";
  std::string activity_regularizer = "";
  std::string depthwise_constraint = "", pointwise_constraint = "", bias_constraint = "";
  std::string depthwise_quantizer = "", pointwise_quantizer = "", bias_quantizer = "";
  std::string depthwise_activation = "";
  double depthwise_dropout_rate = 0.0;
  bool pw_first = false;
  std::string name = "";
};
std::function<Node(const Node&)> QMobileNetSeparableConv2D(const QMobileNetSeparableConv2DOptions& options);

// One value in two resolutions, `low` of half the height and width [Chen et al. 2019, arXiv 1904.05049].
struct Octaves {
  std::optional<Node> high = {};
  std::optional<Node> low = {};
};
using OctaveCall = std::function<Octaves(const Octaves&)>;

// Convolves both resolutions and lets them exchange:
//   high' = conv(high) + upsample(conv(low))          filters - low filters
//   low'  = conv(low)  + conv(average_pool(high))     filters - int(filters * (1 - alpha))
// each convolution, pool and sum only where its input is there and its output has filters. alpha -1 merges: one output
// of all filters. Layers are called name + "_c_h_to_h" and so on, as in QKeras.
struct OctaveConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  double alpha = 0.0;  // share of the low resolution, 0 to 1, or -1
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::string kernel_initializer = "he_normal";  // of all kernels
  std::string bias_initializer = "zeros";
  std::string kernel_regularizer = "", bias_regularizer = "";
  std::string kernel_constraint = "", bias_constraint = "";
  std::string activation = "";     // of both outputs, as Activation layers
  bool use_separable = true;       // SeparableConv2D instead of Conv2D
  std::string acc_quantizer = "";  // of each convolution's output
  std::string name = "";
};
//   throws  InvalidArgument for another alpha; the call: if neither resolution is given
OctaveCall OctaveConv2D(const OctaveConv2DOptions& options);

struct QOctaveConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  double alpha = 0.0;
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_regularizer = "", bias_regularizer = "";
  std::string kernel_constraint = "", bias_constraint = "";
  bool use_separable = true;
  std::string name = "";
  std::string kernel_quantizer = "";  // without use_separable, and where the low resolution is one pixel
  std::string depthwise_quantizer = "", pointwise_quantizer = "";
  std::string bias_quantizer = "";
  std::string acc_quantizer = "";      // of each convolution's output
  std::string pooling_quantizer = "";  // average_quantizer of the pool
  std::string activation = "";         // of both outputs, as QActivation layers
};
OctaveCall QOctaveConv2D(const QOctaveConv2DOptions& options);

}  // namespace nibble::graph::build
