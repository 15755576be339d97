// nibble/cli/wording.h
// Counts and small figures for people.
#pragma once

#include <cstdint>
#include <string>

namespace nibble::cli {

// "1 trial", "2 trials"; "1 study", "2 studies" where many of it have a name of their own.
std::string counted(int64_t count, const std::string& thing, const std::string& many = "");

// Two decimals; three digits of what is below 1: 12.42, 0.0123.
std::string small_figure(double value);

}  // namespace nibble::cli
