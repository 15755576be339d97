#include "nibble/cli/wording.h"

#include <fmt/format.h>

#include <cmath>

namespace nibble::cli {

std::string counted(int64_t count, const std::string& thing, const std::string& many) {
  if (count == 1) return fmt::format("1 {}", thing);
  return fmt::format("{} {}", count, many.empty() ? thing + "s" : many);
}

std::string small_figure(double value) {
  constexpr int kDigits = 3;
  if (!(value > 0 && value < 1)) return fmt::format("{:.2f}", value);
  const int zeros = static_cast<int>(-std::floor(std::log10(value))) - 1;
  return fmt::format("{:.{}f}", value, zeros + kDigits);
}

}  // namespace nibble::cli
