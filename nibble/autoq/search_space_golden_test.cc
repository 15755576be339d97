// AutoQKeras' hyper-model, row by row: spaces, effective limits, and for every recorded trial the
// network, its cost and its forgiving factor.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/search_space.h"
#include "nibble/core/error.h"
#include "nibble/cost/golden_model.h"
#include "nibble/models/builtin.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {

struct Rows {
  Json notebook, standard, cases = Json::array();
};

const Rows& rows() {
  static const Rows loaded = [] {
    Rows result;
    const std::string text = testing::golden_text("qtools/autoqkeras_trials");
    if (text.empty()) return result;
    const Json file = Json::parse(text);
    result.notebook = file.at("quantization_config_notebook");
    result.standard = file.at("quantization_config_default");
    result.cases = file.at("cases");
    return result;
  }();
  return loaded;
}

graph::Model model_of(const Json& row) {
  if (!row.contains("graph")) return models::make_builtin(row.at("model").get<std::string>());
  graph::Model model = cost::testing::golden_model(nlohmann::json::parse(row.at("graph").dump()));
  model.name = row.at("model");
  return model;
}

RunConfig config_of(const Json& row) {
  Json document = {{"compat", "qkeras"}};
  for (const char* key :
       {"limit", "tune_filters", "tune_filters_exceptions", "layer_indexes", "goal", "activation_bits"}) {
    document[key] = row.at(key);
  }
  document["quantization_config"] = row.at("quantization_config") == "notebook" ? rows().notebook : rows().standard;
  return parse_run_config(document.dump());
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : fmt::format("{:.2f}", value.get<double>());
}

// "1.0" and 1.0 are the same candidate.
std::string text_of(const std::string& candidate) {
  const bool number = candidate.find_first_not_of("0123456789.") == std::string::npos;
  return number ? fmt::format("{:.2f}", std::stod(candidate)) : candidate;
}

search::Assignment values_of(const Json& values, const search::SearchSpace& space) {
  search::Assignment assignment;
  for (const search::Parameter& parameter : space) {
    for (const std::string& candidate : parameter.candidates) {
      if (values.contains(parameter.name) && text_of(candidate) == text_of(values.at(parameter.name))) {
        assignment[parameter.name] = candidate;
      }
    }
  }
  return assignment;
}

std::string quantizer_text(const quant::QuantizerPtr& quantizer) {
  return quantizer ? quantizer->qkeras_str() : "None";
}

// What the layer applies to its kernel: the rows were written by layers that had been made already.
quant::QuantizerPtr kernel_quantizer(const graph::Layer& layer) {
  const bool by_depth = layer.class_name == "QDepthwiseConv2D";
  const quant::QuantizerPtr quantizer = layer.get_quantizer(by_depth ? "depthwise_quantizer" : "kernel_quantizer");
  return quantizer ? quantizer->as_weight_quantizer() : nullptr;
}

std::string activation_text(const graph::Layer& layer) {
  const quant::QuantizerPtr quantizer = layer.get_quantizer("activation");
  return quantizer ? quantizer->qkeras_str() : layer.activation_function();
}

void expect_layer(const graph::Layer& layer, const Json& row) {
  SCOPED_TRACE(layer.name);
  EXPECT_EQ(layer.name, row.at("name").get<std::string>());
  EXPECT_EQ(layer.class_name, row.at("class").get<std::string>());
  for (const char* key : {"filters", "units"}) {
    if (!row.contains(key)) continue;
    EXPECT_EQ(layer.get_int(key), row.at(key).get<int64_t>());
  }
  if (row.contains("quantizers")) {
    const std::string expected[] = {row.at("quantizers")[0].is_null() ? "None" : row.at("quantizers")[0],
                                    row.at("quantizers")[1].is_null() ? "None" : row.at("quantizers")[1]};
    EXPECT_EQ(quantizer_text(kernel_quantizer(layer)), expected[0]);
    EXPECT_EQ(quantizer_text(layer.get_quantizer("bias_quantizer")), expected[1]);
  }
  if (row.contains("activation")) {
    const std::string expected = row.at("activation");
    const std::string given = activation_text(layer);
    // QActivation prints the text that it was given, other layers their quantizer's own.
    const bool is_quantizer = !quant::is_activation_function(expected);
    EXPECT_EQ(given, is_quantizer ? quant::get_quantizer(expected)->qkeras_str() : expected);
  }
}

class AutoqkerasTrials : public ::testing::TestWithParam<size_t> {
 protected:
  const Json& row() const { return rows().cases[GetParam()]; }
};

TEST_P(AutoqkerasTrials, EffectiveLimit) { EXPECT_EQ(config_of(row()).limit.to_json(), row().at("effective_limit")); }

TEST_P(AutoqkerasTrials, SpaceInCreationOrder) {
  const search::SearchSpace space = build_space(model_of(row()), config_of(row()));
  const Json& expected = row().at("space");
  ASSERT_EQ(space.size(), expected.size());
  for (size_t i = 0; i < space.size(); ++i) {
    EXPECT_EQ(space[i].name, expected[i][0].get<std::string>());
    const bool is_fixed = expected[i][1] == "fixed";
    const Json candidates = expected[i][2].is_array() ? expected[i][2] : Json::array({expected[i][2]});
    ASSERT_EQ(space[i].candidates.size(), candidates.size()) << space[i].name;
    EXPECT_EQ(is_fixed, candidates.size() == 1);
    for (size_t j = 0; j < candidates.size(); ++j) EXPECT_EQ(text_of(space[i].candidates[j]), text_of(candidates[j]));
  }
}

TEST_P(AutoqkerasTrials, NetworksOfTrials) {
  const graph::Model model = model_of(row());
  const RunConfig config = config_of(row());
  const search::SearchSpace space = build_space(model, config);
  for (const Json& trial : row().at("trials")) {
    const graph::Model built = build_trial(model, config, values_of(trial.at("values"), space));
    ASSERT_EQ(built.layers.size(), trial.at("layers").size());
    for (size_t i = 0; i < built.layers.size(); ++i) expect_layer(built.layers[i], trial.at("layers")[i]);
  }
}

TEST_P(AutoqkerasTrials, CostsAndForgivingFactors) {
  const graph::Model model = model_of(row());
  const RunConfig config = config_of(row());
  const search::SearchSpace space = build_space(model, config);
  const CostMeter meter(config.goal, model, config.compat);
  EXPECT_EQ(meter.reference() * config.goal.factor.stress, row().at("reference").get<double>());
  for (const Json& trial : row().at("trials")) {
    const TrialCost cost = meter.measure(build_trial(model, config, values_of(trial.at("values"), space)));
    EXPECT_EQ(cost.cost, trial.at("trial").get<double>());
    EXPECT_NEAR(cost.total_factor, trial.at("total_factor").get<double>(), 1e-12);
    // The reference holds percents in 32-bit floats.
    const double delta = trial.at("delta").get<double>();
    EXPECT_NEAR(cost.delta, delta, 3e-7 * std::abs(delta));
    EXPECT_NEAR(1 + cost.delta, trial.at("score_factor").get<double>(), 3e-7);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, AutoqkerasTrials, ::testing::Range<size_t>(0, rows().cases.size()),
                         [](const auto& info) {
                           const Json& row = rows().cases[info.param];
                           return fmt::format("{}_{}_{}_{}", row.at("model").get<std::string>(),
                                              row.at("tune_filters").get<std::string>(),
                                              row.at("goal").at("type").get<std::string>(), info.param);
                         });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AutoqkerasTrials);

TEST(AutoqkerasTrialsFile, RowsAreCovered) {
  size_t trials = 0;
  for (const Json& row : rows().cases) trials += row.at("trials").size();
  RecordProperty("rows", static_cast<int>(rows().cases.size()));
  RecordProperty("trials", static_cast<int>(trials));
  printf("autoqkeras_trials: %zu set-ups, %zu trials\n", rows().cases.size(), trials);
}

// The tables that a run_config without its own gets.
TEST(AutoqkerasTrialsFile, DefaultTables) {
  if (rows().standard.is_null()) GTEST_SKIP() << "no file autoqkeras_trials";
  EXPECT_EQ(parse_quantization_config(rows().standard), default_quantization_config());
}

}  // namespace
}  // namespace nibble::autoq
