// Every recorded row of the arithmetic operators, against the reference's numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/batch_norm.h"
#include "nibble/cost/divider.h"
#include "nibble/cost/forgiving_factor.h"
#include "nibble/cost/merge.h"
#include "nibble/cost/multiplier.h"
#include "support/golden.h"

namespace nibble::cost {
namespace {

using nlohmann::json;
constexpr Compat kCompat = Compat::kQkeras;
constexpr double kRelative = 1e-9;

QuantizerType type(const json& text) { return type_from_text(text.get<std::string>(), kCompat); }
std::optional<QuantizerType> optional_type(const json& text) {
  return text.is_null() ? std::nullopt : std::optional(type(text));
}
bool flag(const json& value) { return value.is_boolean() ? value.get<bool>() : value.get<int>() != 0; }

// [name, mode, bits, int_bits, is_signed, is_floating_point, is_po2, max_val_po2]
json record(const QuantizerType& t) {
  return {t.name,           int(t.mode),       t.bit_width,     t.int_bits,
          int(t.is_signed), int(t.is_float()), int(t.is_po2()), t.max_value};
}

bool same_record(const QuantizerType& actual, const json& expected) {
  const json got = record(actual);
  for (size_t i = 0; i + 1 < got.size(); ++i) {
    const json& want = expected[i];
    if (want.is_boolean() ? json(int(want.get<bool>())) != got[i] : want != got[i]) return false;
  }
  return testing::close(actual.max_value, expected[7].get<double>(), kRelative, 0);
}

bool same_operator(const Operator& actual, const json& row) {
  return to_string(actual.gate) == row["impl"].get<std::string>() && same_record(actual.output, row["output"]) &&
         testing::close(actual.gate_factor, row["gate_factor"].get<double>(), kRelative, 0) &&
         testing::close(actual.gate_bits, row["gate_bits"].get<double>(), kRelative, 0);
}

std::string shown(const QuantizerType& t) { return record(t).dump(); }
std::string shown(const Operator& o) {
  return std::string(to_string(o.gate)) + " " + shown(o.output) + " " + std::to_string(o.gate_factor) + " " +
         std::to_string(o.gate_bits);
}

// Runs `check` over all rows of a file. It returns what it got, or "" where that is right; a row
// with "error" must throw instead.
void each_row(const std::string& file, const std::function<std::string(const json&)>& check) {
  const json rows = testing::golden_json("qtools/" + file);
  if (rows.is_null()) GTEST_SKIP() << "no rows of " << file;
  size_t failed = 0;
  for (const json& row : rows) {
    std::string got;
    try {
      got = check(row);
      if (row.contains("error")) got = "no error";
    } catch (const Error& error) {
      if (!row.contains("error")) got = error.what();
    }
    if (!got.empty() && ++failed <= 5) ADD_FAILURE() << row.dump() << "\n  got " << got;
  }
  std::cout << file << ": " << rows.size() - failed << " of " << rows.size() << " rows\n";
  EXPECT_EQ(failed, 0u);
}

TEST(OperatorsGolden, Quantizers) {
  each_row("ops_quantizers", [](const json& row) -> std::string {
    const QuantizerType got = type(row["spec"]);
    if (!same_record(got, row["type"])) return shown(got);
    if (!same_record(forwarded(got, kCompat), row["remade"])) return "remade " + shown(forwarded(got, kCompat));
    json report = report_of(got);
    for (auto& [key, value] : report.items()) {
      json want = row["report"].value(key, json());
      if (want.is_boolean()) want = int(want.get<bool>());
      if (want != value) return report.dump();
    }
    return report.size() == row["report"].size() ? "" : report.dump();
  });
}

TEST(OperatorsGolden, Multipliers) {
  each_row("ops_multipliers", [](const json& row) -> std::string {
    const Operator got = multiply(type(row["weight"]), type(row["input"]), kCompat);
    return same_operator(got, row) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, InferenceMultipliers) {
  each_row("ops_po2_inference_multipliers", [](const json& row) -> std::string {
    QuantizerType weight = type(row["weight"]);
    weight.value_count = row["distinct"];
    const Operator got = multiply(weight, type(row["input"]), kCompat);
    return same_operator(got, row) ? "" : shown(got);
  });
}

int64_t terms_of(const json& kernel_shape) {
  int64_t terms = 1;
  for (size_t i = 0; i + 1 < kernel_shape.size(); ++i) terms *= kernel_shape[i].get<int64_t>();
  return terms;
}

TEST(OperatorsGolden, Accumulators) {
  each_row("ops_accumulators", [](const json& row) -> std::string {
    const Operator product = multiply(type(row["weight"]), type(row["input"]), kCompat);
    const auto got = accumulate(product.output, terms_of(row["kernel_shape"]) + (flag(row["use_bias"]) ? 1 : 0));
    return same_record(got, row["output"]) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, MacWithBias) {
  each_row("ops_mac_with_bias", [](const json& row) -> std::string {
    const Operator product = multiply(type(row["weight"]), type(row["input"]), kCompat);
    const auto got = accumulate_with_bias(product.output, terms_of(row["kernel_shape"]), type(row["bias"]), kCompat);
    return same_record(got, row["output"]) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, Adders) {
  each_row("ops_adders", [](const json& row) -> std::string {
    const auto got = add(type(row["a"]), type(row["b"]), kCompat);
    return same_record(got, row["output"]) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, Dividers) {
  each_row("ops_dividers", [](const json& row) -> std::string {
    const Operator got = divide(type(row["numerator"]), type(row["denominator"]), kCompat);
    return row.contains("error") || same_operator(got, row) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, Merges) {
  each_row("ops_merges", [](const json& row) -> std::string {
    std::vector<QuantizerType> inputs;
    for (const json& text : row["inputs"]) inputs.push_back(type(text));
    const Operator got = merge(row["layer"].get<std::string>(), inputs, kCompat);
    return row.contains("error") || same_operator(got, row) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, BatchNorms) {
  each_row("ops_batchnorms", [](const json& row) -> std::string {
    const BatchNormTypes types = {.gamma = type(row["gamma"]),
                                  .beta = type(row["beta"]),
                                  .mean = type(row["beta"]),
                                  .variance = type(row["variance"]),
                                  .use_scale = flag(row["use_scale"]),
                                  .use_center = flag(row["use_center"])};
    const BatchNormOperators got = normalize(types, type(row["input"]), kCompat);
    if (row.contains("error")) return "";
    if (!same_operator(got.divide, row["divide"])) return "divide " + shown(got.divide);
    if (got.multiply.has_value() == row["multiply"].is_null()) return "multiply is missing or superfluous";
    if (got.multiply && !same_operator(*got.multiply, row["multiply"])) return "multiply " + shown(*got.multiply);
    if (got.accumulate.has_value() == row["accumulate"].is_null()) return "accumulate is missing or superfluous";
    if (got.accumulate && !same_record(*got.accumulate, row["accumulate"]["output"]))
      return "accumulate " + shown(*got.accumulate);
    return same_record(got.output(), row["output"]["output"]) ? "" : "output " + shown(got.output());
  });
}

TEST(OperatorsGolden, FusedBatchNorms) {
  each_row("ops_fused_batchnorms", [](const json& row) -> std::string {
    const FusedBatchNormTypes types = {.product = type(row["kernel_accumulator"]),
                                       .inverse = type(row["inverse"]),
                                       .mean = type(row["mean"]),
                                       .beta = optional_type(row["beta"]),
                                       .bias = optional_type(row["bias"])};
    const auto got = fused_accumulator(types, kCompat);
    return row.contains("error") || same_record(got, row["output"]) ? "" : shown(got);
  });
}

TEST(OperatorsGolden, ForgivingDelta) {
  const json table = testing::golden_json("qtools/forgiving_delta");
  if (table.is_null()) GTEST_SKIP() << "no rows of forgiving_delta";
  ASSERT_EQ(table["columns"], json({"delta_p", "delta_n", "rate", "stress", "reference", "trial", "delta"}));
  size_t failed = 0;
  for (const json& row : table["rows"]) {
    const ForgivingFactor factor = {.delta_p = row[0], .delta_n = row[1], .rate = row[2], .stress = row[3]};
    const double got = factor.delta(row[4], row[5]);
    // 3e-7: the reference keeps its percents and some products of them in 32 bits.
    if (!testing::close(got, row[6].get<double>(), 3e-7, 1e-12) && ++failed <= 5)
      ADD_FAILURE() << row.dump() << " got " << got;
  }
  std::cout << "forgiving_delta: " << table["rows"].size() - failed << " of " << table["rows"].size() << " rows\n";
  EXPECT_EQ(failed, 0u);
}

// The reference divides by ln(rate) whatever it is, and so rewards the dearer network where it is below 1.
TEST(OperatorsGolden, RatesThatTurnTheFormulaRoundAreRefused) {
  for (const double rate : {-2.0, 0.0, 0.5, 1.0, HUGE_VAL, std::nan("")}) {
    EXPECT_THROW((ForgivingFactor{.rate = rate}.delta(2.0, 1.0)), InvalidArgument) << rate;
  }
  EXPECT_GT((ForgivingFactor{.rate = 1.001}.delta(2.0, 1.0)), 0.0);
}

}  // namespace
}  // namespace nibble::cost
