// Searches within bounds: floors and ceilings, budgets of the whole network and of blocks, and the guided start that
// keeps them. Real training in worker processes, on a small network and small data. The program is its own worker:
// `bounded_search_test worker --study DIR/study.db`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/block_schedule.h"
#include "nibble/autoq/block_scheduler.h"
#include "nibble/autoq/budget.h"
#include "nibble/autoq/guided_start.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/small_search.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/search/storage.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

double metric(const search::Trial& trial, const char* name) { return trial.metrics.at(name); }

TEST(Floor, WithNothingElseTheCheapestAboveItWins) {
  const std::string text = small_config(R"("epochs": 1, "max_trials": 6, "budget": {"accuracy": 0.05})");
  const SearchResult result =
      run_search(text, {.directory = testing::scratch_dir("strategies_floor") / "out", .workers = 2});
  double cheapest = HUGE_VAL;
  for (const search::Trial& trial : result.trials) {
    if (metric(trial, "accuracy") >= 0.05) cheapest = std::min(cheapest, metric(trial, "cost"));
  }
  EXPECT_EQ(metric(*result.best, "cost"), cheapest);
  const std::string high = small_config(R"("epochs": 1, "max_trials": 3, "budget": {"accuracy": 1.0})");
  const SearchResult none =
      run_search(high, {.directory = testing::scratch_dir("strategies_high") / "out", .workers = 1});
  EXPECT_LT(*none.best->score, 0);  // nothing reached it; the nearest is the best
  EXPECT_NE(none.missed_bound.find("no trial reached the budget's accuracy of 1;"), std::string::npos);
  EXPECT_EQ(result.missed_bound, "");
  for (const search::Trial& trial : none.trials) EXPECT_LE(metric(trial, "accuracy"), metric(*none.best, "accuracy"));
}

// The same six networks, by a ceiling that all keep and by one that none keeps.
TEST(Ceiling, WithNothingElseTheCheapestBelowItWins) {
  const auto search = [](const std::string& name, const std::string& budget) {
    const std::string text =
        small_config(R"("epochs": 1, "max_trials": 6, "metrics": ["loss"], "budget": {"error": )" + budget + "}");
    return run_search(text, {.directory = testing::scratch_dir(name) / "out", .workers = 2});
  };
  const SearchResult all = search("strategies_ceiling", "1e6");
  double cheapest = HUGE_VAL, least = HUGE_VAL;
  for (const search::Trial& trial : all.trials) {
    ASSERT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    cheapest = std::min(cheapest, metric(trial, "cost"));
    least = std::min(least, metric(trial, "loss"));
  }
  EXPECT_EQ(metric(*all.best, "cost"), cheapest);
  EXPECT_EQ(all.missed_bound, "");
  const SearchResult none = search("strategies_low_ceiling", "1e-6");
  EXPECT_LT(*none.best->score, 0);  // nothing is that low; the nearest is the best
  EXPECT_EQ(metric(*none.best, "loss"), least);
  EXPECT_NE(none.missed_bound.find("no trial kept the budget's error of 1e-06 (loss)"), std::string::npos)
      << none.missed_bound;
}

// Whoever proposed it: the worker looks again.
TEST(Budget, WhatExceedsItIsNotTrained) {
  for (const char* bound : {"energy_nj", "weight_kib", "ram_kib"}) {
    const RunConfig config =
        parse_run_config(small_config(fmt::format(R"("epochs": 1, "budget": {{"{}": 1e-3}})", bound)));
    const graph::Model model = load_search_model(config);
    TrainingRunner runner(config, model, load_search_data(config));
    search::Assignment values;
    for (const search::Parameter& parameter : build_space(model, config)) {
      values[parameter.name] = parameter.candidates.front();
    }
    const std::atomic<bool> stop = false;
    const search::Storage::Claim claim{.number = 0, .attempt = 1, .values = values, .steps = {}};
    const fs::path directory = testing::scratch_dir("strategies_beyond");
    try {
      runner.run({.claim = claim, .directory = directory, .stop = stop, .report = [](const search::Step&) -> bool {
                    ADD_FAILURE() << "an epoch was trained";
                    return true;
                  }});
      ADD_FAILURE() << bound << ": no error";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(fmt::format("exceeds the budget: {}", bound)), std::string::npos)
          << error.what();
    }
    EXPECT_TRUE(fs::is_empty(directory));
  }
}

TEST(GuidedStart, MeasuresOnceAndTriesWhatItFoundFirst) {
  const fs::path directory = testing::scratch_dir("strategies_guided") / "out";
  const std::string text =
      small_config(R"("epochs": 1, "max_trials": 4, "guided_start": {"trials": 3, "samples": 300})");
  const SearchResult result = run_search(text, {.directory = directory, .workers = 1});
  const Json sensitivity = Json::parse(read_file(directory / "sensitivity.json"));
  EXPECT_GT(sensitivity.at("float_loss").get<double>(), 0);
  const Json& kernel = sensitivity.at("parameters").at("conv_kernel_quantizer");
  EXPECT_GT(kernel.size(), 1u);
  const RunConfig kept = parse_run_config(search::Storage::open(directory / "study.db").info().run_config);
  ASSERT_GE(kept.first_trials.size(), 2u);
  ASSERT_LE(kept.first_trials.size(), 3u);
  for (size_t i = 0; i < kept.first_trials.size(); ++i) EXPECT_EQ(result.trials[i].values, kept.first_trials[i]);
  // From dear to cheap.
  EXPECT_GT(metric(result.trials[0], "cost"), metric(result.trials[kept.first_trials.size() - 1], "cost"));
  fs::remove(directory / "sensitivity.json");
  const SearchResult more = run_search(replaced(text, R"("max_trials": 4)", R"("max_trials": 5)"),
                                       {.directory = directory, .resume = true, .workers = 1});
  EXPECT_EQ(more.trials.size(), 5u);
  EXPECT_FALSE(fs::exists(directory / "sensitivity.json"));
}

// Input of 8, hidden of 6, one linear output, with weights; the last layer's are `size` times as large.
graph::Model numbers_model(float size) {
  using namespace graph::build;
  const Node in = Input({.shape = {8}, .name = "input"});
  const Node act = Activation({.activation = "relu", .name = "act"})(Dense({.units = 6, .name = "hidden"})(in));
  graph::Model model = build_model({in}, {Dense({.units = 1, .name = "last"})(act)}, "numbers");
  graph::initialize_weights(model, 1);
  for (graph::Weight& weight : model.layer("last").weights) {
    for (float& value : weight.value.data()) value *= size;
  }
  return model;
}

// Outputs and targets 2^17 times as large make squared errors 2^34 times as large, which is no broken network.
TEST(GuidedStart, LargeTargetsAreMeasuredAsSmallOnesAre) {
  const RunConfig config = parse_run_config(R"json({"loss": "mse", "data": "synthetic_regression",
    "guided_start": true, "limit": {"^hidden$": [8, 8, 8]},
    "quantization_config": {"kernel": {"binary": 1, "quantized_bits(8,0,1,alpha=1.0)": 8},
      "bias": {"quantized_bits(8,3,1)": 8}, "activation": {"quantized_relu(8,3)": 8},
      "linear": {"quantized_bits(8,3,1)": 8}}})json");
  const auto measured = [&](float size) {
    data::Dataset dataset = load_search_data(config);
    Tensor x(Shape{dataset.train.count(), 8}), targets = dataset.train.targets();
    std::vector<int64_t> all;
    for (int64_t i = 0; i < dataset.train.count(); ++i) all.push_back(i);
    dataset.train.gather(all, x.data());
    for (float& target : targets.data()) target *= size;
    dataset.train = data::Samples(Shape{8}, std::vector<float>(x.data().begin(), x.data().end()), targets);
    const graph::Model model = numbers_model(size);
    return measure_sensitivity(config, model, dataset, build_space(model, config));
  };
  const Sensitivity small = measured(1), large = measured(0x1p17f);
  ASSERT_EQ(small.rises.size(), large.rises.size());
  EXPECT_DOUBLE_EQ(large.float_loss * 0x1p-34, small.float_loss);  // a power of two rounds nothing
  double highest = 0;
  for (size_t p = 0; p < small.rises.size(); ++p) {
    for (size_t c = 0; c < small.rises[p].size(); ++c) {
      EXPECT_NEAR(large.rises[p][c] * 0x1p-34, small.rises[p][c], 1e-6 * small.float_loss);
      highest = std::max(highest, large.rises[p][c]);
    }
  }
  EXPECT_GT(highest, 1e7);
}

// Wider candidates hurt less.
Sensitivity made_up(const search::SearchSpace& space) {
  Sensitivity sensitivity;
  for (const search::Parameter& parameter : space) {
    std::vector<double> rises;
    for (size_t c = parameter.candidates.size(); c > 0; --c) rises.push_back(0.1 * static_cast<double>(c));
    sensitivity.rises.push_back(rises);
  }
  return sensitivity;
}

// The budget lies below what the first block can reach alone, and above what it reaches with the cheapest others.
TEST(GuidedStart, ByBlocksCountsTheCheapestOfWhatComesLater) {
  RunConfig config = parse_run_config(small_config(R"("guided_start": {"trials": 3}, "budget": {"energy_nj": 1e9})"));
  const graph::Model model = load_search_model(config);
  config.blocks = {"^conv$", "^(bn|act|dense)$"};
  const BlockSchedule schedule = schedule_blocks(model, config);
  config.limit = Limit(schedule.blocks[0].limit);
  const RunConfig alone = config;
  config.later_limit = Limit(schedule.blocks[1].limit);
  const search::SearchSpace space = build_space(model, config);
  const Sensitivity sensitivity = made_up(space);
  const auto guided = [&](const RunConfig& how) { return guided_trials(how, model, model, space, sensitivity); };
  const auto energy = [&](const RunConfig& how, const search::Assignment& values) {
    return BudgetMeter(how, model).use_of(build_trial(model, how, values)).energy_nj;
  };
  const std::vector<search::Assignment> free = guided(config);
  ASSERT_FALSE(free.empty());
  const double least_alone = energy(alone, guided(alone).back()), least = energy(config, free.back());
  ASSERT_LT(least, least_alone) << "else nothing is tested";
  const double bound = (least + least_alone) / 2;
  RunConfig bounded_alone = alone;
  config.budget.energy_nj = bounded_alone.budget.energy_nj = bound;
  EXPECT_TRUE(guided(bounded_alone).empty());
  const std::vector<search::Assignment> trials = guided(config);
  EXPECT_FALSE(trials.empty());
  for (const search::Assignment& values : trials) EXPECT_LE(energy(config, values), bound);
}

// By made-up sensitivities; half of what the free trials differ by is allowed.
TEST(GuidedStart, ItsTrialsKeepEveryBound) {
  RunConfig config = parse_run_config(small_config(R"("guided_start": {"trials": 5})"));
  const graph::Model model = load_search_model(config);
  const search::SearchSpace space = build_space(model, config);
  const Sensitivity sensitivity = made_up(space);
  const auto guided = [&] { return guided_trials(config, model, model, space, sensitivity); };
  const std::vector<search::Assignment> free = guided();
  ASSERT_GE(free.size(), 2u);
  for (const auto& [bound, used] :
       {std::pair(&Budget::weight_kib, &BudgetUse::weight_kib), std::pair(&Budget::ram_kib, &BudgetUse::ram_kib)}) {
    config.budget = {};
    config.budget.*bound = 1e9;
    const BudgetMeter meter(config, model);
    const auto use = [&, used = used](const search::Assignment& values) {
      return meter.use_of(build_trial(model, config, values)).*used;
    };
    const double most = use(free.front()), least = use(free.back());
    ASSERT_LT(least, most) << "else nothing is tested";
    config.budget.*bound = (most + least) / 2;
    const std::vector<search::Assignment> trials = guided();
    EXPECT_GE(trials.size(), 2u);
    for (const search::Assignment& values : trials) EXPECT_LE(use(values), (most + least) / 2);
    config.budget.*bound = 1e-9;
    EXPECT_TRUE(guided().empty());
  }
}

// Three equal convolutions: no activation alone lowers the peak of memory.
TEST(GuidedStart, LowersEveryActivationAtThePeak) {
  using namespace graph::build;
  const Node in = Input({.shape = {8, 8, 1}, .name = "in"});
  Node x = in;
  for (int i = 0; i < 3; ++i) {
    x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .padding = "same", .name = fmt::format("conv{}", i)})(x);
    x = Activation({.activation = "relu", .name = fmt::format("act{}", i)})(x);
  }
  const graph::Model model = build_model({in}, {Dense({.units = 4, .name = "head"})(Flatten({.name = "flat"})(x))});
  const RunConfig config = parse_run_config(R"j({"guided_start": {"trials": 3}, "budget": {"ram_kib": 0.2},
    "goal": {"type": "energy"},
    "quantization_config": {"kernel": {"ternary": 2, "quantized_bits(4,0,1)": 4}, "bias": {"quantized_bits(4,0,1)": 4},
      "activation": {"quantized_relu(3,1)": 3, "quantized_relu(4,2)": 4, "quantized_relu(8,2)": 8}},
    "limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8], "Activation": [8]}})j");
  const search::SearchSpace space = build_space(model, config);
  const BudgetMeter meter(config, model);
  const std::vector<search::Assignment> trials = guided_trials(config, model, model, space, made_up(space));
  EXPECT_GE(trials.size(), 2u);  // the dearest has the widest kernels
  for (const search::Assignment& values : trials) EXPECT_EQ(meter.complaint(build_trial(model, config, values)), "");
}

// What it proposes is not refused by the worker.
TEST(GuidedStart, CountsTrainedWeightsAsTheWorkerDoes) {
  const std::string settings = R"j("guided_start": {"trials": 5}, "transfer_weights": true,
    "quantization_config": {"kernel": {"quantized_po2(4,1)": 4, "quantized_bits(4,0,1,alpha=1.0)": 4},
      "bias": {"quantized_bits(4,0,1)": 4}, "activation": {"quantized_relu(3,1)": 3, "quantized_relu(4,2)": 4}})j";
  const std::string text = replaced(small_config(settings), R"("sram"]})", R"("sram"], "trained_model": true})");
  RunConfig config = parse_run_config(text);
  const graph::Model model = load_search_model(config);
  const search::SearchSpace space = build_space(model, config);
  const Sensitivity sensitivity = made_up(space);
  const auto guided = [&] { return guided_trials(config, model, model, space, sensitivity); };
  const auto energy = [&](const search::Assignment& values) {
    return BudgetMeter(config, model).use_of(build_trial(model, config, values)).energy_nj;
  };
  const std::vector<search::Assignment> free = guided();
  ASSERT_GE(free.size(), 2u);
  const double most = energy(free.front()), least = energy(free.back());
  ASSERT_LT(least, most) << "else nothing is tested";
  config.budget.energy_nj = (most + least) / 2;
  const std::vector<search::Assignment> trials = guided();
  EXPECT_FALSE(trials.empty());
  for (const search::Assignment& values : trials) EXPECT_LE(energy(values), *config.budget.energy_nj);
}

// The budget lies between the cheapest network and what one block alone could save.
TEST(Blocks, KeepABudgetOfTheWholeNetwork) {
  const std::string open = small_config(
      R"("epochs": 1, "max_trials": 4, "blocks": ["^conv$", "^(bn|act)$", "^dense$"], "block_learning_rates": 0.1)");
  const RunConfig whole = parse_run_config(small_config(R"("max_trials": 4)"));
  const graph::Model model = load_search_model(whole);
  const search::SearchSpace space = build_space(model, whole);
  const BudgetMeter meter(whole, model);
  const auto cost = [&](const search::Assignment& values) {
    return meter.use_of(build_trial(model, whole, values)).energy_nj;
  };
  search::Assignment last;
  for (const search::Parameter& parameter : space) last[parameter.name] = parameter.candidates.back();
  search::Assignment cheap = last;
  for (const search::Parameter& parameter : space) {
    for (const std::string& candidate : parameter.candidates) {
      search::Assignment other = cheap;
      other[parameter.name] = candidate;
      if (cost(other) < cost(cheap)) cheap = other;
    }
  }
  const double bound = 0.7 * cost(cheap) + 0.3 * cost(last);
  const std::string text =
      replaced(open, "\"epochs\": 1", fmt::format(R"("epochs": 1, "budget": {{"energy_nj": {}}})", bound));
  const fs::path directory = testing::scratch_dir("strategies_blocks") / "out";
  const ScheduleResult result = run_schedule(text, {.directory = directory, .workers = 2});
  ASSERT_TRUE(result.is_over);
  for (const search::Trial& trial : result.last.trials) {
    ASSERT_EQ(trial.state, search::TrialState::kCompleted) << trial.reason;
    EXPECT_LE(metric(trial, "energy_nj"), bound);
  }
  const Json second = Json::parse(block_config(text, result.schedule, 1, directory / "model_block_0.keras"));
  EXPECT_EQ(second.at("later_limit"), result.schedule.blocks[2].limit);
  EXPECT_EQ(second.at("layer_learning_rates"), Json::parse(R"({"^conv$": 0.1})"));
  EXPECT_FALSE(second.contains("block_learning_rates"));
  const std::string impossible = replaced(open, "\"epochs\": 1", R"("epochs": 1, "budget": {"energy_nj": 1e-6})");
  try {
    run_schedule(impossible, {.directory = testing::scratch_dir("strategies_never") / "out"});
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("cheapest network found has energy_nj"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
