#include "nibble/cost/golden_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/golden.h"

namespace nibble::cost::testing {
namespace {

using nlohmann::json;

Shape without_batch(const json& extents) {
  std::vector<int64_t> result;
  for (size_t i = 1; i < extents.size(); ++i) result.push_back(extents[i]);
  return Shape(std::move(result));
}

std::vector<std::string> quantizer_attributes(const std::string& class_name) {
  if (class_name.find("Depthwise") != std::string::npos) return {"depthwise_quantizer", "bias_quantizer"};
  if (class_name.find("Separable") != std::string::npos)
    return {"depthwise_quantizer", "pointwise_quantizer", "bias_quantizer"};
  if (class_name.find("Pooling") != std::string::npos) return {"average_quantizer"};
  if (class_name == "QBatchNormalization")
    return {"gamma_quantizer", "beta_quantizer", "mean_quantizer", "variance_quantizer", "inverse_quantizer"};
  return {"kernel_quantizer", "bias_quantizer"};
}

// Numeric flags in a text ("quadratic_approximation=1") are fine for the parser.
graph::Attribute attribute(const json& value) {
  if (value.is_null()) return graph::None{};
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_array()) {
    std::vector<int64_t> flat;  // edges may be pairs of ends
    for (const json& item : value) {
      for (const json& number : item.is_array() ? item : json::array({item})) flat.push_back(number.get<int64_t>());
    }
    return flat;
  }
  return value.get<std::string>();
}

// Texts that nibble has no quantizer for yet stay texts; the cost model reads them all the same.
bool is_unparsed_quantizer(const json& value) {
  if (!value.is_string() || quant::is_activation_function(value.get<std::string>())) return false;
  const std::string text = value;
  const auto known = quant::known_quantizers();
  return std::find(known.begin(), known.end(), text.substr(0, text.find('('))) == known.end();
}

graph::Layer golden_layer(const json& row) {
  std::map<std::string, graph::Attribute> given;
  std::map<std::string, std::string> unparsed;
  const auto give = [&](const std::string& name, const json& value) {
    if (is_unparsed_quantizer(value)) unparsed[name] = value;
    given[name] = !is_unparsed_quantizer(value) ? attribute(value)
                  : name == "activation"        ? "linear"
                                                : graph::Attribute();
  };
  const std::string class_name = row["class"];
  for (const char* name :
       {"filters", "units", "kernel_size", "strides", "padding", "pool_size", "depth_multiplier", "target_shape",
        "size", "axis", "axes", "dims", "dilation_rate", "max_value", "negative_slope"})
    if (row.contains(name)) given[name] = attribute(row[name]);
  for (const char* name : {"use_bias", "center", "scale"})
    if (row.contains(name)) given[name] = row[name].get<int>() != 0;
  if (row.contains("activation")) give("activation", row["activation"]);
  if (class_name.find("Dropout") != std::string::npos) given["rate"] = 0.5;
  if (class_name == "Reshape") given["target_shape"] = without_batch(row["output_shape"]).extents();
  if (class_name == "InputLayer") given["shape"] = without_batch(row["shape"]).extents();
  if (row.contains("quantizers")) {
    const auto names = quantizer_attributes(class_name);
    for (size_t i = 0; i < row["quantizers"].size(); ++i) give(names.at(i), row["quantizers"][i]);
  }
  if (class_name == "QAdaptiveActivation") {  // rows have the text of its quantizer, "quantized_relu(4,2)"
    const std::string text = row["activation"];
    const size_t digits = text.find_first_of("0123456789");
    given["activation"] = text.substr(0, text.find('('));
    given["total_bits"] = int64_t{digits == std::string::npos ? 8 : std::stoi(text.substr(digits))};
  }
  graph::Layer layer = graph::make_layer(class_name, row["name"], given);
  for (const auto& [name, text] : unparsed) layer.attributes[name] = text;
  if (row.contains("inputs")) layer.inputs = row["inputs"].get<std::vector<std::string>>();
  return layer;
}

json operator_of(const Operator& op) {
  return {{"impl", to_string(op.gate)},
          {"output", record_of(op.output)},
          {"gate_factor", op.gate_factor},
          {"gate_bits", op.gate_bits}};
}
json sum_of(const QuantizerType& type) { return {{"impl", "add"}, {"output", record_of(type)}}; }

json internals_of(const LayerTypes& layer) {
  json result = {{"output_quantizer", record_of(layer.output)}, {"inputs", json::array()}};
  for (const QuantizerType& input : layer.inputs) result["inputs"].push_back(record_of(input));
  if (!layer.macs.empty()) {
    const Mac& mac = layer.macs[0];
    result["weight_quantizer"] = record_of(mac.weight);
    if (mac.bias) result["bias_quantizer"] = record_of(*mac.bias);
    result["multiplier"] = operator_of(mac.multiplier);
    result["accumulator"] = sum_of(mac.accumulator);
    if (mac.fused_accumulator) result["fused_accumulator"] = sum_of(*mac.fused_accumulator);
  }
  if (layer.merge) result["multiplier"] = operator_of(*layer.merge);
  if (layer.pool) {
    if (layer.pool->average) result["average_quantizer"] = record_of(*layer.pool->average);
    result["pool_sum_accumulator"] = sum_of(layer.pool->sum);
    if (layer.pool->multiplier) result["pool_avg_multiplier"] = operator_of(*layer.pool->multiplier);
  }
  if (!layer.norm) return result;
  const NormTypes& norm = *layer.norm;
  const BatchNormTypes& types = norm.parameters;
  const BatchNormOperators& operators = norm.operators;
  if (norm.charges_gamma) result["gamma_quantizer"] = record_of(types.gamma);
  if (norm.charges_beta) result["beta_quantizer"] = record_of(types.beta);
  result["mean_quantizer"] = record_of(types.mean);
  result["variance_quantizer"] = record_of(types.variance);
  result["internal_divide_quantizer"] = operator_of(operators.divide);
  if (operators.multiply) result["internal_multiplier"] = operator_of(*operators.multiply);
  if (operators.accumulate) result["internal_accumulator"] = sum_of(*operators.accumulate);
  return result;
}

double number_of(const json& value) { return value.is_boolean() ? double(value.get<bool>()) : value.get<double>(); }

}  // namespace

graph::Model golden_model(const json& description) {
  graph::Model model;
  for (const json& row : description["layers"]) model.layers.push_back(golden_layer(row));
  model.inputs = description["inputs"].get<std::vector<std::string>>();
  model.outputs = description["outputs"].get<std::vector<std::string>>();
  const auto shapes = graph::infer_shapes(model);
  for (const json& row : description["layers"]) {
    const std::string name = row["name"];
    const json& expected = row.contains("output_shape") ? row["output_shape"] : row["shape"];
    EXPECT_EQ(shapes.at(name), without_batch(expected)) << name;
  }
  return model;
}

DataTypeOptions golden_options(const json& row, Compat compat) {
  const auto type = [&](const char* key) -> std::optional<QuantizerType> {
    if (!row.contains(key) || row[key].is_null()) return std::nullopt;
    return type_from_text(row[key].get<std::string>(), compat);
  };
  DataTypeOptions options;
  options.compat = compat;
  options.for_reference = row.contains("for_reference") && number_of(row["for_reference"]) != 0;
  options.keras_quantizer = type("keras_quantizer");
  options.keras_accumulator = type("keras_accumulator");
  if (const auto source = type("source")) options.sources = {*source};
  return options;
}

bool same_json(const json& actual, const json& expected) {
  if (expected.is_number() || expected.is_boolean()) {
    if (!actual.is_number() && !actual.is_boolean()) return false;
    return nibble::testing::close(number_of(actual), number_of(expected), 1e-9, 0);
  }
  if (actual.is_array() && expected.is_array() && actual.size() == expected.size())
    return std::equal(actual.begin(), actual.end(), expected.begin(), same_json);
  if (!actual.is_object() || !expected.is_object()) return actual == expected;
  if (actual.size() != expected.size()) return false;
  for (const auto& [key, value] : expected.items())
    if (!actual.contains(key) || !same_json(actual[key], value)) return false;
  return true;
}

json record_of(const QuantizerType& type) {
  return {type.name,           int(type.mode),       type.bit_width,     type.int_bits,
          int(type.is_signed), int(type.is_float()), int(type.is_po2()), type.max_value};
}

json internals_of(const DataTypeMap& map) {
  json result = json::object();
  for (const LayerTypes& layer : map.layers) result[layer.name] = internals_of(layer);
  return result;
}

}  // namespace nibble::cost::testing
