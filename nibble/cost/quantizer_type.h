// nibble/cost/quantizer_type.h
// The kind of number that travels along an edge or sits in a weight: what a cost
// model knows of a quantizer.
//
// A fixed-point type with bit_width b, int_bits i and sign s holds
// code * 2^(i + s - b): i integer bits, b - s - i fractional ones.
// Record and rules: spec/qtools.md sections 1 and 2.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "nibble/cost/compat.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

// Row and column numbers of the multiplier table.
enum class TypeMode { kFixedPoint = 0, kPowerOfTwo = 1, kTernary = 2, kBinary = 3, kBinary01 = 4, kFloat = 5 };

struct QuantizerType {
  std::string name = "quantized_bits";
  TypeMode mode = TypeMode::kFixedPoint;
  int bit_width = 8;
  int int_bits = 0;  // sign excluded; -1 where it means nothing (float)
  bool is_signed = true;
  double max_value = -1;  // kPowerOfTwo: largest magnitude, -1 for no cap
  // Distinct values of a known power-of-two tensor; 0 where the values are not known. Fewer
  // values need fewer shift positions, which is all that the shifter's energy reads of it.
  int value_count = 0;

  bool is_float() const { return mode == TypeMode::kFloat; }
  bool is_po2() const { return mode == TypeMode::kPowerOfTwo; }
  int fractional_bits() const { return bit_width - (is_signed ? 1 : 0) - int_bits; }
  bool operator==(const QuantizerType&) const = default;
};

// ---- making types ------------------------------------------------------------

// Products and sums of wide powers of two outgrow what a circuit, or an int, can hold: quantized_po2(32) shifts by 2^30
// places. Widths end at this one, so that they are computed in 64 bits and never turn over.
constexpr int kWidestBits = 1 << 30;

//   bit_width, int_bits  at most kWidestBits; what is beyond counts as that
QuantizerType fixed_point_type(int64_t bit_width, int64_t int_bits, bool is_signed = true);
QuantizerType float_type(int bit_width);
QuantizerType po2_type(int bit_width, bool is_signed, double max_value = -1);
QuantizerType ternary_type();
QuantizerType binary_type(bool use_01);

// What the reference assumes where a type is missing: quantized_bits(8,0,1).
QuantizerType default_type();

// From "fp16", "fp32", "int8", "int16", "int32" or a quantizer's text.
//   throws  InvalidArgument for a text that does not parse or names no known type (nearest named), and what
//           quant::get_quantizer() throws for the quantizer's arguments
QuantizerType type_from_text(std::string_view text, Compat compat = Compat::kNone);

// From a quantizer. Classes that the reference's cost model does not know
// (quantized_linear, ...) take their number format, or throw Unsupported under Compat::kQkeras*.
QuantizerType type_from_quantizer(const quant::Quantizer& quantizer, Compat compat = Compat::kNone);

// True if the cost model has a type for this class of quantizer.
bool has_type(std::string_view class_name, Compat compat = Compat::kNone);

// The type of an attribute that holds a quantizer or the text of one; nothing for None, for plain
// functions ("relu"), which say nothing about number formats, and for classes without a type. The activation of a
// QAdaptiveActivation has total_bits, and the integer bits of the ranges among its weights.
std::optional<QuantizerType> type_from_attribute(const graph::Layer& layer, std::string_view attribute, Compat compat);

// The type after it went through a layer that hands its input on. The reference turns
// stochastic_binary, bernoulli, quantized_tanh and quantized_ulaw into a ternary there;
// Compat::kNone changes nothing.
QuantizerType forwarded(const QuantizerType& type, Compat compat);

// ---- powers of two -------------------------------------------------------------

// A product with a power of two needs `right` more fractional and `left` more integer bits; each at most kWidestBits.
struct ShiftRange {
  int right = 0;
  int left = 0;
};
ShiftRange shift_range(const QuantizerType& po2);

// The fixed-point type that holds every value of a power-of-two type; others unchanged.
QuantizerType as_fixed_point(const QuantizerType& type);

// ---- as text -------------------------------------------------------------------

// For a column of a table: "fixed(8,0)" and "ufixed(4,2)" (bits, and how many of them are integer bits beside the
// sign), "po2(4)", "upo2(4,max 2)", "ternary", "binary", "binary01", "fp32". After a power of two whose values are
// known, their number: "po2(4) of 7".
std::string short_text(const QuantizerType& type);

// "int8", "fp32", ... where type_from_text() has a name for the type, else its short text.
std::string common_name(const QuantizerType& type);

// The fields that QTools prints: quantizer_type, bits, int_bits (sign included in mode 0), ...
nlohmann::json report_of(const QuantizerType& type);

}  // namespace nibble::cost
