// The gradient of each smooth layer against differences of its value, for every weight and every input.
//
// Inputs and weights are the points of one grid, shuffled: no two are nearer than 2 h and none is nearer to 0 than h,
// so that the kinks of maxima and of PReLU lie outside every difference.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/graph/model.h"
#include "nibble/train/network.h"

namespace nibble::train {
namespace {

using graph::Attribute;
using Attributes = std::map<std::string, Attribute>;
using Ints = std::vector<int64_t>;

constexpr float kStep = 4e-3f;

Attribute text(const char* value) { return std::string(value); }

struct Row {
  const char* name;
  const char* class_name;
  Attributes attributes;
  std::vector<Ints> inputs;  // without the batch axis
};

std::vector<Row> convolutions() {
  const Attribute two = int64_t{2}, three = int64_t{3}, four = int64_t{4};
  const Ints image = {4, 5, 2}, sequence = {7, 2};
  const Attributes causal = {{"filters", three}, {"kernel_size", two}, {"padding", text("causal")}};
  return {
      {"Conv1DCausalDilated",
       "Conv1D",
       {{"filters", three}, {"kernel_size", two}, {"padding", text("causal")}, {"dilation_rate", two}},
       {sequence}},
      {"Conv1DGroupsStrides",
       "Conv1D",
       {{"filters", four}, {"kernel_size", three}, {"groups", two}, {"strides", two}, {"padding", text("same")}},
       {sequence}},
      {"Conv1DChannelsFirst",
       "Conv1D",
       {{"filters", three}, {"kernel_size", two}, {"data_format", text("channels_first")}},
       {{2, 7}}},
      {"Conv2DChannelsFirst",
       "Conv2D",
       {{"filters", three},
        {"kernel_size", two},
        {"data_format", text("channels_first")},
        {"activation", text("tanh")}},
       {{2, 4, 5}}},
      {"QConv1DWithoutQuantizers", "QConv1D", causal, {sequence}},
      {"Conv2D", "Conv2D", {{"filters", three}, {"kernel_size", two}, {"activation", text("tanh")}}, {image}},
      {"DepthwiseConv2D", "DepthwiseConv2D", {{"kernel_size", three}, {"depth_multiplier", two}}, {image}},
      {"SeparableConv1D",
       "SeparableConv1D",
       {{"filters", three}, {"kernel_size", three}, {"depth_multiplier", two}, {"padding", text("same")}},
       {sequence}},
      {"SeparableConv2D", "SeparableConv2D", {{"filters", three}, {"kernel_size", three}}, {image}},
      {"Conv2DTransposeSame",
       "Conv2DTranspose",
       {{"filters", three}, {"kernel_size", three}, {"strides", two}, {"padding", text("same")}},
       {{3, 2, 2}}},
      {"Conv2DTransposeValid", "Conv2DTranspose", {{"filters", three}, {"kernel_size", two}}, {{3, 2, 2}}},
      {"QDepthwiseConv2DTranspose",
       "QDepthwiseConv2DTranspose",
       {{"filters", four}, {"kernel_size", three}, {"strides", two}, {"group_size", two}},
       {{3, 2, 4}}},
      {"QSeparableConv2DTranspose",
       "QSeparableConv2DTranspose",
       {{"filters", three}, {"kernel_size", three}, {"strides", two}, {"padding", text("same")}},
       {{3, 2, 2}}},
      {"Dense", "Dense", {{"units", three}}, {{6}}},
      {"QScaleShift", "QScaleShift", {}, {image}},
  };
}

std::vector<Row> pools_and_shapes() {
  const Ints image = {4, 5, 2}, sequence = {7, 2};
  const Attribute two = int64_t{2};
  return {
      {"AveragePooling1D", "AveragePooling1D", {{"pool_size", two}, {"padding", text("same")}}, {sequence}},
      {"AveragePooling2D", "AveragePooling2D", {{"pool_size", two}, {"padding", text("same")}}, {image}},
      {"QAveragePooling2D", "QAveragePooling2D", {{"pool_size", two}}, {image}},
      {"MaxPooling1D", "MaxPooling1D", {{"pool_size", two}, {"padding", text("same")}}, {sequence}},
      {"MaxPooling2D", "MaxPooling2D", {{"pool_size", two}}, {image}},
      {"GlobalAveragePooling1D", "GlobalAveragePooling1D", {}, {sequence}},
      {"GlobalAveragePooling2D", "GlobalAveragePooling2D", {}, {image}},
      {"QGlobalAveragePooling2D", "QGlobalAveragePooling2D", {}, {image}},
      {"GlobalMaxPooling1D", "GlobalMaxPooling1D", {}, {sequence}},
      {"GlobalMaxPooling2D", "GlobalMaxPooling2D", {}, {image}},
      {"UpSampling2D", "UpSampling2D", {{"size", two}}, {image}},
      {"UpSampling1D", "UpSampling1D", {{"size", int64_t{3}}}, {sequence}},
      {"ZeroPadding1D", "ZeroPadding1D", {{"padding", Ints{1, 2}}}, {sequence}},
      {"Cropping1D", "Cropping1D", {{"cropping", Ints{1, 0}}}, {sequence}},
      {"ZeroPadding2D", "ZeroPadding2D", {{"padding", Ints{1, 2, 0, 1}}}, {image}},
      {"Cropping2D", "Cropping2D", {{"cropping", Ints{1, 1, 0, 2}}}, {image}},
      {"Permute", "Permute", {{"dims", Ints{3, 1, 2}}}, {image}},
      {"Flatten", "Flatten", {}, {image}},
      {"Reshape", "Reshape", {{"target_shape", Ints{-1, 4}}}, {image}},
  };
}

std::vector<Row> others() {
  const Ints image = {4, 5, 2}, sequence = {5, 2}, vector = {6};
  const Attribute three = int64_t{3};
  std::vector<Row> rows = {
      {"BatchNormalization", "BatchNormalization", {}, {image}},
      {"BatchNormalizationOfRows", "BatchNormalization", {{"axis", int64_t{1}}}, {image}},
      {"BatchNormalizationOfColumns", "BatchNormalization", {{"axis", int64_t{-2}}}, {image}},
      {"BatchNormalizationOfSteps", "BatchNormalization", {{"axis", int64_t{1}}}, {sequence}},
      {"QBatchNormalizationOfRows",
       "QBatchNormalization",
       {{"axis", int64_t{1}},
        {"gamma_quantizer", graph::None{}},
        {"beta_quantizer", graph::None{}},
        {"mean_quantizer", graph::None{}},
        {"variance_quantizer", graph::None{}}},
       {image}},
      {"ELU", "ELU", {}, {image}},
      {"PReLU", "PReLU", {{"shared_axes", Ints{1, 2}}}, {image}},
      {"LeakyReLU", "LeakyReLU", {{"negative_slope", 0.25}}, {image}},
      {"Softmax", "Softmax", {}, {vector}},
      {"SimpleRNN", "SimpleRNN", {{"units", three}}, {sequence}},
      {"LSTM", "LSTM", {{"units", three}, {"return_sequences", true}}, {sequence}},
      {"GRU", "GRU", {{"units", three}}, {sequence}},
      {"Dot", "Dot", {{"axes", Ints{2, 1}}}, {{3, 4}, {4, 2}}},
      {"DotOfDirections", "Dot", {{"axes", Ints{1}}, {"normalize", true}}, {vector, vector}},
      {"Concatenate", "Concatenate", {}, {vector, vector}},
  };
  for (const char* name : {"tanh", "sigmoid", "softplus", "softsign", "elu", "gelu", "swish", "exponential"}) {
    rows.push_back({name, "Activation", {{"activation", text(name)}}, {vector}});
  }
  for (const char* name : {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}) {
    rows.push_back({name, name, {}, {vector, vector}});
  }
  return rows;
}

std::vector<Row> all_rows() {
  std::vector<Row> rows = convolutions();
  for (const auto& family : {pools_and_shapes(), others()}) rows.insert(rows.end(), family.begin(), family.end());
  return rows;
}

graph::Model model_of(const Row& row) {
  graph::Model model;
  graph::Layer layer = graph::make_layer(row.class_name, "layer", row.attributes);
  for (size_t i = 0; i < row.inputs.size(); ++i) {
    const std::string name = "input_" + std::to_string(i);
    model.layers.push_back(graph::make_layer("InputLayer", name, {{"shape", row.inputs[i]}}));
    model.inputs.push_back(name);
    layer.inputs.push_back(name);
  }
  model.layers.push_back(std::move(layer));
  model.outputs = {"layer"};
  graph::initialize_weights(model, 1);
  return model;
}

// Fills all tensors with the points (i + 1/2) * 2 / n - 1 in one shuffled order; n is even.
void fill_from_grid(std::span<const at::Tensor> tensors) {
  int64_t count = 0;
  for (const at::Tensor& tensor : tensors) count += tensor.numel();
  count += count % 2;
  std::vector<float> points;
  for (int64_t i = 0; i < count; ++i) {
    points.push_back((static_cast<float>(i) + 0.5f) * 2.0f / static_cast<float>(count) - 1.0f);
  }
  RandomStream stream({3, RandomPurpose::kTest, 7, 0});
  for (size_t i = points.size(); i > 1; --i) std::swap(points[i - 1], points[stream.below(static_cast<uint32_t>(i))]);
  const float* next = points.data();
  for (const at::Tensor& tensor : tensors) {
    std::copy(next, next + tensor.numel(), tensor.data_ptr<float>());
    next += tensor.numel();
  }
}

class LayerGradient : public ::testing::TestWithParam<Row> {};

TEST_P(LayerGradient, EqualsDifferences) {
  const graph::Model model = model_of(GetParam());
  // Plain operations, since the fast path gives no gradient to the network's inputs. That it gives weights the same
  // gradients is network_test's.
  Network network(model, /*fused=*/false, 1);
  std::vector<at::Tensor> inputs, all;
  for (const Ints& shape : GetParam().inputs) {
    Ints batched = {2};
    batched.insert(batched.end(), shape.begin(), shape.end());
    inputs.push_back(at::zeros(batched, at::kFloat));
  }
  all = inputs;
  for (const Parameter& parameter : network.parameters()) {
    if (parameter.trainable) all.push_back(parameter.value.detach());
  }
  fill_from_grid(inputs);
  fill_from_grid(std::span(all).subspan(inputs.size()));
  for (at::Tensor& input : inputs) input.set_requires_grad(true);

  at::Tensor upstream;
  const auto loss = [&] {
    const at::Tensor y = network.forward(inputs, Pass::kInference, 0)[0].to(at::kDouble);
    if (!upstream.defined()) upstream = at::cos(at::arange(y.numel(), at::kDouble)).view(y.sizes());
    return (y * upstream).sum();
  };
  loss().backward();
  size_t trainable = inputs.size();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& input : inputs) gradients.push_back(input.grad());
  for (const Parameter& parameter : network.parameters()) {
    if (!parameter.trainable) continue;
    gradients.push_back(parameter.value.grad());
    ++trainable;
  }
  ASSERT_EQ(all.size(), trainable);

  const at::NoGradGuard no_gradient;
  for (size_t t = 0; t < all.size(); ++t) {
    ASSERT_TRUE(gradients[t].defined()) << "tensor " << t;
    float* values = all[t].data_ptr<float>();
    for (int64_t i = 0; i < all[t].numel(); ++i) {
      const float before = values[i];
      values[i] = before + kStep;
      const double above = loss().item<double>();
      values[i] = before - kStep;
      const double below = loss().item<double>();
      values[i] = before;
      const double numeric = (above - below) / (2.0 * kStep);
      // A float value's ulp over h is about 3e-5 a term; h^2 / 6 times a third derivative is less.
      EXPECT_NEAR(gradients[t].flatten()[i].item<double>(), numeric, 1e-3 * std::max(1.0, std::abs(numeric)))
          << "tensor " << t << "[" << i << "]";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, LayerGradient, ::testing::ValuesIn(all_rows()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
