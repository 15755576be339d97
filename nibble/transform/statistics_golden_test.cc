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
    const json found = {operation_type(w.kind, x.kind), {w.kind, x.kind}, {w.bits, x.bits}};
    return compare("operation", found, {row.at("operation"), row.at("modes"), row.at("bits")});
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
