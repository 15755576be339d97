#include "affine_networks.h"

#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/train/trainer.h"

namespace nibble {

using namespace graph::build;

Node image() { return Input({.shape = {10, 10, 3}, .name = "input"}); }

Node conv(const Node& x, int filters, const std::string& name, const std::string& activation) {
  return Conv2D({.filters = filters, .kernel_size = {3, 3}, .padding = "same", .activation = activation, .name = name})(
      x);
}

Node classifier(const Node& x, const std::string& activation) {
  return Dense({.units = 5, .activation = activation, .name = "dense"})(Flatten({.name = "flatten"})(x));
}

graph::Model plain() {
  const Node in = image();
  Node x = MaxPooling2D({.name = "pool"})(conv(in, 8, "conv0", "relu"));
  x = DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .activation = "relu6", .name = "depthwise"})(x);
  return build_model({in}, {classifier(x)}, "plain");
}

// TFMOT's kernels have a range for each multiplier, not for each channel of the output.
graph::Model depthwise() {
  const Node in = image();
  const Node x =
      DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .activation = "relu", .name = "depthwise"})(
          conv(in, 8, "conv0", "relu"));
  return build_model({in}, {classifier(x)}, "depthwise");
}

graph::Model only() {
  const Node in = image();
  return build_model({in}, {classifier(in)}, "only");
}

graph::Model wide() {
  const Node in = image();
  const Node x = Dense({.units = 4, .activation = "relu", .name = "hidden"})(Flatten({.name = "flatten"})(in));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "wide");
}

graph::Model batch_norms() {
  const Node in = image();
  Node x = ReLU({.name = "relu0"})(BatchNormalization({.name = "bn0"})(conv(in, 8, "conv0")));
  x = ReLU({.name = "relu1"})(BatchNormalization({.name = "bn1"})(conv(x, 6, "conv1")));
  return build_model({in}, {classifier(x, "linear")}, "batch_norms");
}

graph::Model averages() {
  const Node in = image();
  Node x = layer("LeakyReLU", "leaky", {{"negative_slope", 0.25}})(conv(in, 8, "conv0"));
  x = layer("AveragePooling2D", "mean", {{"pool_size", std::vector<int64_t>{2, 2}}})(x);
  x = GlobalAveragePooling2D({.name = "global"})(conv(x, 6, "conv1", "relu"));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "averages");
}

graph::Model averages_at_borders() {
  const Node in = image();
  const auto mean = [](const Node& x, const std::string& name, int64_t size, int64_t stride) {
    return layer("AveragePooling2D", name,
                 {{"pool_size", std::vector<int64_t>{size, size}},
                  {"strides", std::vector<int64_t>{stride, stride}},
                  {"padding", "same"}})(x);
  };
  const Node x = mean(conv(mean(conv(in, 8, "conv0", "relu"), "mean0", 3, 1), 6, "conv1"), "mean1", 3, 2);
  return build_model({in}, {classifier(x)}, "averages_at_borders");
}

graph::Model branches() {
  const Node in = image();
  const Node both = Concatenate({.name = "both"})({conv(in, 4, "a", "relu"), conv(in, 3, "b")});
  return build_model({in}, {classifier(Dropout({.rate = 0.5, .name = "dropout"})(both))}, "branches");
}

// What a Concatenate reads leaves its quantization to it, another Concatenate too.
graph::Model joined() {
  const Node in = image();
  const Node first = conv(in, 6, "conv0", "relu");
  const Node mean =
      layer("AveragePooling2D", "mean",
            {{"pool_size", std::vector<int64_t>{3, 3}}, {"strides", std::vector<int64_t>{1, 1}}, {"padding", "same"}})(
          conv(first, 3, "conv1"));
  const Node inner = Concatenate({.name = "inner"})(
      {mean, layer("LeakyReLU", "leaky", {{"negative_slope", 0.25}})(conv(first, 2, "conv4"))});
  const Node all = Concatenate({.name = "all"})({ReLU({.name = "relu0"})(conv(first, 4, "conv2")),
                                                 BatchNormalization({.name = "bn"})(conv(first, 3, "conv3")), inner,
                                                 conv(first, 2, "conv5", "relu")});
  return build_model({in}, {classifier(conv(all, 5, "conv6", "relu"))}, "joined");
}

// Both inputs of the first Add have ranges of their own; the second adds three.
graph::Model residual() {
  const Node in = image();
  const Node first = conv(in, 6, "conv0", "relu"), second = conv(first, 6, "conv1");
  const Node sum = ReLU({.name = "relu0"})(layer("Add", "sum0")(std::vector<Node>{first, second}));
  const Node third = conv(sum, 6, "conv2", "relu");
  const Node all = layer(
      "Add", "sum1")(std::vector<Node>{MaxPooling2D({.name = "pool0"})(sum), MaxPooling2D({.name = "pool1"})(third),
                                       MaxPooling2D({.name = "pool2"})(second)});
  return build_model({in}, {classifier(all)}, "residual");
}

graph::Model curves() {
  const Node in = image();
  Node x =
      Activation({.activation = "swish", .name = "swish"})(BatchNormalization({.name = "bn"})(conv(in, 8, "conv0")));
  x = conv(conv(x, 6, "conv1", "tanh"), 6, "conv2", "gelu");
  x = Activation({.activation = "sigmoid", .name = "gate"})(conv(x, 4, "conv3"));
  return build_model({in}, {classifier(x, "sigmoid")}, "curves");
}

graph::Model slopes() {
  const Node in = image();
  const Node x = ELU({.alpha = 0.7, .name = "elu"})(conv(in, 6, "conv0"));
  return build_model({in}, {classifier(PReLU({.shared_axes = {1, 2}, .name = "prelu"})(conv(x, 5, "conv1")))},
                     "slopes");
}

// What reads moved codes sums codes.
graph::Model moves() {
  const Node in = image();
  Node x = UpSampling2D({.size = {1, 2}, .name = "up"})(conv(in, 6, "conv0", "relu"));
  x = conv(Cropping2D({.cropping = {1, 0, 2, 3}, .name = "crop"})(x), 5, "conv1", "relu");
  x = conv(Permute({.dims = {2, 1, 3}, .name = "turn"})(x), 4, "conv2", "relu");
  return build_model({in}, {classifier(Permute({.dims = {3, 1, 2}, .name = "channels"})(x))}, "moves");
}

// Layers that give their input's values in inference.
graph::Model maxima() {
  const Node in = image();
  Node x = SpatialDropout2D({.rate = 0.25, .name = "drop"})(conv(in, 6, "conv0", "relu"));
  x = Activation({.activation = "linear", .name = "linear"})(conv(x, 5, "conv1", "relu"));
  x = GlobalMaxPooling2D({.name = "global"})(conv(x, 5, "conv2", "relu"));
  return build_model({in}, {Dense({.units = 5, .activation = "softmax", .name = "dense"})(x)}, "maxima");
}

// Ranges of their own, so that codes are compared on the output's grid.
graph::Model extremes() {
  const Node in = image();
  const Node first = conv(in, 6, "conv0", "relu"), second = conv(first, 6, "conv1");
  const Node largest = layer("Maximum", "largest")(std::vector<Node>{first, second});
  const Node smallest = layer("Minimum", "smallest")(std::vector<Node>{conv(largest, 6, "conv2"), second, first});
  return build_model({in}, {classifier(conv(ReLU({.name = "relu"})(smallest), 4, "conv3"))}, "extremes");
}

// What reads the codes of a transposed convolution sums codes too.
graph::Model transposed() {
  const Node in = image();
  Node x = MaxPooling2D({.name = "pool"})(conv(in, 6, "conv0", "relu"));
  x = Conv2DTranspose(
      {.filters = 5, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .activation = "relu", .name = "up0"})(
      x);
  x = conv(x, 4, "conv1", "relu");
  x = Conv2DTranspose({.filters = 4, .kernel_size = {2, 3}, .strides = {3, 1}, .name = "up1"})(x);
  return build_model({in}, {classifier(x)}, "transposed");
}

Tensor samples(int64_t count, uint32_t number, float largest) {
  Tensor x(Shape{count, 10, 10, 3});
  RandomStream random({12, RandomPurpose::kTest, number, 0});
  for (float& value : x.data()) value = (2 * random.uniform() - 1) * largest;
  return x;
}

graph::Model calibrated(graph::Model model, const qat::Scheme& scheme, float largest) {
  graph::initialize_weights(model, 11);
  for (graph::Layer& layer : model.layers) {
    RandomStream random({11, RandomPurpose::kTest, static_cast<uint32_t>(layer.name.size()), 0});
    for (graph::Weight& weight : layer.weights) {
      for (float& value : weight.value.data()) {
        if (weight.name == "moving_variance") value = 0.2f + random.uniform();
        const bool is_signed =
            weight.name == "gamma" || weight.name == "beta" || weight.name == "bias" || weight.name == "alpha";
        if (is_signed) value = 2 * random.uniform() - 1;
      }
    }
  }
  train::Trainer trainer(qat::quantize_model(model, scheme), {});
  const Tensor x = samples(64, 1, largest);
  const std::vector<float> values(x.data().begin(), x.data().end());
  trainer.calibrate(data::Samples(Shape{10, 10, 3}, values, std::vector<int32_t>(64, 0)), 32, 2);
  return trainer.model();
}

}  // namespace nibble
