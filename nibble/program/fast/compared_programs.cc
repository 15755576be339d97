#include "nibble/program/fast/compared_programs.h"

#include <gtest/gtest.h>

#include <vector>

#include "nibble/program/executor.h"
#include "nibble/program/fast/fast_executor.h"

namespace nibble::program {

using namespace graph::build;

Program program_of(const Node& in, const Node& out, const LoweringOptions& options) {
  graph::Model model = build_model({in}, {out}, "network");
  graph::initialize_weights(model, 3);
  RandomStream random({4, RandomPurpose::kTest, 0, 0});
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      const bool variance = weight.name == "moving_variance", gamma = weight.name == "gamma";
      const bool statistics =
          variance || gamma || weight.name == "moving_mean" || weight.name == "beta" || weight.name == "bias";
      if (!statistics) continue;
      for (float& value : weight.value.data()) {
        value = variance ? 0.1f + random.uniform() : (random.uniform() * 2 - 1) * (gamma ? 2.0f : 0.5f);
      }
    }
  }
  return lower(model, options);
}

Node act(const Node& x, const std::string& quantizer) { return QActivation({.activation = quantizer})(x); }

Node conv(const Node& x, int64_t filters, const std::string& weights, QConv2DOptions more) {
  more.filters = filters, more.kernel_quantizer = weights;
  if (more.kernel_size.empty()) more.kernel_size = {3, 3};
  return QConv2D(more)(x);
}

Node dense(const Node& x, int64_t units, const std::string& weights) {
  return QDense({.units = units, .kernel_quantizer = weights, .bias_quantizer = "quantized_bits(8,2,1)"})(x);
}

Node classifier(const Node& in, const std::string& weights, const std::string& activation, int64_t filters) {
  Node x =
      act(BatchNormalization()(conv(in, filters, weights, {.strides = {2, 2}, .padding = "same", .use_bias = false})),
          activation);
  return dense(Flatten()(x), 10, weights);
}

namespace {

std::vector<float> samples_of(const Program& program, int64_t count) {
  std::vector<float> x(static_cast<size_t>(count * program.input_shape.elements()));
  RandomStream random({5, RandomPurpose::kTest, 0, 0});
  for (float& value : x)
    value = random.below(8) == 0 ? (random.below(2) == 0 ? -9.0f : 9.0f) : random.uniform() * 2.2f - 1.1f;
  return x;
}

}  // namespace

void expect_the_same(const Program& program, int64_t count) {
  const std::vector<float> x = samples_of(program, count);
  std::vector<float> expected(static_cast<size_t>(count * program.output_shape().elements())), found(expected);
  Executor reference(program);
  FastExecutor fast(program);
  static_cast<Runner&>(reference).run(x, count, expected);
  fast.run(x, count, found);
  EXPECT_EQ(found, expected) << testing::PrintToString(fast.steps());
}

void expect_the_same_integers(const Program& program) {
  Executor reference(program);
  FastExecutor fast(program, {.keep_results = true});
  const std::vector<float> x = samples_of(program, 3);
  std::vector<float> output(static_cast<size_t>(3 * program.output_shape().elements()));
  static_cast<Runner&>(reference).run(x, 3, output);
  fast.run(x, 3, output);
  for (size_t i = 0; i < program.operations.size(); ++i) {
    EXPECT_EQ(fast.result(static_cast<int>(i)), reference.result(static_cast<int>(i))) << program.operations[i].layer;
  }
}

}  // namespace nibble::program
