#include "nibble/models/builtin.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/models/conv_block_network.h"
#include "nibble/models/quantization_dnns.h"

namespace nibble::models {
namespace {

// What the tutorial's get_model gives all its networks.
ConvBlockNetworkOptions tutorial(std::string name, std::vector<int64_t> shape, int64_t classes,
                                 std::vector<ConvBlockNetworkOptions::Filters> filters) {
  return {.shape = std::move(shape),
          .nb_classes = classes,
          .filters = std::move(filters),
          .dropout_rate = 0.2,
          .kernel_initializer = "he_uniform",
          .name = std::move(name)};
}

std::vector<int64_t> three(int64_t filters) { return {filters, filters, filters}; }

// The bigger three: MobileNet blocks of three, pooled, with the activation behind the pool.
ConvBlockNetworkOptions mobilenet(ConvBlockNetworkOptions options) {
  options.use_separable = Separable::kMobileNet;
  options.use_xnornet_trick = true;
  return options;
}

graph::Model mnist() {
  ConvBlockNetworkOptions options = tutorial("mnist", {28, 28, 1}, 10, {16, 32, 48, 64, 128});
  options.with_maxpooling = false;
  return conv_block_network(options);
}
graph::Model fashion_mnist() {
  return conv_block_network(mobilenet(tutorial("fashion_mnist", {28, 28, 1}, 10, {16, three(32), three(64)})));
}
graph::Model cifar10() {
  return conv_block_network(mobilenet(tutorial("cifar10", {32, 32, 3}, 10, {16, three(32), three(64), three(128)})));
}
graph::Model cifar100() {
  return conv_block_network(
      mobilenet(tutorial("cifar100", {32, 32, 3}, 100, {16, three(32), three(64), three(128), three(256)})));
}

graph::Model fashion_mnist_cnn() { return quantization_dnn(QuantizationDnn::kFashionMnist, false); }
graph::Model fashion_mnist_cnn_bn() { return quantization_dnn(QuantizationDnn::kFashionMnist, true); }
graph::Model cifar10_cnn() { return quantization_dnn(QuantizationDnn::kCifar10, false); }
graph::Model cifar10_cnn_bn() { return quantization_dnn(QuantizationDnn::kCifar10, true); }

struct Row {
  const char* name;
  const char* description;
  graph::Model (*make)();
};
const Row kRows[] = {
    {"mnist", "28x28x1, 10 classes: five strided 3x3 convolutions of 16 to 128 filters", mnist},
    {"fashion_mnist", "28x28x1, 10 classes: MobileNet blocks of 16, 3x32, 3x64 filters with max pooling",
     fashion_mnist},
    {"cifar10", "32x32x3, 10 classes: MobileNet blocks of 16, 3x32, 3x64, 3x128 filters with max pooling", cifar10},
    {"cifar100", "32x32x3, 100 classes: MobileNet blocks of 16, 3x32 to 3x256 filters with max pooling", cifar100},
    {"fashion_mnist_cnn", "28x28x1, 10 classes: two 3x3 convolutions of 40 filters (Quantization-DNNs)",
     fashion_mnist_cnn},
    {"fashion_mnist_cnn_bn", "the same with batch normalization", fashion_mnist_cnn_bn},
    {"cifar10_cnn", "32x32x3, 10 classes: 5x5 convolutions of 16 and 32 filters, dense 120, 84 (Quantization-DNNs)",
     cifar10_cnn},
    {"cifar10_cnn_bn", "the same with batch normalization", cifar10_cnn_bn},
};

}  // namespace

const std::vector<Builtin>& builtins() {
  static const std::vector<Builtin> all = [] {
    std::vector<Builtin> list;
    for (const Row& row : kRows) list.push_back({row.name, row.description});
    return list;
  }();
  return all;
}

std::vector<std::string> builtin_names() {
  std::vector<std::string> names;
  for (const Builtin& builtin : builtins()) names.push_back(builtin.name);
  return names;
}

bool is_builtin(std::string_view name) {
  return std::any_of(std::begin(kRows), std::end(kRows), [&](const Row& row) { return row.name == name; });
}

graph::Model make_builtin(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.make();
  }
  throw InvalidArgument("[make_builtin] '{}' is no built-in network. {}", name, suggest(name, builtin_names()));
}

}  // namespace nibble::models
