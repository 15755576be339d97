// nibble/cli/limits.h
// Bounds of numbers on the command line; they show in the error, not in the help.
#pragma once

#include <CLI/CLI.hpp>

namespace nibble::cli {

// lowest <= value <= highest
template <class Number>
CLI::Validator between(Number lowest, Number highest) {
  return CLI::Range(lowest, highest).description("");
}

// > 0
inline CLI::Validator positive() {
  CLI::Validator validator = CLI::PositiveNumber;
  return validator.description("");
}

inline CLI::Validator not_negative() {
  CLI::Validator validator = CLI::NonNegativeNumber;
  return validator.description("");
}

}  // namespace nibble::cli
