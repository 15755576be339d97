// nibble/graph/builder_convolution.h
// Convolutions of sequences, separable and transposed ones, and those with batch normalization folded in; see
// builder.h.
#pragma once

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

struct Conv1DOptions {
  int64_t filters = 0;
  int64_t kernel_size = 0;
  int64_t strides = 1;
  std::string padding = "valid";
  int64_t dilation_rate = 1;
  int64_t groups = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall Conv1D(const Conv1DOptions& options);

struct QConv1DOptions {
  int64_t filters = 0;
  int64_t kernel_size = 0;
  int64_t strides = 1;
  std::string padding = "valid";
  int64_t dilation_rate = 1;
  int64_t groups = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QConv1D(const QConv1DOptions& options);

struct SeparableConv1DOptions {
  int64_t filters = 0;
  int64_t kernel_size = 0;
  int64_t strides = 1;
  std::string padding = "valid";
  int64_t dilation_rate = 1;
  int64_t depth_multiplier = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "glorot_uniform";
  std::string pointwise_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall SeparableConv1D(const SeparableConv1DOptions& options);

struct QSeparableConv1DOptions {
  int64_t filters = 0;
  int64_t kernel_size = 0;
  int64_t strides = 1;
  std::string padding = "valid";
  int64_t dilation_rate = 1;
  int64_t depth_multiplier = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "glorot_uniform";
  std::string pointwise_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string depthwise_quantizer = "";
  std::string pointwise_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QSeparableConv1D(const QSeparableConv1DOptions& options);

struct SeparableConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  int64_t depth_multiplier = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "glorot_uniform";
  std::string pointwise_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall SeparableConv2D(const SeparableConv2DOptions& options);

struct QSeparableConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  int64_t depth_multiplier = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "glorot_uniform";
  std::string pointwise_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string depthwise_quantizer = "";
  std::string pointwise_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QSeparableConv2D(const QSeparableConv2DOptions& options);

struct Conv2DTransposeOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> output_padding = {};
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall Conv2DTranspose(const Conv2DTransposeOptions& options);

struct QConv2DTransposeOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> output_padding = {};
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QConv2DTranspose(const QConv2DTransposeOptions& options);

struct QDepthwiseConv2DTransposeOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  int64_t group_size = 1;
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> output_padding = {};
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string depthwise_activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string depthwise_kernel_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QDepthwiseConv2DTranspose(const QDepthwiseConv2DTransposeOptions& options);

struct QSeparableConv2DTransposeOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> output_padding = {};
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string depthwise_activation = "linear";
  std::string pointwise_activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string depthwise_kernel_quantizer = "";
  std::string pointwise_kernel_quantizer = "";
  std::string bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QSeparableConv2DTranspose(const QSeparableConv2DTransposeOptions& options);

struct QConv2DBatchnormOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string bias_quantizer = "";
  int64_t axis = -1;
  double momentum = 0.99;
  double epsilon = 1e-3;
  bool center = true;
  bool scale = true;
  std::string beta_initializer = "zeros";
  std::string gamma_initializer = "ones";
  std::optional<int64_t> ema_freeze_delay = {};
  std::string folding_mode = "ema_stats_folding";
  std::string name = "";
  Attributes more = {};
};
LayerCall QConv2DBatchnorm(const QConv2DBatchnormOptions& options);

struct QDepthwiseConv2DBatchnormOptions {
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  int64_t depth_multiplier = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string depthwise_quantizer = "";
  std::string bias_quantizer = "";
  int64_t axis = -1;
  double momentum = 0.99;
  double epsilon = 1e-3;
  bool center = true;
  bool scale = true;
  std::string beta_initializer = "zeros";
  std::string gamma_initializer = "ones";
  std::optional<int64_t> ema_freeze_delay = {};
  std::string folding_mode = "ema_stats_folding";
  std::string name = "";
  Attributes more = {};
};
LayerCall QDepthwiseConv2DBatchnorm(const QDepthwiseConv2DBatchnormOptions& options);

struct QDenseBatchnormOptions {
  int64_t units = 0;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string bias_quantizer = "";
  int64_t axis = -1;
  double momentum = 0.99;
  double epsilon = 1e-3;
  bool center = true;
  bool scale = true;
  std::string beta_initializer = "zeros";
  std::string gamma_initializer = "ones";
  std::optional<int64_t> ema_freeze_delay = {};
  std::string folding_mode = "ema_stats_folding";
  std::string name = "";
  Attributes more = {};
};
LayerCall QDenseBatchnorm(const QDenseBatchnormOptions& options);

struct QScaleShiftOptions {
  std::string weight_quantizer = "";
  std::string bias_quantizer = "";
  bool use_bias = true;
  std::string activation = "linear";
  std::string weight_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall QScaleShift(const QScaleShiftOptions& options);

}  // namespace nibble::graph::build
