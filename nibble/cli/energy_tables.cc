#include "nibble/cli/energy_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/cli/table.h"
#include "nibble/cli/wording.h"

namespace nibble::cli {
namespace {

using nlohmann::json;

constexpr double kPjPerNj = 1000.0;
constexpr double kBitsPerKib = 8.0 * 1024.0;
double kib(int64_t bits) { return static_cast<double>(bits) / kBitsPerKib; }

// ---- energies ------------------------------------------------------------------

// The sum that is cut to estimate.total_pj.
double exact_total_pj(const cost::EnergyEstimate& estimate) {
  double sum = 0;
  for (const cost::LayerEnergy& layer : estimate.layers) sum += layer.included_pj;
  return sum;
}

// "204399 pJ = 204.40 nJ"; a network of less than 1 nJ would be cut to nothing: "0.734 pJ = 0.000734 nJ".
std::string total_text(const cost::EnergyEstimate& estimate) {
  const double exact = exact_total_pj(estimate);
  const bool is_small = exact < kPjPerNj;
  return fmt::format("{} pJ = {} nJ", is_small ? small_figure(exact) : std::to_string(estimate.total_pj),
                     small_figure(exact / kPjPerNj));
}

void print_energies(const cost::EnergyEstimate& estimate, std::ostream& out) {
  Table table{
      .headers = {"layer", "class", "inputs pJ", "outputs pJ", "parameters pJ", "operations pJ", "counted pJ", "share"},
      .rows = {}};
  const double exact = exact_total_pj(estimate);
  const double total = exact > 0 ? exact : 1.0;  // shares of nothing are 0 %
  for (const cost::LayerEnergy& layer : estimate.layers) {
    table.rows.push_back({layer.name, layer.class_name, fmt::format("{:.2f}", layer.inputs_pj),
                          fmt::format("{:.2f}", layer.outputs_pj), fmt::format("{:.2f}", layer.parameters_pj),
                          fmt::format("{:.2f}", layer.op_cost_pj), fmt::format("{:.2f}", layer.included_pj),
                          fmt::format("{:.1f} %", 100.0 * layer.included_pj / total)});
  }
  print(table, out);
}

// "3 layers (conv, bn, dense)", "9 layers (conv, bn, act, ...)"
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShown) text += ", ...";
  return fmt::format("{} {} ({})", names.size(), names.size() == 1 ? "layer" : "layers", text);
}

std::string values_name(const EnergyReport& report) {
  return cost::common_name(report.query.types.keras_quantizer.value_or(cost::default_type()));
}
std::string accumulators_name(const EnergyReport& report) {
  return cost::common_name(report.query.types.keras_accumulator.value_or(cost::default_type()));
}

// A network of floats would look like one of integers: what was assumed is said.
void print_assumptions(const EnergyReport& report, std::ostream& out) {
  if (report.reference != "none") {
    out << fmt::format("as if all values were {} and all sums {}; the model's own quantizers are left aside\n",
                       values_name(report), accumulators_name(report));
    return;
  }
  const cost::AssumedTypes& assumed = report.assumed;
  std::string text;
  if (!assumed.weights.empty()) {
    text = fmt::format("weights of {} count as {}", listed(assumed.weights), values_name(report));
  }
  if (!assumed.activations.empty()) {
    text += fmt::format("{}activations of {} count as {}", text.empty() ? "" : ", ", listed(assumed.activations),
                        accumulators_name(report));
  }
  if (!text.empty()) out << "without quantizers: " << text << "; --reference counts everything as one type\n";
}

json counted_as(const EnergyReport& report) {
  json object = {
      {"reference", report.reference}, {"values", values_name(report)}, {"accumulators", accumulators_name(report)}};
  if (report.reference == "none") {
    object["weights_without_quantizer"] = report.assumed.weights;
    object["activations_without_quantizer"] = report.assumed.activations;
  }
  return object;
}

// ---- types -----------------------------------------------------------------------

// "fixed(8,0) by mux": what multiplies, and what comes of it.
std::string text_of(const cost::Operator& op) {
  return fmt::format("{} by {}", cost::short_text(op.output), cost::to_string(op.gate));
}

std::string inputs_of(const cost::LayerTypes& layer) {
  std::string text;
  for (const cost::QuantizerType& input : layer.inputs) text += (text.empty() ? "" : " ") + cost::short_text(input);
  return text;
}

void add_norm_row(const cost::LayerTypes& layer, Table& table) {
  const cost::BatchNormTypes& types = layer.norm->parameters;
  const cost::BatchNormOperators& operators = layer.norm->operators;
  const std::string gamma = types.use_scale ? cost::short_text(types.gamma) + "/" : "1/";
  const std::string scale =
      layer.norm->inverse ? cost::short_text(*layer.norm->inverse) : gamma + cost::short_text(types.variance);
  table.rows.push_back({layer.name, inputs_of(layer), scale, types.use_center ? cost::short_text(types.beta) : "",
                        operators.multiply ? text_of(*operators.multiply) : text_of(operators.divide),
                        operators.accumulate ? cost::short_text(*operators.accumulate) : "",
                        cost::short_text(layer.output)});
}

// A row a kernel; the layer's output stands in the last one.
void add_kernel_rows(const cost::LayerTypes& layer, Table& table) {
  for (const cost::Mac& mac : layer.macs) {
    const std::string part = mac.prefix.empty() ? "" : " " + mac.prefix.substr(0, mac.prefix.size() - 1);
    table.rows.push_back({layer.name + part, cost::short_text(mac.input), cost::short_text(mac.weight),
                          mac.bias ? cost::short_text(*mac.bias) : "", text_of(mac.multiplier),
                          mac.adds ? cost::short_text(mac.fused_accumulator.value_or(mac.accumulator)) : "",
                          &mac == &layer.macs.back() ? cost::short_text(layer.output) : ""});
  }
}

void print_types(const cost::DataTypeMap& map, std::ostream& out) {
  Table table{.headers = {"layer", "input", "weight", "bias", "multiplier", "accumulator", "output"}, .rows = {}};
  for (const cost::LayerTypes& layer : map.layers) {
    if (!layer.macs.empty()) {
      add_kernel_rows(layer, table);
    } else if (layer.norm) {
      add_norm_row(layer, table);
    } else {
      const std::string product = layer.merge                            ? text_of(*layer.merge)
                                  : layer.pool && layer.pool->multiplier ? text_of(*layer.pool->multiplier)
                                                                         : "";
      table.rows.push_back({layer.name, inputs_of(layer), layer.lookup ? cost::short_text(layer.lookup->weight) : "",
                            "", product, layer.pool ? cost::short_text(layer.pool->sum) : "",
                            cost::short_text(layer.output)});
    }
  }
  print(table, out);
}

// ---- operations and memory ------------------------------------------------------------

// Bits by layer: of parameters, and of the activations that are alive while it runs. A layer that runs inside another
// has no memory of its own.
struct LayerMemory {
  std::map<std::string, int64_t> parameters, alive;
};

LayerMemory memory_by_layer(const EnergyReport& report) {
  LayerMemory result;
  if (report.bits) {
    for (const cost::LayerBits& layer : report.bits->layers) result.parameters[layer.name] = layer.parameters;
  }
  if (report.memory) {
    for (const cost::MemoryStep& step : report.memory->steps) result.alive[step.layer] = step.living_bits;
  }
  return result;
}

std::string kib_text(const std::map<std::string, int64_t>& bits, const std::string& layer) {
  const auto found = bits.find(layer);
  return found == bits.end() || found->second == 0 ? "" : fmt::format("{:.3f}", kib(found->second));
}

void print_summary(const EnergyReport& report, std::ostream& out) {
  const LayerMemory memory = memory_by_layer(report);
  Table table{.headers = {"layer", "class", "multiplications", "bit operations"}, .rows = {}};
  if (report.memory) table.headers.insert(table.headers.end(), {"weights KiB", "alive KiB"});
  for (const cost::LayerOperations& layer : report.operations.layers) {
    table.rows.push_back(
        {layer.name, layer.class_name, std::to_string(layer.multiplications), std::to_string(layer.bit_operations)});
    if (!report.memory) continue;
    table.rows.back().push_back(kib_text(memory.parameters, layer.name));
    table.rows.back().push_back(kib_text(memory.alive, layer.name));
  }
  print(table, out);
}

json summary_json(const EnergyReport& report) {
  const LayerMemory memory = memory_by_layer(report);
  json layers = json::array();
  for (const cost::LayerOperations& layer : report.operations.layers) {
    json object = {{"name", layer.name},
                   {"class_name", layer.class_name},
                   {"multiplications", layer.multiplications},
                   {"bit_operations", layer.bit_operations}};
    if (const auto found = memory.parameters.find(layer.name); found != memory.parameters.end()) {
      object["weight_kib"] = kib(found->second);
    }
    if (const auto found = memory.alive.find(layer.name); found != memory.alive.end()) {
      object["alive_kib"] = kib(found->second);
    }
    layers.push_back(std::move(object));
  }
  return layers;
}

// ---- roofline --------------------------------------------------------------------------

void print_roofline(const EnergyReport& report, std::ostream& out) {
  const cost::RooflinePair pair = cost::roofline(report.map);
  Table table{
      .headers = {"roofline", "operations", "bit operations", "weight bytes", "activation bytes", "operations a byte"},
      .rows = {}};
  if (report.machine) table.headers.insert(table.headers.end(), {"bound by", "at least us", "at most Gop/s"});
  const auto add = [&](const char* name, const cost::Roofline& figures) {
    table.rows.push_back({name, std::to_string(figures.operations), std::to_string(figures.ace),
                          std::to_string(figures.weight_bytes), fmt::format("{:.0f}", figures.activation_bytes),
                          fmt::format("{:.2f}", figures.intensity())});
    if (!report.machine) return;
    const cost::RooflinePoint point = cost::place(figures, *report.machine);
    std::vector<std::string>& row = table.rows.back();
    row.emplace_back(point.is_memory_bound ? "memory" : "compute");
    row.push_back(fmt::format("{:.4g}", 1e6 * point.least_s));
    row.push_back(fmt::format("{:.4g}", 1e-9 * point.attainable_operations_per_s));
  };
  add("as counted", pair.quantized);
  add("in float32", pair.float32);
  print(table, out);
  if (!report.machine) return;
  out << fmt::format(
      "\nthe machine: {:.4g} operations and {:.4g} bytes a second; both busy at {:.2f} operations a byte\n",
      report.machine->operations_per_s, report.machine->bytes_per_s,
      report.machine->operations_per_s / report.machine->bytes_per_s);
}

json roofline_json(const EnergyReport& report) {
  const cost::RooflinePair pair = cost::roofline(report.map);
  const auto figures = [&](const cost::Roofline& network) {
    json object = {{"operations", network.operations},
                   {"bit_operations", network.ace},
                   {"weight_bytes", network.weight_bytes},
                   {"activation_bytes", network.activation_bytes},
                   {"operations_per_byte", network.intensity()}};
    if (!report.machine) return object;
    const cost::RooflinePoint point = cost::place(network, *report.machine);
    object["bound_by"] = point.is_memory_bound ? "memory" : "compute";
    object["least_us"] = 1e6 * point.least_s;
    object["attainable_operations_per_s"] = point.attainable_operations_per_s;
    return object;
  };
  json object = {{"quantized", figures(pair.quantized)}, {"float32", figures(pair.float32)}};
  if (report.machine) {
    object["machine"] = {{"operations_per_s", report.machine->operations_per_s},
                         {"bytes_per_s", report.machine->bytes_per_s},
                         {"ridge_operations_per_byte", report.machine->operations_per_s / report.machine->bytes_per_s}};
  }
  return object;
}

}  // namespace

void print(const EnergyReport& report, std::ostream& out) {
  if (report.types) {
    print_types(report.map, out);
    out << '\n';
  }
  if (report.summary) {
    print_summary(report, out);
    out << '\n';
  }
  if (report.roofline) {
    print_roofline(report, out);
    out << '\n';
  }
  print_energies(report.estimate, out);
  out << '\n';
  print_assumptions(report, out);
  out << fmt::format("total {} per inference\n", total_text(report.estimate));
  out << fmt::format("operations: {} multiplications, {} bit operations\n", report.operations.multiplications,
                     report.operations.bit_operations);
  if (!report.memory) return;
  out << fmt::format("memory: weights {:.2f} KiB, activations at most {:.2f} KiB (in '{}')\n",
                     kib(report.memory->weight_bits), kib(report.memory->peak_bits), report.memory->peak_layer);
}

json json_of(const EnergyReport& report) {
  json object = cost::report_of(report.estimate);
  object["process"] = report.query.energy.process.name;
  object["counted_as"] = counted_as(report);
  object["operations"] = {{"multiplications", report.operations.multiplications},
                          {"bit_operations", report.operations.bit_operations}};
  if (report.memory) {
    object["memory"] = {{"weight_kib", kib(report.memory->weight_bits)},
                        {"ram_kib", kib(report.memory->peak_bits)},
                        {"peak_layer", report.memory->peak_layer}};
  }
  if (report.types) object["types"] = cost::report_of(report.map);
  if (report.summary) object["summary"] = summary_json(report);
  if (report.roofline) object["roofline"] = roofline_json(report);
  return object;
}

}  // namespace nibble::cli
