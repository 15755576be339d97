// nibble models: the built-in networks.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/graph/model.h"
#include "nibble/models/builtin.h"

namespace nibble::cli {
namespace {

struct ModelsOptions {
  std::string model;
  bool json = false;
};

int64_t parameters_of(const graph::Model& model) {
  int64_t parameters = 0;
  for (const graph::LayerSummary& layer : graph::summarize(model)) parameters += layer.parameters;
  return parameters;
}

int run_list(const ModelsOptions& o, Streams& streams) {
  nlohmann::json rows = nlohmann::json::array();
  Table table{.headers = {"name", "input", "output", "layers", "parameters"}, .rows = {}};
  for (const std::string& name : models::builtin_names()) {
    const graph::Model model = models::make_builtin(name);
    const auto shapes = graph::infer_shapes(model);
    const Shape input = shapes.at(model.inputs.at(0)), output = shapes.at(model.outputs.at(0));
    const int64_t parameters = parameters_of(model);
    rows.push_back({{"name", name},
                    {"input", input.extents()},
                    {"output", output.extents()},
                    {"layers", model.layers.size()},
                    {"parameters", parameters}});
    table.rows.push_back(
        {name, input.str(), output.str(), std::to_string(model.layers.size()), std::to_string(parameters)});
  }
  if (o.json) {
    print_json({{"models", rows}}, streams.out);
  } else {
    print(table, streams.out);
  }
  return kOk;
}

int run_show(const ModelsOptions& o, Streams& streams) {
  const graph::Model model = load({.model = o.model, .weights = {}});
  if (o.json) {
    print_json(graph::to_config(model), streams.out);
  } else {
    streams.out << graph::summary(model);
  }
  return kOk;
}

}  // namespace

Run declare_models(CLI::App& app) {
  auto o = std::make_shared<ModelsOptions>();
  app.add_option("MODEL", o->model, "Show this model's layers; without it, list the built-in ones");
  app.add_flag("--json", o->json, "Print as JSON: the list, or the model's configuration");
  return [o](Streams& streams) { return o->model.empty() ? run_list(*o, streams) : run_show(*o, streams); };
}

}  // namespace nibble::cli
