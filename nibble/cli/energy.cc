// nibble energy: picojoules per inference, layer by layer; types, operations, memory and roofline behind them.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/energy_options.h"
#include "nibble/cli/energy_tables.h"
#include "nibble/cli/table.h"
#include "nibble/cost/layer_kind.h"

namespace nibble::cli {
namespace {

// Layers with weights that the cost model does not know.
void note_uncounted(const graph::Model& model, Streams& streams) {
  const auto shapes = graph::infer_shapes(model);
  for (const graph::Layer& layer : model.layers) {
    if (cost::layer_kind(layer.class_name, cost::Compat::kNone) != cost::LayerKind::kOther) continue;
    if (graph::weight_shapes(layer, graph::input_shapes(layer, shapes)).empty()) continue;
    streams.err << fmt::format("note: layer '{}' is a {}, whose weights and operations are not counted.\n", layer.name,
                               layer.class_name);
  }
}

EnergyReport report_of(const EnergyCommandOptions& o, const graph::Model& model, cost::EnergyQuery query) {
  EnergyReport report;
  report.reference = o.reference;
  report.query = std::move(query);
  report.map = cost::data_type_map(model, report.query.types);
  report.estimate = cost::estimate(report.map, report.query.energy);
  report.assumed = cost::assumed_types(model, report.query.types);
  report.operations = cost::count_operations(report.map);
  if (!o.is_reference() && o.compat == "none") {
    report.memory = cost::memory_footprint(model, report.query.types);
    report.bits = cost::count_bits(model);
  }
  if (o.has_machine()) report.machine = cost::Machine{.operations_per_s = o.peak_ops, .bytes_per_s = o.bandwidth};
  report.types = o.types;
  report.summary = o.summary;
  report.roofline = o.roofline;
  return report;
}

int run(const EnergyCommandOptions& o, Streams& streams) {
  cost::EnergyQuery query = query_of(o);
  const graph::Model model = o.weights_given ? load_with_weights(o.model) : load(o.model);
  const EnergyReport report = report_of(o, model, std::move(query));
  if (o.json) {
    print_json(json_of(report), streams.out);
  } else {
    print(report, streams.out);
  }
  note_uncounted(model, streams);
  return kOk;
}

}  // namespace

Run declare_energy(CLI::App& app) {
  auto o = std::make_shared<EnergyCommandOptions>();
  add_energy_options(app, *o);
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
