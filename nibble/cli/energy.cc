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

// What of a layer with weights the cost model leaves out; nothing of those that it knows. QTools forgets more than
// nibble does.
const char* left_out(const std::string& class_name, cost::Compat compat) {
  const cost::LayerKind kind = cost::layer_kind(class_name, compat);
  if (kind == cost::LayerKind::kOther) return "weights and operations";
  if (compat == cost::Compat::kNone) return nullptr;
  if (cost::is_folded(kind)) return "weights and operations";
  return kind == cost::LayerKind::kTransposed ? "operations" : nullptr;
}

void note_uncounted(const graph::Model& model, cost::Compat compat, Streams& streams) {
  const auto shapes = graph::infer_shapes(model);
  for (const graph::Layer& layer : model.layers) {
    const char* parts = left_out(layer.class_name, compat);
    if (parts == nullptr || graph::weight_shapes(layer, graph::input_shapes(layer, shapes)).empty()) continue;
    const bool is_qtools = left_out(layer.class_name, cost::Compat::kNone) == nullptr;
    streams.err << fmt::format("note: layer '{}' is a {}, whose {} are not counted{}.\n", layer.name, layer.class_name,
                               parts, is_qtools ? " with --compat: QTools does not know them" : "");
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
  const cost::Compat compat = query.types.compat;
  const EnergyReport report = report_of(o, model, std::move(query));
  if (o.json) {
    print_json(json_of(report), streams.out);
  } else {
    print(report, streams.out);
  }
  note_uncounted(model, compat, streams);
  return kOk;
}

}  // namespace

Run declare_energy(CLI::App& app) {
  auto o = std::make_shared<EnergyCommandOptions>();
  add_energy_options(app, *o);
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
