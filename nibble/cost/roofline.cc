#include "nibble/cost/roofline.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::cost {
namespace {

constexpr int kFloatBits = 32;

// Whole bytes of a tensor; its last partial byte is dropped, as the reference does.
int64_t bytes(int64_t elements, int bit_width) { return elements * bit_width / 8; }

// The reference knows one class of layers that write activations.
bool is_stored(const DataTypeMap& map, const LayerTypes& layer) {
  return map.compat == Compat::kNone ? layer.has_activation : layer.class_name == "QActivation";
}

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
    if (is_stored(map, layer)) {
      pair.quantized.activation_bytes += double(bytes(layer.output_shape.elements(), layer.output.bit_width));
      pair.float32.activation_bytes += double(bytes(layer.output_shape.elements(), kFloatBits));
    }
    for (const Mac& mac : layer.macs) {
      const int64_t kernel = mac.kernel.elements();
      pair.quantized.operations += 2 * mac.operation_count;
      pair.quantized.ace += mac.operation_count * mac.input.bit_width * mac.weight.bit_width;
      pair.float32.ace += mac.operation_count * kFloatBits * kFloatBits;
      pair.quantized.weight_bytes += bytes(kernel, mac.weight.bit_width);
      pair.float32.weight_bytes += bytes(kernel, kFloatBits);
      if (!mac.bias) continue;
      pair.quantized.weight_bytes += bytes(mac.biases, mac.bias->bit_width);
      pair.float32.weight_bytes += bytes(mac.biases, kFloatBits);
    }
  }
  pair.float32.operations = pair.quantized.operations;
  return pair;
}

RooflinePoint place(const Roofline& network, const Machine& machine) {
  const auto is_rate = [](double rate) { return std::isfinite(rate) && rate > 0; };
  if (!is_rate(machine.operations_per_s) || !is_rate(machine.bytes_per_s))
    throw InvalidArgument("[roofline] a machine of {} operations and {} bytes a second; both must be above 0.",
                          machine.operations_per_s, machine.bytes_per_s);
  const double computing_s = double(network.operations) / machine.operations_per_s;
  const double moving_s = network.bytes() / machine.bytes_per_s;
  const double seconds = std::max(computing_s, moving_s);
  return {.ridge = machine.operations_per_s / machine.bytes_per_s,
          .attainable_operations_per_s = seconds > 0 ? double(network.operations) / seconds : 0,
          .least_s = seconds,
          .is_memory_bound = moving_s > computing_s};
}

}  // namespace nibble::cost
