// A scheme as JSON.
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/transform/qat/scheme.h"

namespace nibble::qat {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& key, const json& value, const char* wanted) {
  throw InvalidArgument("[scheme] '{}' is {}, but must be {}.", key,
                        value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80), wanted);
}

int width(const std::string& key, const json& value) {
  if (!value.is_number_integer()) refuse(key, value, "an integer");
  const bool is_huge = value.is_number_unsigned() && value.get<uint64_t>() > 64;
  if (is_huge || value.get<int64_t>() < 0) refuse(key, value, "a number of bits");
  return value.get<int>();
}

bool boolean(const std::string& key, const json& value) {
  if (!value.is_boolean()) refuse(key, value, "true or false");
  return value.get<bool>();
}

std::string text(const std::string& key, const json& value) {
  if (!value.is_string()) refuse(key, value, "a text");
  return value.get<std::string>();
}

double decay(const std::string& key, const json& value) {
  if (!value.is_number() || value.get<double>() < 0 || value.get<double>() >= 1) {
    refuse(key, value, "a number of at least 0 and below 1");
  }
  return value.get<double>();
}

double factor(const std::string& key, const json& value) {
  if (!value.is_number() || !(value.get<double>() >= 0) || value.get<double>() > 1e6) {
    refuse(key, value, "a number between 0 and 1e6");
  }
  return value.get<double>();
}

affine::GradientElements elements(const std::string& key, const json& value) {
  if (value == "shared") return affine::GradientElements::kShared;
  if (value == "tensor") return affine::GradientElements::kTensor;
  refuse(key, value, "\"shared\" or \"tensor\"");
}

std::optional<affine::RangeRule> range_rule_of(const std::string& key, const json& value) {
  for (const auto rule : {affine::RangeRule::kExtremes, affine::RangeRule::kMse}) {
    if (value == affine::name(rule)) return rule;
  }
  refuse(key, value, "\"extremes\" or \"mse\"");
}

BatchNormMode batch_norm_mode(const std::string& name) {
  const std::map<std::string, BatchNormMode> modes = {{"float", BatchNormMode::kFloat},
                                                      {"fold", BatchNormMode::kFold},
                                                      {"fold_batch", BatchNormMode::kFoldBatch},
                                                      {"fold_running", BatchNormMode::kFoldRunning}};
  const auto found = modes.find(name);
  if (found != modes.end()) return found->second;
  throw InvalidArgument("[scheme] batch_norm is '{}', but must be float, fold, fold_batch or fold_running.", name);
}

using Setter = std::function<void(Scheme& scheme, const std::string& key, const json& value)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> kSetters = {
      {"base", [](Scheme&, const std::string&, const json&) {}},  // read first
      {"weight_bits", [](Scheme& s, const std::string& k, const json& v) { s.weight_bits = width(k, v); }},
      {"activation_bits", [](Scheme& s, const std::string& k, const json& v) { s.activation_bits = width(k, v); }},
      {"input_bits", [](Scheme& s, const std::string& k, const json& v) { s.input_bits = width(k, v); }},
      {"least_result_bits", [](Scheme& s, const std::string& k, const json& v) { s.least_result_bits = width(k, v); }},
      {"edge_weight_bits", [](Scheme& s, const std::string& k, const json& v) { s.edge_weight_bits = width(k, v); }},
      {"bias_bits", [](Scheme& s, const std::string& k, const json& v) { s.bias_bits = width(k, v); }},
      {"quantizer", [](Scheme& s, const std::string& k, const json& v) { set_quantizer(s, text(k, v)); }},
      {"weights", [](Scheme& s, const std::string& k, const json& v) { s.weights = graph::affine_kind(text(k, v)); }},
      {"activations",
       [](Scheme& s, const std::string& k, const json& v) { s.activations = graph::affine_kind(text(k, v)); }},
      {"per_axis", [](Scheme& s, const std::string& k, const json& v) { s.per_axis = boolean(k, v); }},
      {"ema_decay", [](Scheme& s, const std::string& k, const json& v) { s.ema_decay = decay(k, v); }},
      {"penalty", [](Scheme& s, const std::string& k, const json& v) { s.penalty = factor(k, v); }},
      {"gradient_bits", [](Scheme& s, const std::string& k, const json& v) { s.gradient_bits = width(k, v); }},
      {"gradient_elements",
       [](Scheme& s, const std::string& k, const json& v) { s.gradient_elements = elements(k, v); }},
      {"first_batch_initializes",
       [](Scheme& s, const std::string& k, const json& v) {
         s.average_start = boolean(k, v) ? affine::AverageStart::kFirstBatch : affine::AverageStart::kInitialRange;
       }},
      {"ranges", [](Scheme& s, const std::string& k, const json& v) { s.ranges = range_rule_of(k, v); }},
      {"batch_norm",
       [](Scheme& s, const std::string& k, const json& v) { s.batch_norm = batch_norm_mode(text(k, v)); }}};
  return kSetters;
}

}  // namespace

Scheme scheme_from_json(const json& document) {
  if (!document.is_object()) refuse("scheme", document, "an object");
  Scheme scheme;
  if (document.contains("base")) scheme = scheme_named(text("base", document["base"]));
  // "quantizer" sets two kinds, of which the file may change one.
  if (document.contains("quantizer")) set_quantizer(scheme, text("quantizer", document["quantizer"]));
  for (const auto& [key, value] : document.items()) {
    const auto found = setters().find(key);
    if (found == setters().end()) {
      std::vector<std::string> known;
      for (const auto& [name, setter] : setters()) known.push_back(name);
      throw InvalidArgument("[scheme] there is no '{}'. {}", key, suggest(key, known));
    }
    if (key != "quantizer") found->second(scheme, key, value);
  }
  check(scheme);
  return scheme;
}

}  // namespace nibble::qat
