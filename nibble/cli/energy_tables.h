// nibble/cli/energy_tables.h
// What 'nibble energy' prints: tables for people, JSON for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>
#include <string>

#include "nibble/cost/assumed_types.h"
#include "nibble/cost/bit_operations.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/memory_footprint.h"
#include "nibble/cost/model_bits.h"
#include "nibble/cost/roofline.h"

namespace nibble::cli {

// All that is known of a network's cost; what was not asked for is empty.
struct EnergyReport {
  std::string reference = "none";
  cost::EnergyQuery query = {};
  cost::DataTypeMap map = {};
  cost::EnergyEstimate estimate = {};
  cost::AssumedTypes assumed = {};
  cost::Operations operations = {};
  // As if it were of another type, a network has no memory of its own.
  std::optional<cost::MemoryFootprint> memory = {};
  std::optional<cost::ModelBits> bits = {};  // with `memory`
  std::optional<cost::Machine> machine = {};
  bool types = false, summary = false, roofline = false;
};

void print(const EnergyReport& report, std::ostream& out);
nlohmann::json json_of(const EnergyReport& report);

}  // namespace nibble::cli
