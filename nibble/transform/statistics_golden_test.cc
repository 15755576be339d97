// QKeras' statistics against recorded rows.
#include "nibble/transform/statistics.h"

#include <gtest/gtest.h>

#include "nibble/transform/weight_roles.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::transform {
namespace {

using nlohmann::json;
using testing::each_row;
using testing::golden_json;

json rows(const std::string& name) {
  const json document = golden_json("utils/" + name);
  return document.is_null() ? document : document.at("cases");
}

quant::QuantizerPtr quantizer_or_null(const json& text) {
  if (text.is_null() || text == "linear" || text == "linear (unquantized)") return nullptr;
  return quant::get_quantizer(text.get<std::string>());
}

std::string compare(const char* what, const json& found, const json& expected) {
  return found == expected ? "" : std::string(what) + ": " + found.dump() + " instead of " + expected.dump();
}

json triple(const NumberMode& mode) { return {static_cast<int>(mode.kind), mode.bits, mode.is_signed ? 1 : 0}; }

TEST(StatisticsGolden, QuantMode) {
  each_row("quant_mode", rows("quant_mode"), [](const json& row) -> std::string {
    if (row.contains("error")) {
      // What the reference cannot tell (FIX): a quantizer has the mode of its format, a plain function is no quantizer.
      const std::string text = row.at("quantizer").get<std::string>();
      if (quant::is_activation_function(text)) return "";
      return number_mode(quant::get_quantizer(text)).kind == NumberMode::kFixed ? "" : "no fixed point";
    }
    const NumberMode mode = number_mode(quantizer_or_null(row.at("quantizer")));
    return compare("mode", triple(mode), {row.at("mode"), row.at("bits"), row.at("sign")});
  });
}

TEST(StatisticsGolden, OperationType) {
  each_row("operation_type", rows("operation_type"), [](const json& row) {
    const NumberMode w = number_mode(quantizer_or_null(row.at("weight_quantizer")));
    const NumberMode x = number_mode(quantizer_or_null(row.at("input_quantizer")));
    const json found = {operation_type(w.kind, x.kind), {w.kind, x.kind}, {w.bits, x.bits}};
    return compare("operation", found, {row.at("operation"), row.at("modes"), row.at("bits")});
  });
}

// Attributes of a recorded layer; `activation` stands in for what the rows do not say of a QActivation.
std::map<std::string, graph::Attribute> attributes_of(const json& layer, const std::string& activation) {
  std::map<std::string, graph::Attribute> attributes;
  for (const auto& [key, value] : layer.at("config").items()) {
    if (value.is_boolean()) attributes[key] = value.get<bool>();
    if (value.is_number_integer()) attributes[key] = value.get<int64_t>();
    if (value.is_string()) attributes[key] = value.get<std::string>();
    if (value.is_array()) attributes[key] = value.get<std::vector<int64_t>>();
  }
  const std::string class_name = layer.at("class").get<std::string>();
  if (class_name == "QActivation") attributes["activation"] = activation;
  if (layer.at("activation").is_string()) attributes["activation"] = layer.at("activation").get<std::string>();
  std::vector<std::string> names;
  for (const WeightRole& role : weight_roles(class_name)) names.emplace_back(role.quantizer);
  if (names.empty()) names = {"average_quantizer"};
  for (size_t i = 0; layer.at("quantizers").is_array() && i < layer.at("quantizers").size(); ++i) {
    if (layer.at("quantizers")[i].is_string()) attributes[names[i]] = layer.at("quantizers")[i].get<std::string>();
  }
  return attributes;
}

graph::Model model_of(const json& row, const std::string& activation) {
  graph::Model model;
  for (const json& described : row.at("layers")) {
    const std::string class_name = described.at("class").get<std::string>(),
                      name = described.at("name").get<std::string>();
    if (class_name == "InputLayer") {
      model.layers.push_back(
          graph::make_layer(class_name, name, {{"shape", row.at("input_shape").get<std::vector<int64_t>>()}}));
      continue;
    }
    graph::Layer layer = graph::make_layer(class_name, name, attributes_of(described, activation));
    layer.inputs = {model.layers.back().name};
    if (row.at("weights").contains(name)) {
      for (const json& weight : row.at("weights").at(name)) {
        layer.weights.push_back({weight.at("name").get<std::string>(), testing::golden_tensor(weight.at("value"))});
      }
    }
    model.layers.push_back(std::move(layer));
  }
  model.inputs = {model.layers.front().name};
  model.outputs = {model.layers.back().name};
  return model;
}

json to_json(const LayerOperation& operation) {
  json weights = json::array(), types = json::array();
  for (const int64_t count : operation.weight_counts) weights.push_back(count);
  for (const NumberMode& mode : operation.weight_modes) types.push_back(triple(mode));
  const bool one = operation.weight_counts.size() == 1;
  return {{"operation", operation.operation},
          {"modes", {operation.weight.kind, operation.input.kind}},
          {"bits", {operation.weight.bits, operation.input.bits}},
          {"signs", {operation.weight.is_signed ? 1 : 0, operation.input.is_signed ? 1 : 0}},
          {"number_of_operations", operation.count},
          {"number_of_weights", one ? weights[0] : weights},
          {"number_of_bias", operation.bias_count},
          {"type_of_weights", one ? types[0] : types},
          {"type_of_bias", triple(operation.bias_mode)}};
}

// Without lines of progress and blanks at their ends.
std::string settled(const std::string& text) {
  std::string result;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("...")) continue;
    while (!line.empty() && line.back() == ' ') line.pop_back();
    result += line + "\n";
  }
  return result;
}

std::string check(const json& row, const std::string& activation) {
  const graph::Model model = model_of(row, activation);
  const auto operations = extract_model_operations(model);
  if (row.contains("operations_error")) {
    // FIX: quantizers that the reference does not know are told by their format.
    return operations.empty() ? "no operations" : "";
  }
  json found = json::object();
  for (const LayerOperation& operation : operations) found[operation.layer] = to_json(operation);
  if (found != row.at("operations")) return compare("operations", found, row.at("operations"));
  const ModelSparsity sparsity = model_sparsity(model);
  if (std::abs(sparsity.total - row.at("sparsity").at("total").get<double>()) > 1e-9) return "sparsity";
  const std::string text = settled(qstats_text(operations, sparsity));
  const std::string expected = settled(row.at("print_qstats_text").get<std::string>());
  return text == expected ? "" : "text:\n" + text + "instead of\n" + expected;
}

// The rows do not name the quantizer of a QActivation, but only what comes out: one of these has to.
const char* const kActivations[] = {"quantized_relu(4,2)",
                                    "quantized_relu(6,2)",
                                    "quantized_bits(4,0,1)",
                                    "quantized_po2(4)",
                                    "quantized_relu_po2(4)",
                                    "ternary",
                                    "binary",
                                    "quantized_tanh(4)",
                                    "quantized_relu(3)",
                                    "quantized_relu(8,2)",
                                    "quantized_bits(8,0,1)",
                                    "bernoulli",
                                    "stochastic_binary"};

TEST(StatisticsGolden, ModelStatistics) {
  each_row("model_statistics", rows("model_statistics"), [](const json& row) {
    std::string wrong, first;
    for (const char* activation : kActivations) {
      wrong = check(row, activation);
      if (wrong.empty()) return wrong;
      if (first.empty()) first = wrong;
    }
    return first;
  });
}

}  // namespace
}  // namespace nibble::transform
