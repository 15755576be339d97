// QTools' JSON form of a data-type map (spec/qtools.md section 8).
#include <nlohmann/json.hpp>

#include "nibble/cost/data_type_map.h"

namespace nibble::cost {
namespace {

using nlohmann::json;

json with_gate(const QuantizerType& type, Gate gate) {
  json report = report_of(type);
  report["op_type"] = to_string(gate);
  return report;
}
json with_gate(const Operator& op) { return with_gate(op.output, op.gate); }

// With the batch axis, as Keras prints shapes.
json batched(const Shape& shape) {
  json extents = {-1};
  for (const int64_t extent : shape) extents.push_back(extent);
  return extents;
}

void add_norm(const NormTypes& norm, json& report) {
  const BatchNormTypes& types = norm.parameters;
  if (norm.inverse) report["inverse_quantizer"] = report_of(*norm.inverse);
  if (norm.charges_gamma) report["gamma_quantizer"] = report_of(types.gamma);
  if (norm.charges_beta) report["beta_quantizer"] = report_of(types.beta);
  report["mean_quantizer"] = report_of(types.mean);
  if (!norm.inverse) {
    report["variance_quantizer"] = report_of(types.variance);
    report["internal_divide_quantizer"] = with_gate(norm.operators.divide);
  }
  if (norm.operators.multiply) report["internal_multiplier"] = with_gate(*norm.operators.multiply);
  if (norm.operators.accumulate) report["internal_accumulator"] = with_gate(*norm.operators.accumulate, Gate::kAdd);
}

void add_pool(const PoolTypes& pool, json& report) {
  if (pool.average) report["average_quantizer"] = report_of(*pool.average);
  report["pool_sum_accumulator"] = with_gate(pool.sum, Gate::kAdd);
  if (pool.multiplier) report["pool_avg_multiplier"] = with_gate(*pool.multiplier);
}

// Every kernel has a group of keys of its own.
void add_mac(const Mac& mac, const std::string& prefix, json& report) {
  if (mac.has_kernel) {
    json& weight = report[prefix + "weight_quantizer"] = report_of(mac.weight);
    weight["shape"] = mac.kernel.extents();
  }
  if (mac.bias) {
    json& bias = report[prefix + "bias_quantizer"] = report_of(*mac.bias);
    bias["shape"] = mac.charged_biases;
  }
  report[prefix + "multiplier"] = with_gate(mac.multiplier);
  report[prefix + "accumulator"] = with_gate(mac.accumulator, Gate::kAdd);
  if (mac.fused_accumulator) report[prefix + "fused_accumulator"] = with_gate(*mac.fused_accumulator, Gate::kAdd);
}

json report_of(const LayerTypes& layer) {
  json report = {{"layer_type", layer.class_name}, {"input_quantizer_list", json::array()}};
  for (const QuantizerType& input : layer.inputs) report["input_quantizer_list"].push_back(cost::report_of(input));
  report["output_quantizer"] = cost::report_of(layer.output);
  json& shape = report["output_quantizer"]["shape"] = batched(layer.output_shape);
  if (layer.has_listed_output) {
    shape[0] = nullptr;
    shape = json::array({shape});
  }
  if (layer.norm) add_norm(*layer.norm, report);
  if (layer.pool) add_pool(*layer.pool, report);
  if (layer.merge) report[layer.class_name + "_quantizer"] = with_gate(*layer.merge);
  for (const Mac& mac : layer.macs) add_mac(mac, mac.prefix, report);
  if (layer.lookup) report["weight_quantizer"] = report_of(layer.lookup->weight);
  if (layer.gates) report["gate_multiplier"] = with_gate(layer.gates->multiplier);
  report["operation_count"] = layer.operation_count;
  return report;
}

}  // namespace

nlohmann::json report_of(const DataTypeMap& map) {
  json report = {{"source_quantizers", json::array()}};
  for (const QuantizerType& source : map.sources) report["source_quantizers"].push_back(report_of(source));
  for (const LayerTypes& layer : map.layers) report[layer.name] = report_of(layer);
  return report;
}

}  // namespace nibble::cost
