// nibble/cli/energy_options.h
// What 'nibble energy' is asked: how numbers are counted, where tensors lie, and what is printed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/cli/model_argument.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/roofline.h"

namespace nibble::cli {

struct EnergyCommandOptions {
  ModelArgument model;
  std::string reference = "none", compat = "none", process = "horowitz";
  std::string sources, weights_memory, activations_memory;  // empty: as the reference has them
  std::vector<std::string> include;
  int64_t min_sram_bits = -1;  // below 0: as the reference has it
  double peak_ops = 0, bandwidth = 0;
  bool io_on_dram = false, weights_given = false, fuse_batch_norm = false;
  bool types = false, summary = false, roofline = false, json = false;

  bool is_reference() const { return reference != "none"; }
  bool has_machine() const { return peak_ops > 0; }
};

void add_energy_options(CLI::App& app, EnergyCommandOptions& options);

//   throws  UsageError for words that mean nothing and options that cannot go together; what reading a process table
//           throws
cost::EnergyQuery query_of(const EnergyCommandOptions& options);

}  // namespace nibble::cli
