// nibble/cost/energy_rules.h
// Which parts of a layer's energy count in a network's sum: QTools' include_energy (spec/qtools.md section 9).
//
// Neighbouring layers are thought to be fused, so what one writes and the next reads at once is not counted twice:
//
//   activations                   outputs
//   batch normalization           parameters
//   Add, Subtract, max pooling    op_cost
//   all others                    inputs, parameters, op_cost
//
// Of max pooling, the reference has MaxPooling2D alone in that row.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "nibble/cost/layer_kind.h"

namespace nibble::cost {

struct EnergyParts {
  bool inputs = false, outputs = false, parameters = false, op_cost = false;
  bool operator==(const EnergyParts&) const = default;
};

// Layer class -> parts. A class that is not named keeps its row above, unless there is a rule "default": then that one
// holds for all classes that are not named.
using EnergyRules = std::map<std::string, EnergyParts, std::less<>>;

EnergyParts counted_parts(std::string_view class_name, LayerKind kind, const EnergyRules& rules = {},
                          Compat compat = Compat::kNone);

// "QConv2D:inputs,op_cost", "default:all", "Flatten:none".
//   throws  InvalidArgument for a class or a part that does not exist, naming the nearest ones, and for "all" or "none"
//           beside other parts
std::pair<std::string, EnergyParts> parse_energy_rule(std::string_view text);

}  // namespace nibble::cost
