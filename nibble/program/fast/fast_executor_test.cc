// The fast executor against the reference where a program is out of the ordinary: operations without a kernel, borders
// and sums that are too wide, inputs at the edges of their codes. Networks: fast_networks_test.
#include "nibble/program/fast/fast_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/fast/compared_programs.h"

namespace nibble::program {
namespace {

using namespace graph::build;

// What has no kernel of its own: borders, bytes and words around it all the same.
TEST(FastExecutor, TakesMovesAndExtremaFromTheReference) {
  const Node in = Input({.shape = {6, 8, 3}, .name = "input"});
  Node x = UpSampling2D({.size = {2, 1}})(conv(Cropping2D({.cropping = {1, 0, 0, 2}})(in), 20, kWeights8));
  x = act(BatchNormalization()(x), "quantized_relu(8,2)");
  Node y = act(conv(graph::build::Permute({.dims = {2, 1, 3}})(x), 20, kWeights4, {.padding = "same"}),
               "quantized_relu(4,2)");
  y = graph::build::Permute({.dims = {2, 1, 3}})(y);
  x = graph::build::layer("Maximum", "largest")(std::vector<Node>{x, y});
  x = graph::build::layer("Minimum", "smallest")(std::vector<Node>{x, y});
  x = act(conv(graph::build::Permute({.dims = {3, 1, 2}})(x), 8, kWeights8, {.padding = "same"}),
          "quantized_bits(10,2,1,alpha=1.0)");
  const Program program = program_of(in, dense(Flatten()(UpSampling2D({})(x)), 10));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
}

// Transposed convolutions before and behind kernels with borders, one that is merged with nothing and one that is none
// of the kind: strides of 1.
TEST(FastExecutor, TakesTransposedConvolutionsFromTheReference) {
  const Node in = Input({.shape = {5, 6, 3}, .name = "input"});
  const auto up = [](const Node& x, QConv2DTransposeOptions o) {
    o.kernel_quantizer = kWeights4;
    return QConv2DTranspose(o)(x);
  };
  Node x = act(conv(in, 20, kWeights4, {.padding = "same"}), "quantized_relu(4,2)");
  x = up(x, {.filters = 18, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "up0"});
  x = act(BatchNormalization()(MaxPooling2D()(x)), "quantized_relu(8,2)");
  x = act(conv(x, 20, kWeights4, {.padding = "same"}), "quantized_relu(4,2)");
  x = up(x, {.filters = 17, .kernel_size = {3, 2}, .name = "up1"});
  x = act(x, "quantized_bits(6,2,1,alpha=1.0)");
  x = act(up(x, {.filters = 4, .kernel_size = {1, 2}, .strides = {2, 3}, .name = "up2"}), "quantized_relu(4,2)");
  const Program program = program_of(in, dense(Flatten()(x), 10));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
}

// An input of bits, and sums of all its channels as a file may describe them.
Program sums_of(const Shape& input, int count, const Accumulate& sums, const Interval& interval) {
  Program program;
  program.input_shape = input;
  program.operations.push_back(
      {"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(1,1,0)")}, Value{input, {1.0f}, {{0, 1}}}});
  for (int i = 0; i < count; ++i) {
    const Shape out{sums.out_height, sums.out_width, sums.out_channels};
    program.operations.push_back({"sums", {i}, sums, Value{out, {1.0f}, {interval}}});
  }
  program.output = count;
  return program;
}

// 4 million elements each, where a value is one.
TEST(FastExecutor, BordersOfAllOperationsTogetherAreBounded) {
  Accumulate one;
  one.window.pad_top = one.window.pad_left = 2000;
  one.weights = {1}, one.weight_bits = 2, one.partial_sums = {0, 1};
  const Program program = sums_of(Shape{1, 1, 1}, 10, one, {0, 1});
  EXPECT_NO_THROW(validate(program));
  EXPECT_LE(FastExecutor(program).activation_bytes(), (int64_t{1} << 24) + 100);
  expect_the_same(program, 1);
}

// 2^21 rows of 2^21 pixels of 2^22 channels are 2^64 elements, or none.
TEST(FastExecutor, BordersThatWrapAroundAreNotTaken) {
  constexpr int64_t kChannels = int64_t{1} << 22;
  Accumulate all;
  all.window.pad_top = all.window.pad_left = (1 << 20) - 1;
  all.window.stride_height = all.window.stride_width = 299593;  // (2^21 - 1) / 7
  all.in_channels = kChannels, all.out_height = all.out_width = 8;
  all.weights.assign(static_cast<size_t>(kChannels), 1);
  all.weight_bits = 2, all.partial_sums = {0, kChannels};
  const Program program = sums_of(Shape{1, 1, kChannels}, 1, all, {0, kChannels});
  EXPECT_NO_THROW(validate(program));
  const FastExecutor executor(program);
  EXPECT_GE(executor.activation_bytes(), kChannels);
  EXPECT_THAT(executor.steps().back(), testing::HasSubstr("reference"));
}

// As above, of bits: 2^33 rows of 2^31 pixels.
TEST(FastExecutor, BordersOfBitsThatWrapAroundAreNotTaken) {
  Accumulate all;
  constexpr int64_t kFar = int64_t{1} << 20;
  all.window = {2, 2, kFar, kFar, kFar - 1, kFar - 1};
  all.in_channels = 32, all.out_height = 1 << 13, all.out_width = 1 << 11;
  all.weights.assign(4 * 32, 1);
  all.weight_bits = 2, all.partial_sums = {-128, 128};
  Program program = sums_of(Shape{1, 1, 32}, 1, all, {-128, 128});
  Operation sums = program.operations.back();
  program.operations.back() = {
      "signs", {0}, Compare{{1}, {-1, 1}, {0, 1}, "signs"}, Value{program.input_shape, {1.0f}, {{-1, 1}}}};
  sums.inputs = {1};
  program.operations.push_back(sums);
  program.output = 2;
  EXPECT_NO_THROW(validate(program));
  EXPECT_THAT(FastExecutor(program).steps().back(), testing::HasSubstr("reference"));
}

// Sums that need 64 bits run as in the reference, and what reads them too; the rest stays fast.
TEST(FastExecutor, TakesWideSumsFromTheReference) {
  const std::string sixteen = "quantized_bits(16,0,1,alpha=1.0)";
  const Node in = Input({.shape = {6, 6, 32}, .name = "input"});
  Node x = conv(act(in, sixteen), 20, sixteen, {.padding = "same", .use_bias = false, .name = "wide"});
  x = act(BatchNormalization()(MaxPooling2D({.name = "pool"})(x)), "quantized_relu(8,2)");
  x = act(conv(x, 8, kWeights8, {.padding = "same", .name = "narrow"}), "quantized_relu(4,2)");
  // Nothing is between the last sums and the output.
  x = conv(act(x, sixteen), 4, "quantized_bits(28,0,1,alpha=1.0)", {.use_bias = false, .name = "last"});
  const Program program = program_of(in, x);
  EXPECT_TRUE(is_wide(program.operations.at(1).result));
  EXPECT_TRUE(is_wide(program.operations.back().result));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
  const std::vector<std::string> steps = FastExecutor(program).steps();
  EXPECT_THAT(steps, testing::Contains("wide: reference"));
  EXPECT_THAT(steps, testing::Contains("pool: reference"));
  EXPECT_THAT(steps, testing::Contains(testing::StartsWith("narrow: sums of bytes")));
}

// Floats around every step of input quantizers: the next ones up and down, ties, infinities.
TEST(FastExecutor, InputsGetTheQuantizersCodes) {
  for (const char* quantizer :
       {"quantized_bits(8,0,1,alpha=1.0)", "quantized_bits(6,1,1,alpha=0.3)", "quantized_relu(5,1)",
        "quantized_bits(4,0,0,alpha=1.7)", "quantized_linear(7,0,alpha=0.123)"}) {
    const Node in = Input({.shape = {2000}, .name = "input"});
    const Program program = program_of(in, dense(act(in, quantizer), 1));
    FastExecutor fast(program, {.keep_results = true});
    Executor reference(program);
    std::vector<float> x(2000), y(1);
    const float step = program.operations[0].result.scale[0];
    for (size_t i = 0; i < x.size(); ++i) {
      const float near = (static_cast<float>(i / 5) - 200.0f) * 0.5f * step;
      const float towards[] = {-HUGE_VALF, -HUGE_VALF, near, HUGE_VALF, HUGE_VALF};
      x[i] = std::nextafter(near, towards[i % 5]);
      if (i % 5 == 0 || i % 5 == 4) x[i] = std::nextafter(x[i], towards[i % 5]);
    }
    x[0] = HUGE_VALF, x[1] = -HUGE_VALF;
    fast.run(x, 1, y);
    reference.run(x, y);
    EXPECT_EQ(fast.result(0), reference.result(0)) << quantizer << ": " << fast.steps()[0];
    EXPECT_THAT(fast.steps()[0], testing::Not(testing::HasSubstr("reference")));
  }
}

TEST(FastExecutor, HasTheReferencesProbabilities) {
  const Node in = Input({.shape = {9, 10, 1}, .name = "input"});
  const Node out = Activation({.activation = "softmax"})(classifier(in, kWeights4, "quantized_relu(4,2)"));
  const Program program = program_of(in, out, {.softmax = SoftmaxForm::kInteger});
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
}

// Whichever group of samples it is in. The second program's input is quantized as in the reference.
TEST(Executors, NameTheSampleAndTheElementThatAreNoNumber) {
  const Node in = Input({.shape = {37}, .name = "input"});
  const Node wide = act(in, "quantized_bits(16,0,1,alpha=1.0)");
  for (const Program& program : {program_of(in, dense(in, 3)), program_of(in, dense(wide, 3))}) {
    for (const int64_t sample : {0, 1, 69}) {
      std::vector<float> x(size_t{70} * 37, 0.5f), y(size_t{70} * 3);
      x[static_cast<size_t>(sample) * 37 + 5] = std::numeric_limits<float>::quiet_NaN();
      FastExecutor fast(program);
      Executor reference(program);
      for (Runner* runner : {static_cast<Runner*>(&fast), static_cast<Runner*>(&reference)}) {
        try {
          runner->run(x, 70, y);
          FAIL() << "nothing was refused";
        } catch (const NanInput& nan) {
          EXPECT_EQ(nan.sample(), sample);
          EXPECT_EQ(nan.element(), 5);
          EXPECT_THAT(nan.what(),
                      testing::HasSubstr(fmt::format("sample {}: element 5 of the input is NaN, which", sample)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace nibble::program
