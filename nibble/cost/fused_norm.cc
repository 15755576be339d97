#include "nibble/cost/fused_norm.h"

#include <algorithm>

#include "nibble/cost/layer_kind.h"

namespace nibble::cost {
namespace {

bool can_take_a_norm(const graph::Layer& layer) {
  const LayerKind kind = layer_kind(layer.class_name, Compat::kNone);
  const bool has_one_kernel =
      kind == LayerKind::kDense || kind == LayerKind::kConvolution || kind == LayerKind::kDepthwise;
  return has_one_kernel && is_quantized_class(layer.class_name) && layer.activation_function() == "linear";
}

}  // namespace

const graph::Layer* norm_inside(const graph::Model& model, const graph::Layer& layer) {
  if (!can_take_a_norm(layer)) return nullptr;
  if (std::find(model.outputs.begin(), model.outputs.end(), layer.name) != model.outputs.end()) return nullptr;
  const std::vector<std::string> readers = model.consumers(layer.name);
  if (readers.size() != 1) return nullptr;
  const graph::Layer* norm = model.find_layer(readers[0]);
  const bool fits = norm->class_name == "QBatchNormalization" && norm->has("inverse_quantizer");
  return fits ? norm : nullptr;
}

}  // namespace nibble::cost
