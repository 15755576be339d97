// Models of several inputs and outputs: merges of two inputs with numbers worked out by hand, and what is refused.
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/train/trainer.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using Ints = std::vector<int64_t>;
using Attributes = std::map<std::string, graph::Attribute>;

Tensor tensor(Ints shape, std::vector<float> values) {
  Tensor result{Shape(std::move(shape))};
  std::copy(values.begin(), values.end(), result.data().begin());
  return result;
}

struct Row {
  const char* name;
  const char* class_name;
  Attributes attributes;
  Tensor a, b;
  Tensor expected;
};

std::vector<Row> rows() {
  const Tensor a = tensor({2, 3}, {1, 2, 3, 4, 5, 6}), b = tensor({2, 3}, {3, 2, 1, -4, 5, -6});
  const Tensor image_a = tensor({1, 2, 2}, {1, 2, 3, 4}), image_b = tensor({1, 2, 2}, {1, 0, 2, 1});
  const Tensor long_a = tensor({1, 2}, {3, 4}), long_b = tensor({1, 2}, {0, 5});
  return {
      {"Add", "Add", {}, a, b, tensor({2, 3}, {4, 4, 4, 0, 10, 0})},
      {"Subtract", "Subtract", {}, a, b, tensor({2, 3}, {-2, 0, 2, 8, 0, 12})},
      {"Multiply", "Multiply", {}, a, b, tensor({2, 3}, {3, 4, 3, -16, 25, -36})},
      {"Average", "Average", {}, a, b, tensor({2, 3}, {2, 2, 2, 0, 5, 0})},
      {"Maximum", "Maximum", {}, a, b, tensor({2, 3}, {3, 2, 3, 4, 5, 6})},
      {"Minimum", "Minimum", {}, a, b, tensor({2, 3}, {1, 2, 1, -4, 5, -6})},
      {"Concatenate", "Concatenate", {}, a, b, tensor({2, 6}, {1, 2, 3, 3, 2, 1, 4, 5, 6, -4, 5, -6})},
      {"ConcatenateRows",
       "Concatenate",
       {{"axis", int64_t{1}}},
       image_a,
       image_b,
       tensor({1, 4, 2}, {1, 2, 3, 4, 1, 0, 2, 1})},
      {"DotOfVectors", "Dot", {{"axes", Ints{1}}}, a, b, tensor({2, 1}, {10, -27})},
      // rows of a times rows of b
      {"DotOfRows", "Dot", {{"axes", Ints{2}}}, image_a, image_b, tensor({1, 2, 2}, {1, 4, 3, 10})},
      // columns of a times rows of b, as a matrix product of a's transpose and b's
      {"DotOfTwoAxes", "Dot", {{"axes", Ints{1, 2}}}, image_a, image_b, tensor({1, 2, 2}, {1, 5, 2, 8})},
      {"DotFromTheEnd", "Dot", {{"axes", Ints{-1}}}, image_a, image_b, tensor({1, 2, 2}, {1, 4, 3, 10})},
      {"DotOfDirections", "Dot", {{"axes", Ints{1}}, {"normalize", true}}, long_a, long_b, tensor({1, 1}, {0.8f})},
  };
}

class Merge : public ::testing::TestWithParam<Row> {};

Node input_like(const Tensor& x, const char* name) {
  const auto& extents = x.shape().extents();
  return Input({.shape = Ints(extents.begin() + 1, extents.end()), .name = name});
}

TEST_P(Merge, OfTwoInputs) {
  const Row& row = GetParam();
  const Node a = input_like(row.a, "a"), b = input_like(row.b, "b");
  const graph::Model model = build_model({a, b}, {layer(row.class_name, "merge", row.attributes)({a, b})});
  for (const bool fused : {true, false}) {
    Trainer trainer(model, {.fused = fused});
    const std::vector<Tensor> inputs = {row.a, row.b};
    for (const int64_t batch_size : {1, 2, 1024}) {
      const auto outputs = trainer.predict(inputs, batch_size);
      ASSERT_EQ(outputs.size(), 1u);
      ASSERT_EQ(outputs[0].shape(), row.expected.shape());
      for (int64_t i = 0; i < row.expected.size(); ++i) EXPECT_NEAR(outputs[0][i], row.expected[i], 1e-6) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Merge, ::testing::ValuesIn(rows()), [](const auto& row) { return row.param.name; });

// Two inputs; the outputs are a convolution that a later layer reads too, and what follows it.
graph::Model two_of_each() {
  const Node image = Input({.shape = {4, 4, 1}, .name = "image"}), vector = Input({.shape = {3}, .name = "vector"});
  const Node maps = Conv2D({.filters = 2, .kernel_size = {3, 3}, .padding = "same", .name = "maps"})(image);
  Node x = BatchNormalization({.name = "norm"})(maps);
  x = Activation({.activation = "relu", .name = "relu"})(x);
  x = Concatenate({.name = "both"})({Flatten({.name = "flat"})(x), vector});
  return build_model({vector, image}, {maps, Dense({.units = 2, .name = "dense"})(x)}, "two");
}

TEST(SeveralOutputs, AreThoseOfEachPartAlone) {
  const graph::Model model = two_of_each();
  Tensor vector(Shape{5, 3}, 0.5f), image(Shape{5, 4, 4, 1});
  for (int64_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 7) - 3.0f;
  Trainer fused(model, {.fused = true}), plain(model, {.fused = false});
  const std::vector<Tensor> inputs = {vector, image};
  const auto a = fused.predict(inputs), b = plain.predict(inputs);
  ASSERT_EQ(a.size(), 2u);
  EXPECT_EQ(a[0].shape(), (Shape{5, 4, 4, 2}));
  EXPECT_EQ(a[1].shape(), (Shape{5, 2}));
  for (size_t o = 0; o < 2; ++o) {
    for (int64_t i = 0; i < a[o].size(); ++i) EXPECT_NEAR(a[o][i], b[o][i], 1e-5) << o << ", " << i;
  }

  graph::Model part = fused.model();
  part.layers = {part.layer("image"), part.layer("maps")};
  part.inputs = {"image"}, part.outputs = {"maps"};
  const Tensor alone = Trainer(part, {}).predict(image);
  for (int64_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(a[0][i], alone[i], 1e-6) << i;
}

std::string sentence(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(SeveralInputs, AreCheckedInSentences) {
  Trainer trainer(two_of_each(), {});
  const Tensor vector(Shape{5, 3}), image(Shape{5, 4, 4, 1}), fewer(Shape{4, 4, 4, 1});
  const auto predict = [&](std::vector<Tensor> inputs) {
    return sentence([&] { trainer.predict(std::span<const Tensor>(inputs)); });
  };
  EXPECT_EQ(predict({vector}), "[train] model 'two' has 2 inputs (vector, image), but 1 tensors are given.");
  EXPECT_EQ(predict({}), "[train] model 'two' has 2 inputs (vector, image), but 0 tensors are given.");
  EXPECT_EQ(predict({image, vector}),
            "[train] input 'vector' of model 'two' takes [N, 3] with one N for all inputs, but gets [5, 4, 4, 1].");
  EXPECT_EQ(predict({vector, fewer}),
            "[predict] the inputs hold different numbers of samples: (5, 3) and (4, 4, 4, 1).");
}

TEST(SeveralInputs, CannotBeTrained) {
  Trainer trainer(two_of_each(), {});
  data::Dataset dataset;
  dataset.num_classes = 2;
  dataset.train = data::Samples(Shape{3}, std::vector<float>(12, 0.0f), {0, 1, 0, 1});
  FitOptions one_epoch;
  one_epoch.epochs = 1;
  const std::string expected =
      "[train] model 'two' has 2 inputs and 2 outputs; this needs one of each. predict() with a list of tensors runs "
      "it.";
  EXPECT_EQ(sentence([&] { trainer.fit(dataset, one_epoch); }), expected);
  EXPECT_EQ(sentence([&] { trainer.evaluate(dataset.train); }), expected);
  EXPECT_TRUE(sentence([&] { trainer.predict(Tensor(Shape{5, 3})); }).starts_with("[predict] model 'two'"));
}

}  // namespace
}  // namespace nibble::train
