// Types of attributes: conversion to what the schema asks for, comparison, text.
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/initializer.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/quant/plain_functions.h"

namespace nibble::graph {
namespace {

// No extent, count or width of a real network comes near; products of two stay far below 2^63.
constexpr int64_t kLargest = int64_t{1} << 30;

const char* wanted(const AttributeSpec& spec) {
  switch (spec.kind) {
    case AttributeKind::kBool:
      return "true or false";
    case AttributeKind::kInt:
      return "an integer";
    case AttributeKind::kFloat:
      return "a number";
    case AttributeKind::kString:
      return "a text";
    case AttributeKind::kInts:
      return "an integer or a list of integers";
    case AttributeKind::kActivation:
      return "the name of a function or a quantizer";
    case AttributeKind::kQuantizer:
      return "a quantizer, its text, or None";
    case AttributeKind::kInitializer:
      return "the name of an initializer or its JSON";
    case AttributeKind::kOpaque:
      return "JSON";
  }
  return "";
}

[[noreturn]] void refuse_type(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  throw InvalidArgument("[graph] {}: attribute '{}' is {}, but must be {}.", described(layer), spec.name,
                        to_string(given), wanted(spec));
}

int64_t checked(const AttributeSpec& spec, int64_t value, const Layer& layer) {
  if (value >= spec.minimum && value <= kLargest) return value;
  throw InvalidArgument("[graph] {}: attribute '{}' is {}, but must lie between {} and {}.", described(layer),
                        spec.name, value, spec.minimum, kLargest);
}

Attribute to_int(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  if (const auto* value = std::get_if<int64_t>(&given)) return checked(spec, *value, layer);
  // BatchNormalization of old Keras writes its axis as [3].
  if (const auto* list = std::get_if<std::vector<int64_t>>(&given); list && list->size() == 1)
    return checked(spec, list->front(), layer);
  refuse_type(spec, given, layer);
}

Attribute to_ints(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  std::vector<int64_t> values;
  if (const auto* value = std::get_if<int64_t>(&given)) {
    values.assign(static_cast<size_t>(std::max(spec.count, 1)), *value);
  } else if (const auto* list = std::get_if<std::vector<int64_t>>(&given)) {
    values = *list;
  } else {
    refuse_type(spec, given, layer);
  }
  if (spec.count > 0 && values.size() != static_cast<size_t>(spec.count)) {
    throw InvalidArgument("[graph] {}: attribute '{}' is {}, but must have {} {}.", described(layer), spec.name,
                          to_string(given), spec.count, spec.count == 1 ? "number" : "numbers");
  }
  for (int64_t value : values) checked(spec, value, layer);
  return values;
}

Attribute to_choice(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  const auto* text = std::get_if<std::string>(&given);
  if (!text) refuse_type(spec, given, layer);
  if (spec.choices.empty()) return *text;
  std::string value = *text;
  // QKeras writes "VALID" where Keras writes "valid".
  for (char& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (std::find(spec.choices.begin(), spec.choices.end(), value) != spec.choices.end()) return value;
  if (std::find(spec.not_yet.begin(), spec.not_yet.end(), value) != spec.not_yet.end()) {
    throw Unsupported("[graph] {}: attribute '{}' is '{}', which nibble cannot do; it can do {}.", described(layer),
                      spec.name, value, fmt::join(spec.choices, ", "));
  }
  throw InvalidArgument("[graph] {}: attribute '{}' is '{}', but must be one of {}.", described(layer), spec.name,
                        *text, fmt::join(spec.choices, ", "));
}

quant::QuantizerPtr parse_quantizer(const AttributeSpec& spec, const std::string& text, const Layer& layer) {
  try {
    return quant::get_quantizer(text);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("[graph] {}: attribute '{}': {}", described(layer), spec.name, error.what());
  }
}

Attribute to_activation(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  if (std::holds_alternative<quant::QuantizerPtr>(given)) return given;
  const auto* text = std::get_if<std::string>(&given);
  if (!text) refuse_type(spec, given, layer);
  if (quant::is_activation_function(*text)) return *text;
  std::vector<std::string> names = quant::known_quantizers();
  const bool is_name = text->find('(') == std::string::npos;
  if (is_name && std::find(names.begin(), names.end(), *text) == names.end()) {
    const auto& functions = quant::activation_function_names();
    names.insert(names.begin(), functions.begin(), functions.end());
    throw InvalidArgument("[graph] {}: attribute '{}' is '{}', which is no activation function and no quantizer. {}",
                          described(layer), spec.name, *text, suggest(*text, names));
  }
  return parse_quantizer(spec, *text, layer);
}

Attribute to_quantizer(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  if (std::holds_alternative<quant::QuantizerPtr>(given)) return given;
  const auto* text = std::get_if<std::string>(&given);
  if (!text) refuse_type(spec, given, layer);
  return parse_quantizer(spec, *text, layer);
}

Attribute to_initializer(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  if (std::holds_alternative<OpaqueJson>(given)) return given;
  const auto* name = std::get_if<std::string>(&given);
  if (!name) refuse_type(spec, given, layer);
  const std::vector<std::string> known = known_initializers();
  if (std::find(known.begin(), known.end(), *name) != known.end()) return *name;
  throw InvalidArgument("[graph] {}: attribute '{}' names the unknown initializer '{}'. {}", described(layer),
                        spec.name, *name, suggest(*name, known));
}

Attribute to_opaque(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  if (std::holds_alternative<OpaqueJson>(given)) return given;
  if (const auto* value = std::get_if<std::string>(&given)) return OpaqueJson{nlohmann::json(*value).dump()};
  if (const auto* value = std::get_if<bool>(&given)) return OpaqueJson{*value ? "true" : "false"};
  if (const auto* value = std::get_if<int64_t>(&given)) return OpaqueJson{nlohmann::json(*value).dump()};
  if (const auto* value = std::get_if<double>(&given)) return OpaqueJson{nlohmann::json(*value).dump()};
  refuse_type(spec, given, layer);
}

}  // namespace

Attribute coerce(const AttributeSpec& spec, const Attribute& given, const Layer& layer) {
  const auto* pointer = std::get_if<quant::QuantizerPtr>(&given);
  if (std::holds_alternative<None>(given) || (pointer && !*pointer)) {
    if (spec.optional) return None{};
    // Keras takes None for "the default" in data_format, activation and the like.
    if (!spec.required) return spec.default_value;
    refuse_type(spec, given, layer);
  }
  switch (spec.kind) {
    case AttributeKind::kBool:
      if (std::holds_alternative<bool>(given)) return given;
      if (const auto* value = std::get_if<int64_t>(&given); value && (*value == 0 || *value == 1)) return *value == 1;
      refuse_type(spec, given, layer);
    case AttributeKind::kInt:
      return to_int(spec, given, layer);
    case AttributeKind::kFloat:
      if (std::holds_alternative<double>(given)) return given;
      if (const auto* value = std::get_if<int64_t>(&given)) return static_cast<double>(*value);
      refuse_type(spec, given, layer);
    case AttributeKind::kString:
      return to_choice(spec, given, layer);
    case AttributeKind::kInts:
      return to_ints(spec, given, layer);
    case AttributeKind::kActivation:
      return to_activation(spec, given, layer);
    case AttributeKind::kQuantizer:
      return to_quantizer(spec, given, layer);
    case AttributeKind::kInitializer:
      return to_initializer(spec, given, layer);
    case AttributeKind::kOpaque:
      return to_opaque(spec, given, layer);
  }
  return given;
}

std::string to_string(const Attribute& value) {
  struct Printer {
    std::string operator()(const None&) const { return "None"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(int64_t i) const { return fmt::format("{}", i); }
    std::string operator()(double d) const { return fmt::format("{}", d); }
    std::string operator()(const std::string& s) const { return fmt::format("'{}'", s); }
    std::string operator()(const std::vector<int64_t>& list) const {
      return fmt::format("[{}]", fmt::join(list, ", "));
    }
    std::string operator()(const quant::QuantizerPtr& q) const { return q ? q->str() : "None"; }
    std::string operator()(const OpaqueJson& json) const { return json.text; }
  };
  return std::visit(Printer{}, value);
}

bool equal(const Attribute& a, const Attribute& b) {
  const auto* left = std::get_if<quant::QuantizerPtr>(&a);
  const auto* right = std::get_if<quant::QuantizerPtr>(&b);
  if (!left || !right) return a == b;
  if (!*left || !*right) return *left == *right;
  return **left == **right;
}

}  // namespace nibble::graph
