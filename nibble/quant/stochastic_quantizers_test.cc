// The draws of every stochastic quantizer follow the probabilities of the specification: a chi-square test on 10^6
// draws a row, with fixed keys, so that it passes always or never.
//
// A correct quantizer would fail with probability 1e-9 a row; one whose probabilities are all wrong by 0.01
// fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/quantizer.h"
#include "support/golden.h"

namespace nibble::quant {
namespace {

using nlohmann::json;
using testing::close;
using testing::golden_tensor;

constexpr int64_t kDraws = 1'000'000;

// One of the few values that an element may take.
struct Outcome {
  double value = 0.0, probability = 0.0;
  int64_t count = 0;
};
using Outcomes = std::vector<Outcome>;

// Outcomes of equal value are one: high and low of a saturated element, the three of a channel of zeros.
void add_outcome(Outcomes& outcomes, double value, double probability) {
  for (Outcome& outcome : outcomes) {
    if (!close(outcome.value, value, 1e-5, 1e-6)) continue;
    outcome.probability += probability;
    return;
  }
  outcomes.push_back({.value = value, .probability = probability});
}

std::vector<Outcomes> two_values(const json& row) {
  const Tensor p = golden_tensor(row.at("p_hi")), high = golden_tensor(row.at("y_hi")),
               low = golden_tensor(row.at("y_lo"));
  std::vector<Outcomes> elements(static_cast<size_t>(p.size()));
  for (int64_t i = 0; i < p.size(); ++i) {
    add_outcome(elements[static_cast<size_t>(i)], high[i], p[i]);
    add_outcome(elements[static_cast<size_t>(i)], low[i], 1.0 - p[i]);
  }
  return elements;
}

std::vector<Outcomes> three_values(const json& row, const Tensor& scale) {
  const Tensor plus = golden_tensor(row.at("p_plus")), zero = golden_tensor(row.at("p_zero")),
               minus = golden_tensor(row.at("p_minus"));
  const BlockIndex block(scale.shape(), plus.shape());
  std::vector<Outcomes> elements(static_cast<size_t>(plus.size()));
  for (int64_t i = 0; i < plus.size(); ++i) {
    const double s = scale[block[i]];
    add_outcome(elements[static_cast<size_t>(i)], s, plus[i]);
    add_outcome(elements[static_cast<size_t>(i)], 0.0, zero[i]);
    add_outcome(elements[static_cast<size_t>(i)], -s, minus[i]);
  }
  return elements;
}

// The smallest chi-square that happens with probability 1e-9 (Wilson and Hilferty 1931).
double rarest_chi_square(double degrees) {
  constexpr double kDeviations = 6.0;
  if (degrees == 0.0) return 0.0;
  const double a = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1.0 - a + kDeviations * std::sqrt(a), 3);
}

// Counts draws of a tensor until there are kDraws of its elements in all.
//   returns  how often each element was drawn
int64_t count_draws(const Quantizer& quantizer, const Tensor& x, QuantizeOptions options,
                    std::vector<Outcomes>& elements) {
  const int64_t repeats = (kDraws + x.size() - 1) / x.size();
  for (int64_t step = 0; step < repeats; ++step) {
    options.random = {
        .seed = 20, .purpose = RandomPurpose::kQuantizer, .layer = 3, .step = static_cast<uint32_t>(step)};
    const Tensor y = quantizer.quantize(x, options).real;
    for (int64_t i = 0; i < y.size(); ++i) {
      for (Outcome& outcome : elements[static_cast<size_t>(i)]) {
        if (!close(y[i], outcome.value, 1e-5, 1e-6)) continue;
        ++outcome.count;
        break;
      }
    }
  }
  return repeats;
}

void expect_chi_square(const std::vector<Outcomes>& elements, int64_t repeats, const std::string& where) {
  constexpr double kFewest = 5.0;  // expected counts below follow no normal distribution
  double chi_square = 0.0, degrees = 0.0;
  for (size_t i = 0; i < elements.size(); ++i) {
    int64_t counted = 0;
    int frequent = 0;
    for (const Outcome& outcome : elements[i]) {
      const double expected = outcome.probability * static_cast<double>(repeats);
      counted += outcome.count;
      if (expected < kFewest) {
        EXPECT_LE(outcome.count, 40) << where << " [" << i << "] value " << outcome.value;
        continue;
      }
      ++frequent;
      chi_square += std::pow(static_cast<double>(outcome.count) - expected, 2) / expected;
    }
    EXPECT_EQ(counted, repeats) << where << " [" << i << "]: a value that the rows do not name";
    degrees += std::max(frequent - 1, 0);
  }
  // A lone frequent outcome may miss the few counts of its rare neighbours: 40^2 / 20000 each.
  EXPECT_LE(chi_square, rarest_chi_square(degrees) + 0.1 * static_cast<double>(elements.size())) << where;
}

QuantizeOptions options_of(const json& row) {
  QuantizeOptions options;
  if (row.at("phase") == "training") options.phase = Phase::kTraining;
  const std::string sigmoid = row.value("internal_sigmoid", "hard");
  if (sigmoid == "smooth") options.internal_sigmoid = InternalSigmoid::kSmooth;
  if (sigmoid == "real") options.internal_sigmoid = InternalSigmoid::kReal;
  return options;
}

// A text that only contains "po2" is no alpha here, and max_value 0 is refused (docs/differences.md).
bool is_listed_refusal(const json& row) {
  const json alpha = row.at("params").value("alpha", json()), max_value = row.at("params").value("max_value", json());
  return (alpha.is_string() && alpha != "auto" && alpha != "auto_po2") || max_value == 0;
}

void check_row(const json& row) {
  const std::string where = row.at("id").get<std::string>() + " " + row.at("params").dump();
  if (is_listed_refusal(row)) {
    EXPECT_THROW(quantizer_from_config(row.at("class").get<std::string>(), row.at("params")), InvalidArgument) << where;
    return;
  }
  const QuantizerPtr quantizer = quantizer_from_config(row.at("class").get<std::string>(), row.at("params"));
  const Tensor x = golden_tensor(row.at("x"));
  const QuantizeOptions options = options_of(row);
  auto elements = row.contains("p_hi") ? two_values(row) : three_values(row, quantizer->quantize(x, options).scale);
  const int64_t repeats = count_draws(*quantizer, x, options, elements);
  expect_chi_square(elements, repeats, where);
}

TEST(StochasticQuantizers, DrawsFollowTheRecordedProbabilities) {
  if (testing::golden_files("quantizers").empty()) GTEST_SKIP() << "no rows in " << testing::golden_dir();
  std::map<std::string, int> rows;
  for (const std::string& file : testing::golden_files("quantizers")) {
    const json content = testing::golden_json("quantizers/" + file);
    for (const json& row : content.at("cases")) {
      if (!row.contains("p_hi") && !row.contains("p_plus")) continue;
      ++rows[row.at("class")];
      check_row(row);
    }
  }
  for (const auto& [name, count] : rows) std::printf("%-22s %3d rows of 10^6 draws\n", name.c_str(), count);
}

// Stochastic rounding that no recorded row draws: its mean is the value before rounding, where nothing clips.
struct Unbiased {
  const char* text;
  float x;
  double mean, spacing;  // spacing of the two values that are drawn
};

class RoundingRow : public ::testing::TestWithParam<Unbiased> {};
TEST_P(RoundingRow, DrawsTwoNeighboursWhoseMeanIsTheUnroundedValue) {
  const Unbiased& row = GetParam();
  const QuantizerPtr quantizer = get_quantizer(row.text);
  ASSERT_TRUE(quantizer->is_stochastic());
  Tensor x(Shape{kDraws}, row.x);
  const QuantizeOptions options{.phase = Phase::kTraining,
                                .random = {.seed = 21, .purpose = RandomPurpose::kQuantizer}};
  const Tensor y = quantizer->quantize(x, options).real;
  const double high = *std::max_element(y.data().begin(), y.data().end());
  Outcomes outcomes{{.value = high, .probability = (row.mean - (high - row.spacing)) / row.spacing},
                    {.value = high - row.spacing, .probability = (high - row.mean) / row.spacing}};
  for (float value : y.data()) {
    for (Outcome& outcome : outcomes) outcome.count += close(value, outcome.value, 1e-5, 1e-6) ? 1 : 0;
  }
  ASSERT_GT(outcomes[0].probability, 0.0);
  ASSERT_GT(outcomes[1].probability, 0.0);
  expect_chi_square({outcomes}, kDraws, row.text);
}
// Halves of a code are drawn by relu, tanh and sigmoid: the reference's precision 0.5.
INSTANTIATE_TEST_SUITE_P(
    Rows, RoundingRow,
    ::testing::Values(Unbiased{"quantized_relu(4,1,use_stochastic_rounding=True)", 0.33f, 0.33, 1.0 / 16},
                      Unbiased{"quantized_relu(4,1,negative_slope=0.25,use_stochastic_rounding=True)", -0.9f, -0.225,
                               1.0 / 8},
                      Unbiased{"quantized_tanh(4,use_stochastic_rounding=True)", 0.2f, 0.2, 1.0 / 16},
                      Unbiased{"quantized_sigmoid(4,use_stochastic_rounding=True)", -0.2f, 0.4, 1.0 / 32},
                      Unbiased{"quantized_bits(4,1,use_stochastic_rounding=True)", 0.3f, 0.3, 1.0 / 4},
                      Unbiased{"quantized_linear(4,1,use_stochastic_rounding=True)", 0.3f, 0.3, 1.0 / 4},
                      Unbiased{"quantized_po2(4,8,use_stochastic_rounding=True)", -1.3f, -1.3, 1.0},
                      Unbiased{"quantized_relu_po2(4,8,use_stochastic_rounding=True)", 3.3f, 3.3, 2.0}));

// One channel of x, behind a 1 that fixes its range.
Tensor behind_one(float x) {
  Tensor t(Shape{kDraws, 1}, x);
  t[0] = 1.0f;
  return t;
}

void expect_share(const char* text, float x, double value, double probability) {
  const QuantizeOptions options{.phase = Phase::kTraining,
                                .random = {.seed = 22, .purpose = RandomPurpose::kQuantizer}};
  const Tensor y = get_quantizer(text)->quantize(behind_one(x), options).real;
  Outcomes outcomes{{.value = value, .probability = probability}, {.value = 0.0, .probability = 1.0 - probability}};
  for (int64_t i = 0; i < kDraws; ++i) ++outcomes[close(y[i], value, 1e-5, 0.0) ? 0 : 1].count;
  expect_chi_square({outcomes}, kDraws, text);
}

// 0.1 in [-1, 1] is 0.4 eighths of the range 2: up with 0.4, else 0, whose sign is drawn.
TEST(StochasticRounding, OfBinaryDrawsTheSignsOfSmallValues) {
  expect_share("binary(alpha=1.0,use_stochastic_rounding=True)", 0.1f, 1.0, 0.4 + 0.6 / 2);
}

// The first scale is the power of two nearest to 2/3 max|x|, 1/2: 0.2 is 1.2 thirds of it, and two thirds are above its
// half. The scale that is fitted then is that nearest to 0.2.
TEST(StochasticRounding, OfTernaryDrawsWhatIsLarge) {
  const char* text = "ternary(alpha='auto_po2',number_of_unrolls=1,use_stochastic_rounding=True)";
  expect_share(text, 0.2f, 0.25, 0.2);
}

}  // namespace
}  // namespace nibble::quant
