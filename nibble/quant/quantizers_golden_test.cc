// Every recorded row of golden/quantizers: value, gradient, scale, bounds, printed form, refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/plain_functions.h"
#include "nibble/quant/quantized_linear.h"
#include "nibble/quant/quantizer.h"
#include "nibble/quant/rounding.h"
#include "support/golden.h"

namespace nibble::quant {
namespace {

using nlohmann::json;
using testing::close;
using testing::golden_tensor;

struct Tolerance {
  double relative = 0.0;
  double absolute = 0.0;
};

// The note beside the rows: exact on fixed grids; 1e-6 where a mean enters; 2e-6 and 1e-7 where ln, exp or tanh do.
Tolerance tolerance_of(const json& row) {
  const std::string name = row.at("class");
  const json alpha = row.at("params").value("alpha", json());
  const bool has_curve = name == "quantized_ulaw" || name == "quantized_tanh" || name == "quantized_sigmoid" ||
                         (alpha.is_null() && name.find("nary") != std::string::npos) ||
                         row.contains("internal_sigmoid");
  if (has_curve) return {2e-6, 1e-7};
  if (alpha == "auto" || name == "quantized_hswish") return {1e-6, 1e-7};
  return {};
}

// Gradients: 1 - tanh^2 loses an ulp of 1 (times |g| <= 2) to cancellation; quantized_linear's passes a product with
// the scale and a quotient by it there.
Tolerance gradient_tolerance_of(const json& row) {
  Tolerance tolerance = tolerance_of(row);
  if (row.at("class") == "quantized_linear") tolerance.relative = 1e-6;
  if (tolerance.absolute > 0.0) tolerance.absolute = 2.5e-7;
  return tolerance;
}

// Elements that may land on the next step: in rows tagged so, a last bit of exp decides.
int64_t stray_elements(const json& row) {
  for (const json& tag : row.at("tags")) {
    if (tag == "rounding_sensitive") return 2;
  }
  return 0;
}

QuantizeOptions options_of(const json& row) {
  QuantizeOptions options;
  options.reference_arithmetic = true;
  if (row.at("phase") == "training") options.phase = Phase::kTraining;
  const std::string sigmoid = row.value("internal_sigmoid", "hard");
  if (sigmoid == "smooth") options.internal_sigmoid = InternalSigmoid::kSmooth;
  if (sigmoid == "real") options.internal_sigmoid = InternalSigmoid::kReal;
  return options;
}

bool reference_failed(const json& row) { return row.contains("constructor_error") || row.contains("call_error"); }

// What a row says where nibble differs on purpose; empty where it must agree. docs/differences.md has the reasons.
std::string listed_difference(const json& row) {
  const std::string name = row.at("class");
  const json& params = row.at("params");
  const std::string error = row.contains("call_error") ? row.at("call_error").at("type").get<std::string>() : "";
  if (name == "binary" && error == "InvalidArgumentError") return "stochastic rounding is a no-op in inference";
  if (name == "quantized_relu" && error == "InvalidArgumentError") return "negative integer bits are allowed";
  if (name.ends_with("po2") && params.contains("max_value") && params.at("max_value") == 0)
    return "max_value 0 is refused";
  const json alpha = params.value("alpha", json());
  if (alpha.is_string() && alpha != "auto" && alpha != "auto_po2" && !reference_failed(row)) {
    return "a text that only contains 'po2' is no alpha";
  }
  return "";
}

// Methods that fail there and answer here.
std::string listed_method_difference(const json& row, const std::string& method) {
  const std::string name = row.at("class"), error = row.at(method + "_error").at("type");
  const json alpha = row.at("params").value("alpha", json());
  if (name == "quantized_hswish" && method != "range") return "str() and min() of quantized_hswish";
  if (method == "str" && alpha.is_object()) return "str() with an array alpha";
  if (method == "str" && name == "quantized_linear") return "str() of quantized_linear with a number";
  if (method == "str" && name.ends_with("po2")) return "str() of a stochastic po2 without max_value";
  if (method == "range" && name == "quantized_linear") return "range() of quantized_linear with scales per channel";
  return "";
}

class Report {
 public:
  void row(const std::string& name) { ++rows_[name]; }
  void difference(const std::string& name, const std::string& reason) {
    if (!reason.empty()) ++listed_[name][reason];
  }
  void failed(const std::string& name) { ++failed_[name]; }
  ~Report() {
    std::printf("%-22s %6s %7s  listed differences\n", "golden/quantizers", "rows", "failed");
    int total = 0;
    for (const auto& [name, count] : rows_) {
      total += count;
      std::printf("%-22s %6d %7d ", name.c_str(), count, failed_[name]);
      for (const auto& [reason, times] : listed_[name]) std::printf(" %dx %s;", times, reason.c_str());
      std::printf("\n");
    }
    std::printf("%-22s %6d\n", "all", total);
  }

 private:
  std::map<std::string, int> rows_, failed_;
  std::map<std::string, std::map<std::string, int>> listed_;
};

void expect_close(const Tensor& actual, const json& expected, Tolerance tolerance, const std::string& what,
                  int64_t strays = 0) {
  const Tensor wanted = golden_tensor(expected);
  ASSERT_EQ(actual.shape().str(), wanted.shape().str()) << what;
  for (int64_t i = 0; i < actual.size(); ++i) {
    const bool is_close = close(actual[i], wanted[i], tolerance.relative, tolerance.absolute);
    if (!is_close && strays-- > 0) continue;
    ASSERT_TRUE(is_close) << what << " [" << i << "]: " << fmt::format("{} for {}", actual[i], wanted[i]);
  }
}

// A scale fitted as one number may be recorded with or without its axes of extent 1.
void expect_scale(const Tensor& actual, const json& expected, Tolerance tolerance, const std::string& what) {
  if (expected.is_null()) return;
  const Tensor wanted = golden_tensor(expected);
  const bool is_one = actual.size() == 1 && wanted.size() == 1;
  expect_close(is_one ? actual.reshaped(wanted.shape()) : actual, expected, tolerance, what);
}

// The draws of a `distribution` row: how often each element gave `value`.
class Frequencies {
 public:
  static constexpr int kDraws = 2000;

  Frequencies(const Quantizer& quantizer, const Tensor& x, QuantizeOptions options) {
    for (int draw = 0; draw < kDraws; ++draw) {
      options.random = {
          .seed = 1, .purpose = RandomPurpose::kQuantizer, .layer = 0, .step = static_cast<uint32_t>(draw)};
      samples_.push_back(quantizer.quantize(x, options).real);
    }
  }

  // Six standard deviations, and two draws for probabilities near 0 or 1.
  static double slack(double p) { return 6.0 * std::sqrt(std::max(p * (1.0 - p), 0.0) / kDraws) + 2.0 / kDraws; }

  double of(int64_t element, double value) const {
    int count = 0;
    for (const Tensor& sample : samples_) count += close(sample[element], value, 1e-5, 1e-6) ? 1 : 0;
    return static_cast<double>(count) / kDraws;
  }

  double mean(int64_t element) const {
    double sum = 0.0;
    for (const Tensor& sample : samples_) sum += sample[element];
    return sum / kDraws;
  }

 private:
  std::vector<Tensor> samples_;
};

void check_two_values(const json& row, const Frequencies& frequencies, const std::string& where) {
  const Tensor p = golden_tensor(row.at("p_hi")), high = golden_tensor(row.at("y_hi")),
               low = golden_tensor(row.at("y_lo"));
  const Tensor expectation = golden_tensor(row.at("expectation"));
  for (int64_t i = 0; i < p.size(); ++i) {
    const double at_high = frequencies.of(i, high[i]);
    if (close(high[i], low[i], 1e-5, 1e-6)) {
      ASSERT_EQ(at_high, 1.0) << where << " [" << i << "]";
    } else {
      ASSERT_NEAR(at_high, p[i], Frequencies::slack(p[i])) << where << " [" << i << "]";
      ASSERT_NEAR(frequencies.of(i, low[i]), 1.0 - p[i], Frequencies::slack(p[i])) << where << " [" << i << "]";
    }
    ASSERT_NEAR(frequencies.mean(i), expectation[i], std::abs(high[i] - low[i]) * Frequencies::slack(p[i]) + 1e-5)
        << where << " [" << i << "]";
  }
}

void check_three_values(const json& row, const Tensor& scale, const Frequencies& frequencies,
                        const std::string& where) {
  const Tensor plus = golden_tensor(row.at("p_plus")), minus = golden_tensor(row.at("p_minus"));
  const Tensor zero = golden_tensor(row.at("p_zero")), expectation = golden_tensor(row.at("expectation"));
  const BlockIndex block(scale.shape(), plus.shape());
  for (int64_t i = 0; i < plus.size(); ++i) {
    const float s = scale[block[i]];
    if (s < 1e-5f) continue;  // three equal values: a channel of zeros
    ASSERT_NEAR(frequencies.of(i, s), plus[i], Frequencies::slack(plus[i])) << where << " [" << i << "]";
    ASSERT_NEAR(frequencies.of(i, -s), minus[i], Frequencies::slack(minus[i])) << where << " [" << i << "]";
    ASSERT_NEAR(frequencies.of(i, 0.0), zero[i], Frequencies::slack(zero[i])) << where << " [" << i << "]";
    ASSERT_NEAR(frequencies.mean(i), expectation[i], 2.0 * s * Frequencies::slack(0.5)) << where << " [" << i << "]";
  }
}

void check_values(const json& row, const Quantizer& quantizer, const std::string& where) {
  const Tensor x = golden_tensor(row.at("x"));
  const QuantizeOptions options = options_of(row);
  const Tolerance tolerance = tolerance_of(row);
  const Quantized quantized = quantizer.quantize(x, options);
  if (row.contains("y")) expect_close(quantized.real, row.at("y"), tolerance, where + " y", stray_elements(row));
  if (row.contains("scale")) expect_scale(quantized.scale, row.at("scale"), tolerance, where + " scale");
  if (row.contains("dx")) {
    expect_close(quantizer.gradient(x, golden_tensor(row.at("g")), options), row.at("dx"), gradient_tolerance_of(row),
                 where + " dx");
  }
  if (row.contains("p_hi")) check_two_values(row, Frequencies(quantizer, x, options), where);
  if (row.contains("p_plus")) check_three_values(row, quantized.scale, Frequencies(quantizer, x, options), where);
}

// The reference's bounds after a call follow the data; nibble's quantizers are immutable.
void check_linear_bounds(const json& row, const QuantizedLinear& quantizer, const std::string& where) {
  if (!row.contains("quantization_scale")) return;
  const Tolerance tolerance = tolerance_of(row);
  Tensor scale = quantizer.quantization_scale(golden_tensor(row.at("x")));
  expect_scale(scale, row.at("quantization_scale"), tolerance, where + " quantization_scale");
  EXPECT_EQ(quantizer.data_type_scale(), row.at("data_type_scale").get<float>()) << where;
  for (const auto& [method, bound] : {std::pair("max", quantizer.highest()), std::pair("min", quantizer.lowest())}) {
    Tensor bounds = scale;
    for (float& value : bounds.data()) value *= bound;
    expect_scale(bounds, row.at(method), tolerance, where + " " + method);
  }
}

void check_methods(const json& row, const Quantizer& quantizer, const std::string& where, Report& report) {
  const std::string name = row.at("class");
  if (row.contains("str") && !row.at("str").is_null()) {
    EXPECT_EQ(quantizer.qkeras_str(), row.at("str").get<std::string>()) << where;
  }
  if (const auto* linear = dynamic_cast<const QuantizedLinear*>(&quantizer)) {
    check_linear_bounds(row, *linear, where);
  } else {
    if (row.contains("min")) {
      EXPECT_TRUE(close(quantizer.min(), golden_tensor(row.at("min"))[0], 1e-6, 0))
          << where << " min " << quantizer.min();
    }
    if (row.contains("max")) {
      EXPECT_TRUE(close(quantizer.max(), golden_tensor(row.at("max"))[0], 1e-6, 0))
          << where << " max " << quantizer.max();
    }
  }
  const bool is_fitted = row.at("params").value("alpha", json()).is_string();
  if (row.contains("range") && !is_fitted) {
    const std::vector<float> range = quantizer.range();
    expect_close(Tensor(Shape{static_cast<int64_t>(range.size())}, range), row.at("range"), {1e-6, 0},
                 where + " range");
  } else if (row.contains("range")) {
    report.difference(name, "range() of a fitted scale is refused, since quantizers do not remember data");
    EXPECT_THROW(quantizer.range(), InvalidArgument) << where;
  }
  for (const char* method : {"str", "min", "max", "range"}) {
    if (!row.contains(std::string(method) + "_error")) continue;
    const std::string reason = listed_method_difference(row, method);
    report.difference(name, reason);
    if (!reason.empty()) continue;
    ASSERT_STREQ(method, "range") << where;
    EXPECT_THROW(quantizer.range(), InvalidArgument) << where;
  }
}

void check_quantizer_row(const json& row, const std::string& where, Report& report) {
  const std::string name = row.at("class");
  const json& params = row.at("params");
  const std::string difference = listed_difference(row);
  report.difference(name, difference);
  const auto run = [&] {
    const QuantizerPtr quantizer = quantizer_from_config(name, params);
    if (row.contains("x") && !row.at("x").is_null()) quantizer->quantize(golden_tensor(row.at("x")), options_of(row));
  };
  if (reference_failed(row) != difference.empty()) {
    if (reference_failed(row)) {
      EXPECT_NO_THROW(run()) << where;
    } else {
      const QuantizerPtr quantizer = quantizer_from_config(name, params);
      check_values(row, *quantizer, where);
      check_methods(row, *quantizer, where, report);
    }
  } else {
    EXPECT_THROW(run(), InvalidArgument) << where;
  }
}

void check_plain_row(const json& row, const PlainFunction& function, const std::string& where) {
  const Tensor x = golden_tensor(row.at("x")), g = golden_tensor(row.at("g"));
  const bool is_through = function.name.ends_with("_through");
  Tensor y = x, dx = g;
  for (int64_t i = 0; i < x.size(); ++i) {
    y[i] = is_through ? through(x[i], function.value(x[i]), /*reference_arithmetic=*/true) : function.value(x[i]);
    dx[i] = g[i] * function.derivative(x[i]);
  }
  expect_close(y, row.at("y"), {}, where + " y");
  expect_close(dx, row.at("dx"), {}, where + " dx");
}

void check_clip_row(const json& row, const std::string& where) {
  const Tensor x = golden_tensor(row.at("x")), g = golden_tensor(row.at("g"));
  const float low = row.at("params").at("min_value"), high = row.at("params").at("max_value");
  Tensor y = x, dx = g;
  for (int64_t i = 0; i < x.size(); ++i) {
    y[i] = clip(x[i], low, std::max(low, high));
    dx[i] = g[i] * clip_gradient(x[i], low, std::max(low, high));
  }
  expect_close(y, row.at("y"), {}, where + " y");
  expect_close(dx, row.at("dx"), {}, where + " dx");
}

TEST(QuantizersGolden, EveryRowAgreesOrIsAListedDifference) {
  Report report;
  if (testing::golden_files("quantizers").empty()) GTEST_SKIP() << "no rows in " << testing::golden_dir();
  for (const std::string& file : testing::golden_files("quantizers")) {
    const json rows = testing::golden_json("quantizers/" + file);
    for (const json& row : rows.at("cases")) {
      const std::string name = row.at("class"), where = row.at("id").get<std::string>() + " " + row.at("params").dump();
      report.row(name);
      const int failures_before = ::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
      try {
        if (name == "clip") {
          check_clip_row(row, where);
        } else if (const auto function = plain_function(name)) {
          check_plain_row(row, *function, where);
        } else {
          check_quantizer_row(row, where, report);
        }
      } catch (const std::exception& error) {
        ADD_FAILURE() << where << ": " << error.what();
      }
      if (::testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count() > failures_before) {
        report.failed(name);
      }
    }
  }
}

}  // namespace
}  // namespace nibble::quant
