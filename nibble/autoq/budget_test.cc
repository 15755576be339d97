#include "nibble/autoq/budget.h"

#include <gtest/gtest.h>

#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
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
