#include "nibble/cost/multiplier.h"

#include <algorithm>
#include <cmath>

namespace nibble::cost {
namespace {

using enum TypeMode;

// What the result of a product is, before its widths are known.
enum class Result { kBits, kPo2, kTernary, kBinary, kBinary01, kFloat };

struct Cell {
  Gate gate;
  Result result;
};

constexpr Cell kFloatCell = {Gate::kMul, Result::kFloat};
constexpr Cell kTable[6][6] = {
    // fixed                       po2                           ternary
    // +-1                         0/1                           float
    {{Gate::kMul, Result::kBits},
     {Gate::kShifter, Result::kBits},
     {Gate::kMux, Result::kBits},
     {Gate::kMux, Result::kBits},
     {Gate::kAnd, Result::kBits},
     kFloatCell},
    {{Gate::kShifter, Result::kBits},
     {Gate::kAdd, Result::kPo2},
     {Gate::kMux, Result::kPo2},
     {Gate::kMux, Result::kPo2},
     {Gate::kAnd, Result::kPo2},
     kFloatCell},
    {{Gate::kMux, Result::kBits},
     {Gate::kMux, Result::kPo2},
     {Gate::kMux, Result::kTernary},
     {Gate::kMux, Result::kTernary},
     {Gate::kAnd, Result::kTernary},
     kFloatCell},
    {{Gate::kMux, Result::kBits},
     {Gate::kMux, Result::kPo2},
     {Gate::kMux, Result::kTernary},
     {Gate::kXor, Result::kBinary},
     {Gate::kAnd, Result::kTernary},
     kFloatCell},
    {{Gate::kAnd, Result::kBits},
     {Gate::kAnd, Result::kPo2},
     {Gate::kAnd, Result::kTernary},
     {Gate::kAnd, Result::kTernary},
     {Gate::kAnd, Result::kBinary01},
     kFloatCell},
    {kFloatCell, kFloatCell, kFloatCell, kFloatCell, kFloatCell, kFloatCell},
};

QuantizerType prototype(Result result) {
  switch (result) {
    case Result::kBits:
      return fixed_point_type(0, 0);
    case Result::kPo2:
      return po2_type(0, true);
    case Result::kTernary:
      return ternary_type();
    case Result::kBinary:
      return binary_type(false);
    case Result::kBinary01:
      return binary_type(true);
    case Result::kFloat:
      return float_type(32);
  }
  return {};
}

bool name_contains(const QuantizerType& type, std::string_view part) {
  return type.name.find(part) != std::string::npos;
}

Operator multiply_fixed(const QuantizerType& w, const QuantizerType& x) {
  const bool is_signed = w.is_signed || x.is_signed;
  const int64_t int_bits = int64_t{w.int_bits} + x.int_bits;
  const int64_t bits = int_bits + w.fractional_bits() + x.fractional_bits() + (is_signed ? 1 : 0);
  return {Gate::kMul, fixed_point_type(bits, int_bits, is_signed), 1, std::sqrt(double(w.bit_width) * x.bit_width)};
}

Operator multiply_float(const QuantizerType& w, const QuantizerType& x) {
  const int bits = std::max(w.is_float() ? w.bit_width : 0, x.is_float() ? x.bit_width : 0);
  return {Gate::kMul, float_type(bits), 1, double(bits)};
}

// 2^a * 2^b: exponents add.
Operator add_exponents(const QuantizerType& w, const QuantizerType& x) {
  const bool is_capped = w.max_value != -1 && x.max_value != -1;
  QuantizerType output = po2_type(std::max(w.bit_width, x.bit_width) + 1, w.is_signed || x.is_signed,
                                  is_capped ? w.max_value * x.max_value : -1);
  output.int_bits = std::max(w.int_bits, x.int_bits) + 1;
  return {Gate::kAdd, output, 1, double(output.bit_width)};
}

// A po2 result takes its cap from the operand that is a power of two, the weight first.
void finish_po2(QuantizerType& output, const QuantizerType& w, const QuantizerType& x) {
  output.name = output.is_signed ? "quantized_po2" : "quantized_relu_po2";
  output.max_value = name_contains(w, "po2") ? w.max_value : x.max_value;
}

// One operand only selects: the other, its negative or zero passes.
Operator select(const QuantizerType& w, const QuantizerType& x, QuantizerType output) {
  const bool weight_selects = name_contains(w, "binary") || name_contains(w, "ternary");
  const QuantizerType& selector = weight_selects ? w : x;
  const QuantizerType& passed = weight_selects ? x : w;
  // Negating an unsigned number takes a bit more.
  output.bit_width = passed.bit_width + (!passed.is_signed && selector.is_signed ? 1 : 0);
  output.int_bits = passed.int_bits;
  output.is_signed = w.is_signed || x.is_signed;
  if (output.is_po2()) {
    finish_po2(output, w, x);
    output.int_bits = output.bit_width;
  }
  const bool is_binary = weight_selects ? name_contains(w, "binary") : x.name == "binary";
  return {Gate::kMux, output, is_binary ? 0.3 : 0.6, double(passed.bit_width)};
}

Operator exclusive_or(const QuantizerType& w, const QuantizerType& x, QuantizerType output) {
  output.bit_width = std::max(w.bit_width, x.bit_width);
  output.int_bits = std::max(w.int_bits, x.int_bits);
  output.is_signed = w.is_signed || x.is_signed;
  return {Gate::kXor, output, 0.3, 1};
}

Operator gate_by_bit(const QuantizerType& w, const QuantizerType& x, QuantizerType output, Compat compat) {
  if (output.mode != kTernary) {
    const bool weight_gates = w.mode == kBinary01 && (compat == Compat::kNone || w.name == "binary");
    output.bit_width = std::max(w.bit_width, x.bit_width);
    output.int_bits = weight_gates ? x.int_bits : w.int_bits;
    output.is_signed = w.is_signed || x.is_signed;
    if (output.is_po2()) finish_po2(output, w, x);
  }
  return {Gate::kAnd, output, 0.1, double(output.bit_width)};
}

}  // namespace

std::string_view to_string(Gate gate) {
  switch (gate) {
    case Gate::kMul:
      return "mul";
    case Gate::kAdd:
      return "add";
    case Gate::kShifter:
      return "shifter";
    case Gate::kMux:
      return "mux";
    case Gate::kXor:
      return "xor";
    case Gate::kAnd:
      return "and";
  }
  return "";
}

Operator shift(const QuantizerType& fixed, const QuantizerType& po2, ShiftRange range) {
  const bool needs_sign = !fixed.is_signed && po2.is_signed;
  const int64_t bits = int64_t{fixed.bit_width} + range.right + range.left + (needs_sign ? 1 : 0);
  const int64_t int_bits = int64_t{fixed.int_bits} + range.left;
  Operator result = {Gate::kShifter, fixed_point_type(bits, int_bits, fixed.is_signed || po2.is_signed)};
  if (po2.value_count > 0) {  // a multiplexer over the shifts that occur
    result.gate_factor = 0.3 * po2.value_count;
    result.gate_bits = fixed.bit_width;
  } else {  // a barrel shifter
    const double width = std::sqrt(std::exp2(po2.bit_width) * fixed.bit_width);
    result.gate_bits = width * std::log10(width);
  }
  return result;
}

Operator multiply(const QuantizerType& weight, const QuantizerType& input, Compat compat) {
  const Cell cell = kTable[static_cast<int>(weight.mode)][static_cast<int>(input.mode)];
  if (cell.result == Result::kFloat) return multiply_float(weight, input);
  switch (cell.gate) {
    case Gate::kMul:
      return multiply_fixed(weight, input);
    case Gate::kAdd:
      return add_exponents(weight, input);
    case Gate::kShifter: {
      const QuantizerType& po2 = weight.is_po2() ? weight : input;
      return shift(weight.is_po2() ? input : weight, po2, shift_range(po2));
    }
    case Gate::kMux:
      return select(weight, input, prototype(cell.result));
    case Gate::kXor:
      return exclusive_or(weight, input, prototype(cell.result));
    case Gate::kAnd:
      return gate_by_bit(weight, input, prototype(cell.result), compat);
  }
  return {};
}

}  // namespace nibble::cost
