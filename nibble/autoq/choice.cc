#include "nibble/autoq/choice.h"

#include <algorithm>

#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {
namespace {

constexpr int kLast = -1;

struct FieldRule {
  std::string_view head;   // in hyperparameters of a layer
  std::string_view label;  // in hyperparameters of a pattern
  int index;               // into the limit's list; kLast for the last one
};

FieldRule rule_of(Field field) {
  switch (field) {
    case Field::kKernel:
      return {"kernel", "kernel", 0};
    case Field::kRecurrentKernel:
      return {"recurrent_kernel", "recurrent_kernel", 2};
    // A separable layer's list is [kernel, bias, activation]: both kernels share element 0.
    case Field::kPointwiseKernel:
      return {"pointwise_kernel", "pointwise_kernel", 0};
    case Field::kBias:
      return {"bias", "bias", 1};
    case Field::kActivation:
      return {"activation", "activation", kLast};
    case Field::kRecurrentActivation:
      return {"recurrent_activation", "recurrent_activation", kLast};
    case Field::kLinear:
      return {"activation", "linear", 0};
    // Its candidates are not those of a ReLU of the same pattern.
    case Field::kLeakyActivation:
      return {"activation", "leaky_activation", kLast};
    case Field::kAverage:
      return {"average", "average", 0};
    case Field::kPoolActivation:
      return {"activation", "activation", kLast};
    case Field::kGamma:
      return {"gamma", "gamma", 0};
    case Field::kBeta:
      return {"beta", "beta", 1};
    case Field::kMean:
      return {"mean", "mean", 2};
    case Field::kVariance:
      return {"variance", "variance", 3};
  }
  return {"kernel", "kernel", 0};
}

// The field that the reference reads out of the text "<layer>_<field>": recurrent and pointwise kernels
// count as kernels, and a layer called "bias_net" is misread altogether.
Field misread(const std::string& head, Field field) {
  if (field == Field::kLinear) return field;
  if (head.find("kernel") != std::string::npos) return Field::kKernel;
  if (head.find("bias") != std::string::npos) return Field::kBias;
  return field;
}

struct NamedTable {
  std::string_view name;  // in quantization_config
  const QuantizerTable& rows;
};

NamedTable table_of(const QuantizationConfig& config, Field field) {
  const NamedTable kernel{"kernel", config.kernel}, activation{"activation", config.activation};
  const auto own_or = [](const NamedTable& own, const NamedTable& other) { return own.rows.empty() ? other : own; };
  switch (field) {
    case Field::kRecurrentKernel:
      return own_or({"recurrent_kernel", config.recurrent_kernel}, kernel);
    case Field::kPointwiseKernel:
      return own_or({"pointwise_kernel", config.pointwise_kernel}, kernel);
    case Field::kRecurrentActivation:
      return own_or({"recurrent_activation", config.recurrent_activation}, activation);
    case Field::kBias:
    case Field::kBeta:
    case Field::kMean:
      return {"bias", config.bias};
    case Field::kActivation:
    case Field::kLeakyActivation:
      return activation;
    // A pool applies no function: what it gives may have either sign.
    case Field::kLinear:
    case Field::kPoolActivation:
      return {"linear", config.linear};
    // What values are multiplied with.
    case Field::kKernel:
    case Field::kAverage:
    case Field::kGamma:
    case Field::kVariance:
      break;
  }
  return kernel;
}

// A row that such a table may have.
std::string_view example_of(std::string_view table) {
  if (table == "bias") return "{\"quantized_bits(8,3,1)\": 8}";
  if (table == "activation") return "{\"quantized_relu(4,2)\": 4}";
  if (table == "linear") return "{\"quantized_bits(4,1)\": 4}";
  return "{\"quantized_bits(4,0,1)\": 4}";
}

// What Suits looks at.
std::string_view need_of(Field field) {
  return field == Field::kAverage ? "it has to keep 1 / area of the pool to the half"
                                  : "it needs a negative_slope, as quantized_relu and quantized_relu_po2 have";
}

struct Question {
  Field field;
  const graph::Layer& layer;
  const LimitEntry& entry;
  FieldRule rule;
  NamedTable table;
  std::string str() const {
    return fmt::format("[run_config] limit['{}'], {} of layer '{}'", entry.key, rule.label, layer.name);
  }
};

const LimitElement& element_of(const Question& question) {
  const auto& elements = question.entry.elements;
  const size_t index = question.rule.index == kLast ? elements.size() - 1 : static_cast<size_t>(question.rule.index);
  if (elements.empty() || index >= elements.size()) {
    throw InvalidArgument("{}: the list has {} of the {} elements that this needs. Give {}.", question.str(),
                          elements.size(), question.rule.index == kLast ? 1 : question.rule.index + 1,
                          list_layout(question.layer.class_name));
  }
  return elements[index];
}

// A run_config with tables of its own has no others.
void check_table(const Question& question) {
  if (!question.table.rows.empty()) return;
  throw InvalidArgument(
      "{}: quantization_config has no {} table, which this needs. Add one there, such as \"{}\": {}, or take the key "
      "out of limit to leave the layer as it is.",
      question.str(), question.table.name, question.table.name, example_of(question.table.name));
}

std::vector<std::string> candidates_of(const Question& question, const Suits& suits) {
  std::vector<std::string> table_names, candidates;
  for (const auto& [name, size] : question.table.rows) table_names.push_back(name);
  const LimitElement& element = element_of(question);
  check_table(question);
  if (const auto* names = std::get_if<std::vector<std::string>>(&element)) {
    for (const std::string& name : *names) {
      if (std::find(table_names.begin(), table_names.end(), name) == table_names.end()) {
        throw InvalidArgument("{}: '{}' is not in the {} table of quantization_config. {}", question.str(), name,
                              question.table.name, suggest(name, table_names));
      }
    }
    return *names;
  }
  const int largest = std::get<int>(element);
  int smallest_there = 0;
  for (const auto& [name, size] : question.table.rows) {
    if (size <= largest) candidates.push_back(name);
    if (smallest_there == 0 || size < smallest_there) smallest_there = size;
  }
  if (candidates.empty()) {
    throw InvalidArgument(
        "{}: {} leaves no candidate; the smallest size in the {} table of quantization_config is {}. Raise the limit, "
        "or take the key out of limit to leave the layer as it is.",
        question.str(), largest, question.table.name, smallest_there);
  }
  if (suits) std::erase_if(candidates, [&](const std::string& name) { return !suits(name); });
  if (candidates.empty()) {
    throw InvalidArgument(
        "{}: no quantizer up to {} in the {} table of quantization_config can stand there ({}). Raise the limit, add "
        "one to the table, name it in a list, or take the key out of limit to leave the layer as it is.",
        question.str(), largest, question.table.name, need_of(question.field));
  }
  return candidates;
}

}  // namespace

std::optional<std::string> QuantizerChoices::choose(const graph::Layer& layer, Field field, const Suits& suits) {
  const bool compat = config_.compat != Compat::kNone;
  const auto match = config_.limit.find(layer.name, layer.class_name);
  if (!match) return std::nullopt;
  const std::string head = fmt::format("{}_{}", layer.name, rule_of(field).head);
  if (compat) field = misread(head, field);
  const Question question{field, layer, *match->entry, rule_of(field), table_of(config_.quantization_config, field)};
  if (!match->by_pattern) return choose_(head + "_quantizer", candidates_of(question, suits));

  // The reference shares by element of the list, so linear and kernel of one pattern would be one choice.
  const int slot = compat ? question.rule.index : static_cast<int>(field);
  const auto key = std::make_pair(match->entry->key, slot);
  const auto found = shared_.find(key);
  if (found != shared_.end()) return found->second;
  const std::string name = fmt::format("{}_{}_quantizer", match->entry->key, question.rule.label);
  return shared_[key] = choose_(name, candidates_of(question, suits));
}

std::string QuantizerChoices::choose_filters(const std::string& name) {
  return choose_(name, config_.filter_multipliers);
}

}  // namespace nibble::autoq
