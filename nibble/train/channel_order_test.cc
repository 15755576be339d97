// data_format "channels_first": a layer computes what the one of "channels_last" computes between two permutations.
#include "nibble/graph/channel_order.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/train/network.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using graph::Attribute;
using Ints = std::vector<int64_t>;

struct Row {
  const char* name;
  const char* class_name;
  Attributes attributes;
  Ints input;  // channels first
  bool keeps_axes = true;
};

std::vector<Row> rows() {
  const Attribute two = int64_t{2}, three = int64_t{3}, same = std::string("same");
  const Attribute bits = std::string("quantized_bits(4,0,1,alpha='auto_po2')"),
                  relu = std::string("quantized_relu(4,2)");
  const Ints image = {3, 6, 5}, sequence = {3, 8};
  return {
      {"Conv1D", "Conv1D", {{"filters", two}, {"kernel_size", three}, {"strides", two}, {"padding", same}}, sequence},
      {"QConv1D", "QConv1D", {{"filters", two}, {"kernel_size", three}, {"kernel_quantizer", bits}}, sequence},
      {"SeparableConv1D", "SeparableConv1D", {{"filters", two}, {"kernel_size", three}}, sequence},
      {"MaxPooling1D", "MaxPooling1D", {}, sequence},
      {"GlobalAveragePooling1D", "GlobalAveragePooling1D", {}, sequence, false},
      {"Conv2D", "Conv2D", {{"filters", two}, {"kernel_size", three}, {"padding", same}}, image},
      {"QConv2D",
       "QConv2D",
       {{"filters", two}, {"kernel_size", three}, {"kernel_quantizer", bits}, {"activation", relu}},
       image},
      {"DepthwiseConv2D", "DepthwiseConv2D", {{"kernel_size", three}, {"depth_multiplier", two}}, image},
      {"SeparableConv2D", "SeparableConv2D", {{"filters", two}, {"kernel_size", three}}, image},
      {"Conv2DTranspose", "Conv2DTranspose", {{"filters", two}, {"kernel_size", three}, {"strides", two}}, image},
      {"QConv2DBatchnorm",
       "QConv2DBatchnorm",
       {{"filters", two}, {"kernel_size", three}, {"kernel_quantizer", bits}},
       image},
      {"MaxPooling2D", "MaxPooling2D", {{"padding", same}}, image},
      {"AveragePooling2D", "AveragePooling2D", {}, image},
      {"GlobalAveragePooling2D", "GlobalAveragePooling2D", {}, image, false},
      {"GlobalMaxPooling2DKept", "GlobalMaxPooling2D", {{"keepdims", true}}, image},
      {"ZeroPadding2D", "ZeroPadding2D", {{"padding", Ints{1, 2, 0, 1}}}, image},
      {"Cropping2D", "Cropping2D", {{"cropping", Ints{1, 1, 0, 2}}}, image},
      {"UpSampling2D", "UpSampling2D", {}, image},
      {"Flatten", "Flatten", {}, image, false},
      {"FlattenOfAVector", "Flatten", {}, {5}, false},
  };
}

Attributes in_format(Attributes attributes, const char* format) {
  attributes["data_format"] = std::string(format);
  return attributes;
}

// An activation after it, which the fast path would join to what stands before.
graph::Model channels_first(const Row& row) {
  const auto in = Input({.shape = row.input, .name = "in"});
  const auto x = layer(row.class_name, "layer", in_format(row.attributes, "channels_first"))(in);
  return build_model({in}, {graph::build::Activation({.activation = "relu"})(x)});
}

graph::Model permuted(const Row& row) {
  const auto in = Input({.shape = row.input, .name = "in"});
  const bool is_image = row.input.size() == 3;
  Node x = in;
  if (row.input.size() > 1) x = layer("Permute", "there", {{"dims", is_image ? Ints{2, 3, 1} : Ints{2, 1}}})(x);
  x = layer(row.class_name, "layer", in_format(row.attributes, "channels_last"))(x);
  if (row.keeps_axes) x = layer("Permute", "back", {{"dims", is_image ? Ints{3, 1, 2} : Ints{2, 1}}})(x);
  return build_model({in}, {graph::build::Activation({.activation = "relu"})(x)});
}

at::Tensor some_input(const Ints& shape) {
  Ints extents = {4};
  extents.insert(extents.end(), shape.begin(), shape.end());
  at::Tensor x = at::empty(extents, at::kFloat);
  RandomStream stream({6, RandomPurpose::kTest, 1, 0});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = stream.normal();
  return x;
}

class ChannelsFirst : public ::testing::TestWithParam<Row> {};

TEST_P(ChannelsFirst, EqualsThePermutedLayer) {
  graph::Model first = channels_first(GetParam()), last = permuted(GetParam());
  EXPECT_EQ(graph::infer_shapes(first).at("layer"),
            graph::infer_shapes(last).at(GetParam().keeps_axes ? "back" : "layer"));
  graph::initialize_weights(last, 3);
  first.layer("layer").weights = last.layer("layer").weights;
  graph::validate(first);
  const at::Tensor x = some_input(GetParam().input);
  for (const bool fused : {false, true}) {
    Network a(first, fused, 1), b(last, fused, 1);
    for (const Pass pass : {Pass::kInference, Pass::kTraining}) {
      const at::Tensor y = a.forward(x, pass, 0, false), expected = b.forward(x, pass, 0, false);
      EXPECT_TRUE(at::equal(y, expected)) << fused;
      if (!y.requires_grad()) continue;
      y.square().sum().backward();
      expected.square().sum().backward();
    }
    for (size_t i = 0; i < a.parameters().size(); ++i) {
      if (!a.parameters()[i].trainable) continue;
      EXPECT_TRUE(at::allclose(a.parameters()[i].value.grad(), b.parameters()[i].value.grad(), 1e-5, 1e-6));
    }
  }
}

TEST_P(ChannelsFirst, IsSavedAndRead) {
  graph::Model model = channels_first(GetParam());
  graph::initialize_weights(model, 3);
  for (const char* name : {"m.keras", "m.h5"}) {
    const auto path = testing::scratch_dir(std::string("channels_first_") + GetParam().name) / name;
    formats::keras::save_model(model, path);
    EXPECT_EQ(formats::keras::load_model(path), model);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, ChannelsFirst, ::testing::ValuesIn(rows()),
                         [](const auto& row) { return row.param.name; });

TEST(ChannelOrder, MovesOneAxis) {
  EXPECT_EQ(graph::with_channels_last({3, 4, 5}), (Shape{4, 5, 3}));
  EXPECT_EQ(graph::with_channels_first({4, 5, 3}), (Shape{3, 4, 5}));
  EXPECT_EQ(graph::with_channels_last({7}), (Shape{7}));
}

TEST(ChannelOrder, IsRefusedInASentenceWhereItWouldMatter) {
  const auto in = Input({.shape = {3, 6, 5}, .name = "in"});
  for (const char* activation : {"softmax", "quantized_bits(4,0,1,alpha='auto')"}) {
    graph::Model model = build_model({in}, {layer("Conv2D", "c",
                                                  {{"filters", int64_t{2}},
                                                   {"kernel_size", int64_t{3}},
                                                   {"activation", std::string(activation)},
                                                   {"data_format", std::string("channels_first")}})(in)});
    graph::initialize_weights(model, 1);
    EXPECT_THROW(Network(model, true, 1), Unsupported) << activation;
    EXPECT_THROW(graph::require_channels_last(model, "cost"), Unsupported);
    EXPECT_THROW(graph::set_quantization(model, "c", graph::LayerQuantization{}), Unsupported);
    EXPECT_NO_THROW(graph::set_quantization(model, "c", std::nullopt));
  }
}

}  // namespace
}  // namespace nibble::train
