#include "nibble/cost/roofline.h"

#include <algorithm>

namespace nibble::cost {
namespace {

constexpr int kFloatBits = 32;

// Whole bytes of a tensor; its last partial byte is dropped, as the reference does.
int64_t bytes(int64_t elements, int bit_width) { return elements * bit_width / 8; }

}  // namespace

RooflinePair roofline(const DataTypeMap& map) {
  RooflinePair pair;
  // The reference reads one input only.
  const size_t sources = map.compat == Compat::kNone ? map.sources.size() : std::min<size_t>(map.sources.size(), 1);
  for (size_t i = 0; i < sources; ++i) {
    const double elements = double(map.source_shapes[i].elements());
    pair.quantized.activation_bytes += elements * map.sources[i].bit_width / 8;
    pair.float32.activation_bytes += elements * kFloatBits / 8;
  }
  for (const LayerTypes& layer : map.layers) {
    if (layer.class_name == "QActivation") {
      pair.quantized.activation_bytes += double(bytes(layer.output_shape.elements(), layer.output.bit_width));
      pair.float32.activation_bytes += double(bytes(layer.output_shape.elements(), kFloatBits));
    }
    for (const Mac& mac : layer.macs) {
      const int64_t kernel = mac.kernel.elements();
      pair.quantized.ace += mac.operation_count * layer.inputs[0].bit_width * mac.weight.bit_width;
      pair.float32.ace += mac.operation_count * kFloatBits * kFloatBits;
      pair.quantized.weight_bytes += bytes(kernel, mac.weight.bit_width);
      pair.float32.weight_bytes += bytes(kernel, kFloatBits);
      if (!mac.bias) continue;
      pair.quantized.weight_bytes += bytes(mac.biases, mac.bias->bit_width);
      pair.float32.weight_bytes += bytes(mac.biases, kFloatBits);
    }
  }
  return pair;
}

}  // namespace nibble::cost
