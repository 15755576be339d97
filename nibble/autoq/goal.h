// nibble/autoq/goal.h
// What a search minimises beside the loss of accuracy, as written in a run_config:
//
//   {"type": "energy", "params": {"delta_p": 8.0, "delta_n": 8.0, "rate": 2.0, "process": "horowitz", ...}}
//   {"type": "bits",   "params": {"delta_p": 8.0, ..., "config": {"default": ["parameters", "activations"]}}}
//
// Source: spec/autoqkeras.md section 5. Pairs are [of the reference, of the trial].
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/autoq/json_fields.h"
#include "nibble/cost/forgiving_factor.h"

namespace nibble::autoq {

enum class GoalKind { kEnergy, kBits };
std::string_view to_string(GoalKind kind);  // "energy", "bits"

struct EnergyGoal {
  std::string process = "horowitz";                                      // or the path of a process table
  std::array<std::string, 2> parameters_on_memory = {"fixed", "fixed"};  // "fixed", "sram", "dram"
  std::array<std::string, 2> activations_on_memory = {"dram", "dram"};
  std::array<int64_t, 2> min_sram_size = {0, 0};  // bits
  std::array<bool, 2> rd_wr_on_io = {true, true};
  std::vector<std::string> source_quantizers;  // of the trial's inputs; empty: quantized_bits(8,0,1)
  bool trained_model = false;                  // the weights that a trial begins with count too
  std::string reference_internal = "fp32";     // "fp16", "fp32", "int8"
  std::string reference_accumulator = "fp32";  // "int16", "int32", "fp16", "fp32"
  bool operator==(const EnergyGoal&) const = default;
};

struct BitsGoal {
  int input_bits = 8, output_bits = 8, ref_bits = 8;
  // Layer class -> subset of {"parameters", "activations"}; "default" for all others.
  std::map<std::string, std::vector<std::string>> config = {{"default", {"parameters", "activations"}}};
  bool operator==(const BitsGoal&) const = default;
};

struct GoalConfig {
  GoalKind kind = GoalKind::kBits;
  cost::ForgivingFactor factor;  // delta_p, delta_n, rate, stress
  EnergyGoal energy;             // kEnergy
  BitsGoal bits;                 // kBits

  // True if a trial's cost depends on the weights that it begins with.
  bool counts_trained_weights() const { return kind == GoalKind::kEnergy && energy.trained_model; }
};

//   throws  InvalidArgument naming the field
GoalConfig parse_goal(const Json& goal);

}  // namespace nibble::autoq
