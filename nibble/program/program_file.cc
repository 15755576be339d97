#include "nibble/program/program_file.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/cbor.h"
#include "nibble/core/error.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/packed_integers.h"

namespace nibble::program {
namespace {

using nlohmann::json;
constexpr std::string_view kMagic("nibble\0", 7);  // and a byte with the version
constexpr size_t kHeaderBytes = 8;
// A program is written in the lowest version that holds it, so that an older nibble reads what it can run.
constexpr char kPlain = 2, kWithSoftmax = 3, kWithRules = 4, kWithTurnsOrBorders = 5, kWithWideSumsOrMoves = 6,
               kWithSpreadSums = 7, kNewest = kWithSpreadSums;
constexpr size_t kSumBytes = 4;

// ---- arrays ---------------------------------------------------------------------

// Floats as their bit patterns: exact, infinities too.
json floats(const PerChannel& values) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());  // null where there are none
  return json::binary({bytes, bytes + values.size() * sizeof(float)});
}

PerChannel read_floats(const json& packed) {
  const auto& bytes = packed.get_binary();
  if (bytes.size() % sizeof(float) != 0) throw CorruptFile("[program] an array of floats is cut off.");
  PerChannel values(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(values.data()));
  return values;
}

// ---- actions ----------------------------------------------------------------------

json to_json(const Window& w) {
  return {w.height,          w.width,          w.stride_height, w.stride_width,
          w.dilation_height, w.dilation_width, w.pad_top,       w.pad_left};
}

Window window(const json& in) {
  const auto v = in.get<std::vector<int64_t>>();
  if (v.size() != 8) throw CorruptFile("[program] a window has {} numbers instead of 8.", v.size());
  return {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
}

// Where a channel's values begin: it has one more than thresholds.
std::vector<int64_t> first_values(std::vector<int64_t> first) {
  for (size_t c = 0; c < first.size(); ++c) first[c] += static_cast<int64_t>(c);
  return first;
}

json to_json(const FixedPointRule& rule) {
  std::vector<int32_t> multipliers, shifts;
  for (const affine::FixedPointMultiplier& factor : rule.factors) {
    multipliers.push_back(factor.multiplier);
    shifts.push_back(factor.shift);
  }
  return {{"rounding", name_of(rule.rounding)},
          {"multipliers", pack(multipliers)},
          {"shifts", pack(shifts)},
          {"bias", pack(rule.bias)},
          {"range", {rule.lowest, rule.highest}}};
}

FixedPointRule rule(const json& in) {
  const auto name = in.at("rounding").get<std::string>();
  const auto rounding = rounding_of(name);
  if (!rounding) {
    throw CorruptFile("[program] a rounding is called '{}', which this version of nibble does not know.", name);
  }
  const auto multipliers = unpack<int32_t>(in.at("multipliers")), shifts = unpack<int32_t>(in.at("shifts"));
  if (multipliers.size() != shifts.size()) throw CorruptFile("[program] a multiplier has no shift.");
  const auto range = in.at("range").get<std::array<int32_t, 2>>();
  FixedPointRule rule{*rounding, {}, unpack<int64_t>(in.at("bias")), range[0], range[1]};
  for (size_t i = 0; i < shifts.size(); ++i) rule.factors.push_back({multipliers[i], shifts[i]});
  return rule;
}

struct Write {
  json operator()(const QuantizeInput& a) const { return {{"quantizer", a.quantizer->str()}}; }
  json operator()(const Accumulate& a) const {
    json out = {{"window", to_json(a.window)},
                {"in", {a.in_height, a.in_width, a.in_channels}},
                {"out", {a.out_height, a.out_width, a.out_channels}},
                {"groups", a.groups},
                {"weights", pack_weights(a.weights, a.weight_bits)},
                {"bias", pack(a.bias)},
                {"partial_sums", {a.partial_sums.low, a.partial_sums.high}},
                {"exact_in_float", a.is_exact_in_float}};
    if (a.is_spread()) out["spread"] = {a.spread_height, a.spread_width};
    return out;
  }
  json operator()(const Compare& a) const {
    json out = {{"first", pack(a.first)},
                {"thresholds", pack_lines(a.thresholds, a.first)},
                {"values", pack_lines({a.values.begin(), a.values.end()}, first_values(a.first))},
                {"quantizer", a.quantizer},
                {"line", {floats(a.multiplier), floats(a.offset)}}};
    if (a.rule) out["rule"] = to_json(*a.rule);
    return out;
  }
  json operator()(const MaxPool& a) const {
    return {{"window", to_json(a.window)}, {"takes_minimum", pack(a.takes_minimum)}};
  }
  json operator()(const SumPool& a) const {
    json out = {{"window", to_json(a.window)}};
    if (a.common != 0) out["common"] = a.common;
    return out;
  }
  json operator()(const Scale& a) const { return {{"factors", pack(a.factors)}}; }
  json operator()(const Add&) const { return json::object(); }
  json operator()(const Concatenate&) const { return json::object(); }
  json operator()(const Pad& a) const { return {{"edges", {a.top, a.bottom, a.left, a.right}}}; }
  json operator()(const Reshape&) const { return json::object(); }
  json operator()(const Crop& a) const { return {{"edges", {a.top, a.bottom, a.left, a.right}}}; }
  json operator()(const Repeat& a) const { return {{"times", {a.height, a.width}}}; }
  json operator()(const Permute& a) const { return {{"order", a.order}}; }
  json operator()(const Extremum& a) const { return {{"takes_minimum", a.takes_minimum}}; }
  json operator()(const Softmax& a) const { return {{"multiplier", a.multiplier}, {"shift", a.shift}}; }
};

Accumulate accumulate(const json& in) {
  Accumulate a;
  a.window = window(in.at("window"));
  const auto from = in.at("in").get<std::array<int64_t, 3>>(), to = in.at("out").get<std::array<int64_t, 3>>();
  a.in_height = from[0], a.in_width = from[1], a.in_channels = from[2];
  a.out_height = to[0], a.out_width = to[1], a.out_channels = to[2];
  a.groups = in.at("groups").get<int64_t>();
  if (in.contains("spread")) {
    const auto spread = in.at("spread").get<std::array<int64_t, 2>>();
    a.spread_height = spread[0], a.spread_width = spread[1];
  }
  PackedWeights weights = unpack_weights(in.at("weights"));
  a.weights = std::move(weights.values), a.weight_bits = weights.bits;
  a.bias = unpack<int64_t>(in.at("bias"));
  const auto sums = in.at("partial_sums").get<std::array<int64_t, 2>>();
  a.partial_sums = {sums[0], sums[1]};
  a.is_exact_in_float = in.at("exact_in_float").get<bool>();
  return a;
}

Compare compare(const json& in) {
  Compare c;
  c.first = unpack<int64_t>(in.at("first"));
  // As many as there are channels, so that what follows cannot run over.
  for (const int64_t begin : c.first) {
    if (begin < 0 || begin > (int64_t{1} << 40))
      throw CorruptFile("[program] a channel's thresholds begin at {}.", begin);
  }
  c.thresholds = unpack_lines(in.at("thresholds"), c.first);
  for (const int64_t value : unpack_lines(in.at("values"), first_values(c.first))) {
    if (value < INT32_MIN || value > INT32_MAX)
      throw CorruptFile("[program] the code {} has more than 32 bits.", value);
    c.values.push_back(static_cast<int32_t>(value));
  }
  c.quantizer = in.at("quantizer").get<std::string>();
  c.multiplier = read_floats(in.at("line").at(0)), c.offset = read_floats(in.at("line").at(1));
  if (in.contains("rule")) c.rule = rule(in.at("rule"));
  return c;
}

Action action(const std::string& name, const json& in) {
  if (name == "quantize") return QuantizeInput{quant::get_quantizer(in.at("quantizer").get<std::string>())};
  if (name == "accumulate") return accumulate(in);
  if (name == "compare") return compare(in);
  if (name == "max_pool") return MaxPool{window(in.at("window")), unpack<uint8_t>(in.at("takes_minimum"))};
  if (name == "sum_pool") return SumPool{window(in.at("window")), in.value("common", int64_t{0})};
  if (name == "scale") return Scale{unpack<int64_t>(in.at("factors"))};
  if (name == "add") return Add{};
  if (name == "concatenate") return Concatenate{};
  if (name == "pad") {
    const auto edges = in.at("edges").get<std::array<int64_t, 4>>();
    return Pad{edges[0], edges[1], edges[2], edges[3]};
  }
  if (name == "reshape") return Reshape{};
  if (name == "crop") {
    const auto edges = in.at("edges").get<std::array<int64_t, 4>>();
    return Crop{edges[0], edges[1], edges[2], edges[3]};
  }
  if (name == "repeat") {
    const auto times = in.at("times").get<std::array<int64_t, 2>>();
    return Repeat{times[0], times[1]};
  }
  if (name == "permute") return Permute{in.at("order").get<std::vector<int64_t>>()};
  if (name == "extremum") return Extremum{in.at("takes_minimum").get<bool>()};
  if (name == "softmax") return Softmax{in.at("multiplier").get<int32_t>(), in.at("shift").get<int>()};
  throw CorruptFile("[program] an operation is called '{}', which this version of nibble does not know.", name);
}

// ---- values, stages, the whole ----------------------------------------------------------

json to_json(const Value& value) {
  std::vector<int64_t> ends;
  for (const Interval& interval : value.intervals) ends.insert(ends.end(), {interval.low, interval.high});
  return {{"shape", value.shape.extents()}, {"scale", floats(value.scale)}, {"intervals", pack(ends)}};
}

Value value(const json& in) {
  Value value{Shape(in.at("shape").get<std::vector<int64_t>>()), read_floats(in.at("scale")), {}};
  const auto ends = unpack<int64_t>(in.at("intervals"));
  if (ends.size() % 2 != 0) throw CorruptFile("[program] an interval has one end.");
  for (size_t i = 0; i < ends.size(); i += 2) value.intervals.push_back({ends[i], ends[i + 1]});
  return value;
}

struct WriteStage {
  json operator()(const Affine& s) const { return {"affine", floats(s.multiplier), floats(s.offset)}; }
  json operator()(const Offset& s) const { return {"offset", floats(s.value)}; }
  json operator()(const Divide& s) const { return {"divide", floats({s.by})}; }
  json operator()(const Multiply& s) const { return {"multiply", floats({s.by})}; }
  json operator()(const Rectify& s) const {
    return {"rectify", floats({s.slope, s.threshold, s.highest}), s.has_highest};
  }
  json operator()(const Curve& s) const { return {"curve", s.curve->name}; }
  json operator()(const Slope& s) const { return {"slope", floats(s.below)}; }
  json operator()(const Elu& s) const { return {"elu", floats({s.alpha})}; }
};

float one(const json& in, size_t index = 0) {
  const PerChannel values = read_floats(in);
  if (index >= values.size()) throw CorruptFile("[program] a number is missing.");
  return values[index];
}

Stage stage(const json& in) {
  const auto name = in.at(0).get<std::string>();
  if (name == "affine") return Affine{read_floats(in.at(1)), read_floats(in.at(2))};
  if (name == "offset") return Offset{read_floats(in.at(1))};
  if (name == "divide") return Divide{one(in.at(1))};
  if (name == "multiply") return Multiply{one(in.at(1))};
  if (name == "rectify") return Rectify{one(in.at(1)), one(in.at(1), 1), one(in.at(1), 2), in.at(2).get<bool>()};
  if (name == "slope") return Slope{read_floats(in.at(1))};
  if (name == "elu") return Elu{one(in.at(1))};
  if (name == "curve") {
    const auto of = in.at(1).get<std::string>();
    if (const auto* curve = quant::activation_curve(of)) return Curve{curve};
    throw CorruptFile("[program] an activation is called '{}', which this version of nibble does not know.", of);
  }
  throw CorruptFile("[program] a float function is called '{}', which this version of nibble does not know.", name);
}

json to_json(const Program& program) {
  json out = {{"name", program.name},     {"input_shape", program.input_shape.extents()},
              {"output", program.output}, {"softmax", program.softmax},
              {"to_real", json::array()}, {"operations", json::array()}};
  for (const Stage& s : program.to_real.stages()) out["to_real"].push_back(std::visit(WriteStage{}, s));
  for (const Operation& operation : program.operations) {
    out["operations"].push_back({{"name", name_of(operation.action)},
                                 {"layer", operation.layer},
                                 {"inputs", operation.inputs},
                                 {"action", std::visit(Write{}, operation.action)},
                                 {"result", to_json(operation.result)},
                                 {"is_layer_output", operation.is_layer_output}});
  }
  return out;
}

Program program(const json& in) {
  Program result;
  result.name = in.at("name").get<std::string>();
  result.input_shape = Shape(in.at("input_shape").get<std::vector<int64_t>>());
  result.output = in.at("output").get<int>();
  result.softmax = in.at("softmax").get<bool>();
  for (const json& s : in.at("to_real")) result.to_real.push(stage(s));
  for (const json& operation : in.at("operations")) {
    result.operations.push_back({operation.at("layer").get<std::string>(),
                                 operation.at("inputs").get<std::vector<int>>(),
                                 action(operation.at("name").get<std::string>(), operation.at("action")),
                                 value(operation.at("result")), operation.at("is_layer_output").get<bool>()});
  }
  return result;
}

// Values of some channel rise and fall.
bool turns(const Compare& c) {
  for (size_t i = 0; i + 1 < c.first.size(); ++i) {
    const auto value = c.values.begin() + c.first[i] + static_cast<int64_t>(i);
    const auto end = value + (c.first[i + 1] - c.first[i]) + 1;
    if (!std::is_sorted(value, end) && !std::is_sorted(value, end, std::greater<>())) return true;
  }
  return false;
}

char version_of(const Operation& operation) {
  const auto* sums = std::get_if<Accumulate>(&operation.action);
  if (sums != nullptr && sums->is_spread()) return kWithSpreadSums;
  const bool is_wide_sum = sums != nullptr && sums->accumulator_bits() > kNarrowBits;
  if (is_wide_sum || is_wide(operation.result)) return kWithWideSumsOrMoves;
  const bool moves = std::holds_alternative<Crop>(operation.action) ||
                     std::holds_alternative<Repeat>(operation.action) ||
                     std::holds_alternative<Permute>(operation.action);
  if (moves || std::holds_alternative<Extremum>(operation.action)) return kWithWideSumsOrMoves;
  if (std::holds_alternative<Softmax>(operation.action)) return kWithSoftmax;
  const auto* pool = std::get_if<SumPool>(&operation.action);
  if (pool != nullptr && pool->common != 0) return kWithTurnsOrBorders;
  const auto* compare = std::get_if<Compare>(&operation.action);
  if (compare == nullptr) return kPlain;
  return turns(*compare) ? kWithTurnsOrBorders : compare->rule ? kWithRules : kPlain;
}

char version_of(const Program& program) {
  char version = kPlain;
  for (const Operation& operation : program.operations) version = std::max(version, version_of(operation));
  for (const Stage& s : program.to_real.stages()) {
    if (std::holds_alternative<Curve>(s)) version = std::max(version, kWithTurnsOrBorders);
    if (std::holds_alternative<Slope>(s) || std::holds_alternative<Elu>(s)) {
      version = std::max(version, kWithWideSumsOrMoves);
    }
  }
  return version;
}

// An integer times a scale that is infinite or NaN is no real number.
void require_finite_scales(const Program& program) {
  for (size_t i = 0; i < program.operations.size(); ++i) {
    const Operation& operation = program.operations[i];
    const auto& scales = operation.result.scale;
    const auto found = std::find_if(scales.begin(), scales.end(), [](float scale) { return !std::isfinite(scale); });
    if (found == scales.end()) continue;
    throw CorruptFile(
        "[program] operation {} ({}, layer '{}') has the scale {}; a scale must be finite and above 0. Compile the "
        "network anew, from weights and quantizers that are finite.",
        i, name_of(operation.action), operation.layer, *found);
  }
}

uint32_t checksum(std::string_view bytes) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

}  // namespace

void save_program(const Program& program, const std::filesystem::path& path) {
  validate(program);
  require_finite_scales(program);
  std::string bytes(kMagic);
  bytes.push_back(version_of(program));
  json::to_cbor(to_json(program), nlohmann::detail::output_adapter<char>(bytes));
  const uint32_t sum = checksum(bytes);
  for (size_t i = 0; i < kSumBytes; ++i) bytes.push_back(static_cast<char>(sum >> (8 * i)));
  write_file(path, bytes);
}

Program load_program(const std::filesystem::path& path) {
  register_affine_grids();
  const std::string bytes = read_file(path);
  const std::string_view view = bytes;
  if (view.size() < kHeaderBytes + kSumBytes || !view.starts_with(kMagic)) {
    throw CorruptFile("[program] {} is no integer program (.nbl). 'nibble compile' makes one.", path.string());
  }
  const char version = view[kHeaderBytes - 1];
  if (version < kPlain || version > kNewest) {
    throw CorruptFile("[program] {} has version {}; this nibble reads versions {} to {}. Compile it anew.",
                      path.string(), static_cast<int>(version), static_cast<int>(kPlain), static_cast<int>(kNewest));
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < kSumBytes; ++i) {
    sum |= static_cast<uint32_t>(static_cast<uint8_t>(view[view.size() - kSumBytes + i])) << (8 * i);
  }
  const std::string_view content = view.substr(0, view.size() - kSumBytes);
  if (checksum(content) != sum) {
    throw CorruptFile("[program] {} is damaged: its checksum does not match.", path.string());
  }
  try {
    Program result = program(read_cbor(content.substr(kHeaderBytes)));
    validate(result);
    require_finite_scales(result);
    return result;
  } catch (const json::exception& error) {
    throw CorruptFile("[program] {} is damaged: {}.", path.string(), error.what());
  } catch (const InvalidArgument& error) {
    throw CorruptFile("[program] {} is damaged: {}", path.string(), error.what());
  } catch (const CorruptFile& error) {
    throw CorruptFile("[program] {} is damaged: {}", path.string(), error.what());
  }
}

}  // namespace nibble::program
