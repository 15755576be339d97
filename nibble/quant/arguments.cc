#include "nibble/quant/arguments.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::quant {
namespace {

using nlohmann::json;

constexpr std::string_view kShapeSuffix = "_shape";

bool holds_array(const Slot& slot) {
  return std::holds_alternative<Alpha*>(slot) || std::holds_alternative<std::optional<Tensor>*>(slot);
}

// Everything an error message about one argument needs.
struct Place {
  std::string_view class_name;
  std::string_view parameter;

  [[noreturn]] void refuse(const CallValue& given, std::string_view allowed) const {
    throw InvalidArgument("[{}] {} is {}; it must be {}.", class_name, parameter, format_value(given), allowed);
  }
};

std::optional<Number> as_number(const CallValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return Number(*flag ? 1 : 0);
  if (const auto* integer = std::get_if<int64_t>(&value)) return Number(*integer);
  if (const auto* real = std::get_if<double>(&value)) return Number(*real);
  return std::nullopt;
}

int to_int(const CallValue& value, const Place& place) {
  constexpr double kLimit = 1 << 30;
  const auto number = as_number(value);
  if (!number || number->value != std::floor(number->value) || std::abs(number->value) > kLimit) {
    place.refuse(value, "an integer");
  }
  return static_cast<int>(number->value);
}

bool to_bool(const CallValue& value, const Place& place) {
  const auto number = as_number(value);
  if (!number || (number->value != 0.0 && number->value != 1.0)) place.refuse(value, "True, False, 1 or 0");
  return number->value != 0.0;
}

Number to_number(const CallValue& value, const Place& place) {
  const auto number = as_number(value);
  if (!number) place.refuse(value, "a number");
  return *number;
}

Tensor to_array(const std::vector<double>& list) {
  return Tensor(Shape{static_cast<int64_t>(list.size())}, std::vector<float>(list.begin(), list.end()));
}

Alpha to_alpha(const CallValue& value, const Place& place) {
  if (std::holds_alternative<NoneValue>(value)) return Alpha();
  if (const auto* list = std::get_if<std::vector<double>>(&value)) return Alpha(to_array(*list));
  const auto* name = std::get_if<std::string>(&value);
  if (name == nullptr) return Alpha(to_number(value, place));
  if (*name != "auto" && *name != "auto_po2") {
    place.refuse(value, "None, a number, a list of numbers, 'auto' or 'auto_po2'");
  }
  return Alpha(std::string_view(*name));
}

IntegerOrList to_integers(const CallValue& value, const Place& place) {
  const auto* list = std::get_if<std::vector<double>>(&value);
  if (list == nullptr) return IntegerOrList(to_int(value, place));
  std::vector<int> integers;
  for (double item : *list) integers.push_back(to_int(CallValue(item), place));
  return IntegerOrList(std::move(integers));
}

// Stores one value, converted to what the slot holds.
class Store {
 public:
  Store(const CallValue& value, const Place& place) : value_(value), place_(place) {}

  void operator()(Ignored) const {}
  void operator()(ZeroOne flag) const { *flag.value = to_bool(value_, place_); }
  void operator()(bool* flag) const { *flag = to_bool(value_, place_); }
  void operator()(int* integer) const { *integer = to_int(value_, place_); }
  void operator()(Number* number) const { *number = to_number(value_, place_); }
  void operator()(Alpha* alpha) const { *alpha = to_alpha(value_, place_); }
  void operator()(std::optional<int>* integer) const { optional(integer, to_int); }
  void operator()(std::optional<Number>* number) const { optional(number, to_number); }
  void operator()(std::optional<IntegerOrList>* integers) const { optional(integers, to_integers); }
  void operator()(std::optional<Tensor>* array) const {
    optional(array, [](const CallValue& value, const Place& place) {
      if (const auto* list = std::get_if<std::vector<double>>(&value)) return to_array(*list);
      return Tensor::scalar(to_number(value, place).real());
    });
  }
  void operator()(std::string* text) const {
    if (!std::holds_alternative<std::string>(value_)) place_.refuse(value_, "a quoted text");
    *text = std::get<std::string>(value_);
  }

 private:
  template <class T, class Convert>
  void optional(std::optional<T>* target, Convert convert) const {
    if (std::holds_alternative<NoneValue>(value_)) {
      target->reset();
    } else {
      *target = convert(value_, place_);
    }
  }

  const CallValue& value_;
  const Place& place_;
};

void store(const Field& field, const CallValue& value, std::string_view class_name) {
  const Place place{class_name, field.name};
  std::visit(Store(value, place), field.slot);
}

// alpha_shape=[2 2] gives a list another shape.
void reshape_array(const Field& field, const CallValue& value, std::string_view class_name) {
  const std::string parameter = fmt::format("{}{}", field.name, kShapeSuffix);
  const Place place{class_name, parameter};
  const auto* extents = std::get_if<std::vector<double>>(&value);
  if (extents == nullptr) place.refuse(value, "a list of extents");
  std::vector<int64_t> shape;
  for (double extent : *extents) shape.push_back(to_int(CallValue(extent), place));
  if (auto* const* alpha = std::get_if<Alpha*>(&field.slot); alpha && (*alpha)->kind() == Alpha::Kind::kArray) {
    **alpha = Alpha((*alpha)->array().reshaped(Shape(shape)));
  } else if (auto* const* array = std::get_if<std::optional<Tensor>*>(&field.slot); array && (*array)->has_value()) {
    **array = (**array)->reshaped(Shape(shape));
  } else {
    throw InvalidArgument("[{}] {} needs {} to be a list.", class_name, place.parameter, field.name);
  }
}

[[noreturn]] void refuse_unknown(std::string_view class_name, std::string_view given, const Fields& fields) {
  std::vector<std::string> known;
  for (const Field& field : fields) known.emplace_back(field.name);
  throw InvalidArgument("[{}] there is no parameter '{}'. {}", class_name, given, suggest(given, known));
}

const Field* find(const Fields& fields, std::string_view name) {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

// The field that `alpha_shape` belongs to.
const Field* find_shape_owner(const Fields& fields, std::string_view name) {
  if (!name.ends_with(kShapeSuffix)) return nullptr;
  const Field* owner = find(fields, name.substr(0, name.size() - kShapeSuffix.size()));
  return owner != nullptr && holds_array(owner->slot) ? owner : nullptr;
}

// ---- JSON --------------------------------------------------------------------

// Scalars and flat lists of numbers; anything else is refused by name.
CallValue to_call_value(const json& value, const Place& place) {
  if (value.is_null()) return NoneValue{};
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  const bool is_list = value.is_array() && std::all_of(value.begin(), value.end(), [](const json& item) {
                         return item.is_number() || item.is_boolean();
                       });
  if (!is_list) {
    throw InvalidArgument("[{}] {} is {}; it must be a number, a text, null or a list of numbers.", place.class_name,
                          place.parameter, value.dump().substr(0, 80));
  }
  std::vector<double> list;
  for (const json& item : value)
    list.push_back(item.is_boolean() ? (item.get<bool>() ? 1.0 : 0.0) : item.get<double>());
  return list;
}

void flatten(const json& value, size_t depth, std::vector<int64_t>& shape, std::vector<float>& data,
             const Place& place) {
  constexpr size_t kMaxRank = 8;
  if (value.is_number()) {
    data.push_back(value.get<float>());
    return;
  }
  if (depth == shape.size() && data.empty() && value.is_array() && depth < kMaxRank) {
    shape.push_back(static_cast<int64_t>(value.size()));
  }
  if (!value.is_array() || depth >= shape.size() || static_cast<int64_t>(value.size()) != shape[depth]) {
    throw InvalidArgument("[{}] {} must be a list of numbers or of equally long lists.", place.class_name,
                          place.parameter);
  }
  for (const json& item : value) flatten(item, depth + 1, shape, data, place);
}

// {"shape", "data"} or lists in lists.
Tensor to_array(const json& value, const Place& place) {
  std::vector<int64_t> shape;
  std::vector<float> data;
  if (value.is_array()) {
    flatten(value, 0, shape, data, place);
    return Tensor(Shape(shape), std::move(data));
  }
  const auto shape_entry = value.find("shape"), data_entry = value.find("data");
  const auto all_numbers = [](const json& list) {
    return list.is_array() && std::all_of(list.begin(), list.end(), [](const json& item) { return item.is_number(); });
  };
  if (shape_entry == value.end() || data_entry == value.end() || !all_numbers(*shape_entry) ||
      !all_numbers(*data_entry)) {
    throw InvalidArgument("[{}] {} must be {{\"shape\": [...], \"data\": [...]}} with numbers.", place.class_name,
                          place.parameter);
  }
  return Tensor(Shape(shape_entry->get<std::vector<int64_t>>()), data_entry->get<std::vector<float>>());
}

json number_to_json(const Number& number) {
  if (number.is_integer) return static_cast<int64_t>(number.value);
  return number.value;
}

json to_json(const Tensor& array) {
  return {{"shape", array.shape().extents()}, {"data", std::vector<float>(array.data().begin(), array.data().end())}};
}

struct ToJson {
  json operator()(Ignored) const { return nullptr; }
  json operator()(ZeroOne flag) const { return *flag.value ? 1 : 0; }
  json operator()(const bool* flag) const { return *flag; }
  json operator()(const int* integer) const { return *integer; }
  json operator()(const std::optional<int>* integer) const { return *integer ? json(**integer) : json(); }
  json operator()(const Number* number) const { return number_to_json(*number); }
  json operator()(const std::optional<Number>* number) const { return *number ? number_to_json(**number) : json(); }
  json operator()(const std::string* text) const { return *text; }
  json operator()(const std::optional<Tensor>* array) const { return *array ? to_json(**array) : json(); }
  json operator()(const std::optional<IntegerOrList>* integers) const {
    if (!*integers) return nullptr;
    return (*integers)->is_list ? json((*integers)->values) : json((*integers)->values.at(0));
  }
  json operator()(const Alpha* alpha) const {
    switch (alpha->kind()) {
      case Alpha::Kind::kNone:
        return nullptr;
      case Alpha::Kind::kNumber:
        return number_to_json(alpha->number());
      case Alpha::Kind::kArray:
        return to_json(alpha->array());
      case Alpha::Kind::kAuto:
        return "auto";
      case Alpha::Kind::kAutoPo2:
        return "auto_po2";
    }
    return nullptr;
  }
};

// ---- texts -------------------------------------------------------------------

std::string array_text(std::string_view name, const json& array) {
  const auto data = array.at("data").get<std::vector<double>>();
  const auto shape = array.at("shape").get<std::vector<double>>();
  std::string text = format_value(data);
  if (shape.size() != 1) text += fmt::format(",{}{}={}", name, kShapeSuffix, format_value(shape));
  return text;
}

}  // namespace

void read_call(std::string_view class_name, const CallExpression& call, const Fields& fields) {
  if (call.positional.size() > fields.size()) {
    throw InvalidArgument("[{}] {} arguments are given, but there are only {} parameters.", class_name,
                          call.positional.size(), fields.size());
  }
  for (size_t i = 0; i < call.positional.size(); ++i) store(fields[i], call.positional[i], class_name);
  for (const auto& [name, value] : call.keyword) {
    const Field* field = find(fields, name);
    if (field == nullptr) {
      if (find_shape_owner(fields, name) == nullptr) refuse_unknown(class_name, name, fields);
      continue;
    }
    if (static_cast<size_t>(field - fields.data()) < call.positional.size()) {
      throw InvalidArgument("[{}] {} is given twice: by position and by name.", class_name, name);
    }
    store(*field, value, class_name);
  }
  for (const auto& [name, value] : call.keyword) {
    if (find(fields, name) == nullptr) reshape_array(*find_shape_owner(fields, name), value, class_name);
  }
}

void read_config(std::string_view class_name, const json& config, const Fields& fields,
                 const std::vector<std::string>& also_allowed) {
  if (!config.is_object()) throw InvalidArgument("[{}] its configuration must be a JSON object.", class_name);
  for (const auto& [key, value] : config.items()) {
    const Field* field = find(fields, key);
    if (field == nullptr) {
      if (std::find(also_allowed.begin(), also_allowed.end(), key) == also_allowed.end()) {
        refuse_unknown(class_name, key, fields);
      }
      continue;
    }
    const Place place{class_name, field->name};
    if (holds_array(field->slot) && value.is_structured()) {
      const Tensor array = to_array(value, place);
      if (auto* const* alpha = std::get_if<Alpha*>(&field->slot)) {
        **alpha = Alpha(array);
      } else {
        *std::get<std::optional<Tensor>*>(field->slot) = array;
      }
    } else {
      store(*field, to_call_value(value, place), class_name);
    }
  }
}

json write_config(const Fields& fields) {
  json config = json::object();
  for (const Field& field : fields) {
    if (!std::holds_alternative<Ignored>(field.slot))
      config[std::string(field.name)] = std::visit(ToJson{}, field.slot);
  }
  return config;
}

std::string write_call(std::string_view class_name, const Fields& fields, const Fields& defaults, int leading) {
  std::string text;
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string_view name = fields[i].name;
    const json value = std::visit(ToJson{}, fields[i].slot);
    const bool is_leading = i < static_cast<size_t>(leading);
    if (!is_leading && value == std::visit(ToJson{}, defaults[i].slot)) continue;
    if (!text.empty()) text += ',';
    if (!is_leading) text += fmt::format("{}=", name);
    text += value.is_object() ? array_text(name, value) : format_value(to_call_value(value, {class_name, name}));
  }
  return fmt::format("{}({})", class_name, text);
}

std::string python_text(const Number& number) {
  return number.is_integer ? format_value(static_cast<int64_t>(number.value)) : format_value(number.value);
}

std::string python_text(const IntegerOrList& list) {
  if (!list.is_list) return std::to_string(list.values.at(0));
  return fmt::format("[{}]", fmt::join(list.values, ","));
}

std::string python_text(const Alpha& alpha) {
  switch (alpha.kind()) {
    case Alpha::Kind::kNone:
      return "None";
    case Alpha::Kind::kNumber:
      return python_text(alpha.number());
    case Alpha::Kind::kArray:
      return array_text("alpha", to_json(alpha.array()));
    case Alpha::Kind::kAuto:
      return "'auto'";
    case Alpha::Kind::kAutoPo2:
      return "'auto_po2'";
  }
  return "";
}

void check_range(std::string_view class_name, std::string_view parameter, int value, int low, int high) {
  if (value >= low && value <= high) return;
  throw InvalidArgument("[{}] {} is {}; it must be between {} and {}.", class_name, parameter, value, low, high);
}

void check_slope(std::string_view class_name, const Number& slope) {
  int exponent = 0;
  const bool is_power_of_two = std::isfinite(slope.value) && std::frexp(slope.value, &exponent) == 0.5;
  if (slope.value == 0.0 || (is_power_of_two && std::abs(exponent) <= 64)) return;
  throw InvalidArgument(
      "[{}] negative_slope is {}; it must be 0 or a power of two such as 0.25, so that hardware can "
      "shift instead of multiply.",
      class_name, python_text(slope));
}

void check_finite(std::string_view class_name, std::string_view parameter, const Number& value) {
  if (std::isfinite(static_cast<float>(value.value))) return;
  throw InvalidArgument("[{}] {} is {}; it must be a finite number.", class_name, parameter, python_text(value));
}

void check_above_zero(std::string_view class_name, std::string_view parameter, const Number& value) {
  check_finite(class_name, parameter, value);
  if (value.value > 0.0) return;
  throw InvalidArgument("[{}] {} is {}; it must be above 0.", class_name, parameter, python_text(value));
}

void check_not_negative(std::string_view class_name, std::string_view parameter, const Number& value) {
  check_finite(class_name, parameter, value);
  if (value.value >= 0.0) return;
  throw InvalidArgument("[{}] {} is {}; it must be 0 or more.", class_name, parameter, python_text(value));
}

void check_qnoise_factor(std::string_view class_name, const Number& factor) {
  check_finite(class_name, "qnoise_factor", factor);
  if (factor.value >= 0.0 && factor.value <= 1.0) return;
  throw InvalidArgument(
      "[{}] qnoise_factor is {}; allowed are 0, which leaves values as they are, to 1, which quantizes them.",
      class_name, python_text(factor));
}

}  // namespace nibble::quant
