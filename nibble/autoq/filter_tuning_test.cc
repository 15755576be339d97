// Numbers of filters as choices: what is scaled together, and what stays.
#include <gtest/gtest.h>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/small_space.h"
#include "nibble/core/error.h"
#include "nibble/models/builtin.h"

namespace nibble::autoq {
namespace {

graph::Layer fed_by(graph::Layer layer, std::vector<std::string> inputs) {
  layer.inputs = std::move(inputs);
  return layer;
}

// in -> stem -> a -> b; add(stem, bn(b)); c beside it; d(pooled sum), added to the input's own 1x1 branch; head
graph::Model residual_model() {
  const auto conv = [](const char* name, int64_t filters) {
    return graph::make_layer(
        "Conv2D", name,
        {{"filters", filters}, {"kernel_size", std::vector<int64_t>{3, 3}}, {"padding", std::string("same")}});
  };
  graph::Model model;
  model.layers = {graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{8, 8, 3}}}),
                  fed_by(conv("stem", 8), {"in"}),
                  fed_by(conv("a", 6), {"stem"}),
                  fed_by(conv("b", 8), {"a"}),
                  fed_by(graph::make_layer("BatchNormalization", "bn"), {"b"}),
                  fed_by(graph::make_layer("Add", "add"), {"stem", "bn"}),
                  fed_by(conv("c", 3), {"add"}),
                  fed_by(graph::make_layer("Add", "add_input"), {"c", "in"}),
                  fed_by(conv("d", 4), {"add_input"}),
                  fed_by(graph::make_layer("Flatten", "flatten"), {"d"}),
                  fed_by(graph::make_layer("Dense", "head", {{"units", int64_t{5}}}), {"flatten"})};
  model.inputs = {"in"};
  model.outputs = {"head"};
  return model;
}

// stem and b are added, so they are one choice; c is added to the input and head is the output, so they stay.
TEST(FilterTuning, FiltersOfBranchesThatAreAddedAreOneChoice) {
  const std::string keys = R"("limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "tune_filters": ")";
  const RunConfig config = config_with(keys + R"(layer", "filter_multipliers": [0.5, 1, 1.25])");
  const search::SearchSpace space = build_space(residual_model(), config);
  Names filters;
  for (const search::Parameter& parameter : space) {
    if (!parameter.name.starts_with("network_filters")) continue;
    filters.push_back(parameter.name);
    EXPECT_EQ(parameter.candidates, (Names{"0.5", "1.0", "1.25"}));
  }
  EXPECT_EQ(filters, (Names{"network_filters_stem", "network_filters_a", "network_filters_d"}));
  search::Assignment values = first_of(space);
  values["network_filters_a"] = "1.25";
  const graph::Model trial = build_trial(residual_model(), config, values);
  const std::map<std::string, int64_t> wanted = {{"stem", 4}, {"a", 7}, {"b", 4}, {"c", 3}, {"d", 2}};
  for (const auto& [layer, count] : wanted) EXPECT_EQ(trial.layer(layer).get_int("filters"), count) << layer;
  EXPECT_EQ(trial.layer("head").get_int("units"), 5);

  const RunConfig block = config_with(keys + "block\"");
  search::Assignment halves = first_of(build_space(residual_model(), block));
  halves["network_filters"] = "0.5";
  EXPECT_NO_THROW(build_trial(residual_model(), block, halves));
  // The reference gives each a choice of its own, which do not fit together.
  const RunConfig compat = config_with(keys + R"(layer", "compat": "qkeras")");
  search::Assignment apart = first_of(build_space(residual_model(), compat));
  EXPECT_TRUE(apart.contains("network_filters_b"));
  apart["network_filters_b"] = "2.0";
  EXPECT_THROW(build_trial(residual_model(), compat, apart), InvalidArgument);
}

// input of 8 -> hidden -> wide of 64 -> image of 4x4x4, which is the output or goes on to a head
graph::Model model_with_reshape(bool ends_there) {
  graph::Model model;
  model.layers = {
      graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{8}}}),
      fed_by(graph::make_layer("Dense", "hidden", {{"units", int64_t{6}}}), {"in"}),
      fed_by(graph::make_layer("Dense", "wide", {{"units", int64_t{64}}}), {"hidden"}),
      fed_by(graph::make_layer("Reshape", "image", {{"target_shape", std::vector<int64_t>{4, 4, 4}}}), {"wide"})};
  model.inputs = {"in"};
  model.outputs = {"image"};
  if (ends_there) return model;
  model.layers.push_back(fed_by(graph::make_layer("Flatten", "flat"), {"image"}));
  model.layers.push_back(fed_by(graph::make_layer("Dense", "head", {{"units", int64_t{3}}}), {"flat"}));
  model.outputs = {"head"};
  return model;
}

// A Reshape that the limit names is scaled with what it is made of, but not where it gives the output; what goes
// through another one stays.
TEST(FilterTuning, AReshapeFollowsWhereTheLimitNamesItAndTheOutputAllows) {
  struct Row {
    bool ends_there, is_named;
    int64_t units, channels;  // of half the filters
  };
  for (const Row& row : std::vector<Row>{{false, true, 32, 2}, {false, false, 64, 4}, {true, true, 64, 4}}) {
    const RunConfig config = config_with(fmt::format(R"("limit": {{"Dense": [8, 8, 8]{}}}, "tune_filters": "block")",
                                                     row.is_named ? R"(, "image": [8])" : ""));
    const graph::Model model = model_with_reshape(row.ends_there);
    search::Assignment values = first_of(build_space(model, config));
    values["network_filters"] = "0.5";
    const graph::Model trial = build_trial(model, config, values);
    EXPECT_EQ(trial.layer("hidden").get_int("units"), 3);
    EXPECT_EQ(trial.layer("wide").get_int("units"), row.units);
    EXPECT_EQ(trial.layer("image").get_ints("target_shape").back(), row.channels);
  }
}

TEST(FilterTuning, ScalesWithAtLeastOneFilter) {
  const RunConfig config = config_with(R"("limit": {"Conv2D": [8, 8, 8], "Dense": [8, 8, 8]}, "tune_filters": "block",
                     "tune_filters_exceptions": "^head")");
  const auto space = build_space(small_model(), config);
  for (const auto& [multiplier, filters] : std::map<std::string, int64_t>{{"0.5", 2}, {"0.75", 3}, {"2.0", 8}}) {
    search::Assignment values = last_of(space);
    values["network_filters"] = multiplier;
    const graph::Model trial = build_trial(small_model(), config, values);
    EXPECT_EQ(trial.layer("bias_conv").get_int("filters"), filters);
    EXPECT_EQ(trial.layer("head").get_int("units"), 3);
  }
}

TEST(FilterTuning, EveryTrialOfTheTutorialsNetworksFits) {
  for (const std::string& name : models::builtin_names()) {
    RunConfig config = parse_run_config(
        R"({"limit": {"Dense": [8,8,4], "Conv2D": [4,8,4], "DepthwiseConv2D": [4,8,4], "Activation": [4],
            "BatchNormalization": []}, "tune_filters": "layer", "tune_filters_exceptions": "^dense"})");
    const graph::Model model = models::make_builtin(name);
    const search::SearchSpace space = build_space(model, config);
    const CostMeter meter(config.goal, model, Compat::kNone);
    // Binary weights and half the filters, then 4-bit weights and twice the filters.
    EXPECT_LT(meter.measure(build_trial(model, config, first_of(space))).total_factor, 0) << name;
    EXPECT_GT(meter.measure(build_trial(model, config, last_of(space))).total_factor, 0) << name;
  }
}

}  // namespace
}  // namespace nibble::autoq
