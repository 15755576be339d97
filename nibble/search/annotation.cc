#include "nibble/search/annotation.h"

#include <charconv>

#include "nibble/core/error.h"

namespace nibble::search {

Assignment without_annotations(const Assignment& values) {
  Assignment plain = values;
  std::erase_if(plain, [](const auto& value) { return is_annotation(value.first); });
  return plain;
}

std::optional<int> annotated_number(const Assignment& values, const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end()) return std::nullopt;
  const std::string& text = found->second;
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number >= 0) return number;
  throw CorruptFile("[study] a trial's {} is '{}'; it must be a whole number.", name, text);
}

}  // namespace nibble::search
