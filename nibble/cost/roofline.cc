#include "nibble/cost/roofline.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/cost/saturated.h"

namespace nibble::cost {
namespace {

constexpr int kFloatBits = 32;

// The reference reads its own report, where every ternary has 2 bits.
int width(const QuantizerType& type, Compat compat) {
  return compat != Compat::kNone && type.mode == TypeMode::kTernary ? 2 : type.bit_width;
}

// Whole bytes of a tensor; its last partial byte is dropped, as the reference does.
int64_t bytes(int64_t elements, int bit_width) { return saturated_product(elements, bit_width) / 8; }

// The reference knows one class of layers that write activations.
bool is_stored(const DataTypeMap& map, const LayerTypes& layer) {
  return map.compat == Compat::kNone ? layer.has_activation : layer.class_name == "QActivation";
}

void add_weights(int64_t elements, int bit_width, RooflinePair& pair) {
  pair.quantized.weight_bytes = saturated_sum(pair.quantized.weight_bytes, bytes(elements, bit_width));
  pair.float32.weight_bytes = saturated_sum(pair.float32.weight_bytes, bytes(elements, kFloatBits));
}

void add_mac(const Mac& mac, Compat compat, RooflinePair& pair) {
  const auto ace = [&mac](int64_t bits) { return saturated_product(mac.operation_count, bits); };
  Roofline& own = pair.quantized;
  own.operations = saturated_sum(own.operations, ace(2));
  own.ace = saturated_sum(own.ace, ace(int64_t{width(mac.input, compat)} * width(mac.weight, compat)));
  pair.float32.ace = saturated_sum(pair.float32.ace, ace(int64_t{kFloatBits} * kFloatBits));
  add_weights(mac.kernel.elements(), width(mac.weight, compat), pair);
  if (mac.bias) add_weights(mac.biases, width(*mac.bias, compat), pair);
}

// What is read, as the energy has it.
void add_norm(const NormTypes& norm, RooflinePair& pair) {
  const BatchNormTypes& types = norm.parameters;
  if (types.use_scale) add_weights(norm.channels, types.gamma.bit_width, pair);
  if (types.use_center) add_weights(norm.channels, types.beta.bit_width, pair);
  add_weights(norm.channels, types.mean.bit_width, pair);
  add_weights(norm.channels, norm.inverse ? norm.inverse->bit_width : types.variance.bit_width, pair);
}

}  // namespace

RooflinePair roofline(const DataTypeMap& map) {
  const bool is_complete = map.compat == Compat::kNone;
  RooflinePair pair;
  // The reference reads one input only.
  const size_t sources = is_complete ? map.sources.size() : std::min<size_t>(map.sources.size(), 1);
  for (size_t i = 0; i < sources; ++i) {
    const double elements = double(map.source_shapes[i].elements());
    pair.quantized.activation_bytes += elements * map.sources[i].bit_width / 8;
    pair.float32.activation_bytes += elements * kFloatBits / 8;
  }
  for (const LayerTypes& layer : map.layers) {
    if (is_stored(map, layer)) {
      const int output_bits = width(layer.output, map.compat);
      pair.quantized.activation_bytes += double(bytes(layer.output_shape.elements(), output_bits));
      pair.float32.activation_bytes += double(bytes(layer.output_shape.elements(), kFloatBits));
    }
    for (const Mac& mac : layer.macs) add_mac(mac, map.compat, pair);
    // The reference counts kernels and biases alone.
    if (!is_complete) continue;
    if (layer.norm) add_norm(*layer.norm, pair);
    if (layer.lookup) add_weights(layer.lookup->elements, layer.lookup->weight.bit_width, pair);
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
