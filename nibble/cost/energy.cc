#include "nibble/cost/energy.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/cost/saturated.h"

namespace nibble::cost {
namespace {

struct Parts {
  double inputs = 0, outputs = 0, parameters = 0, op_cost = 0;
};

class Estimator {
 public:
  Estimator(const DataTypeMap& map, const EnergyOptions& options) : map_(map), options_(options) {}

  Parts parts(const LayerTypes& layer) const {
    return {inputs(layer), outputs(layer), parameters(layer), op_cost(layer)};
  }

 private:
  // Reading and writing cost the same. Tensors in DRAM that cross the chip's border pass through SRAM.
  double transfer(Memory memory, int64_t elements, int bit_width) const {
    const int64_t bits = saturated_product(elements, bit_width);
    const auto& process = options_.process;
    switch (memory) {
      case Memory::kSram:
        return process.sram_pj(bits, options_.min_sram_bits);
      case Memory::kDram:
        return process.dram_pj(bits) + (options_.rd_wr_on_io ? process.sram_pj(bits, options_.min_sram_bits) : 0);
      case Memory::kFixed:
        return 0;
    }
    return 0;
  }

  Memory activation_memory(bool crosses_border) const {
    if (!crosses_border) return options_.activations_on_memory;
    return options_.rd_wr_on_io ? Memory::kDram : Memory::kSram;
  }

  double inputs(const LayerTypes& layer) const {
    double sum = 0;
    for (size_t i = 0; i < layer.inputs.size(); ++i)
      sum += transfer(activation_memory(layer.reads_model_input), layer.input_shapes[i].elements(),
                      layer.inputs[i].bit_width);
    return sum;
  }

  double outputs(const LayerTypes& layer) const {
    const int64_t elements = layer.has_listed_output ? 1 : layer.output_shape.elements();
    return transfer(activation_memory(layer.writes_model_output), elements, layer.output.bit_width);
  }

  double weights(int64_t elements, int bit_width) const {
    return transfer(options_.weights_on_memory, elements, bit_width);
  }

  // QTools forgets layers with folded batch normalization here, and transposed convolutions in op_cost too.
  bool is_forgotten(const LayerTypes& layer) const { return map_.compat != Compat::kNone && is_folded(layer.kind); }

  double parameters(const LayerTypes& layer) const {
    double sum = 0;
    if (!is_forgotten(layer))
      for (const Mac& mac : layer.macs) {
        sum += weights(mac.kernel.elements(), mac.weight.bit_width);
        if (mac.bias) sum += weights(mac.charged_biases, mac.bias->bit_width);
      }
    if (layer.norm) sum += norm_parameters(*layer.norm);
    if (layer.lookup) sum += weights(layer.lookup->elements, layer.lookup->weight.bit_width);
    return sum;
  }

  double norm_parameters(const NormTypes& norm) const {
    const BatchNormTypes& types = norm.parameters;
    double sum = 0;
    if (norm.charges_gamma) sum += weights(norm.channels, types.gamma.bit_width);
    if (norm.charges_beta) sum += weights(norm.channels, types.beta.bit_width);
    sum += weights(norm.channels, types.mean.bit_width);
    sum += weights(norm.channels, norm.inverse ? norm.inverse->bit_width : types.variance.bit_width);
    return sum;
  }

  double use_of(const Operator& op) const {
    return op.gate_factor * options_.process.gate_pj(op.gate, op.output, op.gate_bits);
  }
  double addition(const QuantizerType& sum) const { return options_.process.gate_pj(Gate::kAdd, sum, sum.bit_width); }

  double op_cost(const LayerTypes& layer) const {
    const bool is_uncounted = map_.compat != Compat::kNone && layer.kind == LayerKind::kTransposed;
    double sum = 0;
    if (!is_forgotten(layer) && !is_uncounted)
      for (const Mac& mac : layer.macs)
        sum += double(mac.operation_count) * (use_of(mac.multiplier) + (mac.adds ? addition(mac.accumulator) : 0));
    if (layer.merge) sum += merge_cost(layer);
    if (layer.pool) sum += pool_cost(layer);
    if (layer.gates) sum += double(layer.gates->products) * use_of(layer.gates->multiplier);
    if (layer.norm) {
      const BatchNormOperators& norm = layer.norm->operators;
      const double divisions = layer.norm->inverse ? 0 : use_of(norm.divide);
      sum += double(layer.operation_count) * (divisions + (norm.multiply ? use_of(*norm.multiply) : 0));
    }
    return sum;
  }

  // n inputs are combined pair by pair. QTools charges selections (Maximum, ...) nothing.
  double merge_cost(const LayerTypes& layer) const {
    const bool is_charged = layer.class_name == "Add" || layer.class_name == "Multiply" ||
                            layer.class_name == "Subtract" || map_.compat == Compat::kNone;
    if (!is_charged) return 0;
    return double(layer.inputs.size() - 1) * double(layer.operation_count) * use_of(*layer.merge);
  }

  double pool_cost(const LayerTypes& layer) const {
    if (map_.compat == Compat::kNone) {
      const double averages =
          layer.pool->multiplier ? double(layer.output_shape.elements()) * use_of(*layer.pool->multiplier) : 0;
      return double(layer.operation_count) * addition(layer.pool->sum) + averages;
    }
    if (layer.pool->multiplier) return 0;
    throw Unsupported("[energy] QTools fails on the energy of '{}' ({}). Leave compat off.", layer.name,
                      layer.class_name);
  }

  const DataTypeMap& map_;
  const EnergyOptions& options_;
};

// As printf("%.2f") rounds: exactly, in decimal.
double rounded(double pj) { return std::strtod(fmt::format("{:.2f}", pj).c_str(), nullptr); }

double sum_of(const EnergyParts& parts, const LayerEnergy& energy) {
  double sum = 0;
  if (parts.inputs) sum += energy.inputs_pj;
  if (parts.outputs) sum += energy.outputs_pj;
  if (parts.parameters) sum += energy.parameters_pj;
  if (parts.op_cost) sum += energy.op_cost_pj;
  return sum;
}

// Also false for what is no number.
void check_sum(double pj, const LayerTypes& layer, const EnergyOptions& options) {
  if (pj <= kLargestEnergyPj) return;
  throw InvalidArgument(
      "[energy] with layer '{}' ({}) an inference takes {:.3g} pJ, and at most {:.0g} pJ can be counted. Check the "
      "process table '{}' and the shapes and quantizers of the layer.",
      layer.name, layer.class_name, pj, kLargestEnergyPj, options.process.name);
}

const std::vector<std::string>& reference_names() {
  static const std::vector<std::string> names = {"quantized", "fp32", "fp16", "int8"};
  return names;
}

}  // namespace

std::string_view to_string(Memory memory) {
  switch (memory) {
    case Memory::kSram:
      return "sram";
    case Memory::kDram:
      return "dram";
    case Memory::kFixed:
      return "fixed";
  }
  return "";
}

Memory memory_from_string(std::string_view text) {
  for (const Memory memory : {Memory::kSram, Memory::kDram, Memory::kFixed})
    if (to_string(memory) == text) return memory;
  throw InvalidArgument("[energy] '{}' is no memory. Known: sram, dram, fixed.", text);
}

EnergyEstimate estimate(const DataTypeMap& map, const EnergyOptions& options) {
  if (options.min_sram_bits < 0 || options.min_sram_bits > kLargestMemoryBits) {
    throw InvalidArgument(
        "[energy] min_sram_bits is {}; the smallest memory block must be from 0 to {} bits (128 TiB).",
        options.min_sram_bits, kLargestMemoryBits);
  }
  const Estimator estimator(map, options);
  EnergyEstimate result;
  double sum = 0, all = 0;
  for (const LayerTypes& layer : map.layers) {
    const Parts parts = estimator.parts(layer);
    all += parts.inputs + parts.outputs + parts.parameters + parts.op_cost;
    check_sum(all, layer, options);
    LayerEnergy energy = {.name = layer.name,
                          .class_name = layer.class_name,
                          .inputs_pj = rounded(parts.inputs),
                          .outputs_pj = rounded(parts.outputs),
                          .parameters_pj = rounded(parts.parameters),
                          .op_cost_pj = rounded(parts.op_cost)};
    energy.counted = counted_parts(layer.class_name, layer.kind, options.include, map.compat);
    energy.included_pj = sum_of(energy.counted, energy);
    sum += energy.included_pj;
    result.layers.push_back(std::move(energy));
  }
  result.total_pj = static_cast<int64_t>(sum);
  result.total_cost_pj = static_cast<int64_t>(all);
  return result;
}

Reference reference_from_string(std::string_view text) {
  const auto& names = reference_names();
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == text) return static_cast<Reference>(i);
  throw InvalidArgument("[energy] '{}' is no reference. {}", text, suggest(text, names));
}

EnergyQuery energy_query(Reference reference, Compat compat) {
  EnergyQuery query;
  query.types.compat = compat;
  query.types.for_reference = reference != Reference::kNone;
  const bool is_float = reference == Reference::kFp32 || reference == Reference::kFp16;
  const QuantizerType real = float_type(reference == Reference::kFp16 ? 16 : 32);
  query.types.keras_quantizer = is_float ? real : type_from_text("int8");
  query.types.keras_accumulator = is_float ? real : type_from_text("int32");
  query.types.sources = {default_type()};
  if (is_float) query.energy.min_sram_bits = int64_t{8} * 16 * 1024 * 1024;
  return query;
}

EnergyEstimate estimate(const graph::Model& model, const EnergyQuery& query) {
  return estimate(data_type_map(model, query.types), query.energy);
}

nlohmann::json report_of(const EnergyEstimate& estimate) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerEnergy& layer : estimate.layers)
    layers.push_back({{"name", layer.name},
                      {"class_name", layer.class_name},
                      {"inputs", layer.inputs_pj},
                      {"outputs", layer.outputs_pj},
                      {"parameters", layer.parameters_pj},
                      {"op_cost", layer.op_cost_pj},
                      {"total", layer.included_pj}});
  return {{"total_energy_pj", estimate.total_pj}, {"total_cost_pj", estimate.total_cost_pj}, {"layers", layers}};
}

}  // namespace nibble::cost
