// nibble qstats: QKeras' print_qstats.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/affine_table.h"
#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/transform/statistics.h"

namespace nibble::cli {
namespace {

struct QstatsOptions {
  ModelArgument model;
  std::string input_quantizer = "quantized_relu(8,0)";
  bool json = false;
};

nlohmann::json to_json(const transform::NumberMode& mode) {
  static constexpr const char* kNames[] = {"fixed", "po2", "ternary", "binary", "zero_one", "float"};
  return {{"kind", kNames[mode.kind]}, {"bits", mode.bits}, {"signed", mode.is_signed}};
}

int run(const QstatsOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  const auto operations = transform::extract_model_operations(model, quant::get_quantizer(o.input_quantizer));
  const transform::ModelSparsity sparsity = transform::model_sparsity(model);
  if (has_affine_points(model)) {
    streams.err << "note: layers with affine quantizers have no rows here, as in QKeras' print_qstats; 'nibble energy' "
                   "counts them and 'nibble inspect' shows their widths.\n";
  }
  if (!o.json) {
    streams.out << transform::qstats_text(operations, sparsity);
    return kOk;
  }
  nlohmann::json layers = nlohmann::json::array();
  for (const transform::LayerOperation& operation : operations) {
    nlohmann::json weights = nlohmann::json::array();
    for (size_t i = 0; i < operation.weight_counts.size(); ++i) {
      weights.push_back({{"count", operation.weight_counts[i]}, {"type", to_json(operation.weight_modes[i])}});
    }
    layers.push_back({{"name", operation.layer},
                      {"operation", operation.type()},
                      {"operations", operation.count},
                      {"input", to_json(operation.input)},
                      {"weights", weights},
                      {"bias", {{"count", operation.bias_count}, {"type", to_json(operation.bias_mode)}}}});
  }
  nlohmann::json zeros = nlohmann::json::object();
  for (const transform::LayerSparsity& layer : sparsity.layers) zeros[layer.layer] = layer.share;
  print_json({{"layers", layers}, {"sparsity", {{"total", sparsity.total}, {"layers", zeros}}}}, streams.out);
  return kOk;
}

}  // namespace

Run declare_qstats(CLI::App& app) {
  auto o = std::make_shared<QstatsOptions>();
  add_model(app, o->model);
  add_weights(app, o->model);
  app.add_option("--input-quantizer", o->input_quantizer, "What the model's input is counted as")
      ->capture_default_str()
      ->type_name("TEXT");
  app.add_flag("--json", o->json, "Print operations, weights and sparsity of each layer as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
