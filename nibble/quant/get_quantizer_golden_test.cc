// Every recorded row of golden/parsing/get_quantizer: text to quantizer, its printed form and configuration.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/quantizer.h"
#include "support/golden.h"

namespace nibble::quant {
namespace {

using nlohmann::json;

// True and 1 are the same to the reference.
json normalized(const json& value) { return value.is_boolean() ? json(value.get<bool>() ? 1 : 0) : value; }

// Keys of the reference's configuration must be ours, with the same value. Of the attributes, those that are
// parameters.
void expect_parameters(const json& config, const json& recorded, bool all_known, const std::string& where) {
  for (const auto& [key, value] : recorded.items()) {
    if (config.contains(key)) {
      EXPECT_EQ(normalized(config.at(key)), normalized(value)) << where << " " << key;
    } else {
      EXPECT_FALSE(all_known) << where << " lacks " << key;
    }
  }
}

// What the reference reads and nibble refuses; empty where both must agree. docs/differences.md, "Texts".
std::string listed_refusal(const json& row) {
  const std::string text = row.at("text");
  if (row.contains("result_kind")) return "names of the implementation leak";
  if (row.contains("function") && !is_activation_function(text)) return "functions that are no activations";
  if (std::count(text.begin(), text.end(), '(') > 1) return "a second parenthesis";
  if (text.find(')') != std::string::npos && text.back() != ')') return "text after the parenthesis";
  const json alpha = row.contains("attributes") ? row.at("attributes").value("alpha", json()) : json();
  if (alpha.is_string() && alpha != "auto" && alpha != "auto_po2") return "an unquoted or unknown alpha";
  return "";
}

// A configuration key of quantized_hswish that its own constructor refuses.
bool has_stray_keys(const std::string& name) { return name == "quantized_hswish"; }

void check_row(const json& row, const std::string& where) {
  const std::string text = row.at("text");
  if (row.contains("error")) {
    EXPECT_THROW(get_quantizer(text), InvalidArgument) << where;
    return;
  }
  if (row.contains("function")) {
    EXPECT_TRUE(is_activation_function(text)) << where;
    EXPECT_EQ(row.at("function"), text) << where;
    return;
  }
  const QuantizerPtr quantizer = get_quantizer(text);
  const std::string name = row.at("class");
  EXPECT_EQ(quantizer->class_name(), name) << where;
  if (row.at("str").is_string()) {
    EXPECT_EQ(quantizer->qkeras_str(), row.at("str").get<std::string>()) << where;
  }
  expect_parameters(quantizer->config(), row.at("config"), !has_stray_keys(name), where + " config");
  expect_parameters(quantizer->config(), row.at("attributes"), false, where + " attributes");
  EXPECT_TRUE(*get_quantizer(quantizer->str()) == *quantizer) << where << ": " << quantizer->str();
  EXPECT_TRUE(*quantizer_from_config(name, quantizer->config()) == *quantizer) << where;
  EXPECT_NO_THROW(quantizer_from_config(name, row.at("config"))) << where;
  if (row.value("str_roundtrip_equal", false)) {
    EXPECT_TRUE(*get_quantizer(quantizer->qkeras_str()) == *quantizer) << where << ": " << quantizer->qkeras_str();
  }
}

TEST(GetQuantizerGolden, EveryRowAgreesOrIsAListedDifference) {
  const json file = testing::golden_json("parsing/get_quantizer");
  if (file.is_null()) GTEST_SKIP() << "no rows of parsing/get_quantizer";
  int total = 0;
  std::map<std::string, int> listed;
  for (const json& row : file.at("cases")) {
    ++total;
    const std::string text = row.at("text"), where = row.at("id").get<std::string>() + " " + text;
    const std::string reason = row.contains("error") ? "" : listed_refusal(row);
    if (reason.empty()) {
      check_row(row, where);
    } else {
      ++listed[reason];
      EXPECT_THROW(get_quantizer(text), InvalidArgument) << where;
    }
  }
  std::printf("parsing/get_quantizer: %d rows", total);
  for (const auto& [reason, count] : listed) std::printf(", %dx %s (listed difference)", count, reason.c_str());
  std::printf("\n");
}

}  // namespace
}  // namespace nibble::quant
