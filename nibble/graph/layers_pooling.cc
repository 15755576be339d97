#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/padding.h"

namespace nibble::graph {
namespace {
using namespace schema;

std::vector<AttributeSpec> pool_attributes(int rank) {
  AttributeSpec strides = required_ints("strides", rank, 1);
  strides.required = false;
  strides.optional = true;
  return {ints("pool_size", std::vector<int64_t>(static_cast<size_t>(rank), 2), 1), strides,
          choice("padding", "valid", {"valid", "same"}), data_format()};
}

// Keras: strides None means the pool's size.
void complete_strides(Layer& layer) {
  if (!layer.has("strides")) layer.attributes["strides"] = layer.attributes.at("pool_size");
}

void check_rank(const Layer& layer, const Shape& input, int spatial) {
  if (input.rank() == spatial + 1) return;
  throw InvalidArgument("[graph] {} needs an input of {} axes ({} and channels), but gets {}.", described(layer),
                        spatial + 1, spatial == 2 ? "height, width" : "steps", input.str());
}

Shape pool_shape(const Layer& layer, std::span<const Shape> inputs) {
  const auto& pool = layer.get_ints("pool_size");
  check_rank(layer, inputs[0], static_cast<int>(pool.size()));
  Shape out = inputs[0];
  for (size_t i = 0; i < pool.size(); ++i) {
    int64_t& extent = out[static_cast<int>(i)];
    if (extent == Shape::kFree) continue;
    extent = window(layer.get_string("padding"), extent, pool[i], layer.get_ints("strides")[i]).out;
    if (extent >= 1) continue;
    throw InvalidArgument(
        "[graph] {}: a pool of {} does not fit into axis {} of the input {}. Use padding 'same' or a "
        "smaller pool.",
        described(layer), pool[i], i, inputs[0].str());
  }
  return out;
}

template <int spatial>
Shape global_shape(const Layer& layer, std::span<const Shape> inputs) {
  check_rank(layer, inputs[0], spatial);
  std::vector<int64_t> extents;
  if (layer.get_bool("keepdims")) extents.assign(spatial, 1);
  extents.push_back(inputs[0][-1]);
  return Shape(std::move(extents));
}

std::vector<AttributeSpec> global_attributes() {
  AttributeSpec keepdims = boolean("keepdims", false);
  keepdims.only_if_changed = true;  // older Keras does not know it
  return {data_format(), keepdims};
}

}  // namespace

std::vector<LayerSchema> pooling_layers() {
  const std::vector<AttributeSpec> average = {quantizer("average_quantizer"), activation()};
  std::vector<LayerSchema> layers;
  for (const char* kind : {"Max", "Average"}) {
    for (int rank : {1, 2}) {
      layers.push_back({.class_name = fmt::format("{}Pooling{}D", kind, rank),
                        .attributes = pool_attributes(rank),
                        .output_shape = pool_shape,
                        .complete = complete_strides});
      layers.push_back({.class_name = fmt::format("Global{}Pooling{}D", kind, rank),
                        .attributes = global_attributes(),
                        .output_shape = rank == 1 ? global_shape<1> : global_shape<2>});
    }
  }
  layers.push_back({.class_name = "QAveragePooling2D",
                    .attributes = join({pool_attributes(2), average}),
                    .output_shape = pool_shape,
                    .complete = complete_strides});
  layers.push_back({.class_name = "QGlobalAveragePooling2D",
                    .attributes = join({global_attributes(), average}),
                    .output_shape = global_shape<2>});
  return layers;
}

}  // namespace nibble::graph
