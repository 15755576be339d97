#include "nibble/cli/model_report.h"

#include <map>

#include "nibble/cost/model_bits.h"
#include "nibble/transform/finalize.h"

namespace nibble::cli {
namespace {

std::string printed(const graph::Layer& layer, std::initializer_list<const char*> attributes) {
  for (const char* attribute : attributes) {
    if (!layer.has(attribute)) continue;
    if (const auto quantizer = layer.get_quantizer(attribute)) return quantizer->str();
    const std::string function = layer.activation_function(attribute);
    if (function != "linear") return function;
  }
  return "";
}

std::optional<int64_t> filters_of(const graph::Layer* layer) {
  for (const char* attribute : {"filters", "units"}) {
    if (layer != nullptr && layer->has(attribute)) return layer->get_int(attribute);
  }
  return std::nullopt;
}

std::map<std::string, double> energy_by_layer(const cost::EnergyEstimate& estimate) {
  std::map<std::string, double> result;
  for (const cost::LayerEnergy& layer : estimate.layers) result[layer.name] = layer.included_pj / kPicoPerNano;
  return result;
}

// Those of its parts that count, so that they add up to its energy.
report::EnergySplit split_of(const cost::LayerEnergy& layer) {
  const auto counted = [](bool counts, double pj) { return counts ? pj / kPicoPerNano : 0.0; };
  return {.operations_nj = counted(layer.counted.op_cost, layer.op_cost_pj),
          .parameters_nj = counted(layer.counted.parameters, layer.parameters_pj),
          .inputs_nj = counted(layer.counted.inputs, layer.inputs_pj),
          .outputs_nj = counted(layer.counted.outputs, layer.outputs_pj)};
}

std::map<std::string, report::EnergySplit> splits_by_layer(const cost::EnergyEstimate& estimate) {
  std::map<std::string, report::EnergySplit> result;
  for (const cost::LayerEnergy& layer : estimate.layers) result[layer.name] = split_of(layer);
  return result;
}

std::optional<double> find(const std::map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

report::LayerRow layer_row(const graph::Layer& layer, const graph::Model& original) {
  report::LayerRow row;
  row.name = layer.name;
  row.type = layer.class_name;
  row.kernel = printed(layer, {"kernel_quantizer", "depthwise_quantizer", "gamma_quantizer"});
  row.bias = printed(layer, {"bias_quantizer", "beta_quantizer"});
  row.activation = printed(layer, {"activation"});
  row.filters = filters_of(&layer);
  row.reference_filters = filters_of(original.find_layer(layer.name));
  return row;
}

void add_histograms(report::ReportData& data, const graph::Model& model) {
  for (const transform::FinalizedLayer& layer : transform::finalize(model).layers) {
    for (const transform::FinalizedWeight& weight : layer.weights) {
      if (!weight.encoded || weight.encoded->codes.empty()) continue;
      data.histograms.push_back({.layer = layer.name,
                                 .tensor = weight.name,
                                 .quantizer = weight.quantizer->str(),
                                 .codes = report::code_histogram(*weight.encoded)});
    }
  }
}

}  // namespace

std::vector<report::LayerRow> layer_rows(const graph::Model& model, const graph::Model& original,
                                         const cost::EnergyEstimate& reference, const cost::EnergyEstimate& own) {
  std::vector<report::LayerRow> rows;
  const auto before = energy_by_layer(reference);
  const auto after = energy_by_layer(own);
  const auto splits = splits_by_layer(own);
  // Of a trial's network, which has shapes alone, too.
  std::map<std::string, int64_t> parameters;
  for (const graph::LayerSummary& layer : graph::summarize(model)) parameters[layer.name] = layer.parameters;
  for (const graph::Layer& layer : model.layers) {
    if (layer.class_name == "InputLayer") continue;
    report::LayerRow row = layer_row(layer, original);
    row.parameters = parameters[layer.name];
    row.reference_energy_nj = find(before, layer.name);
    row.energy_nj = find(after, layer.name);
    if (const auto split = splits.find(layer.name); split != splits.end()) row.energy_parts = split->second;
    rows.push_back(std::move(row));
  }
  return rows;
}

void add_model(report::ReportData& data, const graph::Model& model, const graph::Model& original,
               const cost::EnergyEstimate& reference, const cost::EnergyEstimate& own) {
  data.layers = layer_rows(model, original, reference, own);
  data.model.weight_bits = cost::count_bits(model).parameters;
  add_histograms(data, model);
}

int64_t count_parameters(const graph::Model& model) {
  int64_t parameters = 0;
  for (const graph::LayerSummary& layer : graph::summarize(model)) parameters += layer.parameters;
  return parameters;
}

}  // namespace nibble::cli
