#include "nibble/autoq/quantization_config.h"

#include "nibble/core/error.h"
#include "nibble/quant/quantizer.h"

namespace nibble::autoq {
namespace {

QuantizerTable parse_table(const Json& table, const std::string& name) {
  if (!table.is_object()) {
    throw InvalidArgument("[run_config] quantization_config.{} is {}; it must be an object such as {{\"binary\": 1}}.",
                          name, excerpt(table));
  }
  QuantizerTable rows;
  for (const auto& [text, size] : table.items()) {
    if (!size.is_number_integer() || size.get<int64_t>() < 1 || size.get<int64_t>() > 1024) {
      throw InvalidArgument(
          "[run_config] quantization_config.{}: the size of '{}' is {}; it must be a whole number >= 1.", name, text,
          excerpt(size));
    }
    try {
      quant::get_quantizer(text);
    } catch (const Error& error) {
      throw InvalidArgument("[run_config] quantization_config.{}: '{}' is no quantizer. {}", name, text, error.what());
    }
    rows.emplace_back(text, size.get<int>());
  }
  return rows;
}

}  // namespace

QuantizationConfig default_quantization_config() {
  return {.kernel = {{"binary", 1},
                     {"stochastic_binary", 1},
                     {"ternary", 2},
                     {"stochastic_ternary", 2},
                     {"quantized_bits(2,1,1,alpha=1.0)", 2},
                     {"quantized_bits(4,0,1)", 4},
                     {"quantized_bits(8,0,1)", 8},
                     {"quantized_po2(4,1)", 4}},
          .bias = {{"quantized_bits(4,0,1)", 4}, {"quantized_bits(8,3,1)", 8}, {"quantized_po2(4,8)", 4}},
          .activation = {{"binary", 1},
                         {"binary(alpha='auto_po2')", 1},
                         {"ternary", 2},
                         {"quantized_relu(3,1)", 3},
                         {"quantized_relu(4,2)", 4},
                         {"quantized_relu(8,2)", 8},
                         {"quantized_relu(8,4)", 8},
                         {"quantized_relu(16,8)", 16},
                         {"quantized_relu_po2(4,4)", 4}},
          .linear = {{"binary", 1},
                     {"ternary", 2},
                     {"quantized_bits(4,1)", 4},
                     {"quantized_bits(8,2)", 8},
                     {"quantized_bits(16,10)", 16},
                     {"quantized_po2(6,4)", 6}},
          .pointwise_kernel = {},
          .recurrent_kernel = {},
          .recurrent_activation = {}};
}

QuantizationConfig parse_quantization_config(const Json& tables) {
  QuantizationConfig config;
  const std::vector<std::pair<std::string, QuantizerTable*>> targets = {
      {"kernel", &config.kernel},
      {"bias", &config.bias},
      {"activation", &config.activation},
      {"linear", &config.linear},
      {"pointwise_kernel", &config.pointwise_kernel},
      {"recurrent_kernel", &config.recurrent_kernel},
      {"recurrent_activation", &config.recurrent_activation}};
  std::vector<std::string> known;
  for (const auto& [name, table] : targets) known.push_back(name);
  const JsonFields fields(tables, "quantization_config", known);
  for (const auto& [name, table] : targets) {
    if (const Json* given = fields.find(name)) *table = parse_table(*given, name);
  }
  return config;
}

}  // namespace nibble::autoq
