// The quantizers by name.
#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/quant/bernoulli.h"
#include "nibble/quant/binary.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/quant/quantized_hswish.h"
#include "nibble/quant/quantized_linear.h"
#include "nibble/quant/quantized_po2.h"
#include "nibble/quant/quantized_relu.h"
#include "nibble/quant/quantized_relu_po2.h"
#include "nibble/quant/quantized_sigmoid.h"
#include "nibble/quant/quantized_tanh.h"
#include "nibble/quant/quantized_ulaw.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/stochastic_binary.h"
#include "nibble/quant/stochastic_ternary.h"
#include "nibble/quant/ternary.h"

namespace nibble::quant {
namespace {

using nlohmann::json;

template <class Q>
QuantizerPtr make_from_call(const CallExpression& call) {
  typename Q::Params params;
  read_call(Q::kName, call, fields(params));
  return std::make_shared<Q>(std::move(params));
}

// Keys that the reference's get_config() writes although its constructor refuses them.
std::vector<std::string> keys_without_effect(std::string_view class_name) {
  if (class_name == QuantizedHswish::kName) return {"keep_negative", "post_training_scale"};
  return {};
}

template <class Q>
QuantizerPtr make_from_config(const json& config) {
  typename Q::Params params;
  read_config(Q::kName, config, fields(params), keys_without_effect(Q::kName));
  return std::make_shared<Q>(std::move(params));
}

struct Entry {
  QuantizerFactory from_call = nullptr;
  QuantizerPtr (*from_config)(const json& config) = nullptr;  // null: the keys become keyword arguments
};

class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }

  void add(std::string name, Entry entry) {
    const std::lock_guard lock(mutex_);
    entries_[std::move(name)] = entry;
  }

  const Entry* find(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;  // nodes of a map stay where they are
  }

  std::vector<std::string> names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }

 private:
  Registry() {
    add_class<Bernoulli>();
    add_class<Binary>();
    add_class<QuantizedBits>();
    add_class<QuantizedHswish>();
    add_class<QuantizedLinear>();
    add_class<QuantizedPo2>();
    add_class<QuantizedRelu>();
    add_class<QuantizedReluPo2>();
    add_class<QuantizedSigmoid>();
    add_class<QuantizedTanh>();
    add_class<QuantizedUlaw>();
    add_class<StochasticBinary>();
    add_class<StochasticTernary>();
    add_class<Ternary>();
  }

  template <class Q>
  void add_class() {
    entries_[std::string(Q::kName)] = {make_from_call<Q>, make_from_config<Q>};
  }

  mutable std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;
};

const Entry& known_entry(std::string_view name, std::string_view text) {
  const Entry* entry = Registry::instance().find(name);
  if (entry != nullptr) return *entry;
  if (is_activation_function(name)) {
    throw InvalidArgument("[get_quantizer] '{}': {} is an activation function, not a quantizer.", text, name);
  }
  throw InvalidArgument("[get_quantizer] '{}': there is no quantizer '{}'. {}", text, name,
                        suggest(name, known_quantizers()));
}

// A user's quantizer is made from a call; its configuration is one with keywords only.
CallExpression keyword_call(std::string_view class_name, const json& config) {
  CallExpression call{.name = std::string(class_name), .positional = {}, .keyword = {}, .has_parentheses = true};
  for (const auto& [key, value] : config.items()) {
    CallValue argument = NoneValue{};
    if (value.is_boolean())
      argument = value.get<bool>();
    else if (value.is_number_integer())
      argument = value.get<int64_t>();
    else if (value.is_number())
      argument = value.get<double>();
    else if (value.is_string())
      argument = value.get<std::string>();
    else if (!value.is_null()) {
      throw InvalidArgument("[{}] {} must be a number, a text or null.", class_name, key);
    }
    call.keyword.emplace_back(key, std::move(argument));
  }
  return call;
}

}  // namespace

QuantizerPtr get_quantizer(std::string_view text) {
  const CallExpression call = parse_call(text);
  return known_entry(call.name, text).from_call(call);
}

QuantizerPtr quantizer_from_config(std::string_view class_name, const json& config) {
  const Entry& entry = known_entry(class_name, class_name);
  return entry.from_config != nullptr ? entry.from_config(config) : entry.from_call(keyword_call(class_name, config));
}

bool is_activation_function(std::string_view name) {
  const std::vector<std::string>& names = activation_function_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

void register_quantizer(std::string name, QuantizerFactory make) {
  Registry::instance().add(std::move(name), {make, nullptr});
}

std::vector<std::string> known_quantizers() { return Registry::instance().names(); }

}  // namespace nibble::quant
