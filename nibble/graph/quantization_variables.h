// nibble/graph/quantization_variables.h
// What the sources of layer_quantization.h share: which kinds keep a range in variables, and where it starts.
#pragma once

#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

inline bool has_minmax(AffineKind kind) { return is_tracker(kind) && kind != AffineKind::kFixed; }

// Of a tracker with variables, before it has seen anything.
inline affine::Range initial_range(AffineKind kind) {
  return kind == AffineKind::kAllValues ? affine::Range{} : affine::Range{-6.0f, 6.0f};
}

inline std::string described(const Layer& layer, const QuantizedPoint& point) {
  return fmt::format("{}, point '{}' ({})", described(layer), point.name, class_name(point.quantizer.kind));
}

}  // namespace nibble::graph
