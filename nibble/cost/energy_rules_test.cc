#include "nibble/cost/energy_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/cost/energy.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using ::testing::HasSubstr;

constexpr EnergyParts kAll = {true, true, true, true};
constexpr EnergyParts kWork = {.inputs = true, .parameters = true, .op_cost = true};

TEST(EnergyRules, WhatCountsWhereNothingIsSaid) {
  EXPECT_EQ(counted_parts("QActivation", LayerKind::kActivation), (EnergyParts{.outputs = true}));
  EXPECT_EQ(counted_parts("BatchNormalization", LayerKind::kBatchNormalization), (EnergyParts{.parameters = true}));
  EXPECT_EQ(counted_parts("Add", LayerKind::kMerge), (EnergyParts{.op_cost = true}));
  for (const char* name : {"MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling2D"}) {
    EXPECT_EQ(counted_parts(name, LayerKind::kMaxPooling), (EnergyParts{.op_cost = true})) << name;
  }
  EXPECT_EQ(counted_parts("MaxPooling2D", LayerKind::kMaxPooling, {}, Compat::kQkeras), (EnergyParts{.op_cost = true}));
  EXPECT_EQ(counted_parts("MaxPooling1D", LayerKind::kMaxPooling, {}, Compat::kQkeras), kWork);
  EXPECT_EQ(counted_parts("Multiply", LayerKind::kMerge), kWork);
  EXPECT_EQ(counted_parts("QConv2D", LayerKind::kConvolution), kWork);
}

TEST(EnergyRules, ANamedClassHasItsRuleAndADefaultReplacesTheTable) {
  const EnergyRules one = {{"QConv2D", {.outputs = true}}};
  EXPECT_EQ(counted_parts("QConv2D", LayerKind::kConvolution, one), (EnergyParts{.outputs = true}));
  EXPECT_EQ(counted_parts("Add", LayerKind::kMerge, one), (EnergyParts{.op_cost = true}));
  const EnergyRules all = {{"QConv2D", {.outputs = true}}, {"default", kAll}};
  EXPECT_EQ(counted_parts("QConv2D", LayerKind::kConvolution, all), (EnergyParts{.outputs = true}));
  EXPECT_EQ(counted_parts("Add", LayerKind::kMerge, all), kAll);
}

TEST(EnergyRules, Texts) {
  EXPECT_EQ(parse_energy_rule("QConv2D:inputs,parameters,op_cost"), std::pair(std::string("QConv2D"), kWork));
  EXPECT_EQ(parse_energy_rule("default:all"), std::pair(std::string("default"), kAll));
  EXPECT_EQ(parse_energy_rule("Flatten:none"), std::pair(std::string("Flatten"), EnergyParts{}));
}

TEST(EnergyRules, BadTextsAreAnswered) {
  struct Row {
    const char* text;
    const char* complaint;
  };
  const Row rows[] = {{"QConv2D", "CLASS:PARTS"},
                      {"QConv2D:", "CLASS:PARTS"},
                      {":inputs", "layer class ''"},
                      {"QConv2d:inputs", "Did you mean 'QConv2D'"},
                      {"defalt:inputs", "'default'"},
                      {"QConv2D:input", "'inputs'"},
                      {"QConv2D:inputs,", "the part ''"},
                      {"QConv2D:inputs, outputs", "'outputs'"},
                      {"QConv2D:none,inputs", "'none' beside other parts"},
                      {"QConv2D:inputs,all", "'all' beside other parts"},
                      {"QConv2D:all,none", "beside other parts"}};
  for (const Row& row : rows) {
    try {
      parse_energy_rule(row.text);
      ADD_FAILURE() << row.text;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(row.complaint)) << row.text;
    }
  }
}

// The four parts of a layer stay what they are; their sum follows the rules.
TEST(EnergyRules, TheEstimateSumsWhatTheRulesName) {
  const Node input = Input({.shape = {16}, .name = "in"});
  const Node dense = layer("QDense", "dense",
                           {{"units", int64_t{4}}, {"kernel_quantizer", std::string("quantized_bits(4,0,1)")}})(input);
  const graph::Model model =
      build_model({input}, {layer("QActivation", "act", {{"activation", std::string("quantized_relu(4)")}})(dense)});
  EnergyQuery query = energy_query(Reference::kNone);
  const EnergyEstimate usual = estimate(model, query);
  ASSERT_EQ(usual.layers.size(), 2u);
  const LayerEnergy& act = usual.layers[1];
  EXPECT_GT(act.inputs_pj, 0);
  EXPECT_EQ(act.included_pj, act.outputs_pj);
  query.energy.include = {{"QActivation", {.inputs = true, .outputs = true}}, {"QDense", {}}};
  const EnergyEstimate other = estimate(model, query);
  EXPECT_EQ(other.layers[0].included_pj, 0);
  EXPECT_EQ(other.layers[1].included_pj, act.inputs_pj + act.outputs_pj);
  EXPECT_EQ(other.total_pj, static_cast<int64_t>(act.inputs_pj + act.outputs_pj));
  EXPECT_EQ(other.total_cost_pj, usual.total_cost_pj);
}

}  // namespace
}  // namespace nibble::cost
