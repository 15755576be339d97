#include "nibble/autoq/cost_meter.h"

#include <gtest/gtest.h>

#include "nibble/autoq/search_space.h"
#include "nibble/autoq/small_space.h"

namespace nibble::autoq {
namespace {

TEST(CostMeter, StressCountsByDefault) {
  const auto meter = [](const char* compat) {
    const RunConfig config = parse_run_config(
        fmt::format(R"({{"goal": {{"type": "energy", "params": {{"stress": 0.5}}}}, "compat": "{}"}})", compat));
    return CostMeter(config.goal, small_model(), config.compat).measure(small_model()).delta;
  };
  EXPECT_LT(meter("none"), meter("qkeras"));
}

TEST(CostMeter, AClassOfTheBitsGoalHoldsForItsQuantizedTwin) {
  const RunConfig config = config_with(
      R"("goal": {"type": "bits", "params": {"config": {"Dense": ["parameters"]}}}, "limit": {"Dense": [4, 8, 8]})");
  const graph::Model model = small_model();
  const CostMeter meter(config.goal, model, config.compat);
  const double weights = 6 * 6 * 4 * 3, biases = 3;
  EXPECT_EQ(meter.reference(), 8 * (weights + biases));
  EXPECT_EQ(meter.measure(build_trial(model, config, last_of(build_space(model, config)))).cost,
            4 * weights + 8 * biases);
}

graph::Model powers_of_two(bool with_weights) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "input", {{"shape", std::vector<int64_t>{8}}}));
  model.layers.push_back(graph::make_layer(
      "QDense", "dense", {{"units", int64_t{64}}, {"kernel_quantizer", std::string("quantized_po2(4)")}}));
  model.layers.back().inputs = {"input"};
  model.inputs = {"input"};
  model.outputs = {"dense"};
  if (with_weights) graph::initialize_weights(model, 1);
  return model;
}

// A multiplication by a power of two costs by the values that there are.
TEST(CostMeter, ATrainedModelCountsWithItsWeights) {
  const auto cost = [](bool is_trained, bool with_weights) {
    const RunConfig config = parse_run_config(
        fmt::format(R"({{"goal": {{"type": "energy", "params": {{"trained_model": {}}}}}, "transfer_weights": true}})",
                    is_trained));
    return CostMeter(config.goal, powers_of_two(false), config.compat).measure(powers_of_two(with_weights)).cost;
  };
  EXPECT_EQ(cost(false, true), cost(false, false));
  EXPECT_EQ(cost(true, false), cost(false, false));
  EXPECT_NE(cost(true, true), cost(false, true));
}

}  // namespace
}  // namespace nibble::autoq
