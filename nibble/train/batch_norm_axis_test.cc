// Batch normalization on another axis than the last computes what it computes on the last one of the permuted value.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/train/network.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using Ints = std::vector<int64_t>;

struct Row {
  const char* name;
  const char* class_name;
  int64_t axis;  // of the layer, counted with the batch axis
  Ints shape;    // of its input
  Ints dims;     // Permute's that bring the axis to the end, and back
  Ints back;
  bool corrects;  // whether Keras keeps the corrected variance there
};

std::vector<Row> rows() {
  return {{"ImageRows", "BatchNormalization", 1, {3, 4, 5}, {2, 3, 1}, {3, 1, 2}, true},
          {"ImageRowsFromTheEnd", "BatchNormalization", -3, {3, 4, 5}, {2, 3, 1}, {3, 1, 2}, true},
          {"ImageColumns", "BatchNormalization", 2, {3, 4, 5}, {1, 3, 2}, {1, 3, 2}, false},
          {"Steps", "BatchNormalization", 1, {4, 3}, {2, 1}, {2, 1}, false},
          {"QuantizedRows", "QBatchNormalization", 1, {3, 4, 5}, {2, 3, 1}, {3, 1, 2}, false}};
}

// Convolution, batch norm, activation, so that the fast path meets the step in the middle.
graph::Model with_axis(const Row& row) {
  const auto in = Input({.shape = row.shape, .name = "in"});
  const auto x = layer(row.class_name, "norm", {{"axis", row.axis}})(in);
  return build_model({in}, {graph::build::Activation({.activation = "relu"})(x)});
}

graph::Model with_permutes(const Row& row) {
  const auto in = Input({.shape = row.shape, .name = "in"});
  auto x = layer("Permute", "there", {{"dims", row.dims}})(in);
  x = layer(row.class_name, "norm", {{"axis", int64_t{-1}}})(x);
  x = layer("Permute", "back", {{"dims", row.back}})(x);
  return build_model({in}, {graph::build::Activation({.activation = "relu"})(x)});
}

at::Tensor some_input(const Ints& shape, int64_t batch) {
  Ints extents = {batch};
  extents.insert(extents.end(), shape.begin(), shape.end());
  at::Tensor x = at::empty(extents, at::kFloat);
  RandomStream stream({6, RandomPurpose::kTest, 1, 0});
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = 2.0f * stream.normal() + 0.5f;
  return x;
}

void fill_weights(graph::Model& model) {
  graph::initialize_weights(model, 3);
  RandomStream stream({6, RandomPurpose::kTest, 2, 0});
  for (graph::Weight& weight : model.layer("norm").weights) {
    for (float& value : weight.value.data()) value = 0.5f + stream.uniform();
  }
}

void expect_close(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_LE((a - b).abs().max().item<double>(), tolerance);
}

class BatchNormAxis : public ::testing::TestWithParam<Row> {};

TEST_P(BatchNormAxis, EqualsThePermutedOne) {
  const Row& row = GetParam();
  graph::Model a = with_axis(row), b = with_permutes(row);
  fill_weights(a), fill_weights(b);
  for (const bool fused : {false, true}) {
    for (const Pass pass : {Pass::kTraining, Pass::kInference}) {
      SCOPED_TRACE((fused ? "fused " : "plain ") + std::to_string(static_cast<int>(pass)));
      Network on_axis(a, fused, 1), permuted(b, fused, 1);
      const at::Tensor x = some_input(row.shape, 6);
      const at::Tensor y = on_axis.forward(x, pass, 0, false), expected = permuted.forward(x, pass, 0, false);
      expect_close(y, expected, 1e-5);
      y.square().sum().backward();
      expected.square().sum().backward();
      for (size_t i = 0; i < on_axis.parameters().size(); ++i) {
        const Parameter& p = on_axis.parameters()[i];
        const Parameter& q = permuted.parameters()[i];
        if (p.trainable) expect_close(p.value.grad(), q.value.grad(), 1e-3);
      }
    }
  }
}

TEST_P(BatchNormAxis, MovesTheStatisticsAsKeras) {
  const Row& row = GetParam();
  graph::Model model = with_axis(row);
  graph::initialize_weights(model, 3);
  Network network(model, true, 1);
  const at::Tensor x = some_input(row.shape, 6);
  network.forward(x, Pass::kTraining, 0, false);
  const at::Tensor channels = x.movedim(row.axis, 0).flatten(1).to(at::kDouble);
  const auto count = static_cast<double>(channels.size(1));
  const double correction = row.corrects ? count / (count - 1) : 1.0;
  const graph::Model after = network.model();
  const Tensor& mean = after.layer("norm").find_weight("moving_mean")->value;
  const Tensor& variance = after.layer("norm").find_weight("moving_variance")->value;
  for (int64_t c = 0; c < channels.size(0); ++c) {
    const at::Tensor values = channels[c];
    EXPECT_NEAR(mean[c], 0.01 * values.mean().item<double>(), 1e-6);
    EXPECT_NEAR(variance[c], 0.99 + 0.01 * correction * values.var(/*unbiased=*/false).item<double>(), 1e-6);
  }
}

TEST_P(BatchNormAxis, IsReestimatedAndSaved) {
  const Row& row = GetParam();
  graph::Model model = with_axis(row);
  fill_weights(model);
  Network network(model, true, 1);
  const at::Tensor x = some_input(row.shape, 6);
  network.begin_reestimation();
  const at::Tensor of_the_batch = network.forward(x, Pass::kReestimation, 0, false).detach();
  network.end_reestimation();
  expect_close(network.forward(x, Pass::kInference, 0, false).detach(), of_the_batch, 1e-5);

  const auto path = testing::scratch_dir("batch_norm_axis") / (std::string(row.name) + ".keras");
  formats::keras::save_model(network.model(), path);
  Network reloaded(formats::keras::load_model(path), true, 1);
  EXPECT_TRUE(
      at::equal(reloaded.forward(x, Pass::kInference, 0, false), network.forward(x, Pass::kInference, 0, false)));
}

INSTANTIATE_TEST_SUITE_P(Rows, BatchNormAxis, ::testing::ValuesIn(rows()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
