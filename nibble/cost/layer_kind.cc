#include "nibble/cost/layer_kind.h"

#include "nibble/cost/merge.h"

namespace nibble::cost {
namespace {

struct Row {
  std::string_view class_name;
  LayerKind kind;
};

constexpr Row kRows[] = {
    {"InputLayer", LayerKind::kInput},
    {"Dropout", LayerKind::kDropout},
    {"Dense", LayerKind::kDense},
    {"Conv1D", LayerKind::kConvolution},
    {"Conv2D", LayerKind::kConvolution},
    {"DepthwiseConv2D", LayerKind::kDepthwise},
    {"Conv2DTranspose", LayerKind::kTransposed},
    {"Conv2DBatchnorm", LayerKind::kFoldedConvolution},
    {"DepthwiseConv2DBatchnorm", LayerKind::kFoldedDepthwise},
    {"AveragePooling2D", LayerKind::kAveragePooling},
    {"GlobalAveragePooling2D", LayerKind::kGlobalAveragePooling},
    {"Activation", LayerKind::kActivation},
    {"AdaptiveActivation", LayerKind::kActivation},
    {"BatchNormalization", LayerKind::kBatchNormalization},
};

// The reference hands their input type on as for any layer it does not know.
constexpr Row kUnknownToReference[] = {
    {"SeparableConv1D", LayerKind::kSeparable},
    {"SeparableConv2D", LayerKind::kSeparable},
    {"DepthwiseConv2DTranspose", LayerKind::kTransposedDepthwise},
    {"SeparableConv2DTranspose", LayerKind::kTransposedSeparable},
    {"ScaleShift", LayerKind::kScaling},
    {"SimpleRNN", LayerKind::kRecurrent},
    {"LSTM", LayerKind::kRecurrent},
    {"GRU", LayerKind::kRecurrent},
    {"RNN", LayerKind::kRecurrent},
    {"Bidirectional", LayerKind::kRecurrent},
    {"Embedding", LayerKind::kLookup},
    {"DenseBatchnorm", LayerKind::kFoldedDense},
    {"AveragePooling1D", LayerKind::kAveragePooling},
    {"GlobalAveragePooling1D", LayerKind::kGlobalAveragePooling},
    {"ReLU", LayerKind::kActivation},
    {"LeakyReLU", LayerKind::kActivation},
    {"ELU", LayerKind::kActivation},
    {"Softmax", LayerKind::kActivation},
    {"SpatialDropout1D", LayerKind::kDropout},
    {"SpatialDropout2D", LayerKind::kDropout},
};

// It knows these by a part of their name.
constexpr Row kByPart[] = {
    {"MaxPool", LayerKind::kMaxPooling},
    {"Reshape", LayerKind::kReshaping},
    {"Flatten", LayerKind::kReshaping},
    {"UpSampling", LayerKind::kUpSampling},
};

std::string_view without_q(std::string_view class_name) {
  return is_quantized_class(class_name) ? class_name.substr(1) : class_name;
}

}  // namespace

bool is_quantized_class(std::string_view class_name) {
  return class_name.size() > 1 && class_name[0] == 'Q' && class_name[1] >= 'A' && class_name[1] <= 'Z';
}

LayerKind layer_kind(std::string_view class_name, Compat compat) {
  if (class_name == "PReLU" && compat == Compat::kNone) return LayerKind::kScaling;
  const std::string_view plain = without_q(class_name);
  for (const Row& row : kRows)
    if (row.class_name == plain) return row.kind;
  if (is_merge(class_name)) return LayerKind::kMerge;
  if (compat == Compat::kNone)
    for (const Row& row : kUnknownToReference)
      if (row.class_name == plain) return row.kind;
  for (const Row& row : kByPart)
    if (class_name.find(row.class_name) != std::string_view::npos) return row.kind;
  return LayerKind::kOther;
}

bool has_kernel(LayerKind kind) {
  switch (kind) {
    case LayerKind::kDense:
    case LayerKind::kConvolution:
    case LayerKind::kDepthwise:
    case LayerKind::kTransposed:
    case LayerKind::kSeparable:
    case LayerKind::kTransposedDepthwise:
    case LayerKind::kTransposedSeparable:
    case LayerKind::kScaling:
      return true;
    default:
      return is_folded(kind);
  }
}

bool is_folded(LayerKind kind) {
  return kind == LayerKind::kFoldedConvolution || kind == LayerKind::kFoldedDepthwise ||
         kind == LayerKind::kFoldedDense;
}

}  // namespace nibble::cost
