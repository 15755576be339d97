// Layers that act in training only.
#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {
using namespace schema;

AttributeSpec required_real(const char* name) {
  return {.name = name, .kind = AttributeKind::kFloat, .required = true};
}

void check_rate(Layer& layer) {
  const double rate = layer.get_float("rate");
  if (rate >= 0 && rate < 1) return;
  throw InvalidArgument("[graph] {}: rate is {}; it must be at least 0 and below 1.", described(layer), rate);
}

}  // namespace

std::vector<LayerSchema> dropout_layers() {
  const std::vector<AttributeSpec> seeded = {required_real("rate"), opaque("seed"), opaque("noise_shape")};
  return {
      {.class_name = "Dropout", .attributes = seeded, .complete = check_rate},
      {.class_name = "SpatialDropout1D",
       .attributes = {required_real("rate"), opaque("seed"), opaque("noise_shape", true)},
       .complete = check_rate},
      {.class_name = "SpatialDropout2D",
       .attributes = {required_real("rate"), opaque("seed"), data_format(), opaque("noise_shape", true)},
       .complete = check_rate},
      {.class_name = "GaussianNoise", .attributes = {required_real("stddev"), opaque("seed")}},
      {.class_name = "GaussianDropout", .attributes = {required_real("rate"), opaque("seed")}, .complete = check_rate},
      {.class_name = "AlphaDropout", .attributes = seeded, .complete = check_rate},
  };
}

}  // namespace nibble::graph
