#include "nibble/autoq/budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "nibble/autoq/block_schedule.h"
#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/models/builtin.h"
#include "nibble/search/random_sampler.h"

namespace nibble::autoq {
namespace {

RunConfig config_of(const std::string& budget) {
  return parse_run_config(fmt::format(R"({{"model": "mnist", "budget": {}, "tune_filters": "layer",
    "tune_filters_exceptions": "^dense", "layer_indexes": {{"range": [1, -1]}},
    "limit": {{"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "Activation": [4], "BatchNormalization": []}},
    "goal": {{"type": "energy", "params": {{"parameters_on_memory": ["sram", "sram"],
      "activations_on_memory": ["sram", "sram"], "rd_wr_on_io": [false, false], "source_quantizers": ["int8"],
      "reference_internal": "int8", "reference_accumulator": "int32"}}}}}})",
                                      budget));
}

TEST(Budget, EveryProposalKeepsIt) {
  const graph::Model model = models::make_builtin("mnist");
  const RunConfig config = config_of(R"({"energy_nj": 60, "weight_kib": 16})");
  const BudgetMeter meter(config, model);
  const search::SearchSpace space = build_space(model, config);
  EXPECT_NO_THROW(meter.check_reachable(space));
  const auto sampler = within_budget(std::make_unique<search::RandomSampler>(1), config, model, 1);
  const search::RandomSampler free(1);
  std::vector<search::Trial> trials;
  int outside = 0;
  for (int k = 0; k < 5; ++k) {
    const auto values = sampler->propose(space, trials);
    ASSERT_TRUE(values.has_value());
    const BudgetUse use = meter.use_of(build_trial(model, config, *values));
    EXPECT_LE(use.energy_nj, 60);
    EXPECT_LE(use.weight_kib, 16);
    outside += meter.excess(*free.propose(space, trials)) > 0;
    trials.push_back({.number = k, .values = *values});
  }
  EXPECT_GT(outside, 0);  // else nothing was tested
}

// The peak of an int8 network is known; half of it needs narrower activations or fewer filters.
TEST(Budget, RamIsBounded) {
  const graph::Model model = models::make_builtin("mnist");
  const RunConfig free = config_of(R"({"ram_kib": 1000000})");
  const search::SearchSpace space = build_space(model, free);
  const auto first = *search::RandomSampler(1).propose(space, {});
  const double used = BudgetMeter(free, model).use_of(build_trial(model, free, first)).ram_kib;
  EXPECT_GT(used, 0);
  const RunConfig config = config_of(fmt::format(R"({{"ram_kib": {}}})", 0.6 * used));
  const BudgetMeter meter(config, model);
  EXPECT_NE(meter.complaint(build_trial(model, config, first)).find("ram_kib"), std::string::npos);
  const auto repaired = within_budget(std::make_unique<search::RandomSampler>(1), config, model, 1)->propose(space, {});
  ASSERT_TRUE(repaired.has_value());
  EXPECT_EQ(meter.complaint(build_trial(model, config, *repaired)), "");
  EXPECT_LE(meter.use_of(build_trial(model, config, *repaired)).ram_kib, 0.6 * used);
}

// Six equal convolutions. Two neighbours of 256 values at 3 bits are 0.19 KiB; with 4 bits in one of them they are
// beyond. So activations have no choice, and kernels have 2^7.
TEST(Budget, RamIsBroughtDownEverywhere) {
  using namespace graph::build;
  const Node in = Input({.shape = {8, 8, 1}, .name = "in"});
  Node x = in;
  for (int i = 0; i < 6; ++i) {
    x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .padding = "same", .name = fmt::format("conv{}", i)})(x);
    x = Activation({.activation = "relu", .name = fmt::format("act{}", i)})(x);
  }
  const graph::Model model = build_model({in}, {Dense({.units = 4, .name = "head"})(Flatten({.name = "flat"})(x))});
  const RunConfig config = parse_run_config(R"j({"budget": {"ram_kib": 0.2},
    "quantization_config": {"kernel": {"ternary": 2, "quantized_bits(4,0,1)": 4}, "bias": {"quantized_bits(4,0,1)": 4},
      "activation": {"quantized_relu(16,8)": 16, "quantized_relu(8,2)": 8, "quantized_relu(4,2)": 4,
                     "quantized_relu(3,1)": 3}},
    "limit": {"Conv2D": [8, 8, 16], "Dense": [8, 8, 8], "Activation": [16]}})j");
  const BudgetMeter meter(config, model);
  const search::SearchSpace space = build_space(model, config);
  EXPECT_NO_THROW(meter.check_reachable(space));
  const auto sampler = within_budget(std::make_unique<search::RandomSampler>(3), config, model, 3);
  std::vector<search::Trial> trials;
  std::set<search::Assignment> seen;
  for (int k = 0; k < 12; ++k) {
    const auto values = sampler->propose(space, trials);
    ASSERT_TRUE(values.has_value()) << "after " << k;
    EXPECT_EQ(meter.complaint(build_trial(model, config, *values)), "");
    EXPECT_TRUE(seen.insert(*values).second);
    trials.push_back({.number = k, .values = *values});
  }
}

// Zeros and powers of two cost what the weights that are there need: what the sampler asks for is what the worker
// measures, and a budget just below it is refused before a trial.
TEST(Budget, TrainedWeightsCountBeforeATrialToo) {
  using namespace graph::build;
  const Node in = Input({.shape = {8}, .name = "in"});
  graph::Model model = build_model({in}, {Dense({.units = 64, .name = "dense"})(in)});
  graph::initialize_weights(model, 1);
  const auto config_of_energy = [](double energy_nj) {
    return parse_run_config(fmt::format(R"j({{"budget": {{"energy_nj": {}}}, "transfer_weights": true,
      "goal": {{"type": "energy", "params": {{"trained_model": true, "activations_on_memory": "fixed",
        "rd_wr_on_io": false}}}},
      "quantization_config": {{"kernel": {{"quantized_po2(4)": 4}}, "bias": {{"quantized_bits(4,0,1)": 4}}}},
      "limit": {{"Dense": [8, 8, 8]}}}})j",
                                        energy_nj));
  };
  const RunConfig config = config_of_energy(1);
  const search::SearchSpace space = build_space(model, config);
  const search::Assignment only = *search::RandomSampler(1).propose(space, {});
  const graph::Model trial = build_trial(model, config, only);
  ASSERT_FALSE(trial.layer("dense").weights.empty());
  graph::Model bare = trial;
  bare.layer("dense").weights.clear();
  const double used = BudgetMeter(config, model).use_of(trial).energy_nj;
  ASSERT_GT(std::abs(BudgetMeter(config, model).use_of(bare).energy_nj / used - 1), 0.001) << "else nothing is tested";
  for (const auto& [factor, is_inside] : {std::pair(0.9999, false), std::pair(1.0001, true)}) {
    const RunConfig bounded = config_of_energy(factor * used);
    const BudgetMeter meter(bounded, model);
    EXPECT_EQ(meter.excess(only) <= 0, is_inside);
    EXPECT_EQ(meter.complaint(trial).empty(), is_inside);
    if (is_inside) {
      EXPECT_NO_THROW(meter.check_reachable(space));
    } else {
      EXPECT_THROW(meter.check_reachable(space), InvalidArgument);
    }
  }
}

// A trial of the first block is measured with the cheapest choices in the others.
TEST(Budget, ByBlocksCountsTheCheapestOfWhatComesLater) {
  const graph::Model model = models::make_builtin("mnist");
  RunConfig config = config_of(R"({"energy_nj": 60})");
  const RunConfig whole = config;
  config.blocks = {"^conv2d_0$", "^(?!conv2d_0$)"};  // one layer, and all others
  const BlockSchedule schedule = schedule_blocks(model, config);
  config.limit = Limit(schedule.blocks[0].limit);
  config.later_limit = Limit(schedule.blocks[1].limit);
  const BudgetMeter meter(config, model);
  const search::SearchSpace space = build_space(model, config);
  EXPECT_NO_THROW(meter.check_reachable(space));
  // Alone, with everything else at 8 bits and full width, the first layer could never bring it within the budget.
  RunConfig alone = config;
  alone.later_limit = {};
  EXPECT_THROW(BudgetMeter(alone, model).check_reachable(space), InvalidArgument);
  EXPECT_NO_THROW(BudgetMeter(whole, model).check_reachable(build_space(model, whole)));
}

TEST(Budget, AnImpossibleOneSaysTheCheapestReachableCost) {
  const graph::Model model = models::make_builtin("mnist");
  const RunConfig config = config_of(R"({"energy_nj": 0.5})");
  try {
    BudgetMeter(config, model).check_reachable(build_space(model, config));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("cheapest network found has energy_nj"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("(budget 0.5)"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace nibble::autoq
