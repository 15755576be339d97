// Batch normalization inside the accumulator of the layer before it; fused_accumulator() itself is in
// operators_golden_test.
#include "nibble/cost/fused_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/cost/energy.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using Attributes = std::map<std::string, graph::Attribute>;

const graph::Attribute kFourBits = std::string("quantized_bits(4,0,1)");

LayerCall dense(Attributes more = {}) {
  more.insert({{"units", int64_t{4}}, {"kernel_quantizer", kFourBits}, {"bias_quantizer", kFourBits}});
  return layer("QDense", "dense", more);
}

LayerCall norm(Attributes more = {}) {
  more.insert({{"gamma_quantizer", graph::None{}},
               {"variance_quantizer", graph::None{}},
               {"inverse_quantizer", std::string("quantized_bits(8,0,1)")},
               {"beta_quantizer", kFourBits},
               {"mean_quantizer", kFourBits}});
  return layer("QBatchNormalization", "bn", more);
}

graph::Model chain(const LayerCall& first, const LayerCall& second) {
  const Node input = Input({.shape = {8}, .name = "in"});
  return build_model({input}, {second(first(input))});
}

EnergyQuery query(bool fuses) {
  EnergyQuery result = energy_query(Reference::kNone);
  result.types.fuses_batch_norms = fuses;
  return result;
}

TEST(FusedNorm, OneAccumulatorHoldsBoth) {
  const DataTypeMap map = data_type_map(chain(dense(), norm()), query(true).types);
  ASSERT_EQ(map.layers.size(), 2u);
  // sum of 8 products of 11 bits: fixed(14,3), 10 fractional; times the inverse: 3 integer, 17 fractional bits. Inverse
  // times bias plus inverse times mean, plus beta: 2 integer, 10 fractional. Together 4 integer, 17 fractional, sign.
  EXPECT_EQ(map.layers[0].macs[0].accumulator, fixed_point_type(22, 4));
  EXPECT_EQ(map.layers[0].output, fixed_point_type(22, 4));
  EXPECT_EQ(map.layers[1].output, fixed_point_type(22, 4)) << "handed on";
  ASSERT_TRUE(map.layers[1].norm->inverse.has_value());
  EXPECT_EQ(*map.layers[1].norm->inverse, fixed_point_type(8, 0));
  const nlohmann::json report = report_of(map).at("bn");
  EXPECT_TRUE(report.contains("inverse_quantizer"));
  EXPECT_FALSE(report.contains("internal_divide_quantizer"));
}

TEST(FusedNorm, ItsEnergyIsAMultiplicationAndThreeParameters) {
  const LayerEnergy got = estimate(chain(dense(), norm()), query(true)).layers.at(1);
  const auto sram = [](double bits) {
    const double x = std::log2(bits);
    return std::max(0.0, 9.02427321e-4 * x * x * x - 2.68847858e-2 * x * x + 2.08900804e-1 * x);
  };
  // 4 values: an inverse of 8 bits times a sum of 14
  const double multiplication = 0.002994791667 * 8 * 14 + 0.001041666667 * std::sqrt(8.0 * 14);
  EXPECT_NEAR(got.op_cost_pj, 4 * multiplication, 0.005);
  EXPECT_NEAR(got.parameters_pj, sram(4 * 8) + 2 * sram(4 * 4), 0.005);
}

TEST(FusedNorm, WithoutTheOptionTheyStayApart) {
  const DataTypeMap map = data_type_map(chain(dense(), norm()), query(false).types);
  EXPECT_FALSE(map.layers[1].norm->inverse.has_value());
  EXPECT_TRUE(map.layers[1].norm->operators.divide.output.is_float());
}

TEST(FusedNorm, OnlyWhereNobodyElseSeesTheSum) {
  const auto is_inside = [](const graph::Model& model) { return norm_inside(model, model.layer("dense")) != nullptr; };
  EXPECT_TRUE(is_inside(chain(dense(), norm())));
  EXPECT_FALSE(is_inside(chain(dense({{"activation", std::string("quantized_relu(4)")}}), norm())));
  EXPECT_FALSE(is_inside(chain(dense({}), layer("QBatchNormalization", "bn", {}))));
  EXPECT_FALSE(is_inside(chain(dense({}), layer("BatchNormalization", "bn", {}))));
  EXPECT_FALSE(is_inside(chain(layer("Dense", "dense", {{"units", int64_t{4}}}), norm())));
  const Node input = Input({.shape = {8}, .name = "in"});
  const Node sum = dense()(input);
  EXPECT_FALSE(is_inside(build_model({input}, {layer("Add", "add", {})(std::vector<Node>{sum, norm()(sum)})})));
  EXPECT_FALSE(is_inside(build_model({input}, {sum, norm()(sum)})));
}

}  // namespace
}  // namespace nibble::cost
