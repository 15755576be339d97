// nibble/train/stripes.h
// For tests of training: images of stripes, which small networks learn in a few epochs.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/data/dataset.h"

namespace nibble::train {

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

}  // namespace nibble::train
