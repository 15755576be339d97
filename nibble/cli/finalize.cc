// nibble finalize: writes the quantized weights into the model and tells their integer codes.
#include "nibble/transform/finalize.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/json_file.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/core/atomic_file.h"
#include "nibble/formats/keras/keras_file.h"

namespace nibble::cli {
namespace {

struct FinalizeOptions {
  ModelArgument model;
  std::filesystem::path output, codes;
  std::string compat = "none";
  bool json = false;
};

std::string code_range(const transform::FinalizedWeight& weight) {
  if (!weight.encoded || weight.encoded->codes.empty()) return "float";
  const auto [low, high] = std::minmax_element(weight.encoded->codes.begin(), weight.encoded->codes.end());
  const bool affine = weight.encoded->kind == quant::Encoded::Kind::kAffine;
  return fmt::format("{}{} .. {}{}", affine ? "" : "2^", *low, affine ? "" : "2^", *high);
}

void print_table(const transform::Finalized& result, std::ostream& out) {
  Table table{.headers = {"layer", "weight", "shape", "quantizer", "bits", "codes", "scale"}, .rows = {}};
  for (const transform::FinalizedLayer& layer : result.layers) {
    for (const transform::FinalizedWeight& weight : layer.weights) {
      const auto& scale = weight.encoded ? weight.encoded->scale : weight.scale;
      table.rows.push_back(
          {layer.name, weight.name, weight.value.shape().str(),
           weight.quantizer == nullptr ? "-" : weight.quantizer->str(),
           weight.encoded ? std::to_string(weight.encoded->bit_width) : "32", code_range(weight),
           weight.quantizer == nullptr ? "" : format_scales({scale.data().begin(), scale.data().end()})});
    }
  }
  print(table, out);
}

int run(const FinalizeOptions& o, Streams& streams) {
  check_model_output(o.output);
  if (!o.codes.empty()) AtomicFile{o.codes};  // before the model is there
  const auto compat = choose<transform::Compatibility>(
      "--compat", o.compat,
      {{"none", transform::Compatibility::kNibble}, {"qkeras", transform::Compatibility::kQkeras}});
  const transform::Finalized result = transform::finalize(load_with_weights(o.model), compat);
  nlohmann::json codes = transform::integer_weights(result);
  codes["qkeras_weights"] = transform::qkeras_weights(result, compat);
  formats::keras::save_model(result.model, o.output);
  if (!o.codes.empty()) write_json(o.codes, codes);
  if (o.json) {
    print_json(codes, streams.out);
  } else {
    print_table(result, streams.out);
  }
  for (const std::string& warning : result.warnings) streams.err << "note: " << warning << "\n";
  streams.err << fmt::format("wrote {}\n", o.output.string());
  return kOk;
}

}  // namespace

Run declare_finalize(CLI::App& app) {
  auto o = std::make_shared<FinalizeOptions>();
  add_model(app, o->model);
  app.add_option("--output,-o", o->output, "The model with quantized weights")->required()->type_name("OUT.keras");
  add_weights(app, o->model);
  app.add_option("--codes", o->codes, "Also write all integer codes and scales there")->type_name("FILE.json");
  app.add_option("--compat", o->compat, "qkeras: pair quantizers and weights as the reference does")
      ->capture_default_str();
  app.add_flag("--json", o->json, "Print codes and scales of every weight, and QKeras' dictionary, as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
