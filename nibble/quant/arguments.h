// nibble/quant/arguments.h
// Parameters of a quantizer by name: the one list that reading and writing of texts and of
// configurations goes through.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nibble/core/call_expression.h"
#include "nibble/quant/alpha.h"
#include "nibble/quant/number.h"

namespace nibble::quant {

// A truth value that QKeras writes as 0 or 1.
struct ZeroOne {
  bool* value;
};

// Accepted and forgotten: without effect on numbers (var_name, use_variables).
struct Ignored {};

// Where a parameter lives in its struct.
using Slot = std::variant<Ignored, ZeroOne, bool*, int*, std::optional<int>*, Number*, std::optional<Number>*, Alpha*,
                          std::optional<Tensor>*, std::optional<IntegerOrList>*, std::string*>;

struct Field {
  std::string_view name;
  Slot slot;
};
using Fields = std::vector<Field>;  // in QKeras' positional order

// Stores the arguments of `call` into the fields, by position and by name.
//   throws  InvalidArgument for too many, unknown (nearest known name), twice given or ill-typed ones
void read_call(std::string_view class_name, const CallExpression& call, const Fields& fields);

// Stores the entries of a JSON object. Arrays may be lists or {"shape": [...], "data": [...]}.
//   also_allowed  keys that the reference writes without effect
//   throws        as read_call
void read_config(std::string_view class_name, const nlohmann::json& config, const Fields& fields,
                 const std::vector<std::string>& also_allowed = {});

// {name: value} of every field that is not Ignored. A list is written as a list, an array as {"shape", "data"}.
nlohmann::json write_config(const Fields& fields);

// class_name(...): the first `leading` fields by position, then those that differ from `defaults` by name.
// An array has its shape beside it unless that is one axis: alpha=[1 2 3 4],alpha_shape=[2 2].
std::string write_call(std::string_view class_name, const Fields& fields, const Fields& defaults, int leading);

// A value as QKeras prints it: 1, 1.0, 'auto', [1,2].
std::string python_text(const Number& number);
std::string python_text(const Alpha& alpha);
std::string python_text(const IntegerOrList& list);

// ---- checks shared by constructors; each throws InvalidArgument -----------------------------

void check_range(std::string_view class_name, std::string_view parameter, int value, int low, int high);
// A slope must be 0 or a power of two.
void check_slope(std::string_view class_name, const Number& slope);
void check_finite(std::string_view class_name, std::string_view parameter, const Number& value);
void check_above_zero(std::string_view class_name, std::string_view parameter, const Number& value);
void check_not_negative(std::string_view class_name, std::string_view parameter, const Number& value);
// From 0, x as it is, to 1, x quantized.
void check_qnoise_factor(std::string_view class_name, const Number& factor);

}  // namespace nibble::quant
