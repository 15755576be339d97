// The space with learning rates, and trials that are named in the file.
#include "nibble/autoq/sampler.h"

#include <gtest/gtest.h>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/search/annotation.h"

namespace nibble::autoq {
namespace {

using namespace graph::build;

graph::Model model() {
  auto in = Input({.shape = {8, 8, 1}, .name = "input"});
  auto x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .activation = "relu", .name = "conv"})(in);
  x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flatten"})(x));
  graph::Model result = build_model({in}, {Activation({.activation = "softmax", .name = "end"})(x)}, "tiny");
  graph::initialize_weights(result, 1);
  return result;
}

RunConfig config_of(const std::string& more) {
  return parse_run_config(R"({"limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "learning_rate": 0.01)" + more + "}");
}

TEST(FullSpace, LearningRatesReachFromTheSavingToATenthMore) {
  const RunConfig config = config_of(R"(, "learning_rate_optimizer": true)");
  const search::SearchSpace space = full_space(model(), model(), config);
  ASSERT_EQ(space.size(), build_space(model(), config).size() + 1);
  const search::Parameter& rates = space.back();
  EXPECT_EQ(rates.name, "learning_rate");
  ASSERT_EQ(rates.candidates.size(), 5u);
  search::Assignment first;
  for (const search::Parameter& parameter : space) first[parameter.name] = parameter.candidates[0];
  const double factor =
      CostMeter(config.goal, model(), config.compat).measure(build_trial(model(), config, first)).total_factor;
  EXPECT_LT(factor, 0);
  EXPECT_NEAR(std::stod(rates.candidates[0]), 0.01 * (1 + factor), 1e-6);
  EXPECT_NEAR(std::stod(rates.candidates[4]), 0.011, 1e-9);
  EXPECT_NEAR(*chosen_learning_rate(first), 0.01 * (1 + factor), 1e-6);
  EXPECT_THROW(chosen_learning_rate({{"learning_rate", "fast"}}), CorruptFile);
  EXPECT_EQ(full_space(model(), model(), config_of("")).size(), space.size() - 1);
}

TEST(FirstTrials, AreProposedFirstInTheirOrder) {
  const search::SearchSpace space = build_space(model(), config_of(""));
  RunConfig config = config_of("");
  search::Assignment first, second;
  for (const search::Parameter& parameter : space) {
    first[parameter.name] = parameter.candidates.back();
    second[parameter.name] = parameter.candidates.front();
  }
  config.first_trials = {first, second};
  config.first_trials[0]["@epochs"] = "9";  // as copied from a finished study
  EXPECT_NO_THROW(check_first_trials(config, space));
  const auto sampler = make_sampler(config, model(), 1);
  std::vector<search::Trial> trials;
  for (const search::Assignment& expected : {first, second}) {
    const auto values = sampler->propose(space, trials);
    ASSERT_TRUE(values.has_value());
    EXPECT_EQ(*values, expected);
    trials.push_back({.number = static_cast<int>(trials.size()), .values = *values});
  }
  EXPECT_TRUE(sampler->propose(space, trials).has_value());
}

TEST(FirstTrials, WhatIsNoPointIsRefused) {
  const search::SearchSpace space = {{"a", {"binary", "ternary"}}, {"b", {"x"}}};
  const std::pair<const char*, const char*> rows[] = {
      {R"([{"a": "binary"}])", "first_trials[0] has no 'b'"},
      {R"([{"a": "binary", "b": "x"}, {"a": "binery", "b": "x"}])", "first_trials[1]: 'binery' is no candidate of 'a'"},
      {R"([{"a": "binary", "b": "x", "c": "y"}])", "there is no hyperparameter 'c'"}};
  for (const auto& [json, word] : rows) {
    const RunConfig config = parse_run_config(fmt::format(R"({{"first_trials": {}}})", json));
    try {
      check_first_trials(config, space);
      ADD_FAILURE() << json;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

TEST(MakeSampler, HyperbandTagsItsTrials) {
  const RunConfig config = config_of(R"(, "mode": "hyperband", "max_epochs": 9, "transfer_weights": "nearest")");
  const search::SearchSpace space = build_space(model(), config);
  const auto values = make_sampler(config, model(), 1)->propose(space, {});
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ(search::annotated_number(*values, search::kEpochs), 1);
  EXPECT_NO_THROW(build_trial(model(), config, *values));  // remarks are no hyperparameters
}

struct SingleRow {
  const char* parameter;
  const char* candidate;
  std::map<std::string, std::string> quantizers;  // "layer attribute" -> text
};
TEST(BuildSingle, OneChoiceAndNothingElse) {
  const RunConfig config = config_of("");
  const SingleRow rows[] = {
      {"conv_kernel_quantizer", "binary", {{"conv kernel_quantizer", "binary"}}},
      {"conv_bias_quantizer", "quantized_bits(4,0,1)", {{"conv bias_quantizer", "quantized_bits(4,0,1)"}}},
      {"conv_activation_quantizer", "quantized_relu(2)", {{"conv activation", "quantized_relu(2)"}}},
      {"dense_kernel_quantizer", "ternary", {{"dense kernel_quantizer", "ternary"}}}};
  for (const SingleRow& row : rows) {
    const auto single = build_single(model(), config, row.parameter, row.candidate);
    ASSERT_TRUE(single.has_value());
    for (const graph::Layer& layer : single->layers) {
      EXPECT_EQ(layer.weights, model().layer(layer.name).weights) << layer.name;
      for (const char* attribute : {"kernel_quantizer", "bias_quantizer", "activation"}) {
        if (!layer.attributes.contains(attribute)) continue;
        const bool wanted = row.quantizers.contains(layer.name + " " + attribute);
        EXPECT_EQ(layer.get_quantizer(attribute) != nullptr, wanted)
            << row.parameter << ": " << layer.name << " " << attribute;
      }
    }
    const graph::Layer& conv = single->layer("conv");
    if (std::string(row.parameter) != "conv_activation_quantizer") {
      EXPECT_EQ(conv.activation_function(), "relu");
    }
  }
  EXPECT_FALSE(build_single(model(), config, "network_filters_conv", "0.5").has_value());
  EXPECT_FALSE(build_single(model(), config, "learning_rate", "0.1").has_value());
}

}  // namespace
}  // namespace nibble::autoq
