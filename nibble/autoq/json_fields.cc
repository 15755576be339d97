#include "nibble/autoq/json_fields.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {

std::string excerpt(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

void check_pattern(const std::string& where, const std::string& pattern) {
  try {
    std::regex(pattern, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    throw InvalidArgument("{} holds '{}', which is no valid regular expression ({}).", where, pattern, error.what());
  }
}

JsonFields::JsonFields(const Json& object, std::string where, std::vector<std::string> known)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) {
    throw InvalidArgument("[run_config] {} is {}; it must be an object {{...}}.", where_.empty() ? "the file" : where_,
                          excerpt(object));
  }
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw InvalidArgument("{}: unknown key. {}", path(key), suggest(key, known));
    }
  }
}

std::string JsonFields::path(std::string_view key) const {
  return where_.empty() ? fmt::format("[run_config] {}", key) : fmt::format("[run_config] {}.{}", where_, key);
}

const Json* JsonFields::find(std::string_view key) const {
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::string JsonFields::text(std::string_view key, std::string fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) throw InvalidArgument("{} is {}; it must be a text.", path(key), excerpt(*value));
  return value->get<std::string>();
}

std::string JsonFields::choice(std::string_view key, std::string fallback,
                               const std::vector<std::string>& allowed) const {
  std::string value = text(key, std::move(fallback));
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    throw InvalidArgument("{} is '{}'; it must be one of: {}.", path(key), value, fmt::join(allowed, ", "));
  }
  return value;
}

bool JsonFields::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) throw InvalidArgument("{} is {}; it must be true or false.", path(key), excerpt(*value));
  return value->get<bool>();
}

double JsonFields::number(std::string_view key, double fallback, double least, double most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const double given = value->is_number() ? value->get<double>() : std::nan("");
  if (!(given >= least && given <= most)) {
    throw InvalidArgument("{} is {}; it must be a number from {} to {}.", path(key), excerpt(*value), least, most);
  }
  return given;
}

double JsonFields::positive(std::string_view key, double fallback, double most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const double given = value->is_number() ? value->get<double>() : std::nan("");
  if (!(given > 0 && given <= most)) {
    throw InvalidArgument("{} is {}; it must be a number above 0, at most {}.", path(key), excerpt(*value), most);
  }
  return given;
}

int64_t JsonFields::integer(std::string_view key, int64_t fallback, int64_t least, int64_t most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  // An unsigned value above int64 would turn negative in get().
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (!fits || value->get<int64_t>() < least || value->get<int64_t>() > most) {
    throw InvalidArgument("{} is {}; it must be a whole number from {} to {}.", path(key), excerpt(*value), least,
                          most);
  }
  return value->get<int64_t>();
}

std::vector<std::string> JsonFields::texts(std::string_view key, std::vector<std::string> fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const bool all_texts =
      value->is_array() && std::all_of(value->begin(), value->end(), [](const Json& item) { return item.is_string(); });
  if (!all_texts) throw InvalidArgument("{} is {}; it must be a list of texts.", path(key), excerpt(*value));
  return value->get<std::vector<std::string>>();
}

}  // namespace nibble::autoq
