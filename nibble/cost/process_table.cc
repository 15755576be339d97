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

// No gate, word or bit costs more: 1 mJ. Far above any process, and far below what sums of it cannot hold.
constexpr double kLargestCoefficient = 1e9;

// Where a polynomial is used, in bits or in their logarithm: what it gives there is an energy.
struct Domain {
  const char* x;  // what it is
  std::vector<double> points;
};

const Domain& gate_bits() {
  static const Domain domain = [] {
    Domain result{"the number of bits", {}};
    for (int x = 1; x <= 64; ++x) result.points.push_back(x);
    return result;
  }();
  return domain;
}
const Domain& memory_sizes() {
  static const Domain domain = [] {
    Domain result{"log2 of the memory's bits", {}};
    for (int x = 1; x <= 50; ++x) result.points.push_back(x);
    return result;
  }();
  return domain;
}
const Domain& bits_moved() {
  static const Domain domain = [] {
    Domain result{"the number of bits moved", {}};
    for (int x = 0; x <= 50; ++x) result.points.push_back(std::exp2(x));
    return result;
  }();
  return domain;
}

double raw_value(const Polynomial& polynomial, double x) {
  double value = 0;
  const auto& coefficients = polynomial.coefficients;
  for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) value = value * x + *c;
  return value;
}

// Reads one table; its refusals name the file that it came from.
class TableReader {
 public:
  //   origin  a file's name, or nothing
  explicit TableReader(const std::string& origin)
      : is_file_(!origin.empty()),
        where_(origin.empty() ? "[process_table] " : fmt::format("[process_table] '{}': ", origin)) {}

  ProcessTable read(std::string_view text) const {
    const json table = json::parse(text, unique_keys<json>(where_), /*allow_exceptions=*/false);
    if (table.is_discarded()) refuse_text();
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
    result.sram = polynomial(member(table, "sram", ""), "sram", memory_sizes());
    result.dram = polynomial(member(table, "dram", ""), "dram", bits_moved());
    return result;
  }

 private:
  [[noreturn]] void refuse_text() const {
    constexpr const char* kProblem = "the text is not JSON, or has a number too large to be read.";
    if (is_file_) throw CorruptFile("{}{}", where_, kProblem);
    throw InvalidArgument("{}{}", where_, kProblem);
  }

  //   problem  to its full stop
  [[noreturn]] void refuse(std::string_view key, std::string_view problem) const {
    throw InvalidArgument(
        "{}'{}' {} Give 'name', 'word_bits', 'fixed', 'fp16', 'fp32', 'sram' and 'dram' as in horowitz_45nm.json.",
        where_, key, problem);
  }

  const json& member(const json& object, const std::string& key, const std::string& where) const {
    if (!object.is_object()) refuse(where, "must be an object.");
    const auto found = object.find(key);
    if (found == object.end()) refuse(where.empty() ? key : where + "." + key, "is missing.");
    return *found;
  }

  Polynomial polynomial(const json& value, const std::string& key, const Domain& domain) const {
    if (!value.is_array() || value.empty() || value.size() > kMaxDegree + 1)
      refuse(key, "must be a list of 1 to 9 coefficients, lowest power first.");
    Polynomial result;
    for (const json& coefficient : value) {
      if (!coefficient.is_number()) refuse(key, "holds something not a number.");
      const double number = coefficient.get<double>();
      if (!(std::abs(number) <= kLargestCoefficient))
        refuse(key, fmt::format("has the coefficient {}; it must be from -1e9 to 1e9 (in pJ).", number));
      result.coefficients.push_back(number);
    }
    for (const double x : domain.points) {
      if (const double pj = raw_value(result, x); pj < 0)
        refuse(key, fmt::format("gives {:.3g} pJ where x, {}, is {}; an energy is at least 0.", pj, domain.x, x));
    }
    return result;
  }

  template <size_t N>
  std::map<Gate, Polynomial> gates(const json& table, const std::string& key, const std::array<Gate, N>& wanted) const {
    const json& rows = member(table, key, "");
    std::map<Gate, Polynomial> result;
    std::vector<std::string> known;
    for (const Gate gate : wanted) {
      known.emplace_back(to_string(gate));
      result[gate] = polynomial(member(rows, known.back(), key), key + "." + known.back(), gate_bits());
    }
    for (const auto& [name, value] : rows.items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        refuse(key + "." + name, "is not a gate. " + suggest(name, known));
    return result;
  }

  void check_keys(const json& table) const {
    static const std::vector<std::string> known = {"name", "source", "unit", "word_bits", "fixed",
                                                   "fp16", "fp32",   "sram", "dram"};
    for (const auto& [name, value] : table.items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        refuse(name, "is unknown. " + suggest(name, known));
    if (table.value("unit", json("pJ")) != json("pJ")) refuse("unit", "must be \"pJ\".");
  }

  bool is_file_ = false;
  std::string where_;
};

}  // namespace

double Polynomial::operator()(double x) const { return std::max(raw_value(*this, x), 0.0); }

double ProcessTable::gate_pj(Gate gate, const QuantizerType& result, double gate_bits) const {
  if (!result.is_float()) return fixed.at(gate)(gate_bits);
  const auto& rows = result.bit_width <= 16 ? fp16 : fp32;
  return rows.at(gate == Gate::kMul ? Gate::kMul : Gate::kAdd)(gate_bits);
}

double ProcessTable::sram_pj(int64_t bits, int64_t min_memory_bits) const {
  if (bits <= 0) return 0;
  const int64_t words = bits / word_bits + (bits % word_bits == 0 ? 0 : 1);
  return double(words) * sram(std::log2(double(std::max(bits, min_memory_bits))));
}

double ProcessTable::dram_pj(int64_t bits) const { return bits <= 0 ? 0 : dram(double(bits)); }

const ProcessTable& horowitz_45nm() {
  static const ProcessTable table = parse_process_table(kHorowitz45nmJson);
  return table;
}

ProcessTable parse_process_table(std::string_view json_text) { return TableReader("").read(json_text); }

ProcessTable load_process_table(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) throw IoError("[process_table] cannot read '{}'. Give the path of a JSON file.", path.string());
  if (size > kMaxFileBytes)
    throw CorruptFile("[process_table] '{}' has {} bytes; a process table has a few hundred.", path.string(), size);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return TableReader(path.string()).read(text);
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
