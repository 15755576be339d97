#include <gtest/gtest.h>

#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/model.h"
#include "nibble/graph/padding.h"
#include "support/golden.h"

namespace nibble::graph {
namespace {

using Ints = std::vector<int64_t>;

struct WindowRow {
  const char* padding;
  int64_t in, kernel, stride, dilation, out, before, after;
};
class WindowTable : public ::testing::TestWithParam<WindowRow> {};
TEST_P(WindowTable, FollowsTensorFlow) {
  const WindowRow& row = GetParam();
  const Window w = window(row.padding, row.in, row.kernel, row.stride, row.dilation);
  EXPECT_EQ(w.out, row.out);
  EXPECT_EQ(w.before, row.before);
  EXPECT_EQ(w.after, row.after);
}
INSTANTIATE_TEST_SUITE_P(Rows, WindowTable,
                         ::testing::Values(WindowRow{"same", 28, 3, 1, 1, 28, 1, 1},   //
                                           WindowRow{"same", 28, 3, 2, 1, 14, 0, 1},   // even input: after only
                                           WindowRow{"same", 7, 3, 2, 1, 4, 1, 1},     //
                                           WindowRow{"same", 1, 3, 2, 1, 1, 1, 1},     //
                                           WindowRow{"same", 5, 1, 3, 1, 2, 0, 0},     // never negative
                                           WindowRow{"same", 10, 3, 1, 2, 10, 2, 2},   //
                                           WindowRow{"same", 4, 2, 1, 1, 4, 0, 1},     //
                                           WindowRow{"valid", 28, 3, 1, 1, 26, 0, 0},  //
                                           WindowRow{"valid", 28, 3, 2, 1, 13, 0, 0},  //
                                           WindowRow{"valid", 2, 3, 1, 1, 0, 0, 0},    // does not fit
                                           WindowRow{"causal", 10, 3, 1, 2, 10, 4, 0},
                                           WindowRow{"causal", 10, 3, 3, 1, 4, 2, 0}));

// A layer of one class over inputs of given shapes.
struct Row {
  std::string claim, class_name;
  std::map<std::string, Attribute> attributes;
  std::vector<Shape> inputs;
  Shape output;
  std::vector<Shape> weights;
};

Model one_layer(const Row& row) {
  std::vector<build::Node> inputs;
  for (const Shape& shape : row.inputs) inputs.push_back(build::Input({.shape = shape.extents()}));
  const build::Node out = build::layer(row.class_name, "x", row.attributes)(inputs);
  return build::build_model(inputs, {out});
}

class ShapeTable : public ::testing::TestWithParam<Row> {};
TEST_P(ShapeTable, OutputAndWeights) {
  const Row& row = GetParam();
  const Model model = one_layer(row);
  EXPECT_EQ(infer_shapes(model).at("x"), row.output);
  std::vector<Shape> weights;
  for (const auto& [name, shape] : weight_shapes(model.layer("x"), row.inputs)) weights.push_back(shape);
  EXPECT_EQ(weights, row.weights);
}

constexpr int64_t kFree = Shape::kFree;
INSTANTIATE_TEST_SUITE_P(
    Rows, ShapeTable,
    ::testing::Values(
        Row{"Conv2DSame",
            "Conv2D",
            {{"filters", 8}, {"kernel_size", 3}, {"strides", 2}, {"padding", "same"}},
            {{28, 28, 3}},
            {14, 14, 8},
            {{3, 3, 3, 8}, {8}}},
        Row{"Conv2DGrouped",
            "Conv2D",
            {{"filters", 8}, {"kernel_size", Ints{1, 3}}, {"groups", 2}, {"use_bias", false}},
            {{5, 7, 4}},
            {5, 5, 8},
            {{1, 3, 2, 8}}},
        Row{"Conv2DFreeExtent",
            "Conv2D",
            {{"filters", 8}, {"kernel_size", 3}},
            {{kFree, 9, 3}},
            {kFree, 7, 8},
            {{3, 3, 3, 8}, {8}}},
        Row{"Conv1DCausal",
            "Conv1D",
            {{"filters", 2}, {"kernel_size", 3}, {"padding", "causal"}},
            {{10, 4}},
            {10, 2},
            {{3, 4, 2}, {2}}},
        Row{"Depthwise",
            "QDepthwiseConv2D",
            {{"kernel_size", 3}, {"depth_multiplier", 2}},
            {{6, 6, 4}},
            {4, 4, 8},
            {{3, 3, 4, 2}, {8}}},
        Row{"Separable",
            "QSeparableConv2D",
            {{"filters", 8}, {"kernel_size", 3}},
            {{32, 32, 4}},
            {30, 30, 8},
            {{3, 3, 4, 1}, {1, 1, 4, 8}, {8}}},
        Row{"TransposedSwapsChannels",
            "Conv2DTranspose",
            {{"filters", 4}, {"kernel_size", 2}, {"strides", 2}},
            {{16, 16, 6}},
            {32, 32, 4},
            {{2, 2, 4, 6}, {4}}},
        Row{"TransposedSame",
            "Conv2DTranspose",
            {{"filters", 4}, {"kernel_size", 3}, {"strides", 2}, {"padding", "same"}},
            {{5, 5, 1}},
            {10, 10, 4},
            {{3, 3, 4, 1}, {4}}},
        Row{"DenseActsOnTheLastAxis", "Dense", {{"units", 5}}, {{7, 3}}, {7, 5}, {{3, 5}, {5}}},
        Row{"BatchNormalization", "BatchNormalization", {}, {{4, 4, 6}}, {4, 4, 6}, {{6}, {6}, {6}, {6}}},
        Row{"BatchNormalizationBare",
            "BatchNormalization",
            {{"center", false}, {"scale", false}},
            {{6}},
            {6},
            {{6}, {6}}},
        Row{"BatchNormalizationOldAxis",
            "BatchNormalization",
            {{"axis", Ints{3}}},
            {{4, 5, 6}},
            {4, 5, 6},
            {{6}, {6}, {6}, {6}}},
        Row{"FoldedHasACounter",
            "QConv2DBatchnorm",
            {{"filters", 2}, {"kernel_size", 1}},
            {{3, 3, 1}},
            {3, 3, 2},
            {{1, 1, 1, 2}, {2}, {2}, {2}, {}, {2}, {2}}},
        Row{"MaxPooling", "MaxPooling2D", {}, {{7, 7, 2}}, {3, 3, 2}, {}},
        Row{"MaxPoolingSame", "MaxPooling2D", {{"padding", "same"}}, {{7, 7, 2}}, {4, 4, 2}, {}},
        Row{"GlobalAverage", "GlobalAveragePooling2D", {}, {{7, 7, 2}}, {2}, {}},
        Row{"GlobalAverageKeepsDims", "GlobalAveragePooling2D", {{"keepdims", true}}, {{7, 7, 2}}, {1, 1, 2}, {}},
        Row{"Flatten", "Flatten", {}, {{2, 3, 4}}, {24}, {}},
        Row{"FlattenFree", "Flatten", {}, {{kFree, 3}}, {kFree}, {}},
        Row{"ReshapeInfersOne", "Reshape", {{"target_shape", Ints{4, -1}}}, {{2, 6}}, {4, 3}, {}},
        Row{"Permute", "Permute", {{"dims", Ints{3, 1, 2}}}, {{2, 3, 4}}, {4, 2, 3}, {}},
        Row{"ZeroPadding", "ZeroPadding2D", {{"padding", Ints{1, 2}}}, {{4, 4, 1}}, {6, 8, 1}, {}},
        Row{"ZeroPaddingOfSteps", "ZeroPadding1D", {{"padding", Ints{1, 2}}}, {{4, 3}}, {7, 3}, {}},
        Row{"ZeroPaddingOfBothEnds", "ZeroPadding1D", {{"padding", Ints{2}}}, {{kFree, 3}}, {kFree, 3}, {}},
        Row{"CroppingOfSteps", "Cropping1D", {{"cropping", Ints{1, 2}}}, {{4, 3}}, {1, 3}, {}},
        Row{"UpSamplingOfSteps", "UpSampling1D", {{"size", 3}}, {{4, 2}}, {12, 2}, {}},
        Row{"Cropping", "Cropping2D", {{"cropping", Ints{1, 0, 2, 1}}}, {{4, 4, 1}}, {3, 1, 1}, {}},
        Row{"UpSampling", "UpSampling2D", {{"size", Ints{2, 3}}}, {{4, 4, 1}}, {8, 12, 1}, {}},
        Row{"AddBroadcasts", "Add", {}, {{4, 4, 3}, {1, 1, 3}}, {4, 4, 3}, {}},
        Row{"Concatenate", "Concatenate", {}, {{4, 4, 3}, {4, 4, 2}}, {4, 4, 5}, {}},
        Row{"ConcatenateFirst", "Concatenate", {{"axis", 1}}, {{4, 3}, {2, 3}}, {6, 3}, {}},
        Row{"PReLUShared", "PReLU", {{"shared_axes", Ints{1, 2}}}, {{4, 5, 3}}, {4, 5, 3}, {{1, 1, 3}}},
        Row{"Dropout", "Dropout", {{"rate", 0.5}}, {{4}}, {4}, {}}),
    [](const auto& row) { return row.param.claim; });

class ShapeRefusals : public ::testing::TestWithParam<Row> {};
TEST_P(ShapeRefusals, NameTheLayer) {
  try {
    one_layer(GetParam());
    FAIL() << "nothing was thrown";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("layer 'x'"), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, ShapeRefusals,
    ::testing::Values(
        Row{"KernelBeyondTheInput", "Conv2D", {{"filters", 1}, {"kernel_size", 5}}, {{4, 4, 1}}, {}, {}},
        Row{"ConvOfAVector", "Conv2D", {{"filters", 1}, {"kernel_size", 5}}, {{4}}, {}, {}},
        Row{"DenseOfFreeFeatures", "Dense", {{"units", 1}}, {{kFree}}, {}, {}},
        Row{"GroupsDoNotDivide", "Conv2D", {{"filters", 4}, {"kernel_size", 1}, {"groups", 3}}, {{4, 4, 4}}, {}, {}},
        Row{"ReshapeDoesNotFit", "Reshape", {{"target_shape", Ints{5}}}, {{2, 3}}, {}, {}},
        Row{"ReshapeTwoUnknown", "Reshape", {{"target_shape", Ints{-1, -1}}}, {{2, 3}}, {}, {}},
        Row{"AddDiffers", "Add", {}, {{4}, {5}}, {}, {}},
        Row{"ConcatenateDiffers", "Concatenate", {}, {{4, 2}, {5, 3}}, {}, {}},
        Row{"AxisOfTheBatch", "BatchNormalization", {{"axis", 0}}, {{4}}, {}, {}},
        Row{"OneInputToAdd", "Add", {}, {{4}}, {}, {}},
        Row{"TwoInputsToDense", "Dense", {{"units", 1}}, {{4}, {4}}, {}, {}},
        Row{"GrowsWithoutBound", "UpSampling2D", {{"size", int64_t{1} << 30}}, {{1 << 20, 1, 1}}, {}, {}}),
    [](const auto& row) { return row.param.claim; });

TEST(Validate, RefusesBrokenGraphs) {
  const Row dense{"", "Dense", {{"units", 2}}, {{3}}, {}, {}};
  const auto refused = [&](const std::function<void(Model&)>& damage, const std::string& part) {
    Model model = one_layer(dense);
    initialize_weights(model, 1);
    damage(model);
    try {
      validate(model);
      ADD_FAILURE() << "expected a message with " << part;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused([](Model& m) { m.layers[1].inputs = {"nowhere"}; }, "'nowhere'");
  refused([](Model& m) { m.layers[1].inputs = {"x"}; }, "cycles");
  refused(
      [](Model& m) {
        m.layers[1].name = m.layers[0].name;
        m.layers[1].inputs = {};
      },
      "takes 1");
  refused([](Model& m) { m.layers.push_back(m.layers[1]); }, "two layers");
  refused([](Model& m) { m.outputs = {"y"}; }, "'y'");
  refused([](Model& m) { m.inputs = {"x"}; }, "no InputLayer");
  refused([](Model& m) { m.layers[1].weights.pop_back(); }, "carries 1 weights");
  refused([](Model& m) { m.layers[1].weights[0].value = Tensor(Shape{2, 2}); }, "(3, 2)");
}

TEST(GoldenGraphs, ShapesAgree) {
  const nlohmann::json golden = testing::golden_json("qtools/graphs");
  if (golden.is_null()) GTEST_SKIP() << "no golden/qtools/graphs";
  const nlohmann::json& cases = golden.is_array() ? golden : golden.at("cases");
  int rows = 0;
  const auto unbatched = [](const nlohmann::json& extents) {
    std::vector<int64_t> result = extents.get<std::vector<int64_t>>();
    result.erase(result.begin());
    return Shape(result);
  };
  for (const auto& entry : cases) {
    Model model;
    const nlohmann::json& expected = entry.at("model");
    for (const auto& row : expected.at("layers")) {
      std::map<std::string, Attribute> given;
      if (row.contains("shape")) given["shape"] = unbatched(row["shape"]).extents();
      for (const char* key : {"filters", "units", "depth_multiplier"}) {
        if (row.contains(key)) given[key] = row[key].get<int64_t>();
      }
      for (const char* key : {"kernel_size", "strides", "pool_size"}) {
        if (row.contains(key)) given[key] = row[key].get<std::vector<int64_t>>();
      }
      if (row.contains("padding")) given["padding"] = row["padding"].get<std::string>();
      if (row.contains("use_bias")) given["use_bias"] = row["use_bias"] == 1;
      if (row.contains("activation")) given["activation"] = row["activation"].get<std::string>();
      if (row.at("class") == "Dropout") given["rate"] = 0.5;
      model.layers.push_back(make_layer(row["class"], row["name"], given));
      model.layers.back().inputs = row.value("inputs", std::vector<std::string>{});
    }
    const auto shapes = infer_shapes(model);
    for (const auto& row : expected["layers"]) {
      const std::string name = row["name"];
      const Shape want = unbatched(row.contains("shape") ? row["shape"] : row["output_shape"]);
      EXPECT_EQ(shapes.at(name), want) << entry.value("graph", "") << " " << name;
      ++rows;
    }
  }
  std::printf("compared the shapes of %d layers\n", rows);
}

}  // namespace
}  // namespace nibble::graph
