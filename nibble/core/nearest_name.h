// nibble/core/nearest_name.h
// Suggestions for names that nobody knows.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

// The candidates most like `name` (Damerau-Levenshtein distance without regard to case, at most a third of the
// longer length, or one a prefix of the other), best first, at most `limit`; equals keep the candidates' order.
std::vector<std::string> nearest_names(std::string_view name, std::span<const std::string> candidates, int limit = 3);

// The end of an error message: "Did you mean 'Conv2D'?", or where nothing is near, "Known: a, b, c."
std::string suggest(std::string_view name, std::span<const std::string> candidates);

}  // namespace nibble
