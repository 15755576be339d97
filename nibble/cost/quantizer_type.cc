#include "nibble/cost/quantizer_type.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "nibble/core/call_expression.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/quant/integer_bits.h"

namespace nibble::cost {
namespace {

// The arguments of a quantizer that its type depends on, at their defaults.
struct Arguments {
  double bits = 8;
  double integer = 0;
  double keep_negative = 1;
  double use_01 = 0;
  double max_value = -1;
  double negative_slope = 0;

  double* find(std::string_view name) {
    if (name == "bits") return &bits;
    if (name == "integer") return &integer;
    if (name == "keep_negative") return &keep_negative;
    if (name == "use_01") return &use_01;
    if (name == "max_value") return &max_value;
    if (name == "negative_slope") return &negative_slope;
    return nullptr;
  }
};

constexpr int kMostExponentBits = 40;  // far beyond kWidestBits, and a power that an int64_t holds

QuantizerType named(QuantizerType type, std::string_view name) {
  type.name = name;
  return type;
}

QuantizerType make_bits(const Arguments& a) {
  return fixed_point_type(int(a.bits), int(a.integer), a.keep_negative != 0);
}
QuantizerType make_relu(const Arguments& a) {
  const bool is_01 = a.bits == 1 && a.integer == 1;
  QuantizerType type = is_01 ? binary_type(true) : fixed_point_type(int(a.bits), int(a.integer), false);
  type.is_signed = a.negative_slope != 0;
  return named(type, "quantized_relu");
}
QuantizerType make_tanh(const Arguments& a) { return named(fixed_point_type(int(a.bits), 0), "quantized_tanh"); }
QuantizerType make_ulaw(const Arguments& a) {
  return named(fixed_point_type(int(a.bits), int(a.integer)), "quantized_ulaw");
}
QuantizerType make_binary(const Arguments& a) { return binary_type(a.use_01 != 0); }
QuantizerType make_stochastic_binary(const Arguments&) { return named(binary_type(false), "stochastic_binary"); }
QuantizerType make_bernoulli(const Arguments&) { return named(binary_type(true), "bernoulli"); }
QuantizerType make_ternary(const Arguments&) { return ternary_type(); }
QuantizerType make_stochastic_ternary(const Arguments&) { return named(ternary_type(), "stochastic_ternary"); }
QuantizerType make_po2(const Arguments& a) { return po2_type(int(a.bits), true, a.max_value == 0 ? -1 : a.max_value); }
QuantizerType make_relu_po2(const Arguments& a) {
  return po2_type(int(a.bits), false, a.max_value == 0 ? -1 : a.max_value);
}

struct KnownClass {
  std::string_view name;
  QuantizerType (*make)(const Arguments&);
};

constexpr KnownClass kKnownClasses[] = {
    {"quantized_bits", make_bits},
    {"quantized_relu", make_relu},
    {"quantized_tanh", make_tanh},
    {"quantized_ulaw", make_ulaw},
    {"binary", make_binary},
    {"stochastic_binary", make_stochastic_binary},
    {"bernoulli", make_bernoulli},
    {"ternary", make_ternary},
    {"stochastic_ternary", make_stochastic_ternary},
    {"quantized_po2", make_po2},
    {"quantized_relu_po2", make_relu_po2},
};

const KnownClass* find_class(std::string_view name) {
  for (const KnownClass& known : kKnownClasses)
    if (known.name == name) return &known;
  return nullptr;
}

struct NamedType {
  std::string_view name;
  QuantizerType type;
};
const std::vector<NamedType>& named_types() {
  static const std::vector<NamedType> types = {{"fp16", float_type(16)},
                                               {"fp32", float_type(32)},
                                               {"int8", fixed_point_type(8, 0)},
                                               {"int16", fixed_point_type(16, 7)},
                                               {"int32", fixed_point_type(32, 10)}};
  return types;
}

bool is_zero(const CallValue& value) { return value == CallValue(int64_t{0}) || value == CallValue(0.0); }

// QTools reads a max_value of 0 as none, which the quantizer itself refuses.
std::string without_zero_cap(std::string_view text, CallExpression call) {
  if (call.name != "quantized_po2" && call.name != "quantized_relu_po2") return std::string(text);
  bool had_zero = false;
  const auto drop_zero = [&](CallValue& value) {
    if (!is_zero(value)) return;
    value = NoneValue{};
    had_zero = true;
  };
  if (call.positional.size() > 1) drop_zero(call.positional[1]);
  for (auto& [name, value] : call.keyword)
    if (name == "max_value") drop_zero(value);
  if (!had_zero) return std::string(text);
  std::vector<std::string> arguments;
  for (const CallValue& value : call.positional) arguments.push_back(format_value(value));
  for (const auto& [name, value] : call.keyword) arguments.push_back(name + "=" + format_value(value));
  return fmt::format("{}({})", call.name, fmt::join(arguments, ","));
}

QuantizerType make(const KnownClass& known, const Arguments& arguments, Compat compat) {
  QuantizerType type = known.make(arguments);
  // The reference never sets int_bits of a tanh.
  if (compat != Compat::kNone && known.name == "quantized_tanh") type.int_bits = -1;
  return type;
}

QuantizerType type_from_format(const quant::Quantizer& quantizer) {
  using Kind = quant::NumericFormat::Kind;
  const quant::NumericFormat format = quantizer.format();
  QuantizerType type = fixed_point_type(format.bit_width, format.integer_bits, format.is_signed);
  switch (format.kind) {
    case Kind::kFixedPoint:
      break;
    case Kind::kPowerOfTwo:
      type = po2_type(format.bit_width, format.is_signed, format.max_value.value_or(-1));
      break;
    case Kind::kTernary:
      type = ternary_type();
      break;
    case Kind::kBinary:
      type = binary_type(false);
      break;
    case Kind::kBinary01:
      type = binary_type(true);
      break;
    case Kind::kFloat:
      type = float_type(format.bit_width);
      break;
  }
  return named(type, quantizer.class_name());
}

// Integer bits that the ranges which a QAdaptiveActivation has seen ask for, the fewest and the most of its channels;
// 0 before it has seen any.
std::pair<int, int> observed_integer_bits(const graph::Layer& layer, int bit_width, bool is_signed) {
  const graph::Weight *low = layer.find_weight("ema_min"), *high = layer.find_weight("ema_max");
  if (low == nullptr || high == nullptr || low->value.data().size() != high->value.data().size()) return {0, 0};
  const quant::IntegerBitsOptions options{bit_width, layer.get_bool("symmetric"), is_signed,
                                          layer.get_bool("po2_rounding")};
  std::optional<std::pair<int, int>> found;
  for (size_t c = 0; c < low->value.data().size(); ++c) {
    const float minimum = low->value.data()[c], maximum = high->value.data()[c];
    if (!std::isfinite(minimum) || !std::isfinite(maximum)) continue;
    const int bits = quant::estimate_integer_bits(minimum, maximum, options);
    found = found ? std::pair(std::min(found->first, bits), std::max(found->second, bits)) : std::pair(bits, bits);
  }
  return found.value_or(std::pair(0, 0));
}

// The layer has its quantizer's class and bits apart. A type for all of its channels holds the most integer and the
// most fractional bits of them.
QuantizerType adaptive_type(const graph::Layer& layer) {
  const bool is_relu = layer.get_string("activation") == "quantized_relu";
  const auto bits = static_cast<int>(std::min<int64_t>(layer.get_int("total_bits"), kWidestBits));
  Arguments arguments;
  arguments.negative_slope = is_relu ? layer.get_float("relu_neg_slope") : 0;
  const auto [fewest, most] = observed_integer_bits(layer, bits, !is_relu || arguments.negative_slope != 0);
  arguments.bits = bits + most - fewest;
  arguments.integer = most;
  return is_relu ? make_relu(arguments) : make_bits(arguments);
}

int narrowed(int64_t bits) { return static_cast<int>(std::clamp<int64_t>(bits, 1 - kWidestBits, kWidestBits)); }

int ceil_log2(double x) { return static_cast<int>(std::ceil(std::log2(x))); }

}  // namespace

QuantizerType fixed_point_type(int64_t bit_width, int64_t int_bits, bool is_signed) {
  return {.bit_width = narrowed(bit_width), .int_bits = narrowed(int_bits), .is_signed = is_signed};
}
QuantizerType float_type(int bit_width) {
  return {.name = "floating_point", .mode = TypeMode::kFloat, .bit_width = bit_width, .int_bits = -1};
}
QuantizerType po2_type(int bit_width, bool is_signed, double max_value) {
  return {.name = is_signed ? "quantized_po2" : "quantized_relu_po2",
          .mode = TypeMode::kPowerOfTwo,
          .bit_width = bit_width,
          .int_bits = bit_width,
          .is_signed = is_signed,
          .max_value = max_value};
}
QuantizerType ternary_type() { return {.name = "ternary", .mode = TypeMode::kTernary, .bit_width = 2, .int_bits = 2}; }
QuantizerType binary_type(bool use_01) {
  return {.name = "binary",
          .mode = use_01 ? TypeMode::kBinary01 : TypeMode::kBinary,
          .bit_width = 1,
          .int_bits = 1,
          .is_signed = !use_01};
}
QuantizerType default_type() { return fixed_point_type(8, 0); }

QuantizerType type_from_text(std::string_view text, Compat compat) {
  for (const NamedType& known : named_types())
    if (known.name == text) return known.type;
  const CallExpression call = parse_call(text);
  std::vector<std::string> names = quant::known_quantizers();
  if (std::find(names.begin(), names.end(), call.name) != names.end())
    return type_from_quantizer(*quant::get_quantizer(without_zero_cap(text, call)), compat);
  for (const NamedType& known : named_types()) names.emplace_back(known.name);
  throw InvalidArgument("[type_from_text] '{}' names no number type. {}", text, suggest(call.name, names));
}

QuantizerType type_from_quantizer(const quant::Quantizer& quantizer, Compat compat) {
  const KnownClass* known = find_class(quantizer.class_name());
  if (known == nullptr) {
    if (compat != Compat::kNone)
      throw Unsupported("[type_from_quantizer] QTools has no type for {}. Leave compat off to use its number format.",
                        quantizer.class_name());
    return type_from_format(quantizer);
  }
  Arguments arguments;
  const nlohmann::json config = quantizer.config();
  for (const auto& [name, value] : config.items()) {
    double* field = arguments.find(name);
    if (field == nullptr) continue;
    if (value.is_boolean()) *field = value.get<bool>() ? 1 : 0;
    if (value.is_number()) *field = value.get<double>();
  }
  return make(*known, arguments, compat);
}

bool has_type(std::string_view class_name, Compat compat) {
  return compat == Compat::kNone || find_class(class_name) != nullptr;
}

std::optional<QuantizerType> type_from_attribute(const graph::Layer& layer, std::string_view attribute, Compat compat) {
  const auto found = layer.attributes.find(std::string(attribute));
  if (found == layer.attributes.end()) return std::nullopt;
  if (layer.class_name == "QAdaptiveActivation" && attribute == "activation") return adaptive_type(layer);
  if (const auto* quantizer = std::get_if<quant::QuantizerPtr>(&found->second)) {
    if (*quantizer == nullptr || !has_type((*quantizer)->class_name(), compat)) return std::nullopt;
    return type_from_quantizer(**quantizer, compat);
  }
  const auto* text = std::get_if<std::string>(&found->second);
  if (text == nullptr || quant::is_activation_function(*text)) return std::nullopt;
  if (!has_type(parse_call(*text).name, compat)) return std::nullopt;
  return type_from_text(*text, compat);
}

QuantizerType forwarded(const QuantizerType& type, Compat compat) {
  if (compat == Compat::kNone) return type;
  static constexpr std::array<std::string_view, 4> kForgotten = {"stochastic_binary", "bernoulli", "quantized_tanh",
                                                                 "quantized_ulaw"};
  if (std::find(kForgotten.begin(), kForgotten.end(), type.name) == kForgotten.end()) return type;
  return named(ternary_type(), "stochastic_ternary");
}

ShiftRange shift_range(const QuantizerType& po2) {
  const int exponent_bits = po2.bit_width - (po2.is_signed ? 1 : 0);
  const auto right = static_cast<int64_t>(std::exp2(std::min(exponent_bits - 1, kMostExponentBits)));
  int64_t left = right - 1;
  if (po2.max_value != -1) left = po2.max_value <= 0 ? 0 : std::min<int64_t>(ceil_log2(po2.max_value), left);
  return {narrowed(right), narrowed(std::max<int64_t>(left, 0))};
}

QuantizerType as_fixed_point(const QuantizerType& type) {
  if (!type.is_po2()) return type;
  const ShiftRange range = shift_range(type);
  return fixed_point_type(int64_t{type.is_signed ? 1 : 0} + range.right + range.left, range.left, type.is_signed);
}

std::string short_text(const QuantizerType& type) {
  switch (type.mode) {
    case TypeMode::kFixedPoint:
      return fmt::format("{}({},{})", type.is_signed ? "fixed" : "ufixed", type.bit_width, type.int_bits);
    case TypeMode::kPowerOfTwo: {
      const std::string most = type.max_value < 0 ? "" : fmt::format(",max {:g}", type.max_value);
      const std::string values = type.value_count > 0 ? fmt::format(" of {}", type.value_count) : "";
      return fmt::format("{}({}{}){}", type.is_signed ? "po2" : "upo2", type.bit_width, most, values);
    }
    case TypeMode::kTernary:
      return "ternary";
    case TypeMode::kBinary:
      return "binary";
    case TypeMode::kBinary01:
      return "binary01";
    case TypeMode::kFloat:
      return fmt::format("fp{}", type.bit_width);
  }
  return "";
}

std::string common_name(const QuantizerType& type) {
  for (const NamedType& known : named_types())
    if (known.type == type) return std::string(known.name);
  return short_text(type);
}

nlohmann::json report_of(const QuantizerType& type) {
  nlohmann::json report = {{"quantizer_type", type.name}, {"bits", type.bit_width}};
  if (type.is_float()) return report;
  report["is_signed"] = type.is_signed ? 1 : 0;
  switch (type.mode) {
    case TypeMode::kPowerOfTwo:
      report["max_value"] = type.max_value;
      return report;
    case TypeMode::kFixedPoint:
      report["int_bits"] = type.int_bits + (type.is_signed ? 1 : 0);
      return report;
    case TypeMode::kTernary:  // a product of a ternary and a binary is printed as any ternary
      report.update({{"bits", 2}, {"int_bits", 2}, {"is_signed", 1}, {"values", {0, -1, 1}}});
      return report;
    default:
      report["int_bits"] = type.int_bits;
  }
  if (type.mode == TypeMode::kBinary) report["values"] = {-1, 1};
  if (type.mode == TypeMode::kBinary01) report["values"] = {0, 1};
  return report;
}

}  // namespace nibble::cost
