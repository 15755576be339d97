#include "nibble/autoq/goal.h"

#include <algorithm>
#include <cmath>

#include "nibble/autoq/limit.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/quantizer_type.h"

namespace nibble::autoq {
namespace {

constexpr double kLargest = 1e12;

// [reference, trial], each read by `read`; one value alone stands for both.
template <class T, class Read>
std::array<T, 2> pair(const JsonFields& fields, std::string_view key, std::array<T, 2> fallback,
                      const std::string& allowed, Read&& read) {
  const Json* value = fields.find(key);
  if (value == nullptr) return fallback;
  const bool is_pair = value->is_array() && value->size() == 2;
  std::array<T, 2> result = fallback;
  for (size_t i = 0; i < 2; ++i) {
    const Json& item = is_pair ? (*value)[i] : *value;
    if (!read(item, result[i])) {
      throw InvalidArgument("{} is {}; it must be a pair [of the reference, of the trial], each {}.", fields.path(key),
                            excerpt(*value), allowed);
    }
  }
  return result;
}

std::array<std::string, 2> memories(const JsonFields& fields, std::string_view key,
                                    std::array<std::string, 2> fallback) {
  return pair<std::string>(fields, key, fallback, "\"fixed\", \"sram\" or \"dram\"",
                           [](const Json& item, std::string& memory) {
                             if (!item.is_string()) return false;
                             memory = item.get<std::string>();
                             return memory == "fixed" || memory == "sram" || memory == "dram";
                           });
}

std::array<int64_t, 2> memory_sizes(const JsonFields& fields, std::string_view key, std::array<int64_t, 2> fallback) {
  return pair<int64_t>(fields, key, fallback, "a number of bits from 0 to 2^50", [](const Json& item, int64_t& bits) {
    if (!item.is_number() || !(item.get<double>() >= 0 && item.get<double>() <= cost::kLargestMemoryBits)) return false;
    bits = static_cast<int64_t>(item.get<double>());
    return true;
  });
}

std::array<bool, 2> booleans(const JsonFields& fields, std::string_view key, std::array<bool, 2> fallback) {
  return pair<bool>(fields, key, fallback, "true or false", [](const Json& item, bool& flag) {
    if (!item.is_boolean()) return false;
    flag = item.get<bool>();
    return true;
  });
}

// The logarithm of a rate below 1 is negative: dearer networks would score higher.
double rate_of(const JsonFields& fields, double fallback) {
  const Json* value = fields.find("rate");
  if (value == nullptr) return fallback;
  const double rate = value->is_number() ? value->get<double>() : std::nan("");
  if (!(rate > 1 && rate <= 1e6)) {
    throw InvalidArgument(
        "{} is {}; it must be a number above 1, at most 1e6: a network so many times cheaper than the reference may "
        "lose delta_p percent of accuracy. Give e.g. 2.0.",
        fields.path("rate"), excerpt(*value));
  }
  return rate;
}

cost::ForgivingFactor parse_factor(const JsonFields& fields) {
  cost::ForgivingFactor factor;
  factor.delta_p = fields.number("delta_p", factor.delta_p, 0, 1e6);
  factor.delta_n = fields.number("delta_n", factor.delta_n, 0, 1e6);
  factor.rate = rate_of(fields, factor.rate);
  factor.stress = fields.number("stress", factor.stress, 1e-6, kLargest);
  return factor;
}

EnergyGoal parse_energy(const JsonFields& fields) {
  EnergyGoal goal;
  goal.process = fields.text("process", goal.process);
  goal.parameters_on_memory = memories(fields, "parameters_on_memory", goal.parameters_on_memory);
  goal.activations_on_memory = memories(fields, "activations_on_memory", goal.activations_on_memory);
  goal.min_sram_size = memory_sizes(fields, "min_sram_size", goal.min_sram_size);
  goal.rd_wr_on_io = booleans(fields, "rd_wr_on_io", goal.rd_wr_on_io);
  goal.source_quantizers = fields.texts("source_quantizers", {});
  for (const std::string& text : goal.source_quantizers) {
    try {
      cost::type_from_text(text);
    } catch (const Error& error) {
      throw InvalidArgument("{}: '{}' is no type of number. {}", fields.path("source_quantizers"), text, error.what());
    }
  }
  goal.trained_model = fields.boolean("trained_model", false);
  goal.reference_internal = fields.choice("reference_internal", goal.reference_internal, {"fp16", "fp32", "int8"});
  goal.reference_accumulator =
      fields.choice("reference_accumulator", goal.reference_accumulator, {"int16", "int32", "fp16", "fp32"});
  return goal;
}

BitsGoal parse_bits(const JsonFields& fields) {
  BitsGoal goal;
  goal.input_bits = static_cast<int>(fields.integer("input_bits", goal.input_bits, 1, 64));
  goal.output_bits = static_cast<int>(fields.integer("output_bits", goal.output_bits, 1, 64));
  goal.ref_bits = static_cast<int>(fields.integer("ref_bits", goal.ref_bits, 1, 64));
  const Json* config = fields.find("config");
  if (config == nullptr) return goal;
  if (!config->is_object() || config->empty()) {
    throw InvalidArgument("{} is {}; it must be an object such as {{\"default\": [\"parameters\", \"activations\"]}}.",
                          fields.path("config"), excerpt(*config));
  }
  goal.config.clear();
  for (const auto& [class_name, parts] : config->items()) {
    if (class_name != "default" && !is_layer_class(class_name)) {
      std::vector<std::string> known = layer_classes();
      known.emplace_back("default");
      throw InvalidArgument("{}: there is no layer class '{}'. {}", fields.path("config"), class_name,
                            suggest(class_name, known));
    }
    for (const Json& part : parts.is_array() ? parts : Json::array({parts})) {
      if (part != "parameters" && part != "activations") {
        throw InvalidArgument("{}['{}'] holds {}; it must be a list of \"parameters\" and \"activations\".",
                              fields.path("config"), class_name, excerpt(part));
      }
    }
    goal.config[class_name] =
        parts.is_array() ? parts.get<std::vector<std::string>>() : std::vector<std::string>{parts.get<std::string>()};
  }
  return goal;
}

}  // namespace

std::string_view to_string(GoalKind kind) { return kind == GoalKind::kEnergy ? "energy" : "bits"; }

GoalConfig parse_goal(const Json& goal) {
  const JsonFields fields(goal, "goal", {"type", "params"});
  GoalConfig config;
  const std::string type = fields.choice("type", "", {"energy", "bits"});
  config.kind = type == "energy" ? GoalKind::kEnergy : GoalKind::kBits;
  const Json none = Json::object();
  const Json* given = fields.find("params");
  std::vector<std::string> known = {"delta_p", "delta_n", "rate", "stress"};
  if (config.kind == GoalKind::kEnergy) {
    known.insert(known.end(),
                 {"process", "parameters_on_memory", "activations_on_memory", "min_sram_size", "rd_wr_on_io",
                  "source_quantizers", "trained_model", "reference_internal", "reference_accumulator"});
  } else {
    known.insert(known.end(), {"input_bits", "output_bits", "ref_bits", "config"});
  }
  const JsonFields params(given == nullptr ? none : *given, "goal.params", known);
  config.factor = parse_factor(params);
  if (config.kind == GoalKind::kEnergy) {
    config.energy = parse_energy(params);
  } else {
    config.bits = parse_bits(params);
  }
  return config;
}

}  // namespace nibble::autoq
