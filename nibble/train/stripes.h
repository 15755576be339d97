// nibble/train/stripes.h
// For tests of training: images of stripes, and a network that learns them in a few epochs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/data/dataset.h"
#include "nibble/graph/builder.h"
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

// Three kinds of stripes with noise.
inline data::Samples stripes(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(stream.below(3));
    const auto shift = static_cast<int>(stream.below(2));
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        const int phase = label == 0 ? x : (label == 1 ? y : x + y);
        values.push_back(static_cast<float>((phase + shift) / 2 % 2) + 0.5f * stream.uniform());
      }
    }
    labels.push_back(label);
  }
  return data::Samples(Shape{8, 8, 1}, std::move(values), std::move(labels));
}

inline data::Dataset stripes_data() {
  data::Dataset dataset;
  dataset.name = "stripes";
  dataset.num_classes = 3;
  dataset.train = stripes(600, 1);
  dataset.test = stripes(200, 2);
  return dataset;
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
