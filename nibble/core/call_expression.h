// nibble/core/call_expression.h
// Reads texts such as  quantized_bits(4,0,1,alpha='auto_po2')  into a name and
// arguments. A grammar, never an evaluation.
//
//   expression = name [ "(" [ argument { "," argument } ] ")" ]
//   argument   = [ name "=" ] value
//   value      = True | False | None | integer | float | 'text' | "text" | [ list of values ]
// List items are separated by commas or blanks (QKeras prints the one and reads the other).
// Rules and the reference's quirks: spec/qkeras.md section 3; differences: docs/differences.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nibble {

struct NoneValue {
  bool operator==(const NoneValue&) const = default;
};

// One argument value. Lists hold numbers.
using CallValue = std::variant<NoneValue, bool, int64_t, double, std::string, std::vector<double>>;

struct CallExpression {
  std::string name;
  std::vector<CallValue> positional;
  std::vector<std::pair<std::string, CallValue>> keyword;  // in order; a name at most once
  bool has_parentheses = false;                            // "binary" and "binary()" differ
  bool operator==(const CallExpression&) const = default;
};

//   throws  InvalidArgument with the text, the column and what was expected there
CallExpression parse_call(std::string_view text);

// Only the part from the opening parenthesis on, name left empty.
CallExpression parse_arguments(std::string_view text);

// The shortest decimal that reads back to the same number; "1.0" keeps its point.
std::string format_value(const CallValue& value);

}  // namespace nibble
