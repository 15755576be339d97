// Integer programs against the float arithmetic they stand for, and what cannot be one.
#include "nibble/program/lowering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/program/accumulator_proof.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/executor.h"
#include "nibble/program/threshold_search.h"
#include "nibble/quant/affine/pact_dorefa.h"

namespace nibble::program {
namespace {

using namespace graph::build;

const Accumulate& accumulate_of(const Program& program, const std::string& layer) {
  for (const Operation& operation : program.operations) {
    const auto* action = std::get_if<Accumulate>(&operation.action);
    if (action != nullptr && operation.layer == layer) return *action;
  }
  throw std::runtime_error("no accumulator of " + layer);
}

graph::Model classifier(const std::string& kernel = "quantized_bits(4,0,1,alpha=1.0)",
                        const std::string& activation = "quantized_relu(4,2)") {
  auto in = Input({.shape = {6, 6, 2}, .name = "input"});
  auto x = QConv2D({.filters = 5,
                    .kernel_size = {3, 3},
                    .strides = {2, 2},
                    .padding = "same",
                    .use_bias = false,
                    .kernel_quantizer = kernel,
                    .name = "conv"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  x = QActivation({.activation = activation, .name = "act"})(x);
  x = QDense({.units = 3, .kernel_quantizer = kernel, .bias_quantizer = "quantized_bits(8,2,1)", .name = "dense"})(
      Flatten({.name = "flatten"})(x));
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  graph::Model model = build_model({in}, {x}, "classifier");
  graph::initialize_weights(model, 4);
  RandomStream random({4, RandomPurpose::kTest, 0, 0});
  for (const char* weight : {"gamma", "beta", "moving_mean", "moving_variance"}) {
    for (float& value : model.layer("bn").find_weight(weight)->value.data()) {
      value = std::string(weight) == "moving_variance" ? 0.2f + random.uniform() : random.uniform() * 2 - 1;
    }
  }
  return model;
}

// ---- thresholds ---------------------------------------------------------------------

struct ThresholdCase {
  const char* name;
  const char* quantizer;
  Interval interval;
  float scale;
  ChannelFunction function;
};

ChannelFunction chain(std::vector<Stage> stages) {
  ChannelFunction function;
  for (Stage& stage : stages) function.push(std::move(stage));
  return function;
}

ChannelFunction curve(const char* name) { return chain({Curve{quant::activation_curve(name)}}); }

class EveryAccumulator : public testing::TestWithParam<ThresholdCase> {};

// The decision of the float arithmetic, for each integer of the interval.
TEST_P(EveryAccumulator, GetsTheQuantizersValue) {
  const ThresholdCase& row = GetParam();
  register_affine_grids();
  const auto quantizer = quant::get_quantizer(row.quantizer);
  const Thresholds found =
      find_thresholds({{row.interval}, {row.scale}, row.function, quantizer, "layer", int64_t{1} << 24});
  for (int64_t x = row.interval.low; x <= row.interval.high; ++x) {
    const float input = row.function(static_cast<float>(x) * row.scale, 0);
    const float expected = quantizer->quantize(Tensor(Shape{1}, input)).real[0];
    const auto& thresholds = found.compare.thresholds;
    const auto passed = std::upper_bound(thresholds.begin(), thresholds.end(), x) - thresholds.begin();
    ASSERT_EQ(static_cast<float>(found.compare.values[static_cast<size_t>(passed)]) * found.scale, expected) << x;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, EveryAccumulator,
    testing::Values(
        ThresholdCase{"Relu", "quantized_relu(4,2)", {-3000, 3000}, 0x1p-6f, {}},
        ThresholdCase{"Bits", "quantized_bits(6,1,1,alpha=1.0)", {-900, 1100}, 0x1p-7f, {}},
        ThresholdCase{"BitsWithAlpha", "quantized_bits(3,0,1,alpha=0.3)", {-500, 500}, 0x1p-7f, {}},
        ThresholdCase{"Binary", "binary(alpha=1)", {-70, 65}, 0.5f, {}},
        ThresholdCase{"Binary01", "binary(use_01=True,alpha=1)", {-70, 65}, 0.5f, {}},
        ThresholdCase{"Ternary", "ternary(alpha=1,threshold=0.7)", {-70, 65}, 0x1p-4f, {}},
        ThresholdCase{"Tanh", "quantized_tanh(5)", {-700, 650}, 0x1p-7f, {}},
        ThresholdCase{"Sigmoid", "quantized_sigmoid(5)", {-900, 900}, 0x1p-7f, {}},
        ThresholdCase{"Po2", "quantized_po2(4,4)", {-900, 900}, 0x1p-6f, {}},
        ThresholdCase{"ReluPo2", "quantized_relu_po2(4,4)", {-900, 900}, 0x1p-6f, {}},
        ThresholdCase{"Clip", "affine_clip(0.7318,4)", {-900, 900}, 0.00137f, {}},
        ThresholdCase{
            "ClipAfterBatchNorm", "affine_clip(1,8)", {-3000, 3000}, 0.0027f, chain({Affine{{0.3137f}, {0.171f}}})},
        ThresholdCase{"NegativeSlope", "quantized_relu(5,1,negative_slope=0.25)", {-900, 900}, 0x1p-6f, {}},
        ThresholdCase{"BatchNorm", "quantized_relu(4,2)", {-3000, 3000}, 0x1p-6f, chain({Affine{{0.3137f}, {0.171f}}})},
        ThresholdCase{
            "FallingBatchNorm", "quantized_relu(4,2)", {-3000, 3000}, 0x1p-6f, chain({Affine{{-0.3137f}, {0.171f}}})},
        ThresholdCase{"ConstantBatchNorm", "quantized_relu(4,2)", {-30, 30}, 0x1p-6f, chain({Affine{{0.0f}, {0.7f}}})},
        ThresholdCase{"BiasThenRelu6",
                      "quantized_bits(8,3,1,alpha=1)",
                      {-3000, 3000},
                      0x1p-6f,
                      chain({Offset{{0.1f}}, Rectify{0, 0, 6, true}})},
        ThresholdCase{"Average", "quantized_bits(8,3,1,alpha=1)", {-300, 300}, 0x1p-3f, chain({Divide{49}})},
        ThresholdCase{"RealSigmoid", "quantized_relu(6,0)", {-900, 900}, 0x1p-7f, curve("sigmoid")},
        ThresholdCase{"RealTanh", "quantized_bits(5,0,1,alpha=1)", {-900, 900}, 0.0057f, curve("tanh")},
        ThresholdCase{"Elu", "quantized_bits(6,2,1,alpha=1)", {-900, 900}, 0x1p-7f, curve("elu")},
        ThresholdCase{"Swish", "quantized_bits(8,2,1,alpha=1)", {-3000, 3000}, 0.0027f, curve("swish")},
        ThresholdCase{"SwishAbove", "quantized_bits(8,2,1,alpha=1)", {100, 3000}, 0.0027f, curve("swish")},
        ThresholdCase{"SwishBelow", "quantized_bits(8,0,1,alpha=1)", {-3000, -1000}, 0.0027f, curve("swish")},
        ThresholdCase{"FineMish", "quantized_bits(12,2,1,alpha=1)", {-300000, 200000}, 0x1p-15f, curve("mish")},
        ThresholdCase{"GeluAfterFallingBatchNorm",
                      "quantized_bits(8,2,1,alpha=1)",
                      {-3000, 3000},
                      0x1p-8f,
                      chain({Affine{{-0.9f}, {0.3f}}, Curve{quant::activation_curve("gelu")}})},
        ThresholdCase{"SwishTwice",
                      "quantized_bits(10,1,1,alpha=1)",
                      {-3000, 3000},
                      0x1p-8f,
                      chain({Curve{quant::activation_curve("swish")}, Affine{{-12.0f}, {-1.5f}},
                             Curve{quant::activation_curve("swish")}})},
        ThresholdCase{"EluLayer", "quantized_bits(8,1,1,alpha=1)", {-3000, 3000}, 0x1p-8f, chain({Elu{0.7f}})},
        ThresholdCase{"FlatElu", "quantized_bits(8,1,1,alpha=1)", {-3000, 3000}, 0x1p-8f, chain({Elu{0.0f}})},
        ThresholdCase{"Slope", "quantized_bits(8,1,1,alpha=1)", {-3000, 3000}, 0.0027f, chain({Slope{{0.3f}}})},
        ThresholdCase{"FallingSlope", "quantized_bits(8,1,1,alpha=1)", {-3000, 3000}, 0.0027f, chain({Slope{{-0.3f}}})},
        ThresholdCase{"FallingSlopeAfterFallingBatchNorm",
                      "quantized_bits(8,2,1,alpha=1)",
                      {-3000, 3000},
                      0x1p-8f,
                      chain({Affine{{-0.9f}, {0.3f}}, Slope{{-1.7f}}, Affine{{0.6f}, {-0.4f}}})},
        ThresholdCase{"Hswish", "quantized_hswish(8,2,1)", {-3000, 3000}, 0.0027f, {}},
        // its lowest value, -3/8, is half way between two codes
        ThresholdCase{"HswishAtATie", "quantized_hswish(4,1,1)", {-600000, 600000}, 0x1p-17f, {}},
        ThresholdCase{"FineHswish", "quantized_hswish(12,2,1,relu_shift=4)", {-5000000, -3000000}, 0x1.75cp-22f, {}},
        ThresholdCase{
            "SteepHswish", "quantized_hswish(8,2,1,relu_shift=4,relu_upper_bound=1.5)", {-3000, 3000}, 0x1p-8f, {}}),
    [](const auto& row) { return row.param.name; });

// The grid of PACT and of DoReFa's activations is the trained quantizer, bit for bit.
TEST(AffineClip, IsPactAndDorefa) {
  register_affine_grids();
  RandomStream random({6, RandomPurpose::kTest, 0, 0});
  std::vector<float> x(5000), y(x.size());
  for (const int bits : {1, 2, 3, 4, 7, 8, 12, 16}) {
    const float alpha = 0.05f + 6.0f * random.uniform();
    for (float& v : x) v = alpha * (2.0f * random.uniform() - 0.5f);
    x[0] = alpha, x[1] = 0.0f, x[2] = 1.0f;
    const auto expect_equal = [&](const std::string& text) {
      const auto quantizer = quant::get_quantizer(text);
      const Tensor real = quantizer->quantize(Tensor(Shape{static_cast<int64_t>(x.size())}, x)).real;
      const quant::Encoded encoded = quantizer->encode(Tensor(Shape{static_cast<int64_t>(x.size())}, x));
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(real[static_cast<int64_t>(i)], y[i]) << text << " of " << x[i];
        ASSERT_EQ(static_cast<float>(encoded.codes[i]) * encoded.scale[0], y[i]) << text << " of " << x[i];
      }
    };
    affine::dorefa_quantize_activations<float>(x, bits, y);
    expect_equal(fmt::format("affine_clip(1,{})", bits));
    if (bits == 1) continue;
    affine::pact_quantize<float>(x, alpha, bits, y);
    expect_equal(fmt::format("affine_clip({},{})", format_value(double{alpha}), bits));
  }
}

// ---- proofs --------------------------------------------------------------------------

TEST(Proof, BoundsAreReachedByTheWorstInputs) {
  const graph::Model model = classifier();
  const Program program = lower(model);
  const Accumulate& conv = accumulate_of(program, "conv");
  // The input that is highest where the weight is positive, seen by a pixel that no border cuts.
  const Interval x = program.operations[0].result.intervals[0];
  Accumulate inner = conv;
  inner.in_height = inner.in_width = 3, inner.out_height = inner.out_width = 1;
  inner.window.pad_top = inner.window.pad_left = 0;
  const auto intervals = prove_accumulator(inner, {x});
  for (int64_t o = 0; o < conv.out_channels; ++o) {
    Interval reached;
    for (size_t i = 0; i < 18; ++i) {
      const int64_t w = conv.weights[i * 5 + static_cast<size_t>(o)];
      reached.high += w * (w > 0 ? x.high : x.low);
      reached.low += w * (w > 0 ? x.low : x.high);
    }
    EXPECT_EQ(intervals[static_cast<size_t>(o)], reached);
  }
}

TEST(Proof, NoInputLeavesTheIntervals) {
  const Program program = lower(classifier());
  Executor executor(program);
  std::vector<float> output(3);
  for (uint32_t n = 0; n < 2000; ++n) {
    RandomStream random({9, RandomPurpose::kTest, n, 0});
    std::vector<float> sample(72);
    // Extremes too: they are where bounds are near.
    for (float& value : sample) value = n % 2 == 0 ? random.uniform() * 2 - 1 : (random.below(2) == 0 ? -9.0f : 9.0f);
    executor.run(sample, output);
    for (size_t i = 0; i < program.operations.size(); ++i) {
      const Value& value = program.operations[i].result;
      const auto result = executor.result(static_cast<int>(i));
      for (size_t e = 0; e < result.size(); ++e) {
        const Interval& interval = at(value.intervals, static_cast<int64_t>(e) % value.channels());
        ASSERT_GE(result[e], interval.low) << program.operations[i].layer;
        ASSERT_LE(result[e], interval.high) << program.operations[i].layer;
      }
    }
  }
}

struct BitsCase {
  Interval interval;
  int bits;
};

TEST(Proof, BitsOfAnInterval) {
  for (const BitsCase& row : std::vector<BitsCase>{{{0, 0}, 1},
                                                   {{0, 1}, 1},
                                                   {{0, 255}, 8},
                                                   {{0, 256}, 9},
                                                   {{-1, 0}, 1},
                                                   {{-1, 1}, 2},
                                                   {{-128, 127}, 8},
                                                   {{-129, 0}, 9},
                                                   {{-1, 128}, 9}}) {
    EXPECT_EQ(bits_of(row.interval), row.bits) << row.interval.low << ".." << row.interval.high;
  }
}

// ---- lowering -----------------------------------------------------------------------------

TEST(Lowering, ScalesPerChannelStayPerChannel) {
  const Program program = lower(classifier("quantized_bits(4,0,1,alpha='auto')"));
  for (const Operation& operation : program.operations) {
    if (operation.layer != "conv") continue;
    EXPECT_EQ(operation.result.scale.size(), 5u);
  }
}

// ---- sums beyond 32 bits ---------------------------------------------------------------------

constexpr const char* kSixteenBits = "quantized_bits(16,0,1,alpha=1.0)";

graph::Model wide_dense() {
  auto in = Input({.shape = {512}, .name = "input"});
  auto x = QActivation({.activation = kSixteenBits, .name = "first"})(in);
  x = QDense({.units = 4, .use_bias = false, .kernel_quantizer = kSixteenBits, .name = "dense"})(x);
  x = QActivation({.activation = "quantized_bits(16,5,1,alpha=1.0)", .name = "last"})(x);
  graph::Model model = build_model({in}, {x}, "wide");
  graph::initialize_weights(model, 3);
  return model;
}

// Random ones, and for each unit those that take its sum to both ends.
Tensor samples_of_wide_dense(const graph::Model& model) {
  Tensor x(Shape{16, 512});
  const Tensor& kernel = model.find_layer("dense")->find_weight("kernel")->value;
  RandomStream random({8, RandomPurpose::kTest, 0, 0});
  for (int64_t n = 0; n < 16; ++n) {
    for (int64_t i = 0; i < 512; ++i) {
      const bool up = kernel[i * 4 + n / 2 % 4] > 0.0f;
      x[n * 512 + i] = n < 8 ? (up == (n % 2 == 0) ? 1.0f : -1.0f) : random.uniform() * 2 - 1;
    }
  }
  return x;
}

TEST(Lowering, SumsOfMoreThan32BitsAreExact) {
  const graph::Model model = wide_dense();
  const Program program = lower(model);
  validate(program);
  const Accumulate& sums = accumulate_of(program, "dense");
  EXPECT_GT(sums.accumulator_bits(), 33);
  EXPECT_FALSE(sums.is_exact_in_float) << "float32 has 24 bits";
  const auto sixteen = quant::get_quantizer(kSixteenBits),
             last = quant::get_quantizer("quantized_bits(16,5,1,alpha=1.0)");
  const Tensor x = samples_of_wide_dense(model);
  const std::vector<int32_t> codes = sixteen->encode(x).codes;
  const std::vector<int32_t> weights = sixteen->encode(model.find_layer("dense")->find_weight("kernel")->value).codes;
  Executor executor(program);
  std::vector<float> output(4);
  __int128 largest = 0;
  for (size_t n = 0; n < 16; ++n) {
    executor.run(x.data().subspan(n * 512, 512), output);
    for (size_t c = 0; c < 4; ++c) {
      __int128 sum = 0;
      for (size_t i = 0; i < 512; ++i) sum += static_cast<__int128>(codes[n * 512 + i]) * weights[i * 4 + c];
      largest = std::max(largest, sum < 0 ? -sum : sum);
      ASSERT_EQ(executor.result(1)[c], static_cast<int64_t>(sum)) << n << ", " << c;
      const float real = static_cast<float>(static_cast<double>(sum) * 0x1p-30);
      EXPECT_EQ(output[c], last->quantize(Tensor(Shape{1}, real)).real[0]) << n << ", " << c;
    }
  }
  EXPECT_GT(static_cast<double>(largest), 0x1p32) << "samples reach beyond 32 bits";
}

TEST(Lowering, SoftmaxInIntegersIsNearTheFloatOne) {
  const graph::Model model = classifier();
  const Program in_float = lower(model), in_integers = lower(model, {.softmax = SoftmaxForm::kInteger});
  validate(in_integers);
  EXPECT_FALSE(in_integers.softmax);
  EXPECT_EQ(name_of(in_integers.operations.back().action), "softmax");
  Tensor x(Shape{300, 6, 6, 2});
  RandomStream random({8, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = random.uniform() * 2 - 1;
  const Tensor expected = run(in_float, x), found = run(in_integers, x);
  for (int64_t n = 0; n < 300; ++n) {
    const auto row = [&](const Tensor& t) { return t.data().subspan(static_cast<size_t>(n) * 3, 3); };
    for (size_t c = 0; c < 3; ++c) EXPECT_NEAR(row(found)[c], row(expected)[c], 0x1p-15 + 1e-6);  // float's own error
    EXPECT_EQ(std::max_element(row(found).begin(), row(found).end()) - row(found).begin(),
              std::max_element(row(expected).begin(), row(expected).end()) - row(expected).begin());
  }
}

TEST(Lowering, SoftmaxInIntegersNeedsIntegers) {
  const Node in = Input({.shape = {6}});
  Node x = QDense({.units = 3, .kernel_quantizer = "ternary(alpha=1)", .name = "dense"})(in);
  x = Activation({.activation = "softmax", .name = "softmax"})(BatchNormalization({.name = "bn"})(x));
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 1);
  EXPECT_TRUE(lower(model).softmax);
  try {
    lower(model, {.softmax = SoftmaxForm::kInteger});
    FAIL() << "nothing was refused";
  } catch (const Unsupported& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("layer 'softmax': its logits are real numbers"));
  }
}

TEST(Lowering, EveryWeightQuantizerHasIntegers) {
  for (const char* text :
       {"binary(alpha=1)", "ternary(alpha='auto_po2')", "stochastic_ternary", "stochastic_binary", "quantized_po2(4,1)",
        "quantized_bits(8,0,1)", "quantized_linear(4,0,alpha='auto')", "quantized_bits(2,1,1,alpha=1.0)"}) {
    const Program program = lower(classifier(text));
    EXPECT_LE(accumulate_of(program, "conv").accumulator_bits(), 32) << text;
  }
}

}  // namespace
}  // namespace nibble::program
