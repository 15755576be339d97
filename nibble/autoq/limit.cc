#include "nibble/autoq/limit.h"

#include <algorithm>
#include <array>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {
namespace {

constexpr std::array<std::string_view, 11> kRegistered = {
    "Dense", "Conv1D",        "Conv2D",          "DepthwiseConv2D", "SimpleRNN",      "LSTM",
    "GRU",   "Bidirectional", "Conv2DTranspose", "SeparableConv1D", "SeparableConv2D"};
constexpr std::array<std::string_view, 4> kRecurrent = {"SimpleRNN", "LSTM", "GRU", "Bidirectional"};
constexpr int kDefaultLimit = 8;

bool matches(const LimitEntry& entry, std::string_view layer_name) {
  return std::regex_search(layer_name.begin(), layer_name.end(), entry.pattern, std::regex_constants::match_continuous);
}

LimitElement parse_element(const Json& element, const std::string& key) {
  if (element.is_number_integer() && element.get<int64_t>() >= -1 && element.get<int64_t>() <= 1024) {
    return element.get<int>();
  }
  const bool texts = element.is_array() && !element.empty() &&
                     std::all_of(element.begin(), element.end(), [](const Json& item) { return item.is_string(); });
  if (!texts) {
    throw InvalidArgument(
        "[run_config] limit['{}'] holds {}; an element is the largest size allowed (a whole number) or a list of "
        "quantizers such as [\"binary\", \"ternary\"].",
        key, excerpt(element));
  }
  return element.get<std::vector<std::string>>();
}

std::vector<LimitElement> parse_elements(const Json& list, const std::string& key) {
  if (!list.is_array()) {
    throw InvalidArgument(
        "[run_config] limit['{}'] is {}; it must be a list [kernel, bias, activation], [activation] for Activation "
        "layers, or [] for BatchNormalization.",
        key, excerpt(list));
  }
  std::vector<LimitElement> elements;
  for (const Json& element : list) elements.push_back(parse_element(element, key));
  return elements;
}

size_t most_elements(const std::string& key) {
  // Lists as those of other layers do no harm: the last element counts.
  if (key == "Activation") return 3;
  if (!is_layer_class(key)) return 4;
  const std::string_view layout = list_layout(key);
  return layout.empty() ? 4 : 1 + static_cast<size_t>(std::count(layout.begin(), layout.end(), ','));
}

[[noreturn]] void refuse_unknown(const LimitEntry& entry, const graph::Model& model) {
  std::vector<std::string> names;
  for (const graph::Layer& layer : model.layers) names.push_back(layer.name);
  for (std::string& name : layer_classes()) names.push_back(std::move(name));
  std::string bare = entry.key;
  if (bare.starts_with("^")) bare.erase(0, 1);
  if (bare.ends_with("$")) bare.pop_back();
  const auto near = nearest_names(bare, names);
  throw InvalidArgument(
      "[run_config] limit: '{}' is no layer class, and no layer's name begins with a match of it.{} Remove it, or "
      "correct it; 'nibble models MODEL' lists the layers.",
      entry.key, near.empty() ? "" : fmt::format(" Near: '{}'.", fmt::join(near, "', '")));
}

std::string searched_classes() {
  std::vector<std::string> names;
  for (std::string& name : layer_classes()) {
    if (!list_layout(name).empty()) names.push_back(std::move(name));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

Json element_to_json(const LimitElement& element) {
  if (const int* size = std::get_if<int>(&element)) return *size;
  return std::get<std::vector<std::string>>(element);
}

}  // namespace

bool is_registered_class(std::string_view class_name) {
  return std::find(kRegistered.begin(), kRegistered.end(), class_name) != kRegistered.end();
}

bool is_recurrent_class(std::string_view class_name) {
  return std::find(kRecurrent.begin(), kRecurrent.end(), class_name) != kRecurrent.end();
}

bool is_separable_class(std::string_view class_name) {
  return class_name == "SeparableConv1D" || class_name == "SeparableConv2D";
}

std::string_view list_layout(std::string_view class_name) {
  if (is_recurrent_class(class_name)) return "[kernel, bias, recurrent, activation]";
  if (is_registered_class(class_name)) return "[kernel, bias, activation]";
  if (class_name == "Activation" || class_name == "ReLU" || class_name == "LeakyReLU") return "[activation]";
  if (class_name == "AveragePooling2D" || class_name == "GlobalAveragePooling2D") return "[average, activation]";
  if (class_name == "BatchNormalization") return "[gamma, beta, mean, variance]";
  return "";
}

bool takes_quantizers(const graph::Layer& layer) {
  if (layer.class_name != "Activation") return !list_layout(layer.class_name).empty();
  return !layer.get_quantizer("activation") && layer.activation_function() != "softmax";
}

bool is_layer_class(std::string_view name) {
  const auto known = layer_classes();
  return std::find(known.begin(), known.end(), name) != known.end();
}

std::vector<std::string> layer_classes() {
  std::vector<std::string> names = graph::known_layers();
  // Those that a configuration may name although no model here can hold them.
  for (const std::string_view name : kRegistered) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
  }
  return names;
}

Limit::Limit(const Json& limit) {
  if (!limit.is_object()) {
    throw InvalidArgument("[run_config] limit is {}; it must be an object such as {{\"Dense\": [8, 8, 4]}}.",
                          excerpt(limit));
  }
  for (const auto& [key, list] : limit.items()) {
    LimitEntry entry{.key = key, .elements = {}, .pattern = {}};
    if (key == "default") {
      default_ = list;
      entry.elements = list.is_array() ? parse_elements(list, key) : std::vector{parse_element(list, key)};
    } else {
      entry.elements = parse_elements(list, key);
    }
    try {
      entry.pattern = std::regex(key, std::regex::ECMAScript);
    } catch (const std::regex_error& error) {
      throw InvalidArgument("[run_config] limit: '{}' is neither a layer class nor a valid regular expression ({}).",
                            key, error.what());
    }
    entries_.push_back(std::move(entry));
  }
  given_ = limit;
  complete();
}

void Limit::complete() {
  std::vector<LimitElement> defaults(3, kDefaultLimit);
  if (default_.is_array()) {
    defaults = parse_elements(default_, "default");
  } else if (!default_.is_null()) {
    defaults.assign(3, parse_element(default_, "default"));
  }
  if (defaults.size() != 3 && defaults.size() != 4) {
    throw InvalidArgument("[run_config] limit['default'] has {} elements; it must have 3, or 4 for recurrent layers.",
                          defaults.size());
  }
  for (LimitEntry& entry : entries_) {
    if (!is_registered_class(entry.key)) continue;
    const bool recurrent = is_recurrent_class(entry.key);
    const size_t wanted = recurrent ? 4 : 3;
    if (entry.elements.size() >= wanted) continue;
    if (recurrent && defaults.size() != 4) {
      throw InvalidArgument(
          "[run_config] limit['{}'] has {} of 4 elements [kernel, bias, recurrent, activation]; give all, or a "
          "limit['default'] of 4.",
          entry.key, entry.elements.size());
    }
    // By position, but the activation is the last of either list.
    while (entry.elements.size() + 1 < wanted) entry.elements.push_back(defaults[entry.elements.size()]);
    entry.elements.push_back(defaults.back());
  }
}

std::optional<Limit::Match> Limit::find(std::string_view layer_name, std::string_view class_name) const {
  for (const LimitEntry& entry : entries_) {
    if (matches(entry, layer_name)) return Match{&entry, true};
  }
  if (const LimitEntry* found = entry(class_name)) return Match{found, false};
  return std::nullopt;
}

const LimitEntry* Limit::entry(std::string_view key) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const LimitEntry& entry) { return entry.key == key; });
  return found == entries_.end() ? nullptr : &*found;
}

void Limit::check_lengths() const {
  for (const LimitEntry& entry : entries_) {
    if (entry.key == "default" || entry.elements.size() <= most_elements(entry.key)) continue;
    const std::string_view layout = list_layout(entry.key);
    throw InvalidArgument("[run_config] limit['{}'] has {} elements; a list is {}{}. Remove what is too much.",
                          entry.key, entry.elements.size(), layout.empty() ? "[kernel, bias, activation]" : layout,
                          layout.empty() ? ", for recurrent layers [kernel, bias, recurrent, activation]" : "");
  }
}

void Limit::check_keys(const graph::Model& model) const {
  for (const LimitEntry& entry : entries_) {
    if (entry.key != "default") check_key(entry, model);
  }
}

void Limit::check_key(const LimitEntry& entry, const graph::Model& model) const {
  const graph::Layer* left_alone = nullptr;   // found through the key
  const LimitEntry* taken_earlier = nullptr;  // by which a layer is found that the key matches too
  for (const graph::Layer& layer : model.layers) {
    const auto found = find(layer.name, layer.class_name);
    if (found && found->entry == &entry) {
      // A Reshape may follow the filters.
      if (takes_quantizers(layer) || (layer.class_name == "Reshape" && layer.name == entry.key)) return;
      left_alone = &layer;
    } else if (matches(entry, layer.name)) {
      taken_earlier = found->entry;
    }
  }
  if (is_layer_class(entry.key)) {
    if (!list_layout(entry.key).empty()) return;
    throw InvalidArgument(
        "[run_config] limit: a search leaves layers of class '{}' as they are, so nothing follows from this key. "
        "Remove it; keys are patterns of layers' names, or the classes {}.",
        entry.key, searched_classes());
  }
  if (left_alone != nullptr) {
    throw InvalidArgument(
        "[run_config] limit: '{}' fits only layers that a search leaves as they are, such as '{}' ({}{}), so nothing "
        "follows from this key. Remove it, or let it match a layer of {}.",
        entry.key, left_alone->name, left_alone->class_name,
        left_alone->class_name == "Activation" ? " " + left_alone->activation_function() : "", searched_classes());
  }
  if (taken_earlier != nullptr) {
    throw InvalidArgument(
        "[run_config] limit: nothing follows from '{}', for '{}', which stands before it, matches its layers too, and "
        "the first key that matches a name wins. Put '{}' first, or remove it.",
        entry.key, taken_earlier->key, entry.key);
  }
  refuse_unknown(entry, model);
}

Json Limit::to_json() const {
  Json limit = Json::object();
  for (const LimitEntry& entry : entries_) {
    Json list = Json::array();
    for (const LimitElement& element : entry.elements) list.push_back(element_to_json(element));
    limit[entry.key] = entry.key == "default" ? default_ : list;
  }
  return limit;
}

}  // namespace nibble::autoq
