#include "nibble/graph/builder_convolution.h"

#include "nibble/graph/builder_attributes.h"

namespace nibble::graph::build {

LayerCall Conv1D(const Conv1DOptions& o) {
  return {"Conv1D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"groups", o.groups},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall QConv1D(const QConv1DOptions& o) {
  return {"QConv1D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"groups", o.groups},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall SeparableConv1D(const SeparableConv1DOptions& o) {
  return {"SeparableConv1D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"depth_multiplier", o.depth_multiplier},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"pointwise_initializer", o.pointwise_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall QSeparableConv1D(const QSeparableConv1DOptions& o) {
  return {"QSeparableConv1D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"depth_multiplier", o.depth_multiplier},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"pointwise_initializer", o.pointwise_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"depthwise_quantizer", or_none(o.depthwise_quantizer)},
                        {"pointwise_quantizer", or_none(o.pointwise_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall SeparableConv2D(const SeparableConv2DOptions& o) {
  return {"SeparableConv2D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"depth_multiplier", o.depth_multiplier},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"pointwise_initializer", o.pointwise_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall QSeparableConv2D(const QSeparableConv2DOptions& o) {
  return {"QSeparableConv2D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"depth_multiplier", o.depth_multiplier},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"pointwise_initializer", o.pointwise_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"depthwise_quantizer", or_none(o.depthwise_quantizer)},
                        {"pointwise_quantizer", or_none(o.pointwise_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall Conv2DTranspose(const Conv2DTransposeOptions& o) {
  return {"Conv2DTranspose", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"output_padding", or_unset(o.output_padding)},
                        {"dilation_rate", o.dilation_rate},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall QConv2DTranspose(const QConv2DTransposeOptions& o) {
  return {"QConv2DTranspose", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"output_padding", or_unset(o.output_padding)},
                        {"dilation_rate", o.dilation_rate},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall QDepthwiseConv2DTranspose(const QDepthwiseConv2DTransposeOptions& o) {
  return {"QDepthwiseConv2DTranspose", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"group_size", o.group_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"output_padding", or_unset(o.output_padding)},
                        {"dilation_rate", o.dilation_rate},
                        {"depthwise_activation", or_none(o.depthwise_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"depthwise_kernel_quantizer", or_none(o.depthwise_kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall QSeparableConv2DTranspose(const QSeparableConv2DTransposeOptions& o) {
  return {"QSeparableConv2DTranspose", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"output_padding", or_unset(o.output_padding)},
                        {"dilation_rate", o.dilation_rate},
                        {"depthwise_activation", or_none(o.depthwise_activation)},
                        {"pointwise_activation", or_none(o.pointwise_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"depthwise_kernel_quantizer", or_none(o.depthwise_kernel_quantizer)},
                        {"pointwise_kernel_quantizer", or_none(o.pointwise_kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall QConv2DBatchnorm(const QConv2DBatchnormOptions& o) {
  return {"QConv2DBatchnorm", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"axis", o.axis},
                        {"momentum", o.momentum},
                        {"epsilon", o.epsilon},
                        {"center", o.center},
                        {"scale", o.scale},
                        {"beta_initializer", o.beta_initializer},
                        {"gamma_initializer", o.gamma_initializer},
                        {"ema_freeze_delay", or_unset(o.ema_freeze_delay)},
                        {"folding_mode", o.folding_mode}})};
}

LayerCall QDepthwiseConv2DBatchnorm(const QDepthwiseConv2DBatchnormOptions& o) {
  return {"QDepthwiseConv2DBatchnorm", o.name,
          with(o.more, {{"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"depth_multiplier", o.depth_multiplier},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"dilation_rate", o.dilation_rate},
                        {"depthwise_quantizer", or_none(o.depthwise_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"axis", o.axis},
                        {"momentum", o.momentum},
                        {"epsilon", o.epsilon},
                        {"center", o.center},
                        {"scale", o.scale},
                        {"beta_initializer", o.beta_initializer},
                        {"gamma_initializer", o.gamma_initializer},
                        {"ema_freeze_delay", or_unset(o.ema_freeze_delay)},
                        {"folding_mode", o.folding_mode}})};
}

LayerCall QDenseBatchnorm(const QDenseBatchnormOptions& o) {
  return {"QDenseBatchnorm", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"axis", o.axis},
                        {"momentum", o.momentum},
                        {"epsilon", o.epsilon},
                        {"center", o.center},
                        {"scale", o.scale},
                        {"beta_initializer", o.beta_initializer},
                        {"gamma_initializer", o.gamma_initializer},
                        {"ema_freeze_delay", or_unset(o.ema_freeze_delay)},
                        {"folding_mode", o.folding_mode}})};
}

LayerCall QScaleShift(const QScaleShiftOptions& o) {
  return {"QScaleShift", o.name,
          with(o.more, {{"weight_quantizer", or_none(o.weight_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"use_bias", o.use_bias},
                        {"activation", or_none(o.activation)},
                        {"weight_initializer", o.weight_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

}  // namespace nibble::graph::build
