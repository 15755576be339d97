// Proven intervals of accumulators against many inputs, and against the worst there is.
//
// NIBBLE_PROOF_INPUTS says how many inputs a layer sees: 2000 unless said otherwise, 100000 in the slow run.
#include "nibble/program/accumulator_proof.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "nibble/core/philox.h"
#include "nibble/program/executor.h"

namespace nibble::program {
namespace {

struct Case {
  const char* name;
  Window window;
  int64_t height, width, in_channels, out_channels, groups;
  Interval input;
  int32_t largest_weight;
  bool bias;
  int64_t spread = 1;  // of a transposed convolution
};

// A program of one layer; its input is a value that is written by hand.
struct Layer {
  Program program;
  const Operation& operation() const { return program.operations[1]; }
  const Accumulate& sums() const { return std::get<Accumulate>(operation().action); }
  const Value& input() const { return program.operations[0].result; }
};

Layer layer_of(const Case& row) {
  Accumulate a;
  a.window = row.window;
  a.in_height = row.height, a.in_width = row.width, a.in_channels = row.in_channels, a.out_channels = row.out_channels;
  a.groups = row.groups;
  a.spread_height = a.spread_width = row.spread;
  const auto extent = [&](int64_t in, int64_t size, int64_t stride, int64_t dilation, int64_t pad) {
    return ((in - 1) * row.spread + 1 + 2 * pad - (size - 1) * dilation - 1) / stride + 1;
  };
  const Window& w = row.window;
  a.out_height = extent(row.height, w.height, w.stride_height, w.dilation_height, w.pad_top);
  a.out_width = extent(row.width, w.width, w.stride_width, w.dilation_width, w.pad_left);
  RandomStream random({11, RandomPurpose::kTest, 0, 0});
  const auto span = static_cast<uint32_t>(2 * row.largest_weight + 1);
  a.weights.resize(static_cast<size_t>(w.height * w.width * row.in_channels / row.groups * row.out_channels));
  for (int32_t& weight : a.weights) weight = static_cast<int32_t>(random.below(span)) - row.largest_weight;
  if (row.bias) {
    for (int64_t c = 0; c < row.out_channels; ++c) a.bias.push_back(static_cast<int64_t>(random.below(2001)) - 1000);
  }
  // Each channel has an interval of its own within the row's; the first has all of it.
  std::vector<Interval> inputs;
  for (int64_t c = 0; c < row.in_channels; ++c) {
    inputs.push_back({row.input.low / (1 + c % 3), row.input.high / (1 + c % 2)});
    if (inputs.back().low > inputs.back().high) inputs.back().low = inputs.back().high;
  }
  Layer layer;
  Value in{Shape{row.height, row.width, row.in_channels}, {1.0f}, inputs};
  Value out{Shape{a.out_height, a.out_width, a.out_channels}, {1.0f}, prove_accumulator(a, inputs)};
  layer.program.operations.push_back({"input", {}, QuantizeInput{}, in});
  layer.program.operations.push_back({"sums", {0}, std::move(a), out});
  return layer;
}

Integers result_of(const Layer& layer, const Integers& x) {
  Integers out(static_cast<size_t>(layer.operation().result.shape.elements()));
  run_operation(layer.program, layer.operation(), {&x}, {}, out);
  return out;
}

const Interval& interval_of(const Layer& layer, size_t element) {
  return at(layer.input().intervals, static_cast<int64_t>(element) % layer.sums().in_channels);
}

// The input that drives one output as far as it goes: high where the weight is positive (or negative, to go down).
Integers worst_input(const Layer& layer, int64_t y, int64_t x, int64_t channel, bool up) {
  const Accumulate& a = layer.sums();
  const int64_t ins = a.in_channels / a.groups, group = channel / (a.out_channels / a.groups);
  Integers input(static_cast<size_t>(layer.input().shape.elements()));
  for (size_t i = 0; i < input.size(); ++i) input[i] = interval_of(layer, i).low;
  for (int64_t tap = 0; tap < a.window.height * a.window.width; ++tap) {
    const int64_t row = y * a.window.stride_height + tap / a.window.width * a.window.dilation_height - a.window.pad_top;
    const int64_t column =
        x * a.window.stride_width + tap % a.window.width * a.window.dilation_width - a.window.pad_left;
    if (row % a.spread_height != 0 || column % a.spread_width != 0) continue;  // a zero between the pixels
    const int64_t iy = row / a.spread_height, ix = column / a.spread_width;
    if (row < 0 || iy >= a.in_height || column < 0 || ix >= a.in_width) continue;
    for (int64_t i = 0; i < ins; ++i) {
      const auto place = static_cast<size_t>((iy * a.in_width + ix) * a.in_channels + group * ins + i);
      const int32_t weight = a.weights[static_cast<size_t>((tap * ins + i) * a.out_channels + channel)];
      const Interval& range = interval_of(layer, place);
      input[place] = (weight > 0) == up ? range.high : range.low;
    }
  }
  return input;
}

// Uniform, or only extremes, or the worst for one output with a tenth of it changed.
Integers some_input(const Layer& layer, uint32_t number) {
  RandomStream random({12, RandomPurpose::kTest, number, 0});
  const Accumulate& a = layer.sums();
  const auto draw = [&](int64_t extent) { return static_cast<int64_t>(random.below(static_cast<uint32_t>(extent))); };
  Integers x(static_cast<size_t>(layer.input().shape.elements()));
  if (number % 3 == 2)
    x = worst_input(layer, draw(a.out_height), draw(a.out_width), draw(a.out_channels), draw(2) == 0);
  for (size_t i = 0; i < x.size(); ++i) {
    const Interval& range = interval_of(layer, i);
    const int64_t inside = range.low + draw(range.high - range.low + 1);
    const int64_t extreme = draw(2) == 0 ? range.low : range.high;
    if (number % 3 == 0) x[i] = inside;
    if (number % 3 == 1 || (number % 3 == 2 && draw(10) == 0)) x[i] = extreme;
  }
  return x;
}

uint32_t inputs_per_layer() {
  const char* wanted = std::getenv("NIBBLE_PROOF_INPUTS");
  return wanted == nullptr ? 2000 : static_cast<uint32_t>(std::strtoul(wanted, nullptr, 10));
}

class Accumulators : public testing::TestWithParam<Case> {};

TEST_P(Accumulators, NoInputLeavesTheInterval) {
  const Layer layer = layer_of(GetParam());
  const Value& value = layer.operation().result;
  for (uint32_t n = 0; n < inputs_per_layer(); ++n) {
    const Integers out = result_of(layer, some_input(layer, n));
    for (size_t e = 0; e < out.size(); ++e) {
      const Interval& proven = at(value.intervals, static_cast<int64_t>(e) % value.channels());
      ASSERT_TRUE(out[e] >= proven.low && out[e] <= proven.high) << "input " << n << ", element " << e;
    }
  }
}

TEST_P(Accumulators, TheWorstInputReachesBothEnds) {
  const Layer layer = layer_of(GetParam());
  const Accumulate& a = layer.sums();
  // A pixel in the middle: its window lies inside. Spread inputs have neighbours that meet other taps.
  for (int64_t c = 0; c < a.out_channels; ++c) {
    Interval reached{INT64_MAX, INT64_MIN};
    for (int64_t k = 0; k < a.spread_height * a.spread_width; ++k) {
      const int64_t y = a.out_height / 2 + k / a.spread_width, x = a.out_width / 2 + k % a.spread_width;
      const auto element = static_cast<size_t>((y * a.out_width + x) * a.out_channels + c);
      reached.high = std::max(reached.high, result_of(layer, worst_input(layer, y, x, c, true))[element]);
      reached.low = std::min(reached.low, result_of(layer, worst_input(layer, y, x, c, false))[element]);
    }
    EXPECT_EQ(reached, layer.operation().result.intervals[static_cast<size_t>(c)]) << c;
  }
}

// In the worst order of the worst input: all that is positive comes first.
TEST_P(Accumulators, TheWorstPartialSumIsThePrinted) {
  const Layer layer = layer_of(GetParam());
  const Accumulate& a = layer.sums();
  const int64_t ins = a.in_channels / a.groups;
  Interval reached;
  for (int64_t c = 0; c < a.out_channels; ++c) {
    const int64_t group = c / (a.out_channels / a.groups), bias = a.bias.empty() ? 0 : a.bias[static_cast<size_t>(c)];
    for (int64_t k = 0; k < a.spread_height * a.spread_width; ++k) {
      Interval sums{std::min<int64_t>(bias, 0), std::max<int64_t>(bias, 0)};
      for (int64_t term = 0; term < a.window.height * a.window.width * ins; ++term) {
        const int64_t tap = term / ins;
        const int64_t row = k / a.spread_width + tap / a.window.width * a.window.dilation_height;
        const int64_t column = k % a.spread_width + tap % a.window.width * a.window.dilation_width;
        if (row % a.spread_height != 0 || column % a.spread_width != 0) continue;
        const int64_t w = a.weights[static_cast<size_t>(term * a.out_channels + c)];
        const Interval& range = layer.input().intervals[static_cast<size_t>(group * ins + term % ins)];
        sums.high += std::max<int64_t>(0, std::max(w * range.low, w * range.high));
        sums.low += std::min<int64_t>(0, std::min(w * range.low, w * range.high));
      }
      reached = {std::min(reached.low, sums.low), std::max(reached.high, sums.high)};
    }
  }
  EXPECT_EQ(a.partial_sums, reached);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Accumulators,
    testing::Values(Case{"Convolution", {3, 3}, 6, 7, 4, 5, 1, {-128, 127}, 127, true},
                    Case{"Padded", {3, 3, 1, 1, 1, 1, 1, 1}, 5, 5, 3, 4, 1, {-8, 15}, 7, true},
                    Case{"Strided", {3, 3, 2, 2, 1, 1, 1, 1}, 8, 8, 3, 4, 1, {0, 15}, 7, false},
                    Case{"Dilated", {2, 2, 1, 1, 2, 3}, 6, 8, 2, 3, 1, {-3, 9}, 7, false},
                    Case{"Grouped", {2, 2}, 4, 4, 6, 9, 3, {-7, 7}, 100, true},
                    Case{"Depthwise", {3, 3, 1, 1, 1, 1, 1, 1}, 5, 5, 8, 8, 8, {0, 255}, 127, false},
                    Case{"Dense", {1, 1}, 1, 1, 100, 6, 1, {0, 15}, 7, true},
                    Case{"OnlyPositive", {2, 2}, 4, 4, 3, 4, 1, {12, 40}, 7, true},
                    Case{"OnlyNegative", {2, 2}, 4, 4, 3, 4, 1, {-40, -12}, 7, true},
                    Case{"Binary", {3, 3}, 5, 5, 16, 8, 1, {-1, 1}, 1, false},
                    Case{"Wide", {1, 1}, 1, 2, 30, 4, 1, {-2000, 2000}, 8191, true},
                    Case{"FortyBits", {1, 1}, 1, 2, 300, 3, 1, {-32768, 32767}, 32767, true},
                    Case{"OverFiftyBits", {3, 3, 1, 1, 1, 1, 1, 1}, 4, 4, 8, 2, 1, {0, (1 << 24) - 1}, 1 << 24, false},
                    Case{"Transposed", {3, 3, 1, 1, 1, 1, 2, 2}, 4, 5, 3, 4, 1, {-8, 15}, 7, true, 2},
                    Case{"TransposedDilated", {2, 2, 1, 1, 2, 1, 2, 1}, 4, 4, 2, 3, 1, {-3, 9}, 7, true, 2},
                    Case{"TransposedPixels", {1, 1}, 4, 4, 3, 4, 1, {12, 40}, 7, true, 3}),
    [](const auto& row) { return row.param.name; });

// Where strides are as large as the kernel, one tap meets each pixel of the result; without a spread all four do.
TEST(AccumulatorBits, TapsThatNeverMeetAreNotAdded) {
  Accumulate a;
  a.window = {2, 2, 1, 1, 1, 1, 1, 1};
  a.in_height = a.in_width = 4, a.out_height = a.out_width = 8;
  a.weights = {3, -5, 7, 2};
  a.spread_height = a.spread_width = 2;
  EXPECT_EQ(prove_accumulator(a, {{0, 10}}), (std::vector<Interval>{{-50, 70}}));
  a.spread_height = 1;
  EXPECT_EQ(prove_accumulator(a, {{0, 10}}), (std::vector<Interval>{{-50, 100}}));
  a.spread_width = 1;
  EXPECT_EQ(prove_accumulator(a, {{0, 10}}), (std::vector<Interval>{{-50, 120}}));
}

// As many bits as any weights ask for, and no wrapping around: 64 stand for all that is more.
TEST(AccumulatorBits, BeyondSixtyFourBitsStayAtTheEnd) {
  const auto bits = [](int64_t inputs, int32_t weight, const Interval& input) {
    Accumulate a;
    a.in_channels = inputs, a.out_channels = 1;
    a.weights.assign(static_cast<size_t>(inputs), weight);
    prove_accumulator(a, {input});
    return a.accumulator_bits();
  };
  const Interval whole{INT32_MIN, INT32_MAX};
  EXPECT_EQ(bits(1, 1, whole), 32);
  EXPECT_EQ(bits(2, 1, whole), 33);
  EXPECT_EQ(bits(1, INT32_MIN, {0, INT32_MAX}), 63);
  EXPECT_EQ(bits(1, INT32_MIN, whole), 64);
  EXPECT_EQ(bits(2, INT32_MIN, whole), 64);
  EXPECT_EQ(bits(1000, INT32_MIN, whole), 64);
  EXPECT_EQ(bits(1000, INT32_MAX, whole), 64);
}

}  // namespace
}  // namespace nibble::program
