#include "nibble/cost/merge.h"

#include <algorithm>
#include <array>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/cost/multiplier.h"

namespace nibble::cost {
namespace {

constexpr std::array<std::string_view, 8> kMerges = {"Add",     "Subtract", "Multiply",    "Maximum",
                                                     "Minimum", "Average",  "Concatenate", "Dot"};

// The type that holds every input; growth is 1 for a sum of them.
QuantizerType union_of(std::span<const QuantizerType> inputs, int growth, Compat compat) {
  const bool any_float =
      std::any_of(inputs.begin(), inputs.end(), [](const QuantizerType& type) { return type.is_float(); });
  int64_t bits = 0;
  int int_bits = -1, fractional_bits = 0;
  bool is_signed = false, first = true;
  for (const QuantizerType& input : inputs) {
    if (any_float && !input.is_float()) continue;
    const QuantizerType fixed = as_fixed_point(input);
    bits = std::max<int64_t>(bits, fixed.bit_width);
    int_bits = first ? fixed.int_bits : std::max(int_bits, fixed.int_bits);
    fractional_bits = first ? fixed.fractional_bits() : std::max(fractional_bits, fixed.fractional_bits());
    is_signed = is_signed || fixed.is_signed;
    first = false;
  }
  if (any_float) return float_type(static_cast<int>(bits));
  // The reference takes the widest bits and the widest integer part apart, which may cut fractions off.
  if (compat == Compat::kNone) bits = int64_t{int_bits} + fractional_bits + (is_signed ? 1 : 0);
  return fixed_point_type(bits + growth, int64_t{int_bits} + growth, is_signed);
}

bool are_alike(const QuantizerType& a, const QuantizerType& b) {
  return a.name == b.name && a.bit_width == b.bit_width && a.int_bits == b.int_bits && a.is_signed == b.is_signed;
}

Operator multiply_all(std::span<const QuantizerType> inputs, Compat compat) {
  Operator result = {Gate::kMul, inputs[0], 1, double(inputs[0].bit_width)};
  for (const QuantizerType& input : inputs.subspan(1)) result = multiply(result.output, input, compat);
  return result;
}

Operator pick(std::span<const QuantizerType> inputs, double gate_factor, Compat compat) {
  const bool all_alike =
      std::all_of(inputs.begin(), inputs.end(), [&](const QuantizerType& type) { return are_alike(type, inputs[0]); });
  const QuantizerType output = all_alike ? inputs[0] : union_of(inputs, 0, compat);
  return {Gate::kAdd, output, gate_factor, double(output.bit_width)};
}

// n inputs need ceil(log2(n)) more bits; the reference always adds one.
int sum_growth(size_t inputs, Compat compat) {
  if (compat != Compat::kNone) return 1;
  int growth = 0;
  while ((size_t{1} << growth) < inputs) ++growth;
  return growth;
}

}  // namespace

bool is_merge(std::string_view class_name) {
  return std::find(kMerges.begin(), kMerges.end(), class_name) != kMerges.end();
}

Operator merge(std::string_view class_name, std::span<const QuantizerType> inputs, Compat compat) {
  if (inputs.empty()) throw InvalidArgument("[merge] {} has no inputs; it needs at least two.", class_name);
  const bool is_subtract = class_name == "Subtract" && compat == Compat::kNone;
  if (class_name == "Add" || is_subtract) {
    QuantizerType output = union_of(inputs, sum_growth(inputs.size(), compat), compat);
    if (is_subtract && !output.is_float() && !output.is_signed) {
      output.is_signed = true;  // a difference of unsigned numbers is signed and not wider than their sum
    }
    return {Gate::kAdd, output, 1, double(output.bit_width)};
  }
  if (class_name == "Multiply") return multiply_all(inputs, compat);
  if (class_name == "Maximum" || class_name == "Minimum") return pick(inputs, 0.2, compat);
  if (class_name == "Average") return pick(inputs, 1, compat);
  if (class_name == "Concatenate") return pick(inputs, 0, compat);
  throw Unsupported(
      "[merge] there is no cost rule for {}. Known: Add, {}Multiply, Maximum, Minimum, Average, Concatenate.",
      class_name, compat == Compat::kNone ? "Subtract, " : "");
}

}  // namespace nibble::cost
