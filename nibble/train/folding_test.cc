// Folded batch norms beyond the recorded rows: the delay, frozen layers, re-estimation, files, gradients.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/formats/keras/keras_file.h"
#include "nibble/train/network.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using Attributes = std::map<std::string, graph::Attribute>;
using Ints = std::vector<int64_t>;

graph::Attribute text(const char* value) { return std::string(value); }

Attributes attributes_of(const std::string& class_name) {
  if (class_name == "QDenseBatchnorm") return {{"units", int64_t{3}}};
  Attributes attributes = {{"kernel_size", Ints{2, 2}}};
  if (class_name == "QConv2DBatchnorm") attributes["filters"] = int64_t{3};
  return attributes;
}

struct FoldedCase {
  const char* class_name;
  const char* mode;
};

class Folded : public ::testing::TestWithParam<FoldedCase> {
 protected:
  // Input (5, 4, 2) -> the folded layer -> Flatten -> Dense of 3.
  static graph::Model model(Attributes more = {}) {
    const std::string class_name = GetParam().class_name;
    Attributes attributes = attributes_of(class_name);
    attributes["folding_mode"] = text(GetParam().mode);
    for (auto& [name, value] : more) attributes[name] = value;
    graph::Model model;
    const auto add = [&](graph::Layer layer) {
      if (!model.layers.empty()) layer.inputs = {model.layers.back().name};
      model.layers.push_back(std::move(layer));
    };
    add(graph::make_layer("InputLayer", "input", {{"shape", Ints{5, 4, 2}}}));
    add(graph::make_layer(class_name, "folded", std::move(attributes)));
    add(graph::make_layer("Flatten", "flat", {}));
    add(graph::make_layer("Dense", "dense", {{"units", int64_t{3}}, {"activation", text("softmax")}}));
    model.inputs = {"input"}, model.outputs = {"dense"};
    graph::initialize_weights(model, 4);
    return model;
  }

  static const char* quantizer_name() {
    const bool depthwise = std::string(GetParam().class_name) == "QDepthwiseConv2DBatchnorm";
    return depthwise ? "depthwise_quantizer" : "kernel_quantizer";
  }
};

at::Tensor random_input(int64_t batch, uint32_t number) {
  RandomStream stream({2, RandomPurpose::kTest, number, 0});
  at::Tensor x = at::empty({batch, 5, 4, 2}, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = 2 * stream.uniform() - 1;
  return x;
}

const Parameter& weight_of(const Network& network, const std::string& name) {
  for (const Parameter& parameter : network.parameters()) {
    const graph::Layer& layer = network.structure().layers[static_cast<size_t>(parameter.layer)];
    const bool is_folded = layer.name == "folded";
    if (is_folded && layer.weights[static_cast<size_t>(parameter.weight)].name == name) return parameter;
  }
  throw std::runtime_error("no weight " + name);
}

TEST_P(Folded, StatisticsMoveForDelayPlusTwoSteps) {
  Network network(model({{"ema_freeze_delay", int64_t{1}}}), true, 1);
  at::Tensor before = weight_of(network, "moving_variance").value.clone();
  for (uint32_t step = 0; step < 5; ++step) {
    network.forward(random_input(6, step), Pass::kTraining, step, false);
    const at::Tensor after = weight_of(network, "moving_variance").value.clone();
    EXPECT_EQ(before.equal(after), step >= 3) << step;
    EXPECT_EQ(weight_of(network, "iteration").value.item<float>(), static_cast<float>(step));
    before = after;
  }
  network.forward(random_input(6, 9), Pass::kInference, 9, false);
  EXPECT_EQ(weight_of(network, "iteration").value.item<float>(), 4.0f);
}

TEST_P(Folded, FrozenLayersKeepWhatTheyRemember) {
  graph::Model frozen = model();
  frozen.layer("folded").trainable = false;
  Network network(frozen, true, 1);
  network.forward(random_input(6, 0), Pass::kTraining, 0, false);
  EXPECT_EQ(network.model().layer("folded"), frozen.layer("folded"));
}

// The moments of what is not quantized, whatever the quantizer; what is collected is the mean of the batches'.
TEST_P(Folded, ReestimatedStatisticsAreThoseOfTheUnquantizedValues) {
  graph::Model narrow = model({{quantizer_name(), text("quantized_bits(2,0,1,alpha=1.0)")}});
  for (graph::Layer& layer : narrow.layers) layer.weights = model().layer(layer.name).weights;
  Network plain(model(), true, 1), quantized(narrow, true, 1);
  for (Network* network : {&plain, &quantized}) {
    network->begin_reestimation();
    for (uint32_t batch = 0; batch < 3; ++batch) {
      network->forward(random_input(7, batch), Pass::kReestimation, 0, false);
    }
    network->end_reestimation();
    EXPECT_EQ(weight_of(*network, "iteration").value.item<float>(), -1.0f);
  }
  for (const char* name : {"moving_mean", "moving_variance"}) {
    EXPECT_TRUE(weight_of(plain, name).value.equal(weight_of(quantized, name).value)) << name;
  }
  // Of one batch, inference then equals the batch's own normalization.
  plain.begin_reestimation();
  const at::Tensor during = plain.forward(random_input(7, 5), Pass::kReestimation, 0, false);
  plain.end_reestimation();
  const at::Tensor after = plain.forward(random_input(7, 5), Pass::kInference, 0, false);
  EXPECT_LT((during - after).abs().max().item<float>(), 1e-5f);
}

// Without quantizers every path is smooth. Momentum 1 keeps the moving statistics where they are between evaluations.
TEST_P(Folded, GradientsEqualDifferences) {
  Network network(model({{"momentum", 1.0}}), true, 1);
  const at::Tensor x = random_input(8, 0);
  const auto loss = [&] { return network.forward(x, Pass::kTraining, 0, true).pow(2).sum(); };
  loss().backward();
  for (const Parameter& p : network.parameters()) {
    if (!p.trainable || !p.value.grad().defined()) continue;
    for (int64_t i = 0; i < p.value.numel(); i += std::max<int64_t>(1, p.value.numel() / 4)) {
      const at::NoGradGuard no_gradient;
      float& w = p.value.data_ptr<float>()[i];
      const float before = w, h = 1e-2f;
      w = before + h;
      const double above = loss().item<double>();
      w = before - h;
      const double below = loss().item<double>();
      w = before;
      const double numeric = (above - below) / (2 * h);
      // Central differences of a float sum: about h^2 and ulp/h.
      EXPECT_NEAR(p.value.grad().flatten()[i].item<double>(), numeric, 2e-2 * std::max(1.0, std::abs(numeric)));
    }
  }
}

data::Dataset blobs() {
  data::Dataset dataset;
  dataset.name = "blobs";
  dataset.num_classes = 3;
  RandomStream stream({3, RandomPurpose::kTest, 0, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int i = 0; i < 120; ++i) {
    labels.push_back(i % 3);
    for (int j = 0; j < 40; ++j) values.push_back(stream.uniform() + (j % 3 == i % 3 ? 1.0f : 0.0f));
  }
  dataset.train = data::Samples(Shape{5, 4, 2}, std::move(values), std::move(labels));
  return dataset;
}

TEST_P(Folded, ReloadedModelsPredictTheSameBits) {
  CompileOptions options;
  options.learning_rate = 0.01;
  Trainer trainer(model({{quantizer_name(), text("quantized_bits(4,0,1,alpha=1.0)")},
                         {"bias_quantizer", text("quantized_bits(8,3,1)")},
                         {"ema_freeze_delay", int64_t{7}}}),
                  options);
  FitOptions fit;
  fit.epochs = 3;
  fit.batch_size = 30;
  trainer.fit(blobs(), fit);
  const auto path = testing::scratch_dir(std::string("folded_") + GetParam().class_name + GetParam().mode) / "m.keras";
  formats::keras::save_model(trainer.model(), path);
  const graph::Model reloaded = formats::keras::load_model(path);
  EXPECT_EQ(reloaded.layer("folded"), trainer.model().layer("folded"));
  EXPECT_EQ(reloaded.layer("folded").find_weight("iteration")->value[0], 11.0f);  // 12 steps from -1
  Tensor x(Shape{9, 5, 4, 2});
  RandomStream stream({7, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = stream.uniform();
  const Tensor a = trainer.predict(x), b = Trainer(reloaded, options).predict(x);
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], b[i]);
}

INSTANTIATE_TEST_SUITE_P(Classes, Folded,
                         ::testing::Values(FoldedCase{"QConv2DBatchnorm", "ema_stats_folding"},
                                           FoldedCase{"QConv2DBatchnorm", "batch_stats_folding"},
                                           FoldedCase{"QDepthwiseConv2DBatchnorm", "ema_stats_folding"},
                                           FoldedCase{"QDepthwiseConv2DBatchnorm", "batch_stats_folding"},
                                           FoldedCase{"QDenseBatchnorm", "ema_stats_folding"},
                                           FoldedCase{"QDenseBatchnorm", "batch_stats_folding"}),
                         [](const auto& row) { return std::string(row.param.class_name) + "_" + row.param.mode; });

}  // namespace
}  // namespace nibble::train
