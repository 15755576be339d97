// nibble/autoq/json_fields.h
// Reads the fields of one JSON object of a configuration, and refuses what nobody reads.
// Private to autoq/.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::autoq {

// Order is part of the meaning of a run_config (tables and limits are looked through in order).
using Json = nlohmann::ordered_json;

class JsonFields {
 public:
  //   where   names the object in messages: "goal.params"
  //   known   all keys that may stand here
  //   throws  InvalidArgument if this is no object, or for an unknown key with the nearest known one
  JsonFields(const Json& object, std::string where, std::vector<std::string> known);

  // The field, or null if it is absent or JSON null.
  const Json* find(std::string_view key) const;

  // Typed access with a fallback. Throws InvalidArgument naming field, value and what is allowed.
  std::string text(std::string_view key, std::string fallback) const;
  std::string choice(std::string_view key, std::string fallback, const std::vector<std::string>& allowed) const;
  bool boolean(std::string_view key, bool fallback) const;
  double number(std::string_view key, double fallback, double least, double most) const;
  double positive(std::string_view key, double fallback, double most) const;  // > 0
  int64_t integer(std::string_view key, int64_t fallback, int64_t least, int64_t most) const;
  std::vector<std::string> texts(std::string_view key, std::vector<std::string> fallback) const;

  // "[run_config] goal.params.rate"
  std::string path(std::string_view key) const;

 private:
  const Json& object_;
  std::string where_;
};

//   throws  InvalidArgument, beginning with `where`, if `pattern` is no regular expression
void check_pattern(const std::string& where, const std::string& pattern);

// A value as it stands in the file, cut to a length fit for a message.
std::string excerpt(const Json& value);

}  // namespace nibble::autoq
