// nibble/cli/program_options.h
// The options of every command that makes an integer program.
#pragma once

#include <string>

#include "nibble/cli/command.h"
#include "nibble/program/lowering.h"

namespace nibble::cli {

struct ProgramOptions {
  std::string input_quantizer = program::LoweringOptions{}.input_quantizer;
  std::string softmax = "float", requantization = "thresholds";
};

// --input-quantizer, --softmax, --requantization
void add_program_options(CLI::App& app, ProgramOptions& options);

program::LoweringOptions lowering_options(const ProgramOptions& options);

// Says that the program rounds an input which the network reads as real numbers, unless the user chose how.
void note_rounded_input(const program::Program& program, const graph::Model& model, const ProgramOptions& options,
                        Streams& streams);

}  // namespace nibble::cli
