#include "nibble/core/nearest_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace nibble {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before.swap(row);
    row.swap(next);
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> nearest_names(std::string_view name, std::span<const std::string> candidates, int limit) {
  // A name of absurd length is no typing error, and the distance costs its square.
  if (name.empty() || name.size() > 200) return {};
  const std::string wanted = lower(name);
  std::vector<std::pair<size_t, std::string>> found;
  for (const std::string& candidate : candidates) {
    const std::string known = lower(candidate);
    const size_t distance = edit_distance(wanted, known);
    const bool prefix = wanted.size() >= 3 && (known.starts_with(wanted) || wanted.starts_with(known));
    if (prefix || distance * 3 <= std::max(wanted.size(), known.size())) found.emplace_back(distance, candidate);
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (auto& [distance, candidate] : found) {
    if (static_cast<int>(names.size()) < limit) names.push_back(std::move(candidate));
  }
  return names;
}

std::string suggest(std::string_view name, std::span<const std::string> candidates) {
  const std::vector<std::string> near = nearest_names(name, candidates);
  if (!near.empty()) return fmt::format("Did you mean '{}'?", fmt::join(near, "' or '"));
  if (candidates.empty()) return "None is known.";
  return fmt::format("Known: {}.", fmt::join(candidates, ", "));
}

}  // namespace nibble
