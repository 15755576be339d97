// nibble quantize: a float model and a dictionary of quantizers give a quantized model.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/json_file.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::cli {
namespace {

struct QuantizeCommandOptions {
  ModelArgument model;
  std::filesystem::path config, output;
  int activation_bits = 4;
  uint64_t seed = 0;
  bool prefer_adaptive = false, folds = false, qkeras = false, json = false;
};

void print_layers(const graph::Model& model, bool as_json, std::ostream& out) {
  nlohmann::json rows = nlohmann::json::array();
  Table table{.headers = {"layer", "class", "output", "parameters", "quantizers"}, .rows = {}};
  for (const graph::LayerSummary& row : graph::summarize(model)) {
    rows.push_back({{"name", row.name},
                    {"class_name", row.class_name},
                    {"output_shape", row.output_shape.extents()},
                    {"parameters", row.parameters},
                    {"quantizers", row.quantizers}});
    table.rows.push_back(
        {row.name, row.class_name, row.output_shape.str(), std::to_string(row.parameters), row.quantizers});
  }
  if (as_json) {
    print_json({{"layers", rows}}, out);
  } else {
    print(table, out);
  }
}

// Entries for folded layers where nothing was folded.
void note_idle_entries(const nlohmann::json& config, const graph::Model& model, std::ostream& err) {
  for (const char* name : {"QConv2DBatchnorm", "QDepthwiseConv2DBatchnorm"}) {
    const bool is_used = std::any_of(model.layers.begin(), model.layers.end(),
                                     [&](const graph::Layer& layer) { return layer.class_name == name; });
    if (is_used || !config.contains(name)) continue;
    err << fmt::format(
        "note: the entry '{}' had no effect: no convolution of the model is followed by a BatchNormalization alone, "
        "with no activation of its own between them.\n",
        name);
  }
}

int run(const QuantizeCommandOptions& o, Streams& streams) {
  check_model_output(o.output);
  const graph::Model source = load(o.model);
  const nlohmann::json config = read_json(o.config);
  graph::Model model = transform::model_quantize(
      source, config,
      {.activation_bits = o.activation_bits,
       .transfer_weights = has_weights(source),
       .prefer_qadaptiveactivation = o.prefer_adaptive,
       .enable_bn_folding = o.folds,
       .compat = o.qkeras ? transform::Compatibility::kQkeras : transform::Compatibility::kNibble});
  graph::initialize_weights(model, o.seed);
  formats::keras::save_model(model, o.output);
  print_layers(model, o.json, streams.out);
  if (o.folds) note_idle_entries(config, model, streams.err);
  streams.err << fmt::format("wrote {}{}\n", o.output.string(),
                             has_weights(source) ? "" : " with initial weights; train it with 'nibble train'");
  return kOk;
}

}  // namespace

Run declare_quantize(CLI::App& app) {
  auto o = std::make_shared<QuantizeCommandOptions>();
  add_model(app, o->model);
  app.add_option("CONFIG", o->config, "JSON: layer names or classes (QConv2D, QActivation, ...) to quantizers")
      ->required()
      ->type_name("CONFIG.json");
  app.add_option("--output,-o", o->output, "The quantized model")->required()->type_name("OUT.keras");
  add_weights(app, o->model);
  app.add_option("--activation-bits", o->activation_bits, "Width of automatic activation quantizers")
      ->check(between(1, 32))
      ->capture_default_str();
  app.add_option("--seed", o->seed, "Of initial weights, if the model has none")
      ->check(not_negative())
      ->capture_default_str();
  app.add_flag("--prefer-qadaptiveactivation", o->prefer_adaptive, "Look up QAdaptiveActivation before QActivation");
  app.add_flag("--enable-bn-folding", o->folds,
               "Quantized convolutions take in the batch normalization after them (QConv2DBatchnorm)");
  app.add_flag_function(
      "--compat-qkeras", [o](int64_t) { o->qkeras = true; }, "Follow QKeras where it misbehaves (docs/differences.md)");
  app.add_flag("--json", o->json, "Print the layers as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
