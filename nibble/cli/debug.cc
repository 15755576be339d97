// nibble debug: what the layers of a network give, QKeras' quantized_model_debug and quantized_model_dump.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/affine_table.h"
#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/data/npy.h"
#include "nibble/train/layer_outputs.h"

namespace nibble::cli {
namespace {

struct DebugOptions {
  ModelArgument model;
  std::filesystem::path input, dump;
  bool json = false;
};

nlohmann::json to_json(const std::vector<train::LayerOutput>& outputs) {
  nlohmann::json layers = nlohmann::json::array();
  for (const train::LayerOutput& output : outputs) {
    nlohmann::json row = {{"layer", output.layer}, {"shape", output.value.shape().extents()}};
    if (output.value.size() > 0) {
      const auto data = output.value.data();
      const auto [smallest, largest] = std::minmax_element(data.begin(), data.end());
      row["min"] = *smallest;
      row["max"] = *largest;
    }
    layers.push_back(std::move(row));
  }
  return {{"layers", layers}};
}

int run(const DebugOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  const Tensor x = data::read_npy(o.input);
  if (x.shape().rank() < 1) {
    throw InvalidArgument("'{}' holds a single number; expected an array whose first axis counts the samples.",
                          o.input.string());
  }
  if (!o.json && has_affine_points(model)) {
    streams.err << "note: layers with affine quantizers have no lines here, as in QKeras' model_debug; --json has all "
                   "layers.\n";
  }
  if (o.json) {
    print_json(to_json(train::layer_outputs(model, x)), streams.out);
  } else {
    streams.out << train::model_debug_text(model, x);
  }
  if (o.dump.empty()) return kOk;
  const auto files = train::dump_layer_outputs(model, x, o.dump);
  streams.err << fmt::format("wrote {} files to {}\n", files.size(), o.dump.string());
  return kOk;
}

}  // namespace

Run declare_debug(CLI::App& app) {
  auto o = std::make_shared<DebugOptions>();
  add_model(app, o->model);
  add_weights(app, o->model);
  app.add_option("--input,-i", o->input, "Samples as the network sees them: [n, height, width, channels]")
      ->required()
      ->type_name("X.npy");
  app.add_option("--dump", o->dump, "Also write each quantized layer's output there, as raw float32")->type_name("DIR");
  app.add_flag("--json", o->json, "Print shape, smallest and largest output of every layer as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
