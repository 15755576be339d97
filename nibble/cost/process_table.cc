#include "nibble/cost/process_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/unique_keys.h"

namespace nibble::cost {
namespace {

using nlohmann::json;

constexpr std::array<Gate, 6> kGates = {Gate::kMul, Gate::kAdd, Gate::kShifter, Gate::kMux, Gate::kXor, Gate::kAnd};
constexpr std::array<Gate, 2> kFloatGates = {Gate::kAdd, Gate::kMul};
constexpr size_t kMaxDegree = 8;                   // a fit of higher degree is a mistake
constexpr std::uintmax_t kMaxFileBytes = 1 << 20;  // a table is a few hundred bytes

//   problem  to its full stop
[[noreturn]] void refuse(std::string_view key, std::string_view problem) {
  throw InvalidArgument(
      "[process_table] '{}' {} Give 'name', 'word_bits', 'fixed', 'fp16', 'fp32', 'sram' and 'dram' as in "
      "horowitz_45nm.json.",
      key, problem);
}

const json& member(const json& object, const std::string& key, const std::string& where) {
  if (!object.is_object()) refuse(where, "must be an object.");
  const auto found = object.find(key);
  if (found == object.end()) refuse(where.empty() ? key : where + "." + key, "is missing.");
  return *found;
}

Polynomial polynomial(const json& value, const std::string& key) {
  if (!value.is_array() || value.empty() || value.size() > kMaxDegree + 1)
    refuse(key, "must be a list of 1 to 9 coefficients, lowest power first.");
  Polynomial result;
  for (const json& coefficient : value) {
    if (!coefficient.is_number() || !std::isfinite(coefficient.get<double>()))
      refuse(key, "holds something not a number.");
    result.coefficients.push_back(coefficient.get<double>());
  }
  return result;
}

template <size_t N>
std::map<Gate, Polynomial> gates(const json& table, const std::string& key, const std::array<Gate, N>& wanted) {
  const json& rows = member(table, key, "");
  std::map<Gate, Polynomial> result;
  std::vector<std::string> known;
  for (const Gate gate : wanted) {
    known.emplace_back(to_string(gate));
    result[gate] = polynomial(member(rows, known.back(), key), key + "." + known.back());
  }
  for (const auto& [name, value] : rows.items())
    if (std::find(known.begin(), known.end(), name) == known.end())
      refuse(key + "." + name, "is not a gate. " + suggest(name, known));
  return result;
}

void check_keys(const json& table) {
  static const std::vector<std::string> known = {"name", "source", "unit", "word_bits", "fixed",
                                                 "fp16", "fp32",   "sram", "dram"};
  for (const auto& [name, value] : table.items())
    if (std::find(known.begin(), known.end(), name) == known.end()) refuse(name, "is unknown. " + suggest(name, known));
  if (table.value("unit", json("pJ")) != json("pJ")) refuse("unit", "must be \"pJ\".");
}

// "discarded" if it is no JSON.
json parsed(std::string_view text) {
  return json::parse(text, unique_keys<json>("[process_table] "), /*allow_exceptions=*/false);
}

ProcessTable from_json(const json& table) {
  if (!table.is_object()) refuse("the document", "must be an object.");
  check_keys(table);
  ProcessTable result;
  const json& name = member(table, "name", "");
  if (!name.is_string() || name.get<std::string>().empty()) refuse("name", "must be a text.");
  result.name = name;
  if (table.contains("source") && table["source"].is_string()) result.source = table["source"];
  const json& word_bits = member(table, "word_bits", "");
  if (!word_bits.is_number_integer() || word_bits.get<int64_t>() < 1 || word_bits.get<int64_t>() > 1 << 16)
    refuse("word_bits", "must be a whole number from 1 to 65536.");
  result.word_bits = word_bits;
  result.fixed = gates(table, "fixed", kGates);
  result.fp16 = gates(table, "fp16", kFloatGates);
  result.fp32 = gates(table, "fp32", kFloatGates);
  result.sram = polynomial(member(table, "sram", ""), "sram");
  result.dram = polynomial(member(table, "dram", ""), "dram");
  return result;
}

}  // namespace

double Polynomial::operator()(double x) const {
  double value = 0;
  for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) value = value * x + *c;
  return std::max(value, 0.0);
}

double ProcessTable::gate_pj(Gate gate, const QuantizerType& result, double gate_bits) const {
  if (!result.is_float()) return fixed.at(gate)(gate_bits);
  const auto& rows = result.bit_width <= 16 ? fp16 : fp32;
  return rows.at(gate == Gate::kMul ? Gate::kMul : Gate::kAdd)(gate_bits);
}

double ProcessTable::sram_pj(int64_t bits, int64_t min_memory_bits) const {
  if (bits <= 0) return 0;
  const int64_t words = (bits + word_bits - 1) / word_bits;
  return double(words) * sram(std::log2(double(std::max(bits, min_memory_bits))));
}

double ProcessTable::dram_pj(int64_t bits) const { return bits <= 0 ? 0 : dram(double(bits)); }

const ProcessTable& horowitz_45nm() {
  static const ProcessTable table = parse_process_table(kHorowitz45nmJson);
  return table;
}

ProcessTable parse_process_table(std::string_view json_text) {
  const json table = parsed(json_text);
  if (table.is_discarded()) throw InvalidArgument("[process_table] the text is not JSON.");
  return from_json(table);
}

ProcessTable load_process_table(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) throw IoError("[process_table] cannot read '{}'. Give the path of a JSON file.", path.string());
  if (size > kMaxFileBytes)
    throw CorruptFile("[process_table] '{}' has {} bytes; a process table has a few hundred.", path.string(), size);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const json table = parsed(text);
  if (table.is_discarded()) throw CorruptFile("[process_table] '{}' is not JSON.", path.string());
  return from_json(table);
}

ProcessTable named_process_table(const std::string& name_or_path) {
  if (name_or_path == "horowitz" || name_or_path == horowitz_45nm().name) return horowitz_45nm();
  std::error_code ignored;
  const bool looks_like_path = name_or_path.find_first_of("/\\.") != std::string::npos;
  if (!looks_like_path && !std::filesystem::exists(name_or_path, ignored)) {
    const std::vector<std::string> known = {"horowitz"};
    throw InvalidArgument("[process_table] '{}' is neither a process nor a file. {} Or give the path of a JSON file.",
                          name_or_path, suggest(name_or_path, known));
  }
  return load_process_table(name_or_path);
}

}  // namespace nibble::cost
