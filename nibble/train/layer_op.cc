#include "nibble/train/layer_op.h"

#include <map>

#include "nibble/train/layers/families.h"

namespace nibble::train {
namespace {

const std::map<std::string_view, LayerOp>& all_ops() {
  static const auto kOps = [] {
    std::map<std::string_view, LayerOp> ops;
    for (const auto& family : {layers::activation_ops(), layers::adaptive_ops(), layers::convolution_ops(),
                               layers::folded_ops(), layers::merge_ops(), layers::noise_ops(), layers::pooling_ops(),
                               layers::recurrent_ops(), layers::shape_ops()}) {
      for (const LayerOpRow& row : family) ops[row.class_name] = row.op;
    }
    return ops;
  }();
  return kOps;
}

}  // namespace

LayerOp find_layer_op(std::string_view class_name) {
  const auto found = all_ops().find(class_name);
  return found == all_ops().end() ? nullptr : found->second;
}

std::vector<std::string_view> layer_op_classes() {
  std::vector<std::string_view> names;
  for (const auto& [name, op] : all_ops()) names.push_back(name);
  return names;
}

}  // namespace nibble::train
