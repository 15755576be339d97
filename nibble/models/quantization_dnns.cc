#include "nibble/models/quantization_dnns.h"

#include <fmt/format.h>

#include "nibble/graph/builder.h"

namespace nibble::models {
namespace {

using namespace graph::build;

struct Convolution {
  int64_t filters, kernel;
};

struct Plan {
  const char* name;
  std::vector<int64_t> shape;
  std::vector<Convolution> convolutions;
  std::vector<int64_t> hidden;  // dense layers before the last
};

Plan plan_of(QuantizationDnn network) {
  if (network == QuantizationDnn::kFashionMnist) return {"fashion_mnist", {28, 28, 1}, {{40, 3}, {40, 3}}, {}};
  return {"cifar10", {32, 32, 3}, {{16, 5}, {32, 5}}, {120, 84}};
}

}  // namespace

graph::Model quantization_dnn(QuantizationDnn network, bool with_batch_norm) {
  constexpr int64_t kClasses = 10;
  const Plan plan = plan_of(network);
  const Node input = Input({.shape = plan.shape, .name = "input"});
  Node x = input;
  for (size_t i = 0; i < plan.convolutions.size(); ++i) {
    const Convolution& c = plan.convolutions[i];
    x = Conv2D({.filters = c.filters, .kernel_size = {c.kernel, c.kernel}, .name = fmt::format("conv_{}", i)})(x);
    if (with_batch_norm) {
      // PyTorch's 0.1 is the share of the new value.
      x = BatchNormalization({.momentum = 0.9, .epsilon = 1e-5, .name = fmt::format("bn_{}", i)})(x);
    }
    x = Activation({.activation = "relu", .name = fmt::format("relu_{}", i)})(x);
    x = MaxPooling2D({.name = fmt::format("pool_{}", i)})(x);
  }
  x = Flatten({.name = "flatten"})(x);
  for (size_t i = 0; i < plan.hidden.size(); ++i) {
    x = Dense({.units = plan.hidden[i], .name = fmt::format("dense_{}", i)})(x);
    x = Activation({.activation = "relu", .name = fmt::format("dense_relu_{}", i)})(x);
  }
  x = Dense({.units = kClasses, .name = "logits"})(x);
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  return build_model({input}, {x}, fmt::format("{}_cnn{}", plan.name, with_batch_norm ? "_bn" : ""));
}

}  // namespace nibble::models
