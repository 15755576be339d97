// nibble/train/small_training.h
// For tests of training: a network that learns the images of stripes.h, and how.
#pragma once

#include <string>

#include "nibble/graph/builder.h"
#include "nibble/train/stripes.h"
#include "nibble/train/trainer.h"

namespace nibble::train {

inline graph::Model small_network(const std::string& kernel = "quantized_bits(4,0,1,alpha=1.0)") {
  using namespace graph::build;
  auto in = Input({.shape = {8, 8, 1}, .name = "input"});
  auto x = QConv2D({.filters = 8,
                    .kernel_size = {3, 3},
                    .strides = {2, 2},
                    .padding = "same",
                    .use_bias = false,
                    .kernel_quantizer = kernel})(in);
  x = BatchNormalization({})(x);
  x = QActivation({.activation = "quantized_relu(4,2)"})(x);
  x = Dropout({.rate = 0.1})(x);
  x = Flatten({})(x);
  x = Activation({.activation = "softmax"})(Dense({.units = 3})(x));
  return build_model({in}, {x}, "small");
}

inline CompileOptions options() {
  CompileOptions result;
  result.learning_rate = 0.02;
  result.seed = 3;
  return result;
}

inline FitOptions epochs(int count) {
  FitOptions result;
  result.epochs = count;
  result.batch_size = 64;
  return result;
}

}  // namespace nibble::train
