// QKeras' statistics against recorded rows.
#include "nibble/transform/statistics.h"

#include <gtest/gtest.h>

#include "nibble/transform/golden_model.h"
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
    const json found = {
        operation_type(w.kind, x.kind), {w.kind, x.kind}, {w.bits, x.bits}, {w.is_signed ? 1 : 0, x.is_signed ? 1 : 0}};
    return compare("operation", found, {row.at("operation"), row.at("modes"), row.at("bits"), row.at("signs")});
  });
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

json to_json(const std::vector<LayerOperation>& operations) {
  json found = json::object();
  for (const LayerOperation& operation : operations) found[operation.layer] = to_json(operation);
  return found;
}

// The row with fixed point of the same width in the place of quantizers that the reference does not know.
json known_to_the_reference(const json& row) {
  std::string text = row.dump();
  for (const auto& [unknown, known] : {std::pair("quantized_linear(4,0,1", "quantized_bits(4,0,1"),
                                       std::pair("quantized_sigmoid(4)", "quantized_relu(4)")}) {
    for (size_t at = 0; (at = text.find(unknown, at)) != std::string::npos;) {
      text.replace(at, std::string_view(unknown).size(), known);
    }
  }
  return json::parse(text);
}

std::string check(const json& row) {
  const graph::Model model = model_of(row, activation_of(row));
  const auto operations = extract_model_operations(model);
  const json found = to_json(operations);
  if (row.contains("operations_error")) {
    // FIX: quantizers that the reference does not know are told by their format.
    const json known = known_to_the_reference(row);
    if (known == row) return "the row has no quantizer that is unknown to the reference";
    return compare("operations", found, to_json(extract_model_operations(model_of(known, activation_of(row)))));
  }
  if (found != row.at("operations")) return compare("operations", found, row.at("operations"));
  const ModelSparsity sparsity = model_sparsity(model);
  if (std::abs(sparsity.total - row.at("sparsity").at("total").get<double>()) > 1e-9) return "sparsity";
  const std::string text = settled(qstats_text(operations, sparsity));
  const std::string expected = settled(row.at("print_qstats_text").get<std::string>());
  return text == expected ? "" : "text:\n" + text + "instead of\n" + expected;
}

TEST(StatisticsGolden, ModelStatistics) { each_row("model_statistics", rows("model_statistics"), check); }

}  // namespace
}  // namespace nibble::transform
