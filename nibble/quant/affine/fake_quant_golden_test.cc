// Every recorded row of fake quantization: nudged parameters, values, gradients.
#include "nibble/quant/affine/fake_quant.h"

#include <cmath>

#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::affine {
namespace {

using nlohmann::json;
using testing::first_difference;
using testing::floats;

// Order of summation is free: the note beside the rows.
constexpr double kSumRelative = 1e-5, kSumAbsolute = 1e-6;

struct Row {
  std::vector<float> x, dy;
  ChannelLayout layout;
  std::vector<NudgedRange> ranges;
  StepRule rule = StepRule::kMultiply;
};

Row parse(const json& row) {
  Row parsed{floats(row["x"]), floats(row["dy"]), {}, {}, StepRule::kMultiply};
  const bool is_per_channel = row["variant"] == "per_channel";
  if (row["variant"] == "vars") parsed.rule = StepRule::kDivide;
  parsed.layout = is_per_channel ? per_axis(Shape(row["shape"].get<std::vector<int64_t>>()))
                                 : per_tensor({static_cast<int64_t>(parsed.x.size())});
  const auto low = floats(row["min"]), high = floats(row["max"]);
  const CodeFormat format{row["num_bits"].get<int>(), row["narrow_range"].get<bool>()};
  for (size_t c = 0; c < low.size(); ++c) parsed.ranges.push_back(nudge({low[c], high[c]}, format));
  return parsed;
}

// A parameter is one number or one per channel; null where the range is zero.
template <class Get>
std::string parameter(const json& row, const char* key, const std::vector<NudgedRange>& ranges, Get get) {
  if (!row.contains(key)) return "";
  const json list = row[key].is_array() ? row[key] : json::array({row[key]});
  for (size_t c = 0; c < ranges.size(); ++c) {
    if (list[c].is_null() != ranges[c].is_zero) return std::string(key) + " of a zero range";
    if (ranges[c].is_zero) continue;
    const auto wanted = static_cast<float>(list[c].get<double>());
    if (wanted != get(ranges[c])) return fmt::format("{}[{}] is {}, not {}", key, c, get(ranges[c]), wanted);
  }
  return "";
}

std::string parameters(const json& row, const std::vector<NudgedRange>& ranges) {
  std::string wrong = parameter(row, "scale", ranges, [](const auto& r) { return r.scale; });
  if (wrong.empty()) wrong = parameter(row, "inv_scale", ranges, [](const auto& r) { return r.inverse_scale; });
  if (wrong.empty()) {
    wrong = parameter(row, "zero_point", ranges, [](const auto& r) { return static_cast<float>(r.zero_point); });
  }
  if (wrong.empty()) wrong = parameter(row, "nudged_min", ranges, [](const auto& r) { return r.min; });
  if (wrong.empty()) wrong = parameter(row, "nudged_max", ranges, [](const auto& r) { return r.max; });
  return wrong;
}

std::string sums(const char* key, const std::vector<float>& actual, const json& row) {
  if (!row.contains(key)) return "";
  const auto wanted = floats(row[key]);
  for (size_t c = 0; c < actual.size(); ++c) {
    if (!testing::close(actual[c], wanted[c], kSumRelative, kSumAbsolute)) {
      return fmt::format("{}[{}] is {}, not {}", key, c, actual[c], wanted[c]);
    }
  }
  return "";
}

std::string codes_decode_to_values(const Row& r, const std::vector<float>& y) {
  for (size_t i = 0; i < y.size(); ++i) {
    const NudgedRange& range = r.ranges[static_cast<size_t>(r.layout.channel(static_cast<int64_t>(i)))];
    const int32_t code = fake_quant_code(r.x[i], range, r.rule);
    if (static_cast<float>(code - range.zero_point) * range.scale != y[i])
      return fmt::format("code {} of [{}]", code, i);
  }
  return "";
}

TEST(FakeQuantGolden, Rows) {
  const json cases = testing::member(testing::golden_json("tflite/fake_quant"), "cases");
  testing::each_row("fake_quant", cases, [](const json& row) {
    const Row r = parse(row);
    std::vector<float> y(r.x.size()), dx(r.x.size());
    fake_quant(r.x, r.layout, r.ranges, r.rule, y);
    const RangeGradient gradient = fake_quant_gradient(r.x, r.dy, r.layout, r.ranges, dx);
    std::string wrong = parameters(row, r.ranges);
    if (wrong.empty()) wrong = first_difference("y", y, floats(row["y"]));
    if (wrong.empty()) wrong = first_difference("dx", dx, floats(row["dx"]));
    if (wrong.empty()) wrong = sums("dmin", gradient.min, row);
    if (wrong.empty()) wrong = sums("dmax", gradient.max, row);
    return wrong.empty() ? codes_decode_to_values(r, y) : wrong;
  });
}

}  // namespace
}  // namespace nibble::affine
