#include "nibble/formats/keras/tfmot_quantization.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::formats::keras {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;
using graph::LayerQuantization;
using nlohmann::json;

constexpr const char* kMarker = "NoOpActivation";

struct Activation {
  json plain = "linear";
  std::string function = "linear";
};

// A name, Keras 3's {"class_name": "function", "config": name}, or an object of TFMOT's around one of them.
Activation activation_of(const json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) {
    if (value == kMarker) return {"linear", kMarker};
    return {value, value.get<std::string>()};
  }
  const std::string class_name = value.is_object() ? without_package(value.value("class_name", "")) : "";
  if (class_name == kMarker) return {"linear", kMarker};
  const json config = value.is_object() ? value.value("config", json()) : json();
  if (class_name == "QuantizeAwareActivation") {
    return activation_of(config.is_object() ? config.value("activation", json()) : json());
  }
  if (class_name == "function" && config.is_string()) return {value, config.get<std::string>()};
  return {value, class_name};  // a QKeras quantizer, or nothing that is known
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

struct Source {
  std::string name;  // class of the QuantizeConfig, without its package
  json config;
  std::string where;
};

Source source_of(const json& quantize_config, std::string_view where) {
  const bool is_object = quantize_config.is_object() && quantize_config.contains("class_name");
  if (!is_object || !quantize_config["class_name"].is_string()) {
    throw InvalidArgument("{}: its quantize_config must be an object with class_name and config.", where);
  }
  json config = quantize_config.value("config", json::object());
  if (!config.is_object()) throw InvalidArgument("{}: the config of its quantize_config must be an object.", where);
  return {without_package(quantize_config["class_name"].get<std::string>()), std::move(config), std::string(where)};
}

void check_keys(const Source& source, std::initializer_list<const char*> allowed) {
  for (const auto& [key, value] : source.config.items()) {
    if (is_one_of(key, allowed)) continue;
    throw Unsupported("{}: nibble does not know the key '{}' of {}. {}", source.where, key, source.name,
                      suggest(key, std::vector<std::string>(allowed.begin(), allowed.end())));
  }
}

std::vector<std::string> names_in(const Source& source, const char* key) {
  const json list = source.config.value(key, json());
  std::vector<std::string> names;
  bool valid = list.is_array();
  for (size_t i = 0; valid && i < list.size(); ++i) {
    valid = list[i].is_string();
    if (valid) names.push_back(list[i].get<std::string>());
  }
  if (!valid) throw InvalidArgument("{}: '{}' of {} must be a list of names.", source.where, key, source.name);
  return names;
}

bool flag_in(const Source& source, const char* key, bool otherwise) {
  const json value = source.config.value(key, json(otherwise));
  if (value.is_boolean()) return value.get<bool>();
  throw InvalidArgument("{}: '{}' of {} must be true or false.", source.where, key, source.name);
}

// 8, unless the class is one for n bits. What fits no quantizer is refused with the layer's other numbers.
int bits_in(const Source& source, const char* key) {
  const json value = source.config.value(key, json(8));
  const bool is_small = value.is_number_integer() && value >= 0 && value <= 64;
  if (is_small) return value.get<int>();
  throw InvalidArgument("{}: '{}' of {} must be a number of bits.", source.where, key, source.name);
}

AffineQuantizer moving_average(int bits) { return {.kind = AffineKind::kMovingAverage, .num_bits = bits}; }

// TFMOT's per axis is per last axis, of a depthwise kernel too.
AffineQuantizer last_value(int bits, bool per_axis, const std::string& weight) {
  return {.kind = AffineKind::kLastValue,
          .num_bits = bits,
          .per_axis = per_axis,
          .symmetric = true,
          .narrow_range = true,
          .axis = per_axis && weight == "depthwise_kernel" ? 3 : -1};
}

// Before or after the function, spec/tfmot-tflite.md A3.
void quantize_around(const std::string& function, int bits, const std::string& where, LayerQuantization& result) {
  if (function == kMarker) return;
  const bool before = is_one_of(function, {"softmax", "sigmoid", "tanh", "gelu"});
  const bool after = is_one_of(function, {"linear", "relu", "swish", "gelu"});
  if (before) result.pre_activation = moving_average(bits);
  if (after) result.post_activation = moving_average(bits);
  if (before || after) return;
  throw Unsupported(
      "{}: TFMOT quantizes around the activations linear, relu, swish, softmax, sigmoid, tanh and gelu only, but the "
      "layer has '{}'.",
      where, function);
}

LayerQuantization of_attributes(const Source& source, bool per_axis, const std::string& function) {
  check_keys(source, {"weight_attrs", "activation_attrs", "quantize_output", "num_bits_weight", "num_bits_activation"});
  const int weight_bits = bits_in(source, "num_bits_weight"), bits = bits_in(source, "num_bits_activation");
  LayerQuantization result;
  for (const std::string& weight : names_in(source, "weight_attrs")) {
    result.weights.push_back({weight, last_value(weight_bits, per_axis, weight)});
  }
  for (const std::string& attribute : names_in(source, "activation_attrs")) {
    if (attribute != "activation") {
      throw Unsupported("{}: {} quantizes the attribute '{}'; nibble can do 'activation'.", source.where, source.name,
                        attribute);
    }
    quantize_around(function, bits, source.where, result);
  }
  if (flag_in(source, "quantize_output", false)) result.output = moving_average(bits);
  return result;
}

LayerQuantization of_activation_layer(const Source& source, const std::string& class_name,
                                      const std::string& function) {
  check_keys(source, {"quantize_output", "num_bits_weight", "num_bits_activation"});
  if (class_name != "Activation") {
    throw InvalidArgument("{}: {} is for Activation layers, but the layer is a {}.", source.where, source.name,
                          class_name);
  }
  // Since TFMOT 0.7.2; false before a Concatenate, whatever the function.
  if (!flag_in(source, "quantize_output", true)) return {};
  const bool quantizes = is_one_of(function, {"relu", "relu6", "swish", "gelu"});
  if (!quantizes && !is_one_of(function, {"linear", "softmax", "sigmoid", "tanh"})) {
    throw Unsupported(
        "{}: {} knows the activations relu, relu6, swish, gelu, linear, softmax, sigmoid and tanh, but the layer has "
        "'{}'.",
        source.where, source.name, function);
  }
  if (!quantizes) return {};
  return {.output = moving_average(bits_in(source, "num_bits_activation"))};
}

LayerQuantization of_output(const Source& source) {
  check_keys(source, {"quantize_output", "num_bits_weight", "num_bits_activation"});
  if (!flag_in(source, "quantize_output", true)) return {};
  return {.output = moving_average(bits_in(source, "num_bits_activation"))};
}

// Every activation and output of the config inside, with a range that is given.
LayerQuantization of_fixed(const Source& source, LayerQuantization result) {
  check_keys(source, {"config", "num_bits", "init_min", "init_max", "narrow_range"});
  json config = source.config;
  config.erase("config");
  const AffineQuantizer fixed =
      graph::affine_quantizer_from_json({{"class_name", "FixedQuantizer"}, {"config", config}}, source.where);
  for (AffineQuantizer* each : {&result.pre_activation, &result.post_activation, &result.output}) {
    if (!each->is_none()) *each = fixed;
  }
  return result;
}

[[noreturn]] void refuse_class(const Source& source) {
  throw Unsupported(
      "{}: its quantize_config is a '{}', which nibble does not know, and the file does not say what that quantizes. "
      "Save the float model and quantize it by 'nibble qat' (--scheme FILE can say it of each layer), or use one of "
      "TFMOT's Default8Bit... and DefaultNBit... configurations.",
      source.where, source.name);
}

}  // namespace

std::string without_package(const std::string& class_name) {
  const size_t package = class_name.rfind('>');
  return package == std::string::npos ? class_name : class_name.substr(package + 1);
}

std::string make_activation_plain(json& config) {
  const auto found = config.find("activation");
  if (found == config.end()) return "linear";
  Activation activation = activation_of(*found);
  *found = std::move(activation.plain);
  return activation.function;
}

LayerQuantization tfmot_quantization(const json& quantize_config, const std::string& class_name,
                                     const std::string& function, std::string_view where) {
  const Source source = source_of(quantize_config, where);
  const auto inner = [&](const char* key) {
    return tfmot_quantization(source.config.value(key, json()), class_name, function, where);
  };
  if (source.name == "NoOpQuantizeConfig") return {};
  if (source.name == "FixedQuantizeConfig") return of_fixed(source, inner("config"));
  if (source.name == "OutputOnlyConfig") {
    check_keys(source, {"quantize_config"});
    LayerQuantization result = inner("quantize_config");
    result.weights.clear();
    return result;
  }
  const std::string prefix = source.name.substr(0, std::string_view("Default8Bit").size());
  if (prefix != "Default8Bit" && prefix != "DefaultNBit") refuse_class(source);
  const std::string kind = source.name.substr(prefix.size());
  if (kind == "QuantizeConfig" || kind == "ConvTransposeQuantizeConfig") return of_attributes(source, false, function);
  if (kind == "ConvQuantizeConfig") return of_attributes(source, true, function);
  if (kind == "ActivationQuantizeConfig") return of_activation_layer(source, class_name, function);
  if (kind == "OutputQuantizeConfig") return of_output(source);
  refuse_class(source);
}

AffineQuantizer tfmot_input_quantizer(const json& quantizer, std::string_view where) {
  json plain = quantizer;
  if (plain.is_object() && plain.contains("class_name") && plain["class_name"].is_string()) {
    plain["class_name"] = without_package(plain["class_name"].get<std::string>());
  }
  AffineQuantizer result = graph::affine_quantizer_from_json(plain, where);
  // TFMOT stores the flag and never looks at it: its ranges are scalars.
  if (result.kind == AffineKind::kAllValues) result.per_axis = false;
  return result;
}

}  // namespace nibble::formats::keras
