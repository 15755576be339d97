#include "nibble/cost/process_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "support/golden.h"

namespace nibble::cost {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

template <class F>
std::string message_of(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ProcessTable, HorowitzNumbers) {
  const ProcessTable& table = horowitz_45nm();
  EXPECT_EQ(table.name, "horowitz_45nm");
  EXPECT_DOUBLE_EQ(table.gate_pj(Gate::kAdd, fixed_point_type(32, 0), 32), 0.1);
  EXPECT_NEAR(table.gate_pj(Gate::kMul, fixed_point_type(8, 0), 8), 0.2, 1e-9);
  EXPECT_DOUBLE_EQ(table.gate_pj(Gate::kMul, float_type(32), 32), 3.7);
  EXPECT_DOUBLE_EQ(table.gate_pj(Gate::kAdd, float_type(16), 16), 0.4);
  EXPECT_DOUBLE_EQ(table.dram_pj(64), 1300);
  EXPECT_EQ(table.sram_pj(0, 1024), 0);
  EXPECT_EQ(table.sram_pj(65, 1 << 20), 2 * table.sram_pj(64, 1 << 20));
}

TEST(ProcessTable, NeverNegative) {
  const Polynomial falling{{1, -1}};
  EXPECT_EQ(falling(0.5), 0.5);
  EXPECT_EQ(falling(2), 0);
}

TEST(ProcessTable, ReadsAUsersFile) {
  json document = json::parse(kHorowitz45nmJson);
  document["name"] = "mine";
  document["fixed"]["mul"] = {0, 0, 0.001};
  const auto path = nibble::testing::scratch_dir("process_table") / "mine.json";
  std::ofstream(path) << document.dump();
  const ProcessTable table = load_process_table(path);
  EXPECT_EQ(table.name, "mine");
  EXPECT_DOUBLE_EQ(table.gate_pj(Gate::kMul, fixed_point_type(8, 0), 8), 0.064);
}

TEST(ProcessTable, Names) {
  EXPECT_EQ(named_process_table("horowitz"), horowitz_45nm());
  EXPECT_EQ(named_process_table("horowitz_45nm"), horowitz_45nm());
  const auto path = nibble::testing::scratch_dir("process_table_names") / "mine.json";
  std::ofstream(path) << kHorowitz45nmJson;
  EXPECT_EQ(named_process_table(path.string()), horowitz_45nm());
  EXPECT_THAT(message_of([] { named_process_table("horowits"); }), HasSubstr("Did you mean 'horowitz'"));
  EXPECT_THAT(message_of([] { named_process_table("no/such.json"); }), HasSubstr("cannot read 'no/such.json'"));
}

TEST(TypesAsText, ShortAndCommon) {
  struct Row {
    QuantizerType type;
    const char *text, *name;
  };
  QuantizerType known = po2_type(4, true);
  known.value_count = 7;
  const Row rows[] = {{fixed_point_type(8, 0), "fixed(8,0)", "int8"},
                      {fixed_point_type(32, 10), "fixed(32,10)", "int32"},
                      {fixed_point_type(4, 2, false), "ufixed(4,2)", "ufixed(4,2)"},
                      {po2_type(4, true), "po2(4)", "po2(4)"},
                      {po2_type(6, false, 2048), "upo2(6,max 2048)", "upo2(6,max 2048)"},
                      {known, "po2(4) of 7", "po2(4) of 7"},
                      {ternary_type(), "ternary", "ternary"},
                      {binary_type(false), "binary", "binary"},
                      {binary_type(true), "binary01", "binary01"},
                      {float_type(32), "fp32", "fp32"}};
  for (const Row& row : rows) {
    EXPECT_EQ(short_text(row.type), row.text);
    EXPECT_EQ(common_name(row.type), row.name);
  }
}

TEST(ProcessTable, BadTablesAreAnswered) {
  struct Row {
    const char* key;
    json value;  // null: erased
    const char* complaint;
  };
  const Row rows[] = {
      {"sram", nullptr, "'sram' is missing"},
      {"sram", "much", "'sram' must be a list"},
      {"sram", json::array(), "'sram' must be a list"},
      {"dram", {1, "2"}, "'dram' holds something not a number"},
      {"word_bits", 0, "'word_bits' must be a whole number"},
      {"unit", "fJ", "'unit' must be"},
      {"fp16", {{"add", {1}}}, "'fp16.mul' is missing"},
      {"fixed", 7, "'fixed' must be an object"},
      {"sramm", {1}, "Did you mean 'sram'"},
      {"colour", {1}, "sram, dram. Give"},
      {"sram", json::array({1e12}), "'sram' has the coefficient 1"},
      {"dram", json::array({0, -2e9}), "'dram' has the coefficient -2"},
      {"fp16", {{"add", json::array({0.4})}, {"mul", json::array({-1.1})}}, "'fp16.mul' gives -1.1 pJ"},
      {"sram", json::array({1, -0.1}), "'sram' gives -0.1 pJ where x, log2 of the memory's bits, is 11"},
      {"dram", json::array({0, 1, -1}), "'dram' gives -2 pJ where x, the number of bits moved, is 2"},
  };
  for (const Row& row : rows) {
    json document = json::parse(kHorowitz45nmJson);
    if (row.value.is_null())
      document.erase(row.key);
    else
      document[row.key] = row.value;
    const std::string message = message_of([&] { parse_process_table(document.dump()); });
    EXPECT_THAT(message, HasSubstr(row.complaint)) << row.key;
    // A sentence ends once, whatever it ends with.
    for (const char* twice : {"..", "?."}) EXPECT_THAT(message, Not(HasSubstr(twice))) << row.key;
  }
  EXPECT_THAT(message_of([] { parse_process_table("{"); }), HasSubstr("not JSON"));
  EXPECT_THAT(message_of([] { parse_process_table(R"({"name": "a", "name": "b"})"); }),
              HasSubstr("'name' stands twice"));
  EXPECT_THAT(message_of([] { load_process_table("/no/such/table.json"); }), HasSubstr("/no/such/table.json"));
}

TEST(ProcessTable, RefusalsNameTheFile) {
  const auto path = nibble::testing::scratch_dir("process_table_refusals") / "mine.json";
  json without_sram = json::parse(kHorowitz45nmJson), negative = without_sram;
  without_sram.erase("sram");
  negative["fixed"]["mul"] = json::array({-3});
  std::string infinite = negative.dump();
  infinite.replace(infinite.find("-3"), 2, "1e999");
  struct Row {
    std::string text;
    const char* complaint;
  };
  for (const Row& row : {Row{without_sram.dump(), "'sram' is missing"}, Row{negative.dump(), "'fixed.mul' gives -3 pJ"},
                         Row{infinite, "too large to be read"}, Row{"{", "not JSON"},
                         Row{R"({"name": "a", "name": "b"})", "'name' stands twice"}}) {
    std::ofstream(path) << row.text;
    const std::string message = message_of([&] { load_process_table(path); });
    EXPECT_THAT(message, HasSubstr(row.complaint));
    EXPECT_THAT(message, HasSubstr("'" + path.string() + "'"));
  }
}

// Cut off or flipped at any byte, a table is read or refused, never a crash.
TEST(ProcessTable, SurvivesDamage) {
  const std::string text(kHorowitz45nmJson);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string flipped = text;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    message_of([&] { parse_process_table(text.substr(0, i)); });
    message_of([&] { parse_process_table(flipped); });
  }
}

}  // namespace
}  // namespace nibble::cost
