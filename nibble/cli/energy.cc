// nibble energy: picojoules per inference, layer by layer.
#include "nibble/cost/energy.h"
#include "nibble/cost/layer_kind.h"
#include "nibble/cost/memory_footprint.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "nibble/cli/choices.h"
#include "nibble/cli/command.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"

namespace nibble::cli {
namespace {

struct EnergyCommandOptions {
  ModelArgument model;
  std::string reference = "none", compat = "none", weights_memory, activations_memory;
  int64_t min_sram_bits = -1;
  bool io_on_dram = false, json = false;
};

cost::EnergyQuery query_of(const EnergyCommandOptions& o) {
  const auto reference = choose<cost::Reference>("--reference", o.reference,
                                                 {{"none", cost::Reference::kNone},
                                                  {"fp32", cost::Reference::kFp32},
                                                  {"fp16", cost::Reference::kFp16},
                                                  {"int8", cost::Reference::kInt8}});
  const auto compat = choose<cost::Compat>(
      "--compat", o.compat,
      {{"none", cost::Compat::kNone}, {"qkeras", cost::Compat::kQkeras}, {"qkeras-2020", cost::Compat::kQkeras2020}});
  cost::EnergyQuery query = cost::energy_query(reference, compat);
  const auto memory = [](const char* option, const std::string& word) {
    return choose<cost::Memory>(
        option, word, {{"sram", cost::Memory::kSram}, {"dram", cost::Memory::kDram}, {"fixed", cost::Memory::kFixed}});
  };
  if (!o.weights_memory.empty()) query.energy.weights_on_memory = memory("--weights-memory", o.weights_memory);
  if (!o.activations_memory.empty()) {
    query.energy.activations_on_memory = memory("--activations-memory", o.activations_memory);
  }
  if (o.min_sram_bits >= 0) query.energy.min_sram_bits = o.min_sram_bits;
  if (o.io_on_dram) query.energy.rd_wr_on_io = true;
  return query;
}

void print_table(const cost::EnergyEstimate& estimate, std::ostream& out) {
  Table table{
      .headers = {"layer", "class", "inputs pJ", "outputs pJ", "parameters pJ", "operations pJ", "counted pJ", "share"},
      .rows = {}};
  const double total = std::max<double>(1.0, static_cast<double>(estimate.total_pj));
  for (const cost::LayerEnergy& layer : estimate.layers) {
    table.rows.push_back({layer.name, layer.class_name, fmt::format("{:.2f}", layer.inputs_pj),
                          fmt::format("{:.2f}", layer.outputs_pj), fmt::format("{:.2f}", layer.parameters_pj),
                          fmt::format("{:.2f}", layer.op_cost_pj), fmt::format("{:.2f}", layer.included_pj),
                          fmt::format("{:.1f} %", 100.0 * layer.included_pj / total)});
  }
  print(table, out);
  out << fmt::format("\ntotal {} pJ = {:.2f} nJ per inference\n", estimate.total_pj,
                     static_cast<double>(estimate.total_pj) / 1000.0);
}

constexpr double kBitsPerKib = 8.0 * 1024.0;

nlohmann::json memory_json(const cost::MemoryFootprint& memory) {
  return {{"weight_kib", static_cast<double>(memory.weight_bits) / kBitsPerKib},
          {"ram_kib", static_cast<double>(memory.peak_bits) / kBitsPerKib},
          {"peak_layer", memory.peak_layer}};
}

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

int run(const EnergyCommandOptions& o, Streams& streams) {
  const cost::EnergyQuery query = query_of(o);
  const graph::Model model = load(o.model);
  const cost::EnergyEstimate estimate = cost::estimate(model, query);
  // As if it were of another type, a network has no memory of its own.
  std::optional<cost::MemoryFootprint> memory;
  if (o.reference == "none" && o.compat == "none") memory = cost::memory_footprint(model, query.types);
  if (o.json) {
    nlohmann::json report = cost::report_of(estimate);
    if (memory) report["memory"] = memory_json(*memory);
    print_json(report, streams.out);
  } else {
    print_table(estimate, streams.out);
    if (memory) {
      streams.out << fmt::format("memory: weights {:.2f} KiB, activations at most {:.2f} KiB (in '{}')\n",
                                 static_cast<double>(memory->weight_bits) / kBitsPerKib,
                                 static_cast<double>(memory->peak_bits) / kBitsPerKib, memory->peak_layer);
    }
  }
  note_uncounted(model, streams);
  return kOk;
}

}  // namespace

Run declare_energy(CLI::App& app) {
  auto o = std::make_shared<EnergyCommandOptions>();
  add_model(app, o->model);
  add_weights(app, o->model);
  app.add_option("--reference", o->reference,
                 "none: the model's own quantizers; fp32, fp16, int8: as if everything were of that type")
      ->capture_default_str();
  app.add_option(
         "--compat", o->compat,
         "none; qkeras: QTools' numbers, defects included; qkeras-2020: the older rule of the AutoQKeras tutorial")
      ->capture_default_str();
  app.add_option("--weights-memory", o->weights_memory, "sram, dram or fixed");
  app.add_option("--activations-memory", o->activations_memory, "sram, dram or fixed");
  app.add_option("--min-sram-bits", o->min_sram_bits, "Smallest memory block")->check(not_negative());
  app.add_flag("--io-on-dram", o->io_on_dram, "The model's inputs and outputs are on DRAM");
  app.add_flag("--json", o->json, "Print {\"total_energy_pj\", \"layers\", \"memory\"}");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
