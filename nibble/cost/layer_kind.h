// nibble/cost/layer_kind.h
// Layer classes as the cost model sees them.
#pragma once

#include <string_view>

#include "nibble/cost/compat.h"

namespace nibble::cost {

enum class LayerKind {
  kInput,
  kDropout,
  kDense,
  kConvolution,        // Conv1D, Conv2D
  kDepthwise,          // DepthwiseConv2D
  kTransposed,         // Conv2DTranspose
  kSeparable,          // SeparableConv1D, SeparableConv2D: depthwise, then 1x1
  kFoldedConvolution,  // QConv2DBatchnorm
  kFoldedDepthwise,    // QDepthwiseConv2DBatchnorm
  kFoldedDense,        // QDenseBatchnorm
  kMerge,
  kMaxPooling,  // global ones too
  kAveragePooling,
  kGlobalAveragePooling,
  kReshaping,  // Flatten, Reshape
  kUpSampling,
  kActivation,
  kBatchNormalization,
  kOther,
};

// A class that the reference's cost model does not know (ReLU, SeparableConv2D, QDenseBatchnorm) is kOther
// under Compat::kQkeras*.
LayerKind layer_kind(std::string_view class_name, Compat compat);

// True for QKeras classes, whose quantizers are their own.
bool is_quantized_class(std::string_view class_name);

// Layers with kernels, and among them those with batch normalization inside.
bool has_kernel(LayerKind kind);
bool is_folded(LayerKind kind);

}  // namespace nibble::cost
