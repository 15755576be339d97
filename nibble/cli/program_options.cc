#include "nibble/cli/program_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "nibble/cli/choices.h"

namespace nibble::cli {

void add_program_options(CLI::App& app, ProgramOptions& options) {
  app.add_option("--input-quantizer", options.input_quantizer,
                 "Makes integers of the input, where the model does not begin with a quantizer")
      ->capture_default_str()
      ->type_name("TEXT");
  app.add_option("--softmax", options.softmax,
                 "At the end: float, or integer: 16-bit probabilities from a table, each within 2^-15 of the float one")
      ->capture_default_str();
  app.add_option("--requantization", options.requantization,
                 "From accumulators to codes: thresholds, which are the trained network's, or one multiplication and "
                 "shift as integer hardware has them, rounded: gemmlowp-double (TFLite), single, half-even, floor")
      ->type_name("RULE")
      ->capture_default_str();
}

program::LoweringOptions lowering_options(const ProgramOptions& options) {
  quant::get_quantizer(options.input_quantizer);  // a wrong text is told now
  program::LoweringOptions lowering;
  lowering.input_quantizer = options.input_quantizer;
  lowering.softmax = choose<program::SoftmaxForm>(
      "--softmax", options.softmax,
      {{"float", program::SoftmaxForm::kFloat}, {"integer", program::SoftmaxForm::kInteger}});
  using affine::Rounding;
  lowering.rounding = choose<std::optional<Rounding>>("--requantization", options.requantization,
                                                      {{"thresholds", std::nullopt},
                                                       {"gemmlowp-double", Rounding::kGemmlowpDouble},
                                                       {"single", Rounding::kSingle},
                                                       {"half-even", Rounding::kHalfEven},
                                                       {"floor", Rounding::kFloor}});
  return lowering;
}

void note_rounded_input(const program::Program& program, const graph::Model& model, const ProgramOptions& options,
                        Streams& streams) {
  if (options.input_quantizer != ProgramOptions{}.input_quantizer) return;
  if (program::input_quantizer(program, model) == nullptr) return;
  streams.err << fmt::format(
      "note: the network reads real numbers, the program rounds them to {} first; where the data are finer, the "
      "accuracy of 'nibble run' differs a little from that of 'nibble evaluate'. --input-quantizer chooses "
      "otherwise.\n",
      options.input_quantizer);
}

}  // namespace nibble::cli
