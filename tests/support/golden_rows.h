// tests/support/golden_rows.h
// Checks every row of a recorded list and prints how many passed.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::testing {

// Runs `check` over all rows. It returns what is wrong, or "" where all is right. An absent list skips visibly.
//   name  of the list, e.g. "fake_quant"
inline void each_row(const std::string& name, const nlohmann::json& rows,
                     const std::function<std::string(const nlohmann::json&)>& check) {
  if (rows.is_null()) GTEST_SKIP() << "no rows of " << name;
  size_t failed = 0;
  for (const nlohmann::json& row : rows) {
    std::string wrong;
    try {
      wrong = check(row);
    } catch (const Error& error) {
      wrong = error.what();
    }
    if (wrong.empty() || ++failed > 5) continue;
    ADD_FAILURE() << name << " " << (row.is_object() ? row.value("id", "") : row.dump()) << ": " << wrong;
  }
  std::cout << name << ": " << rows.size() - failed << " of " << rows.size() << " rows\n";
  EXPECT_EQ(failed, 0u);
}

// The member `key` of a golden file, null where the file or the member is absent.
inline nlohmann::json member(const nlohmann::json& file, const char* key) {
  return file.is_object() ? file.value(key, nlohmann::json()) : nlohmann::json();
}

// Numbers of float32 recorded with 9 digits: parsed as double, then rounded.
inline std::vector<float> floats(const nlohmann::json& list) {
  std::vector<float> values;
  if (list.is_number()) return {static_cast<float>(list.get<double>())};
  for (const nlohmann::json& item : list) values.push_back(static_cast<float>(item.get<double>()));
  return values;
}

// The first place where two lists differ, as a sentence, or "".
template <class List>
std::string first_difference(const std::string& what, const List& actual, const List& expected) {
  if (actual.size() != expected.size()) {
    return what + " has " + std::to_string(actual.size()) + " elements, not " + std::to_string(expected.size());
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (actual[i] == expected[i]) continue;
    return fmt::format("{}[{}] is {}, not {}", what, i, actual[i], expected[i]);
  }
  return "";
}

}  // namespace nibble::testing
