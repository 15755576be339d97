// nibble/cli/limits.h
// Bounds of numbers on the command line; they show in the error, not in the help.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <string>
#include <type_traits>

namespace nibble::cli {

// lowest <= value <= highest. CLI11's own Range takes nan, which is neither below nor above.
template <class Number>
CLI::Validator between(Number lowest, Number highest) {
  return CLI::Validator(
      [=](const std::string& text) {
        Number value{};
        const bool is_inside = CLI::detail::lexical_cast(text, value) && lowest <= value && value <= highest;
        return is_inside ? std::string()
                         : fmt::format("'{}' must be a {}number from {} to {}", text,
                                       std::is_integral_v<Number> ? "whole " : "", lowest, highest);
      },
      "");
}

// A finite number that `fits`; CLI11's own bounds would be told with all 308 digits of the largest double.
template <class Fits>
CLI::Validator number_that(Fits fits, const std::string& rule) {
  return CLI::Validator(
      [=](const std::string& text) {
        double value = 0;
        const bool is_number = CLI::detail::lexical_cast(text, value) && std::isfinite(value);
        return is_number && fits(value) ? std::string() : "'" + text + "' must be a number " + rule;
      },
      "");
}

inline CLI::Validator positive() {
  return number_that([](double value) { return value > 0; }, "above 0");
}

inline CLI::Validator not_negative() {
  return number_that([](double value) { return value >= 0; }, "of 0 or more");
}

}  // namespace nibble::cli
