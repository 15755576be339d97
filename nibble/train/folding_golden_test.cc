// Layers that remember: folded batch norms, quantized batch norms, adaptive activations; consecutive calls against
// recorded rows.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/train/golden_layer.h"
#include "nibble/train/network.h"
#include "nibble/transform/batch_norm_folding.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using nlohmann::json;
using testing::golden_json;

json cases(const std::string& file) {
  const json document = golden_json(file);
  return document.is_null() ? json::array() : document.at("cases");
}

const Parameter& parameter_of(const Network& network, const std::string& name) {
  const graph::Layer& layer = network.structure().layers.back();
  for (const Parameter& parameter : network.parameters()) {
    if (layer.weights[static_cast<size_t>(parameter.weight)].name == name) return parameter;
  }
  throw std::runtime_error("no weight " + name);
}

// One call; checks the value and, where there are, the gradients.
void check_call(Network& network, const json& step, bool training, uint32_t number) {
  for (const Parameter& parameter : network.parameters()) parameter.value.mutable_grad().reset();
  const at::Tensor y =
      network.forward(golden_torch(step.at("x")), training ? Pass::kTraining : Pass::kInference, number, false);
  expect_golden(y, step.at("y"), "y");
  if (!step.contains("g")) return;
  y.backward(golden_torch(step.at("g")));
  for (const auto& [name, expected] : step.at("grads").items()) {
    const Parameter& parameter = parameter_of(network, name);
    if (expected.is_null()) continue;
    // A gradient that is 0 by cancellation is a difference of numbers of the size of g.
    expect_golden(parameter.value.grad(), expected, "gradient of " + name, 5e-5);
  }
}

class FoldingGolden : public ::testing::TestWithParam<std::tuple<json, bool>> {};

TEST_P(FoldingGolden, ValuesStatisticsAndGradients) {
  const auto& [row, fused] = GetParam();
  graph::Model model = golden_model(row);
  set_golden_weights(model, row.at("initial_weights"));
  Network network(model, fused, 1);
  const bool training = row.at("training").get<bool>();
  uint32_t number = 0;
  for (const json& step : row.at("steps")) {
    check_call(network, step, training, number++);
    expect_golden(parameter_of(network, "moving_mean").value, step.at("moving_mean_after"), "moving_mean");
    expect_golden(parameter_of(network, "moving_variance").value, step.at("moving_variance_after"), "moving_variance");
    if (step.contains("iteration_after")) {
      EXPECT_EQ(parameter_of(network, "iteration").value.item<float>(), step.at("iteration_after").get<float>());
    }
  }
  if (!row.contains("get_folded_weights")) return;
  const transform::FoldedWeights folded = transform::folded_weights(network.model().layers.back());
  const Tensor kernel = testing::golden_tensor(row.at("get_folded_weights")[0]);
  const Tensor bias = testing::golden_tensor(row.at("get_folded_weights")[1]);
  for (int64_t i = 0; i < kernel.size(); ++i) EXPECT_TRUE(testing::close(folded.kernel[i], kernel[i], 1e-5, 1e-5));
  for (int64_t i = 0; i < bias.size(); ++i) EXPECT_TRUE(testing::close(folded.bias[i], bias[i], 1e-5, 1e-5));
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<json, bool>>& info) {
  std::string name = std::get<0>(info.param).at("id").get<std::string>();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name + (std::get<1>(info.param) ? "_fused" : "_plain");
}

const auto kBothPaths = ::testing::Bool();
INSTANTIATE_TEST_SUITE_P(Folded, FoldingGolden,
                         ::testing::Combine(::testing::ValuesIn(cases("layers/bn_folding")), kBothPaths), name_of);
INSTANTIATE_TEST_SUITE_P(Quantized, FoldingGolden,
                         ::testing::Combine(::testing::ValuesIn(cases("layers/qbatchnorm")), kBothPaths), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FoldingGolden);

// With an ema_freeze_delay the reference goes on following the range in inference while step <= delay; nibble does not
// (docs/differences.md). The row then has to stay as the call before left it.
bool follows_in_inference(const json& row, const json& step) {
  const json delay = row.at("params").at("ema_freeze_delay");
  return !step.at("training").get<bool>() && !delay.is_null() && delay.get<int>() != 0 &&
         step.at("step_counter").get<int>() <= delay.get<int>();
}

TEST(AdaptiveActivationGolden, ConsecutiveCalls) {
  int fixed = 0;
  const json rows = cases("layers/qadaptiveactivation");
  for (const json& row : rows) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    Network network(golden_model(row), true, 1);
    uint32_t number = 0;
    json expected_state;
    for (const json& step : row.at("steps")) {
      check_call(network, step, step.at("training").get<bool>(), number++);
      if (follows_in_inference(row, step)) {
        ++fixed;
      } else {
        expected_state = step;
      }
      expect_golden(parameter_of(network, "ema_min").value, expected_state.at("ema_min"), "ema_min");
      expect_golden(parameter_of(network, "ema_max").value, expected_state.at("ema_max"), "ema_max");
      EXPECT_EQ(parameter_of(network, "step").value.item<float>(), step.at("step_counter").get<float>());
    }
  }
  std::cout << rows.size() << " rows; in " << fixed << " of them the last call does not follow the range (FIX)\n";
}

}  // namespace
}  // namespace nibble::train
