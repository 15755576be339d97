// nibble/transform/qat/quantize_config.h
// How one layer is quantized: the place where users plug in, as TFMOT's QuantizeConfig is.
//
//   class OnlyKernel : public qat::QuantizeConfig {
//     graph::LayerQuantization quantization(const graph::Layer& layer) const override {
//       return {.weights = {{"kernel", {.kind = graph::AffineKind::kAllValues, .num_bits = 4, .per_axis = true}}}};
//     }
//   };
// Source: spec/tfmot-tflite.md, A3.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::qat {

class QuantizeConfig {
 public:
  virtual ~QuantizeConfig() = default;
  virtual graph::LayerQuantization quantization(const graph::Layer& layer) const = 0;
};
using QuantizeConfigPtr = std::shared_ptr<const QuantizeConfig>;

// The same for every layer.
QuantizeConfigPtr always(graph::LayerQuantization quantization);
QuantizeConfigPtr quantize_nothing();

// What `inner` says of activations and outputs; weights stay as they are.
//   throws  InvalidArgument, as the next one, if `inner` is null
QuantizeConfigPtr output_only(QuantizeConfigPtr inner);

// What `inner` says, but every activation and output gets the range [min, max], which never moves. Unlike TFMOT's, it
// has `num_bits` bits and not always 8.
QuantizeConfigPtr fixed_range(QuantizeConfigPtr inner, int num_bits, float min, float max, bool narrow_range = false);

// Users' own configurations by name, for files that refer to them; TFMOT's quantize_scope as an argument.
using QuantizeScope = std::map<std::string, QuantizeConfigPtr>;

}  // namespace nibble::qat
