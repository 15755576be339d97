#include "nibble/program/fast/input_plan.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <nlohmann/json.hpp>

namespace nibble::program {
namespace {

constexpr int64_t kMostCodes = 4096;

// Elementwise, rising, and the same for every tensor.
bool is_fixed(const quant::Quantizer& quantizer) {
  static constexpr std::string_view kKnown[] = {"quantized_bits", "quantized_linear", "quantized_relu",
                                                "affine_range",   "affine_step",      "affine_clip"};
  if (std::find(std::begin(kKnown), std::end(kKnown), quantizer.class_name()) == std::end(kKnown)) return false;
  const nlohmann::json config = quantizer.config();
  const auto alpha = config.find("alpha");
  return alpha == config.end() || alpha->is_number() || alpha->is_null();
}

// Floats counted through in their order; both zeros are 0.
int64_t key_of(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto size = static_cast<int64_t>(bits & 0x7FFFFFFFu);
  return (bits >> 31) != 0 ? -size : size;
}
float float_of(int64_t key) {
  const auto size = static_cast<uint32_t>(key < 0 ? -key : key);
  return std::bit_cast<float>(key < 0 ? size | 0x80000000u : size);
}

class Definition {
 public:
  Definition(const QuantizeInput& action, const Value& result)
      : quantizer_(*action.quantizer), scale_(result.scale[0]), low_(result.hull().low), high_(result.hull().high) {}

  int64_t low() const { return low_; }
  int64_t high() const { return high_; }
  float scale() const { return scale_; }

  // As the reference executor.
  std::vector<int64_t> codes(const std::vector<int64_t>& keys) const {
    Tensor x(Shape{static_cast<int64_t>(keys.size())});
    for (size_t i = 0; i < keys.size(); ++i) x[static_cast<int64_t>(i)] = float_of(keys[i]);
    const Tensor real = quantizer_.quantize(x).real;
    std::vector<int64_t> codes;
    for (const float value : real.data()) {
      const double code = std::round(static_cast<double>(value) / scale_);
      if (std::isnan(code)) return {};
      codes.push_back(static_cast<int64_t>(std::clamp(code, static_cast<double>(low_), static_cast<double>(high_))));
    }
    return codes;
  }

 private:
  const quant::Quantizer& quantizer_;
  float scale_;
  int64_t low_, high_;
};

// The first float whose code is at least low + 1, low + 2, ..., all bisections side by side. A code that no float has
// ends at the largest float.
std::vector<int64_t> first_keys(const Definition& definition) {
  const auto count = static_cast<size_t>(definition.high() - definition.low());
  std::vector<int64_t> below(count, key_of(-FLT_MAX)), reached(count, key_of(FLT_MAX)), middle(count);
  for (int round = 0; round < 33; ++round) {
    for (size_t i = 0; i < count; ++i) middle[i] = below[i] + (reached[i] - below[i]) / 2;
    const std::vector<int64_t> codes = definition.codes(middle);
    if (codes.empty()) return {};
    for (size_t i = 0; i < count; ++i) {
      const bool is_reached = codes[i] >= definition.low() + 1 + static_cast<int64_t>(i);
      (is_reached ? reached[i] : below[i]) = middle[i];
    }
  }
  return reached;
}

bool gives(const kernels::FloatCodes& f, const std::vector<int64_t>& keys, const std::vector<int64_t>& codes) {
  for (size_t i = 0; i < keys.size(); ++i) {
    const float x = float_of(keys[i]);
    int32_t code = 0;
    kernels::FloatCodes plain = f;
    plain.format = {};
    if (!kernels::scalar::float_codes(plain, &x, 1, &code, 0) || code != codes[i]) return false;
  }
  return true;
}

// Every code is reached at its first float and not before, and the ends are the outermost codes.
bool has_all(const Definition& definition, const std::vector<int64_t>& codes, size_t steps) {
  for (size_t i = 0; i < steps; ++i) {
    const int64_t code = definition.low() + 1 + static_cast<int64_t>(i);
    if (codes[i] < code || codes[steps + i] >= code) return false;
  }
  const size_t ends = 2 * steps;
  return codes[ends] == definition.low() && codes[ends + 1] == definition.low() &&
         codes[ends + 2] == definition.high() && codes[ends + 3] == definition.high();
}

}  // namespace

std::optional<InputPlan> plan_input(const QuantizeInput& action, const Value& result) {
  if (!is_fixed(*action.quantizer) || result.hull().high - result.hull().low > kMostCodes) return std::nullopt;
  const Definition definition(action, result);
  std::vector<int64_t> keys = first_keys(definition);
  const size_t steps = keys.size();
  for (size_t i = 0; i < steps; ++i) keys.push_back(keys[i] - 1);
  constexpr float kInfinity = HUGE_VALF;
  for (const float x : {-kInfinity, -FLT_MAX, FLT_MAX, kInfinity}) keys.push_back(key_of(x));
  const std::vector<int64_t> codes = definition.codes(keys);
  if (codes.empty() || !has_all(definition, codes, steps)) return std::nullopt;
  InputPlan plan;
  plan.line.multiplier = 1.0f / definition.scale();
  plan.line.low = static_cast<float>(definition.low()), plan.line.high = static_cast<float>(definition.high());
  plan.is_line = gives(plan.line, keys, codes);
  for (size_t i = 0; i < steps; ++i) plan.firsts.push_back(float_of(keys[i]));
  return plan;
}

}  // namespace nibble::program
