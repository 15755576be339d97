#include "nibble/cli/program_options.h"

#include <CLI/CLI.hpp>

namespace nibble::cli {

void add_program_options(CLI::App& app, ProgramOptions& options) {
  app.add_option("--input-quantizer", options.input_quantizer,
                 "Makes integers of the input, where the model does not begin with a quantizer")
      ->capture_default_str()
      ->type_name("TEXT");
}

program::LoweringOptions lowering_options(const ProgramOptions& options) {
  quant::get_quantizer(options.input_quantizer);  // a wrong text is told now
  program::LoweringOptions lowering;
  lowering.input_quantizer = options.input_quantizer;
  return lowering;
}

}  // namespace nibble::cli
