#include "nibble/cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nibble::cli {
namespace {

// Columns are counted in characters, not bytes: names may hold any UTF-8.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_numeric(const std::string& text) { return text.find_first_not_of("0123456789.,+-e% ") == std::string::npos; }

}  // namespace

void print(const Table& table, std::ostream& out) {
  const size_t columns = table.headers.size();
  std::vector<size_t> widths(columns);
  std::vector<bool> right(columns, true);
  for (size_t c = 0; c < columns; ++c) {
    widths[c] = width_of(table.headers[c]);
    for (const auto& row : table.rows) {
      widths[c] = std::max(widths[c], width_of(row[c]));
      right[c] = right[c] && is_numeric(row[c]);
    }
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t c = 0; c < columns; ++c) {
      const std::string blanks(widths[c] - width_of(cells[c]), ' ');
      if (c > 0) text += "  ";
      text += right[c] ? blanks + cells[c] : cells[c] + blanks;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out << text << '\n';
  };
  line(table.headers);
  size_t total = columns == 0 ? 0 : 2 * (columns - 1);
  for (size_t width : widths) total += width;
  out << std::string(total, '-') << '\n';
  for (const auto& row : table.rows) line(row);
}

void print_json(const nlohmann::json& value, std::ostream& out) {
  out << value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

std::string format_scales(const std::vector<float>& scales) {
  if (scales.empty()) return "";
  const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
  if (scales.size() == 1 || *low == *high) return fmt::format("{:.6g}", *low);
  return fmt::format("{:.6g} .. {:.6g} ({})", *low, *high, scales.size());
}

}  // namespace nibble::cli
