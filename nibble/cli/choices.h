// nibble/cli/choices.h
// Options whose value is one of a few words.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "nibble/cli/command.h"
#include "nibble/core/nearest_name.h"

namespace nibble::cli {

// The value that belongs to a word.
//   throws  UsageError naming option, word and the nearest allowed ones
template <class Value>
Value choose(std::string_view option, const std::string& word,
             std::initializer_list<std::pair<const char*, Value>> choices) {
  std::vector<std::string> names;
  for (const auto& [name, value] : choices) {
    if (word == name) return value;
    names.emplace_back(name);
  }
  throw UsageError("{} cannot be '{}'. {}", option, word, suggest(word, names));
}

}  // namespace nibble::cli
