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
  kConvolution,          // Conv1D, Conv2D
  kDepthwise,            // DepthwiseConv2D
  kTransposed,           // Conv2DTranspose
  kSeparable,            // SeparableConv1D, SeparableConv2D: depthwise, then 1x1
  kTransposedDepthwise,  // QDepthwiseConv2DTranspose
  kTransposedSeparable,  // QSeparableConv2DTranspose: depthwise, then 1x1
  kScaling,              // PReLU, QScaleShift: each value times a weight
  kFoldedConvolution,    // QConv2DBatchnorm
  kFoldedDepthwise,      // QDepthwiseConv2DBatchnorm
  kFoldedDense,          // QDenseBatchnorm
  kRecurrent,            // SimpleRNN, LSTM, GRU, RNN, Bidirectional
  kLookup,               // Embedding
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

// Layers with kernels that meet the layer's input (recurrent layers, which have two, are not among them), and among
// them those with batch normalization inside.
bool has_kernel(LayerKind kind);
bool is_folded(LayerKind kind);

}  // namespace nibble::cost
