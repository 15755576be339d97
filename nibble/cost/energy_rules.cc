#include "nibble/cost/energy_rules.h"

#include <algorithm>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/model.h"

namespace nibble::cost {
namespace {

EnergyParts usual_parts(std::string_view class_name, LayerKind kind, Compat compat) {
  if (kind == LayerKind::kActivation) return {.outputs = true};
  if (kind == LayerKind::kBatchNormalization) return {.parameters = true};
  if (class_name == "Add" || class_name == "Subtract" || class_name == "MaxPooling2D") return {.op_cost = true};
  if (kind == LayerKind::kMaxPooling && compat == Compat::kNone) return {.op_cost = true};
  return {.inputs = true, .parameters = true, .op_cost = true};
}

struct Part {
  const char* name;
  bool EnergyParts::*member;
};
constexpr Part kParts[] = {{"inputs", &EnergyParts::inputs},
                           {"outputs", &EnergyParts::outputs},
                           {"parameters", &EnergyParts::parameters},
                           {"op_cost", &EnergyParts::op_cost}};

void add_part(const std::string& text, const std::string& name, EnergyParts& parts) {
  if (name == "none") return;
  bool is_known = name == "all";
  std::vector<std::string> known;
  for (const Part& part : kParts) {
    known.emplace_back(part.name);
    if (name != "all" && name != part.name) continue;
    parts.*part.member = true;
    is_known = true;
  }
  if (is_known) return;
  known.insert(known.end(), {"all", "none"});
  throw InvalidArgument("[energy] the rule '{}' names the part '{}'. {}", text, name, suggest(name, known));
}

// "all" and "none" say everything; another part beside them contradicts them, or says nothing.
void check_alone(const std::string& text, const std::vector<std::string>& parts) {
  for (const char* whole : {"none", "all"}) {
    if (parts.size() < 2 || std::find(parts.begin(), parts.end(), whole) == parts.end()) continue;
    throw InvalidArgument(
        "[energy] the rule '{}' names '{}' beside other parts, but it stands for {} of them. Give it alone, or name "
        "the "
        "parts that count.",
        text, whole, whole);
  }
}

void check_class(const std::string& text, const std::string& name) {
  std::vector<std::string> known = graph::known_layers();
  known.emplace_back("default");
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  throw InvalidArgument("[energy] the rule '{}' names the layer class '{}', which does not exist. {}", text, name,
                        suggest(name, known));
}

}  // namespace

EnergyParts counted_parts(std::string_view class_name, LayerKind kind, const EnergyRules& rules, Compat compat) {
  if (const auto own = rules.find(class_name); own != rules.end()) return own->second;
  if (const auto all = rules.find("default"); all != rules.end()) return all->second;
  return usual_parts(class_name, kind, compat);
}

std::pair<std::string, EnergyParts> parse_energy_rule(std::string_view rule) {
  const std::string text(rule);
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon + 1 == text.size()) {
    throw InvalidArgument(
        "[energy] '{}' is no rule of what counts. Write CLASS:PARTS, such as QConv2D:inputs,parameters,op_cost or "
        "default:all.",
        text);
  }
  const std::string name = text.substr(0, colon);
  check_class(text, name);
  EnergyParts parts;
  std::vector<std::string> words;
  for (size_t begin = colon + 1; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    add_part(text, words.back(), parts);
    begin = end + 1;
  }
  check_alone(text, words);
  return {name, parts};
}

}  // namespace nibble::cost
