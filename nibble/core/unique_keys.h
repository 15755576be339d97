// nibble/core/unique_keys.h
// JSON written by hand must not name a key twice: a parser keeps one of the values and drops the other without a word.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "nibble/core/error.h"

namespace nibble {

// A callback for nlohmann's parse():  json::parse(text, unique_keys<json>("[run_config] "), true, true)
//   prefix  the beginning of the message
//   throws  InvalidArgument with the path of the key that stands twice in one object
template <class Json>
typename Json::parser_callback_t unique_keys(std::string prefix) {
  struct Level {
    std::set<std::string> keys;
    std::string last;
  };
  // By value in the callback: each parse has its own.
  return [prefix = std::move(prefix), levels = std::vector<Level>()](int, typename Json::parse_event_t event,
                                                                     Json& parsed) mutable {
    using Event = typename Json::parse_event_t;
    if (event == Event::object_start) levels.emplace_back();
    if (event == Event::object_end) levels.pop_back();
    if (event != Event::key) return true;
    Level& level = levels.back();
    level.last = parsed.template get<std::string>();
    if (level.keys.insert(level.last).second) return true;
    std::string path;
    for (const Level& outer : levels) path += (path.empty() ? "" : ".") + outer.last;
    throw InvalidArgument("{}the key '{}' stands twice, and only one of them would count. Remove one.", prefix, path);
  };
}

}  // namespace nibble
