#include "nibble/graph/initializer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"

namespace nibble::graph {
namespace {

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};

Moments moments(const Tensor& x) {
  Moments m;
  double squares = 0;
  for (float v : x.data()) {
    m.mean += v / static_cast<double>(x.size());
    squares += static_cast<double>(v) * v / static_cast<double>(x.size());
    m.largest = std::max(m.largest, static_cast<double>(std::abs(v)));
  }
  m.deviation = std::sqrt(squares - m.mean * m.mean);
  return m;
}

struct Row {
  std::string claim;
  Attribute initializer;
  Shape shape;
  double deviation;
  double limit;  // no value beyond; 0: none
};

class Initializers : public ::testing::TestWithParam<Row> {};
TEST_P(Initializers, HaveKerasMoments) {
  const Row& row = GetParam();
  RandomStream random({.seed = 7, .purpose = RandomPurpose::kInitializer});
  const Tensor x = draw_initial(row.initializer, row.shape, random);
  const Moments m = moments(x);
  // Five standard errors of n draws.
  const double error = 5 * row.deviation / std::sqrt(static_cast<double>(x.size()));
  EXPECT_NEAR(m.mean, 0, error + 1e-12);
  EXPECT_NEAR(m.deviation, row.deviation, error + 1e-12);
  if (row.limit > 0) {
    EXPECT_LE(m.largest, row.limit * (1 + 1e-6));
    EXPECT_GE(m.largest, row.limit * 0.97) << "the range is used";
  }
}

// He: variance 2 / fan_in; Glorot: 2 / (fan_in + fan_out); LeCun: 1 / fan_in. A uniform's limit is sqrt(3) deviations,
// a truncated normal's 2 / 0.8796 of them.
const double kTruncation = 2 / 0.87962566103423978;
INSTANTIATE_TEST_SUITE_P(
    Rows, Initializers,
    ::testing::Values(
        Row{"HeUniformConv", "he_uniform", {3, 3, 16, 32}, std::sqrt(2.0 / 144), std::sqrt(6.0 / 144)},
        Row{"HeNormalDense", "he_normal", {200, 50}, std::sqrt(2.0 / 200), kTruncation* std::sqrt(2.0 / 200)},
        Row{"GlorotUniformDense", "glorot_uniform", {200, 50}, std::sqrt(2.0 / 250), std::sqrt(6.0 / 250)},
        Row{"GlorotNormalConv",
            "glorot_normal",
            {3, 3, 16, 32},
            std::sqrt(2.0 / 432),
            kTruncation* std::sqrt(2.0 / 432)},
        Row{"LecunUniform", "lecun_uniform", {200, 50}, std::sqrt(1.0 / 200), std::sqrt(3.0 / 200)},
        Row{"LecunNormal", "lecun_normal", {200, 50}, std::sqrt(1.0 / 200), kTruncation* std::sqrt(1.0 / 200)},
        // Keras takes a depthwise kernel's input channels for fan_in, though each output sees one of them.
        Row{"DepthwiseCountsItsChannels", "he_uniform", {3, 3, 512, 1}, std::sqrt(2.0 / 4608), std::sqrt(6.0 / 4608)},
        Row{"VectorHasOneFan", "glorot_uniform", {4000}, std::sqrt(1.0 / 4000), std::sqrt(3.0 / 4000)},
        Row{"RandomUniform", "random_uniform", {5000}, 0.1 / std::sqrt(12), 0.05},
        Row{"RandomNormal", "random_normal", {5000}, 0.05, 0},
        Row{"TruncatedNormal", "truncated_normal", {5000}, 0.05 * 0.87962566, 0.1}, Row{"Zeros", "zeros", {5}, 0, 0},
        Row{"VarianceScalingObject",
            OpaqueJson{
                R"({"class_name": "VarianceScaling", "config": {"scale": 4.0, "mode": "fan_out", "distribution": "uniform", "seed": null}})"},
            {50, 200},
            std::sqrt(4.0 / 200),
            std::sqrt(12.0 / 200)},
        Row{"WrappedByQKeras",
            OpaqueJson{
                R"({"class_name": "QInitializer", "config": {"initializer": {"class_name": "LecunUniform", "config": {"seed": null}}, "use_scale": true}})"},
            {200, 50},
            std::sqrt(1.0 / 200),
            std::sqrt(3.0 / 200)}),
    [](const auto& row) { return row.param.claim; });

TEST(Initializer, NamesAndObjectsTranslate) {
  for (const std::string& name : known_initializers()) EXPECT_EQ(initializer_name(initializer_config(name)), name);
  EXPECT_EQ(initializer_name(
                {{"class_name", "RandomUniform"}, {"config", {{"minval", -1}, {"maxval", 1}, {"seed", nullptr}}}}),
            "");
}

TEST(Initializer, OrthogonalHasOrthonormalRowsOrColumns) {
  for (const Shape& shape : {Shape{5, 3}, Shape{3, 7}, Shape{2, 2, 3}}) {
    RandomStream random({.seed = 1});
    const Tensor w = draw_initial(std::string("orthogonal"), shape, random);
    const int64_t columns = shape[-1], rows = w.size() / columns;
    const bool by_row = rows < columns;
    const int64_t count = by_row ? rows : columns, length = by_row ? columns : rows;
    const auto at = [&](int64_t vector, int64_t i) {
      return by_row ? w[vector * columns + i] : w[i * columns + vector];
    };
    for (int64_t a = 0; a < count; ++a) {
      for (int64_t b = 0; b < count; ++b) {
        double product = 0;
        for (int64_t i = 0; i < length; ++i) product += static_cast<double>(at(a, i)) * at(b, i);
        EXPECT_NEAR(product, a == b ? 1.0 : 0.0, 1e-6) << shape.str();
      }
    }
  }
}

TEST(Initializer, UnknownObjectIsRefusedWhenDrawn) {
  RandomStream random({});
  EXPECT_THROW(draw_initial(OpaqueJson{R"({"class_name": "Own", "config": {}})"}, {2, 2}, random), Unsupported);
  EXPECT_THROW(draw_initial(OpaqueJson{"[]"}, {2, 2}, random), InvalidArgument);
}

Model network(const std::string& quantizer) {
  using namespace build;
  const Node in = Input({.shape = {6, 6, 2}});
  Node x = QConv2D({.filters = 4, .kernel_size = {3, 3}, .kernel_quantizer = quantizer, .name = "c"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  return build_model({in}, {QDense({.units = 3, .name = "d"})(Flatten()(x))});
}

TEST(InitializeWeights, RepeatsUnderOneSeedAndDiffersUnderAnother) {
  Model a = network(""), b = network(""), c = network("");
  initialize_weights(a, 1);
  initialize_weights(b, 1);
  initialize_weights(c, 2);
  EXPECT_TRUE(a == b);
  EXPECT_FALSE(a == c);
  EXPECT_EQ(a.layer("bn").find_weight("gamma")->value, Tensor(Shape{4}, 1.0f));
  EXPECT_EQ(a.layer("bn").find_weight("moving_variance")->value, Tensor(Shape{4}, 1.0f));
  EXPECT_EQ(a.layer("d").find_weight("bias")->value, Tensor(Shape{3}, 0.0f));
  EXPECT_NO_THROW(validate(a));
}

TEST(InitializeWeights, LeavesWeightsThatAreThere) {
  Model model = network("");
  model.layer("d").weights = {{"kernel", Tensor(Shape{64, 3}, 0.5f)}, {"bias", Tensor(Shape{3}, 0.25f)}};
  initialize_weights(model, 1);
  EXPECT_EQ(model.layer("d").find_weight("kernel")->value, Tensor(Shape{64, 3}, 0.5f));
  EXPECT_FALSE(model.layer("c").weights.empty());
}

TEST(InitializeWeights, CoarseQuantizersGetALargerDraw) {
  // Integer bits make steps of 2: he_normal's draw alone would be all zeros.
  Model model = network("quantized_bits(4,4,1,alpha=1.0)");
  initialize_weights(model, 1);
  const Tensor& kernel = model.layer("c").find_weight("kernel")->value;
  const Tensor codes = model.layer("c").get_quantizer("kernel_quantizer")->quantize(kernel).real;
  EXPECT_GT(moments(codes).largest, 0);
}

}  // namespace
}  // namespace nibble::graph
