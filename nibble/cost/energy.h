// nibble/cost/energy.h
// Energy of one inference, layer by layer, in picojoules (QTools' pe; spec/qtools.md section 9):
//
//   inputs     reading every input tensor
//   outputs    writing the output tensor
//   parameters reading kernels, biases, batch-norm parameters
//   op_cost    multiplications and additions (no registers, no control logic)
//
// A tensor of T bits costs ceil(T/64) * E_sram(log2(max(T, min_sram_bits))) from SRAM,
// E_dram(T) from DRAM, nothing from fixed memory (wired into the logic). Meant for comparing networks
// and bit widths; absolute numbers depend on the chip. Worked example: docs/cost.md.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/cost/data_type_map.h"
#include "nibble/cost/energy_rules.h"
#include "nibble/cost/process_table.h"

namespace nibble::cost {

enum class Memory { kSram, kDram, kFixed };
std::string_view to_string(Memory memory);         // "sram", "dram", "fixed"
Memory memory_from_string(std::string_view text);  // throws InvalidArgument

// 128 TiB: a memory block beyond that is a slip of the pen.
constexpr int64_t kLargestMemoryBits = int64_t{1} << 50;

// Energies are handed out as whole picojoules, in 64 bits: 9 MJ for an inference.
constexpr double kLargestEnergyPj = 9e18;

struct EnergyOptions {
  Memory weights_on_memory = Memory::kSram;
  Memory activations_on_memory = Memory::kSram;
  int64_t min_sram_bits = 0;  // smallest memory block, in bits; 0: a memory of each tensor's own size
  // The model's inputs come from DRAM and its outputs go there (through SRAM where activations are on DRAM);
  // else both are on SRAM, whatever activations_on_memory says.
  bool rd_wr_on_io = false;
  ProcessTable process = horowitz_45nm();
  EnergyRules include = {};  // what counts in the sum
};

// All values rounded to 0.01 pJ, as QTools prints and sums them.
struct LayerEnergy {
  std::string name, class_name;
  double inputs_pj = 0, outputs_pj = 0, parameters_pj = 0, op_cost_pj = 0;
  EnergyParts counted = {};  // which of them count: energy_rules.h
  double included_pj = 0;    // the sum of those
};

struct EnergyEstimate {
  std::vector<LayerEnergy> layers;
  int64_t total_pj = 0;       // sum of included_pj, cut to whole picojoules (extract_energy_sum)
  int64_t total_cost_pj = 0;  // sum of all four parts of all layers before rounding, cut
};

//   throws  Unsupported under Compat::kQkeras* for average pooling, where QTools fails; InvalidArgument
//           if min_sram_bits is negative or above kLargestMemoryBits, or the energies are above kLargestEnergyPj
EnergyEstimate estimate(const DataTypeMap& map, const EnergyOptions& options = {});

// ---- one call for users ----------------------------------------------------------

// What a network is measured as.
enum class Reference {
  kNone,  // its own quantizers
  kFp32,  // the tutorial's float reference
  kFp16,
  kInt8,  // int8 values, int32 accumulators
};
//   throws  InvalidArgument for a text other than "quantized", "fp32", "fp16", "int8"
Reference reference_from_string(std::string_view text);

struct EnergyQuery {
  DataTypeOptions types;
  EnergyOptions energy;
};

// The settings of the AutoQKeras tutorial, everything on SRAM, inputs and outputs too:
//   kFp32, kFp16  values and accumulators in float, 8-bit inputs, memories of at least 16 MiB
//   kInt8         int8 values, int32 accumulators, a memory of each tensor's own size
//   kNone         as kInt8 where a layer has no quantizer of its own
EnergyQuery energy_query(Reference reference, Compat compat = Compat::kNone);

EnergyEstimate estimate(const graph::Model& model, const EnergyQuery& query);

// {"total_energy_pj": .., "total_cost_pj": .., "layers": [{"name": .., "class_name": .., "inputs": ..,
// "outputs": .., "parameters": .., "op_cost": .., "total": ..}, ...]}, all in pJ.
nlohmann::json report_of(const EnergyEstimate& estimate);

}  // namespace nibble::cost
