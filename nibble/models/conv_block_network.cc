#include "nibble/models/conv_block_network.h"

#include <fmt/format.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"

namespace nibble::models {
namespace {

using namespace graph::build;
using Kernel = std::vector<int64_t>;

std::string digits(const Kernel& kernel) { return fmt::format("{}", fmt::join(kernel, "")); }

class Builder {
 public:
  explicit Builder(const ConvBlockNetworkOptions& options)
      : options_(options), input_(Input({.shape = options.shape, .name = "input"})), x_(input_) {}

  graph::Model build() {
    for (size_t i = 0; i < options_.filters.size(); ++i) block(i);
    options_.all_conv ? convolutional_classifier() : dense_classifier();
    return build_model({input_}, {x_}, options_.name);
  }

 private:
  void block(size_t index) {
    const auto& entry = options_.filters[index];
    const auto* one = std::get_if<int64_t>(&entry);
    const std::vector<int64_t> filters = one ? std::vector<int64_t>{*one} : std::get<std::vector<int64_t>>(entry);
    const std::string block_name = options_.filters.size() > 1 ? fmt::format("{}", index) : "";
    std::string name = block_name;
    for (size_t j = 0; j < filters.size(); ++j) {
      name = block_name;
      if (filters.size() > 1) name += fmt::format("{}{}", name.empty() ? "" : "_", j);
      convolutions(filters[j], name, j + 1 == filters.size());
    }
    end_of_block(name);  // named after the block's last convolution, as in the tutorial
  }

  void convolutions(int64_t filters, const std::string& name, bool last_in_block) {
    const int64_t k = options_.kernel_size;
    std::vector<Kernel> kernels = {{k, k}};
    if (options_.use_separable == Separable::kDsp) kernels = {{1, k}, {k, 1}};
    for (size_t i = 0; i < kernels.size(); ++i) {
      convolution(filters, kernels[i], name, last_in_block && i + 1 == kernels.size());
    }
  }

  void convolution(int64_t filters, Kernel kernel, const std::string& name, bool last) {
    int64_t stride = last && !options_.with_maxpooling ? 2 : 1;
    std::string suffix = name;
    if (options_.use_separable == Separable::kDsp) suffix = digits(kernel) + "_" + name;
    if (options_.use_separable == Separable::kMobileNet) {
      depthwise(kernel, stride, digits(kernel) + "_" + name);
      suffix = "11_" + name;
      kernel = {1, 1};
      stride = 1;
    }
    x_ = Conv2D({.filters = filters,
                 .kernel_size = kernel,
                 .strides = {stride, stride},
                 .padding = "same",
                 .use_bias = !options_.with_batchnorm,
                 .kernel_initializer = options_.kernel_initializer,
                 .bias_initializer = options_.bias_initializer,
                 .name = "conv2d_" + suffix})(x_);
    // With the trick, the block's last normalization and activation stand behind its max pool.
    if (options_.with_maxpooling && options_.use_xnornet_trick && last) return;
    if (options_.with_batchnorm) normalize("bn_" + suffix);
    activate("act_" + suffix);
  }

  void depthwise(const Kernel& kernel, int64_t stride, const std::string& suffix) {
    x_ = DepthwiseConv2D({.kernel_size = kernel,
                          .strides = {stride, stride},
                          .padding = "same",
                          .use_bias = false,
                          .name = "conv2d_dw_" + suffix})(x_);
    if (options_.with_batchnorm) x_ = BatchNormalization({.name = "conv2d_dw_bn_" + suffix})(x_);
    activate("conv2d_dw_act_" + suffix);
  }

  void end_of_block(const std::string& name) {
    if (options_.with_maxpooling) {
      x_ = MaxPooling2D({.pool_size = {2, 2}, .strides = {2, 2}, .name = "mp_" + name})(x_);
      if (options_.use_xnornet_trick) {
        normalize("mp_bn_" + name);
        activate("mp_act_" + name);
      }
    }
    if (options_.dropout_rate > 0) x_ = Dropout({.rate = options_.dropout_rate, .name = "drop_" + name})(x_);
  }

  void normalize(const std::string& name) {
    x_ = BatchNormalization({.beta_initializer = options_.bias_initializer, .name = name})(x_);
  }
  void activate(const std::string& name) { x_ = Activation({.activation = "relu", .name = name})(x_); }

  void dense_classifier() {
    x_ = Flatten({.name = "flatten"})(x_);
    x_ = Dense({.units = options_.nb_classes,
                .kernel_initializer = options_.kernel_initializer,
                .bias_initializer = options_.bias_initializer,
                .name = "dense"})(x_);
    x_ = Activation({.activation = "softmax", .name = "softmax"})(x_);
  }

  void convolutional_classifier() {
    x_ = Conv2D({.filters = options_.nb_classes,
                 .kernel_size = {1, 1},
                 .padding = "same",
                 .kernel_initializer = options_.kernel_initializer,
                 .bias_initializer = options_.bias_initializer,
                 .name = "dense"})(x_);
    x_ = Activation({.activation = "softmax", .name = "softmax"})(x_);
    x_ = Flatten({.name = "flatten"})(x_);
  }

  const ConvBlockNetworkOptions& options_;
  Node input_, x_;
};

}  // namespace

graph::Model conv_block_network(const ConvBlockNetworkOptions& options) {
  if (options.shape.size() != 3) {
    throw InvalidArgument("[conv_block_network] shape has {} numbers; it must be height, width, channels.",
                          options.shape.size());
  }
  if (options.filters.empty()) {
    throw InvalidArgument("[conv_block_network] filters is empty; give at least one block, such as {{16, 32}}.");
  }
  return Builder(options).build();
}

}  // namespace nibble::models
