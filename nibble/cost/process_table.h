// nibble/cost/process_table.h
// What an operation or a memory access costs in a semiconductor process, as data:
// polynomials in the number of bits. A user's own process is a JSON file of the
// same form as nibble/cost/tables/horowitz_45nm.json:
//
//   "fixed": {"mul": [c0, c1, c2], ...}   c0 + c1 x + c2 x^2 pJ per use, x = gate bits
//   "fp16", "fp32": {"add": [...], "mul": [...]}
//   "sram": [...]    pJ per word access, x = log2(bits of the memory)
//   "dram": [...]    pJ per transfer, x = bits moved
//   "word_bits": 64
// Coefficients are within +-1e9. Where x is what a circuit has (1 to 64 bits at a gate, memories of 2 to 2^50 bits), no
// value is below 0; elsewhere it is clamped there.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/cost/operator.h"

namespace nibble::cost {

// Coefficients in ascending order.
struct Polynomial {
  std::vector<double> coefficients;
  double operator()(double x) const;  // >= 0
  bool operator==(const Polynomial&) const = default;
};

struct ProcessTable {
  std::string name;
  std::string source;
  int word_bits = 64;
  std::map<Gate, Polynomial> fixed;  // all six gates
  std::map<Gate, Polynomial> fp16;   // kAdd and kMul
  std::map<Gate, Polynomial> fp32;
  Polynomial sram;
  Polynomial dram;
  bool operator==(const ProcessTable&) const = default;

  // Energy of one use of a gate whose output has type `result`, pJ. Floats of up to 16 bits use the
  // fp16 rows, wider ones fp32; a gate that a float unit lacks costs its adder.
  double gate_pj(Gate gate, const QuantizerType& result, double gate_bits) const;

  // Moving `bits` to or from a memory of at least `min_memory_bits`, pJ. 0 bits cost nothing.
  double sram_pj(int64_t bits, int64_t min_memory_bits) const;
  double dram_pj(int64_t bits) const;
};

// 45 nm numbers of M. Horowitz, ISSCC 2014, as QTools uses them. The default everywhere.
const ProcessTable& horowitz_45nm();

//   throws  InvalidArgument naming the key that is missing, unknown, not a list of numbers of that size, or gives an
//           energy below 0
ProcessTable parse_process_table(std::string_view json_text);
//   throws  IoError if the file cannot be read, CorruptFile if it is not JSON, and as above; naming the file
ProcessTable load_process_table(const std::filesystem::path& path);
// "horowitz" (or "horowitz_45nm"), or the path of a file.
//   throws  InvalidArgument for a word that is neither, and as above
ProcessTable named_process_table(const std::string& name_or_path);

extern const std::string_view kHorowitz45nmJson;

}  // namespace nibble::cost
