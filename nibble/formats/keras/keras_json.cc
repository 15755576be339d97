#include "nibble/formats/keras/keras_json.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "nibble/core/error.h"

namespace nibble::formats::keras {
namespace {

// Configs of nested layers reach about 20; code that walks the tree may recurse.
constexpr int kDeepest = 100;

std::string quote_nonfinite(const std::string& text) {
  static constexpr std::array<std::string_view, 3> kTokens = {"-Infinity", "Infinity", "NaN"};
  std::string result;
  result.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      result.append(text, i++, 2);
      continue;
    }
    if (c == '"') in_string = !in_string;
    bool replaced = false;
    for (std::string_view token : kTokens) {
      if (in_string || std::string_view(text).substr(i, token.size()) != token) continue;
      result.append("\"").append(token).append("\"");
      i += token.size() - 1;
      replaced = true;
      break;
    }
    if (!replaced) result += c;
  }
  return result;
}

}  // namespace

nlohmann::json parse_json(const std::string& text, const std::string& name) {
  const auto check_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kDeepest) throw CorruptFile("[keras] {}: JSON is nested more than {} deep.", name, kDeepest);
    return true;
  };
  try {
    return nlohmann::json::parse(quote_nonfinite(text), check_depth);
  } catch (const nlohmann::json::exception& error) {
    throw CorruptFile("[keras] {}: it is no valid JSON: {}", name, error.what());
  }
}

}  // namespace nibble::formats::keras
