// Names, text and JSON of a layer's quantizers.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 9> kClassNames = {
    "NoQuantizer",  "LastValueQuantizer", "MovingAverageQuantizer", "AllValuesQuantizer", "FixedQuantizer",
    "LSQQuantizer", "LSQPlusQuantizer",   "PACTQuantizer",          "DoReFaQuantizer"};

const AffineQuantizer kDefaults;

std::string excerpt(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

[[noreturn]] void refuse(std::string_view where, const std::string& key, const json& value, const char* wanted) {
  throw InvalidArgument("{}: '{}' is {}, but must be {}.", where, key, excerpt(value), wanted);
}

bool as_bool(std::string_view where, const std::string& key, const json& value) {
  if (!value.is_boolean()) refuse(where, key, value, "true or false");
  return value.get<bool>();
}

int as_int(std::string_view where, const std::string& key, const json& value) {
  // A width or an axis; what is too large for an int is refused here, what fits no quantizer later.
  if (!value.is_number_integer()) refuse(where, key, value, "an integer");
  const bool is_huge = value.is_number_unsigned() && value.get<uint64_t>() > INT32_MAX;
  const int64_t number = is_huge ? INT64_MAX : value.get<int64_t>();
  if (number < INT32_MIN || number > INT32_MAX) refuse(where, key, value, "a small integer");
  return static_cast<int>(number);
}

double as_number(std::string_view where, const std::string& key, const json& value) {
  if (!value.is_number()) refuse(where, key, value, "a number");
  return value.get<double>();
}

affine::GradientElements as_elements(std::string_view where, const std::string& key, const json& value) {
  if (value == "shared") return affine::GradientElements::kShared;
  if (value == "tensor") return affine::GradientElements::kTensor;
  refuse(where, key, value, "\"shared\" or \"tensor\"");
}

affine::RangeRule as_range_rule(std::string_view where, const std::string& key, const json& value) {
  for (const auto rule : {affine::RangeRule::kExtremes, affine::RangeRule::kMse}) {
    if (value == affine::name(rule)) return rule;
  }
  refuse(where, key, value, "\"extremes\" or \"mse\"");
}

// Null where TFMOT has none.
void set(AffineQuantizer& q, std::string_view where, const std::string& key, const json& value) {
  if (key == "num_bits") {
    q.num_bits = as_int(where, key, value);
  } else if (key == "axis") {
    q.axis = as_int(where, key, value);
  } else if (key == "per_axis") {
    q.per_axis = as_bool(where, key, value);
  } else if (key == "symmetric") {
    q.symmetric = as_bool(where, key, value);
  } else if (key == "narrow_range") {
    q.narrow_range = as_bool(where, key, value);
  } else if (key == "init_min") {
    q.fixed.min = static_cast<float>(as_number(where, key, value));
  } else if (key == "init_max") {
    q.fixed.max = static_cast<float>(as_number(where, key, value));
  } else if (key == "ema_decay") {
    q.ema_decay = as_number(where, key, value);
  } else if (key == "first_batch_initializes") {
    q.average_start =
        as_bool(where, key, value) ? affine::AverageStart::kFirstBatch : affine::AverageStart::kInitialRange;
  } else if (key == "range") {
    q.range = as_range_rule(where, key, value);
  } else if (key == "penalty") {
    q.penalty = as_number(where, key, value);
  } else if (key == "gradient_bits") {
    q.gradient_bits = as_int(where, key, value);
  } else if (key == "gradient_elements") {
    q.gradient_elements = as_elements(where, key, value);
  } else {
    const std::vector<std::string> known = {"num_bits",
                                            "per_axis",
                                            "symmetric",
                                            "narrow_range",
                                            "axis",
                                            "init_min",
                                            "init_max",
                                            "ema_decay",
                                            "first_batch_initializes",
                                            "range",
                                            "penalty",
                                            "gradient_bits",
                                            "gradient_elements"};
    throw InvalidArgument("{}: a quantizer has no '{}'. {}", where, key, suggest(key, known));
  }
}

// What an object says beside its two members would be lost without a word.
//   silent  members that mean nothing here
void check_members(const json& object, std::string_view where, const char* what, const std::vector<std::string>& known,
                   const std::vector<std::string>& silent = {}) {
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto& [key, value] : object.items()) {
    if (has(known, key) || has(silent, key)) continue;
    throw InvalidArgument("{}: {} has no '{}'. {}", where, what, key, suggest(key, known));
  }
}

// Keras writes more than class_name and config.
void check_quantizer_members(const json& object, std::string_view where) {
  check_members(object, where, "an object of a quantizer", {"class_name", "config"},
                {"module", "registered_name", "build_config", "compile_config", "shared_object_id"});
}

std::vector<WeightQuantizer> weights_from_json(const json& list, std::string_view where) {
  if (!list.is_array()) refuse(where, "weights", list, "a list");
  std::vector<WeightQuantizer> weights;
  for (const json& item : list) {
    if (!item.is_object() || !item.contains("weight") || !item["weight"].is_string() || !item.contains("quantizer")) {
      refuse(where, "weights", item, "a list of objects with 'weight' and 'quantizer'");
    }
    check_members(item, where, "an entry of 'weights'", {"weight", "quantizer"});
    const std::string name = item["weight"].get<std::string>();
    weights.push_back({name, affine_quantizer_from_json(item["quantizer"], fmt::format("{}, '{}'", where, name))});
  }
  return weights;
}

}  // namespace

std::string_view class_name(AffineKind kind) { return kClassNames[static_cast<size_t>(kind)]; }

AffineKind affine_kind(std::string_view name) {
  const auto found = std::find(kClassNames.begin(), kClassNames.end(), name);
  if (found != kClassNames.end()) return static_cast<AffineKind>(found - kClassNames.begin());
  const std::vector<std::string> known(kClassNames.begin(), kClassNames.end());
  throw InvalidArgument("[quantize] '{}' is no affine quantizer. {}", name, suggest(name, known));
}

std::string to_string(const AffineQuantizer& q) {
  std::string name(class_name(q.kind));
  name.resize(name.size() - std::string_view("Quantizer").size());
  if (q.is_none()) return name;
  std::string text = fmt::format("{}({}", name, q.num_bits);
  if (q.per_axis) text += q.axis == -1 ? ",per_axis" : fmt::format(",per_axis={}", q.axis);
  if (q.symmetric) text += ",symmetric";
  if (q.narrow_range) text += ",narrow_range";
  if (q.kind == AffineKind::kFixed) text += fmt::format(",[{}, {}]", q.fixed.min, q.fixed.max);
  if (q.kind == AffineKind::kMovingAverage && q.ema_decay != kDefaults.ema_decay) {
    text += fmt::format(",decay={}", q.ema_decay);
  }
  if (q.range != kDefaults.range) text += fmt::format(",range={}", affine::name(q.range));
  if (q.penalty != kDefaults.penalty) text += fmt::format(",penalty={}", q.penalty);
  if (q.gradient_bits != kDefaults.gradient_bits) text += fmt::format(",gradient_bits={}", q.gradient_bits);
  if (q.gradient_elements != kDefaults.gradient_elements) text += ",gradient_elements=tensor";
  return text + ")";
}

json to_json(const AffineQuantizer& q) {
  if (q.is_none()) return nullptr;
  json config = {
      {"num_bits", q.num_bits}, {"per_axis", q.per_axis}, {"symmetric", q.symmetric}, {"narrow_range", q.narrow_range}};
  if (q.axis != kDefaults.axis) config["axis"] = q.axis;
  if (q.kind == AffineKind::kFixed) {
    config["init_min"] = q.fixed.min;
    config["init_max"] = q.fixed.max;
  }
  if (q.kind == AffineKind::kMovingAverage) {
    if (q.ema_decay != kDefaults.ema_decay) config["ema_decay"] = q.ema_decay;
    if (q.average_start == affine::AverageStart::kFirstBatch) config["first_batch_initializes"] = true;
  }
  if (q.range != kDefaults.range) config["range"] = affine::name(q.range);
  if (q.penalty != kDefaults.penalty) config["penalty"] = q.penalty;
  if (q.gradient_bits != kDefaults.gradient_bits) config["gradient_bits"] = q.gradient_bits;
  if (q.gradient_elements != kDefaults.gradient_elements) config["gradient_elements"] = "tensor";
  return {{"class_name", class_name(q.kind)}, {"config", std::move(config)}};
}

json to_json(const LayerQuantization& quantization) {
  json weights = json::array();
  for (const WeightQuantizer& weight : quantization.weights) {
    weights.push_back({{"weight", weight.weight}, {"quantizer", to_json(weight.quantizer)}});
  }
  json config = {{"weights", std::move(weights)}};
  if (!quantization.pre_activation.is_none()) config["pre_activation"] = to_json(quantization.pre_activation);
  if (!quantization.post_activation.is_none()) config["post_activation"] = to_json(quantization.post_activation);
  if (!quantization.output.is_none()) config["output"] = to_json(quantization.output);
  if (quantization.bias_bits != 0) config["bias_bits"] = quantization.bias_bits;
  return config;
}

AffineQuantizer affine_quantizer_from_json(const json& document, std::string_view where) {
  if (document.is_null()) return {};
  const auto name = document.is_object() ? document.find("class_name") : document.end();
  if (!document.is_object() || name == document.end() || !name->is_string()) {
    refuse(where, "quantizer", document, "null or an object with class_name and config");
  }
  AffineQuantizer quantizer;
  try {
    quantizer.kind = affine_kind(name->get<std::string>());
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("{}: {}", where, error.what());
  }
  check_quantizer_members(document, where);
  if (quantizer.is_none()) return {};
  const json config = document.value("config", json::object());
  if (!config.is_object()) refuse(where, "config", config, "an object");
  for (const auto& [key, value] : config.items()) set(quantizer, where, key, value);
  return quantizer;
}

LayerQuantization layer_quantization_from_json(const json& document, std::string_view where) {
  if (!document.is_object()) refuse(where, "quantize_config", document, "an object");
  LayerQuantization quantization;
  const auto quantizer = [&](const std::string& key, const json& value) {
    return affine_quantizer_from_json(value, fmt::format("{}, '{}'", where, key));
  };
  for (const auto& [key, value] : document.items()) {
    if (key == "weights") {
      quantization.weights = weights_from_json(value, where);
    } else if (key == kPreActivation) {
      quantization.pre_activation = quantizer(key, value);
    } else if (key == kPostActivation) {
      quantization.post_activation = quantizer(key, value);
    } else if (key == kOutput) {
      quantization.output = quantizer(key, value);
    } else if (key == "bias_bits") {
      quantization.bias_bits = as_int(where, key, value);
    } else {
      const std::vector<std::string> known = {"weights", "pre_activation", "post_activation", "output", "bias_bits"};
      throw InvalidArgument("{}: a layer's quantization has no '{}'. {}", where, key, suggest(key, known));
    }
  }
  return quantization;
}

}  // namespace nibble::graph
