// Quantization that comes in gradually: the curve, what a network computes on the way, and resuming on it.
#include "nibble/train/qnoise_scheduler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layers_recurrent.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;

struct CurveRow {
  QNoiseSchedulerOptions options;
  std::vector<double> factors;  // at t = 0, 1, 2, ...
};

TEST(QNoiseFactor, FollowsTheCurve) {
  const CurveRow rows[] = {
      {{.start = 2, .finish = 6}, {0, 0, 0, 1 - 27.0 / 64, 1 - 1.0 / 8, 1 - 1.0 / 64, 1, 1}},
      {{.start = 0, .finish = 4, .exponent = 1.0}, {0, 0.25, 0.5, 0.75, 1, 1}},
      {{.start = 0, .finish = 4, .update_freq = 2, .exponent = 1.0}, {0, 0, 0.5, 0.5, 1, 1}},
      {{.start = 3, .finish = 4, .update_freq = 2, .exponent = 1.0}, {0, 0, 0, 0, 1, 1}},
      {{.start = 2, .finish = 2}, {0, 0, 1, 1}},
      {{}, {1, 1}},
  };
  for (const CurveRow& row : rows) {
    for (size_t t = 0; t < row.factors.size(); ++t) {
      EXPECT_DOUBLE_EQ(qnoise_factor(row.options, static_cast<int64_t>(t)), row.factors[t])
          << row.options.start << ".." << row.options.finish << " at " << t;
    }
  }
}

TEST(QNoiseFactor, RefusesWhatIsNoRamp) {
  for (const QNoiseSchedulerOptions& options : {QNoiseSchedulerOptions{.start = 3, .finish = 2},
                                                {.start = -1, .finish = 2},
                                                {.update_freq = 0},
                                                {.initial_step_or_epoch = -1},
                                                {.exponent = 0.0},
                                                {.exponent = NAN}}) {
    EXPECT_THROW(qnoise_scheduler(options), InvalidArgument);
  }
}

// ---- what a network computes -------------------------------------------------------------------

// Quantizers with a kernel, and one without (quantized_hswish).
constexpr const char* kActivations[] = {"quantized_relu(2,1)",
                                        "quantized_relu(3,2,is_quantized_clip=False)",
                                        "quantized_relu(3,1,is_quantized_clip=False,relu_upper_bound=1.5)",
                                        "quantized_relu_po2(3,2)",
                                        "quantized_bits(3,1,1,alpha=0.5)",
                                        "quantized_hswish(5,2)"};

// Kernel, bias and activation have a qnoise_factor.
graph::Model network_of(const std::string& activation = kActivations[0]) {
  const auto in = Input({.shape = {6, 6, 2}, .name = "input"});
  auto x = QConv2D({.filters = 3,
                    .kernel_size = {3, 3},
                    .padding = "same",
                    .kernel_quantizer = "quantized_bits(3,0,1,alpha='auto_po2')",
                    .bias_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                    .name = "convolution"})(in);
  x = BatchNormalization({.name = "norm"})(x);
  x = QActivation({.activation = activation, .name = "relu"})(x);
  x = QDense({.units = 4, .kernel_quantizer = "quantized_po2(3)", .name = "dense"})(Flatten({})(x));
  graph::Model model = build_model({in}, {x}, "ramped");
  graph::initialize_weights(model, 4);
  return model;
}

Tensor some_input(const Shape& shape) {
  Tensor x(shape);
  RandomStream stream({6, RandomPurpose::kTest, 1, 0});
  for (float& value : x.data()) value = stream.normal();
  return x;
}

Tensor predicted(graph::Model model, bool fused, std::optional<graph::QNoise> noise) {
  CompileOptions options;
  options.fused = fused;
  Trainer trainer(std::move(model), options);
  if (noise) trainer.set_qnoise(*noise);
  return trainer.predict(some_input({5, 6, 6, 2}));
}

void expect_near(const Tensor& a, const Tensor& b, float tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << i;
}

graph::Model with_weights_of(graph::Model structure, const graph::Model& weights) {
  for (size_t i = 0; i < structure.layers.size(); ++i) structure.layers[i].weights = weights.layers[i].weights;
  return structure;
}

TEST(QNoise, NetworksComputeWithTheFactorInBothPaths) {
  for (const char* activation : kActivations) {
    const graph::Model model = network_of(activation);
    for (const double factor : {0.0, 0.25, 0.8, 1.0}) {
      SCOPED_TRACE(fmt::format("{} {}", activation, factor));
      // The same network written with that factor in its quantizers.
      const graph::Model written = with_weights_of(graph::with_qnoise(model, {factor, true}), model);
      const Tensor expected = predicted(written, /*fused=*/false, std::nullopt);
      EXPECT_EQ(predicted(model, false, graph::QNoise{factor, true}), expected);
      // Sums in another order.
      expect_near(predicted(model, true, graph::QNoise{factor, true}), expected, 2e-5f);
      EXPECT_EQ(predicted(model, true, graph::QNoise{factor, true}), predicted(written, true, std::nullopt));
    }
    EXPECT_EQ(predicted(model, true, graph::QNoise{1.0, true}), predicted(model, true, std::nullopt));
  }
}

TEST(QNoise, NothingIsQuantizedAtZero) {
  const auto in = Input({.shape = {5}, .name = "in"});
  const auto x = QDense({.units = 3, .kernel_quantizer = "quantized_bits(2,0,1,alpha=1.0)"})(in);
  graph::Model model = build_model({in}, {QActivation({.activation = "quantized_bits(3,0,1,alpha=1.0)"})(x)});
  graph::initialize_weights(model, 2);
  const auto plain = build_model({in}, {Dense({.units = 3})(in)});
  Trainer ramped(model, {}), floating(with_weights_of(plain, model), {});
  ramped.set_qnoise({0.0, true});
  const Tensor data = some_input({7, 5});
  expect_near(ramped.predict(data), floating.predict(data), 1e-6f);
  ramped.set_qnoise({1.0, true});
  bool differs = false;
  for (int64_t i = 0; i < 21; ++i) differs |= ramped.predict(data)[i] != floating.predict(data)[i];
  EXPECT_TRUE(differs);
}

CompileOptions gradient_descent() {
  return {.optimizer = OptimizerKind::kSgd, .learning_rate = 0.1, .weight_averaging = WeightAveraging::kNone};
}

TEST(QNoise, WithoutStraightThroughGradientsVanishWithTheFactor) {
  // One step of plain gradient descent moves the kernel by its gradient, which is that of factor 0 times 1 - factor.
  const auto in = Input({.shape = {2}, .name = "in"});
  const auto x = QDense({.units = 2, .use_bias = false, .kernel_quantizer = "quantized_bits(3,0,1,alpha=1.0)"})(in);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 2);
  // Values of the grid, so that the loss and its gradient do not depend on the factor.
  model.layers[1].weights[0].value = Tensor({2, 2}, {0.25f, -0.5f, 0.75f, 0.0f});
  data::Dataset dataset;
  dataset.train = data::Samples(Shape{2}, std::vector<float>{1.0f, -0.5f, 0.25f, 2.0f}, std::vector<int32_t>{0, 1});
  const auto moved = [&](const QNoiseSchedulerOptions& options) {
    Trainer trainer(model, gradient_descent());
    const auto ramp = qnoise_scheduler(options);
    trainer.fit(dataset, {.epochs = 1, .batch_size = 2, .callbacks = {ramp.get()}, .validate = false});
    std::vector<float> change = trainer.weights()[0];
    for (size_t i = 0; i < change.size(); ++i) change[i] -= model.layers[1].weights[0].value[static_cast<int64_t>(i)];
    return change;
  };
  const QNoiseSchedulerOptions whole{.start = 0, .finish = 0}, none{.start = 9, .finish = 9};
  // t = 1 of a straight line from 0 to 4.
  const QNoiseSchedulerOptions quarter{.start = 0, .finish = 4, .initial_step_or_epoch = 1, .exponent = 1.0};
  const auto without_ste = [](QNoiseSchedulerOptions options) {
    options.use_ste = false;
    return options;
  };
  const std::vector<float> gradient = moved(none);
  EXPECT_GT(std::abs(gradient[0]), 1e-3f);
  const std::vector<float> same = moved(whole), shrunk = moved(without_ste(quarter)), zero = moved(without_ste(whole));
  for (size_t i = 0; i < gradient.size(); ++i) {
    EXPECT_NEAR(same[i], gradient[i], 1e-7f);
    EXPECT_NEAR(shrunk[i], 0.75f * gradient[i], 1e-7f);
    EXPECT_EQ(zero[i], 0.0f);
  }
}

TEST(QNoise, LayersInsideOthersTakeIt) {
  const auto cell = graph::as_cell(graph::make_layer(
      "QLSTM", "cell", {{"units", int64_t{2}}, {"kernel_quantizer", std::string("quantized_bits(3,0,1,alpha=1.0)")}}));
  const auto in = Input({.shape = {4, 3}, .name = "in"});
  graph::Model model = build_model({in}, {layer("RNN", "rnn", {{"cell", cell}})(in)});
  graph::initialize_weights(model, 2);
  Trainer trainer(model, {});
  trainer.set_qnoise({0.25, true});
  const Tensor data = some_input({3, 4, 3});
  const Tensor quarter = trainer.predict(data);
  EXPECT_EQ(*graph::inner_layer(trainer.model().layer("rnn"), "cell").get_quantizer("kernel_quantizer"),
            *quant::get_quantizer("quantized_bits(3,0,1,alpha=1.0,qnoise_factor=0.25)"));
  trainer.set_qnoise({1.0, true});
  EXPECT_NE(trainer.predict(data), quarter);
  EXPECT_EQ(trainer.predict(data), Trainer(model, {}).predict(data));
}

TEST(QNoise, ModelsShowThePresentFactorAndKeepUseSte) {
  Trainer trainer(network_of(), {});
  trainer.set_qnoise({0.5, false});
  const graph::Model model = trainer.model();
  EXPECT_EQ(*model.layer("relu").get_quantizer("activation"),
            *quant::get_quantizer("quantized_relu(2,1,qnoise_factor=0.5)"));
  EXPECT_EQ(model.layer("convolution").weights, network_of().layer("convolution").weights);
  trainer.set_qnoise({1.0, false});
  EXPECT_EQ(trainer.model(), network_of());
}

// ---- in training ------------------------------------------------------------------------------

class FactorsSeen : public Callback {
 public:
  void on_batch_end(int, int64_t, double, std::optional<double>) override {}
  bool on_epoch_end(const EpochLog&, Trainer& trainer) override {
    const auto quantizer = trainer.model().layer("relu").get_quantizer("activation");
    seen.push_back(quantizer->config().at("qnoise_factor").get<double>());
    return false;
  }
  std::string name() const override { return "seen"; }
  std::vector<double> seen;
};

data::Dataset random_data() {
  data::Dataset dataset;
  dataset.name = "random";
  dataset.num_classes = 4;
  const Tensor x = some_input({32, 6, 6, 2});
  std::vector<int32_t> labels;
  for (int i = 0; i < 32; ++i) labels.push_back(i % 4);
  dataset.train = data::Samples(Shape{6, 6, 2}, std::vector<float>(x.data().begin(), x.data().end()), labels);
  return dataset;
}

FitOptions four_epochs(Callback* ramp) {
  return {.epochs = 4, .batch_size = 8, .callbacks = {ramp}, .validate = false};
}

TEST(QNoiseScheduler, CountsEpochsOrSteps) {
  struct Row {
    QNoiseSchedulerOptions options;
    std::vector<double> factors;  // at the end of each epoch of four steps
  };
  const Row rows[] = {
      {{.start = 1, .finish = 3, .exponent = 1.0}, {0, 0, 0.5, 1}},
      {{.start = 1, .finish = 3, .initial_step_or_epoch = 1, .exponent = 1.0}, {0, 0.5, 1, 1}},
      {{.start = 3, .finish = 11, .freq_type = QNoiseFrequency::kStep, .exponent = 1.0}, {0, 0.5, 1, 1}},
      {{.start = 0, .finish = 16, .freq_type = QNoiseFrequency::kStep, .update_freq = 6, .exponent = 1.0},
       {0, 6.0 / 16, 6.0 / 16, 12.0 / 16}},
  };
  for (const Row& row : rows) {
    Trainer trainer(network_of(), {});
    FactorsSeen seen;
    const auto ramp = qnoise_scheduler(row.options);
    FitOptions fit = four_epochs(ramp.get());
    fit.callbacks.push_back(&seen);
    trainer.fit(random_data(), fit);
    EXPECT_EQ(seen.seen, row.factors);
  }
}

// One step each: after more of them a value that rounds the other way would be seen.
TEST(QNoiseScheduler, FusedAndPlainStepAlike) {
  for (const char* activation : kActivations) {
    const graph::Model before = network_of(activation);
    for (const bool use_ste : {true, false}) {
      SCOPED_TRACE(fmt::format("{} {}", activation, use_ste));
      std::vector<std::vector<std::vector<float>>> weights;
      for (const bool fused : {true, false}) {
        CompileOptions options = gradient_descent();
        options.fused = fused;
        Trainer trainer(before, options);
        const auto ramp = qnoise_scheduler({.finish = 4, .initial_step_or_epoch = 1, .use_ste = use_ste});
        trainer.fit(random_data(), {.epochs = 1, .batch_size = 32, .callbacks = {ramp.get()}, .validate = false});
        weights.push_back(trainer.weights());
      }
      EXPECT_NE(weights[0][0][0], before.layers[1].weights[0].value[0]);
      for (size_t w = 0; w < weights[0].size(); ++w) {
        for (size_t i = 0; i < weights[0][w].size(); ++i) EXPECT_NEAR(weights[0][w][i], weights[1][w][i], 1e-5f);
      }
    }
  }
}

TEST(QNoiseScheduler, ResumesOnTheRamp) {
  const auto directory = testing::scratch_dir("qnoise");
  const QNoiseSchedulerOptions options{.start = 2, .finish = 14, .freq_type = QNoiseFrequency::kStep};
  const auto ramp = qnoise_scheduler(options);
  Trainer undisturbed(network_of(), {});
  undisturbed.fit(random_data(), four_epochs(ramp.get()));

  FitOptions part = four_epochs(ramp.get());
  part.checkpoint = directory / "checkpoint";
  part.epochs = 2;
  Trainer(network_of(), {}).fit(random_data(), part);
  part.epochs = 4;
  part.resume = true;
  Trainer resumed(network_of(), {});
  resumed.fit(random_data(), part);
  EXPECT_EQ(resumed.model(), undisturbed.model());

  const auto other = qnoise_scheduler({.start = 2, .finish = 15, .freq_type = QNoiseFrequency::kStep});
  part.callbacks = {other.get()};
  Trainer refused(network_of(), {});
  EXPECT_THROW(refused.fit(random_data(), part), InvalidArgument);
}

}  // namespace
}  // namespace nibble::train
