// nibble/models/conv_block_network.h
// The convolutional block network of the AutoQKeras tutorial, layer names and order included: searches name layers by
// regular expressions such as "^conv2d_[1234]$", so names are part of the contract.
//
// Each entry of `filters` is a block of convolutions; a block ends in a max pool (or a stride of 2), and in a dropout.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::models {

// How one convolution of a block is done.
enum class Separable {
  kNone,       // one kernel_size x kernel_size convolution
  kDsp,        // 1 x kernel_size, then kernel_size x 1
  kMobileNet,  // depthwise kernel_size x kernel_size with batch norm and relu, then 1 x 1
};

struct ConvBlockNetworkOptions {
  // One number of filters, or a block of several convolutions.
  using Filters = std::variant<int64_t, std::vector<int64_t>>;

  std::vector<int64_t> shape = {};  // of an input image: height, width, channels
  int64_t nb_classes = 10;
  int64_t kernel_size = 3;
  std::vector<Filters> filters = {};
  double dropout_rate = 0.0;    // no dropout layers at 0
  bool with_maxpooling = true;  // else the last convolution of a block has stride 2
  bool with_batchnorm = true;   // convolutions then have no bias
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";  // of biases and of the batch norm's beta
  Separable use_separable = Separable::kNone;
  bool use_xnornet_trick = false;  // batch norm and activation behind the max pool: binary values then stay two-sided
  bool all_conv = false;           // the classifier is a 1 x 1 convolution before the flatten
  std::string name = "model";
};

// A graph without weights; call graph::initialize_weights() next.
//   throws  InvalidArgument if the blocks are more than the image can be halved for, or an option is out of range
graph::Model conv_block_network(const ConvBlockNetworkOptions& options);

}  // namespace nibble::models
