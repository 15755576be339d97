// The builder's blocks of several layers (graph/builder_blocks.h) as parts of a network: it trains, saves and loads.
#include <gtest/gtest.h>

#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder_blocks.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;

struct Row {
  const char* name;
  Node (*block)(const Node& image);
};

Node merged(const Octaves& octaves, bool quantized) {
  if (!quantized)
    return *OctaveConv2D({.filters = 8, .kernel_size = {3, 3}, .alpha = -1, .padding = "same", .name = "merge"})(
                octaves)
                .high;
  return *QOctaveConv2D({.filters = 8,
                         .kernel_size = {3, 3},
                         .alpha = -1,
                         .padding = "same",
                         .name = "merge",
                         .depthwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                         .pointwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                         .activation = "quantized_relu(4,2)"})(octaves)
              .high;
}

Node octaves(const Node& image) {
  return merged(OctaveConv2D({.filters = 8,
                              .kernel_size = {3, 3},
                              .alpha = 0.5,
                              .padding = "same",
                              .activation = "relu",
                              .use_separable = false,
                              .name = "split"})({.high = image}),
                false);
}

Node quantized_octaves(const Node& image) {
  return merged(QOctaveConv2D({.filters = 8,
                               .kernel_size = {3, 3},
                               .alpha = 0.5,
                               .padding = "same",
                               .use_separable = false,
                               .name = "split",
                               .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                               .bias_quantizer = "quantized_bits(4,0,1)",
                               .acc_quantizer = "quantized_bits(8,3,1)",
                               .pooling_quantizer = "quantized_bits(4,0,1)",
                               .activation = "quantized_relu(4,2)"})({.high = image}),
                true);
}

Node separable(const Node& image, bool pw_first) {
  return QMobileNetSeparableConv2D({.filters = 12,
                                    .kernel_size = {3, 3},
                                    .depth_multiplier = 4,
                                    .activation = "quantized_relu(4,2)",
                                    .depthwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                                    .pointwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                                    .bias_quantizer = "quantized_bits(4,0,1)",
                                    .depthwise_activation = "quantized_relu(4,2)",
                                    .depthwise_dropout_rate = 0.05,
                                    .pw_first = pw_first,
                                    .name = "separable"})(image);
}

std::vector<Row> rows() {
  return {{"Octaves", octaves},
          {"QuantizedOctaves", quantized_octaves},
          {"DepthwiseFirst", [](const Node& image) { return separable(image, false); }},
          {"PointwiseFirst", [](const Node& image) { return separable(image, true); }}};
}

// Lines along one axis or the other, with noise.
data::Samples lines(int64_t count, uint32_t stream_number) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(stream.below(2)), shift = static_cast<int32_t>(stream.below(2));
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        values.push_back(static_cast<float>(((label == 0 ? x : y) + shift) % 2) + 0.3f * stream.uniform());
      }
    }
    labels.push_back(label);
  }
  return data::Samples(Shape{8, 8, 1}, std::move(values), std::move(labels));
}

class Blocks : public ::testing::TestWithParam<Row> {};

TEST_P(Blocks, TrainSaveAndLoad) {
  const Node in = Input({.shape = {8, 8, 1}, .name = "image"});
  const Node x = Flatten()(GetParam().block(in));
  const graph::Model model = build_model({in}, {Activation({.activation = "softmax"})(Dense({.units = 2})(x))});
  data::Dataset dataset;
  dataset.train = lines(400, 1), dataset.test = lines(200, 2);
  Trainer trainer(model, {.learning_rate = 0.01, .seed = 2});
  const History history = trainer.fit(dataset, {.epochs = 8, .batch_size = 50});
  EXPECT_GT(*history.back().val_accuracy, 0.95);

  std::vector<float> values(200 * 64);
  std::vector<int64_t> all(200);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  dataset.test.gather(all, values);
  const Tensor images({200, 8, 8, 1}, values);
  const Tensor expected = trainer.predict(images);
  for (const char* form : {"m.keras", "m.h5", "m.json"}) {
    const auto path = testing::scratch_dir(std::string("blocks_") + GetParam().name) / form;
    formats::keras::save_model(trainer.model(), path);
    EXPECT_EQ(Trainer(formats::keras::load_model(path), {}).predict(images), expected) << form;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, Blocks, ::testing::ValuesIn(rows()), [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
