#include "nibble/experiment/cell_runner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/data/synthetic_digits.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/models/builtin.h"
#include "nibble/train/layer_function.h"
#include "support/golden.h"

namespace nibble::experiment {
namespace {

namespace fs = std::filesystem;

class Runner : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.epochs = 1;
    options_.train_samples = 640;
    options_.calibration_samples = 64;
  }

  RunnerHooks hooks() {
    return {.load_dataset = [this](const std::string& name) {
      ++loads_;
      data::Dataset dataset = data::synthetic_digits({.train_count = 800, .test_count = 200, .seed = 1});
      dataset.name = name;
      return dataset;
    }};
  }

  const fs::path directory_ = testing::scratch_dir("cell_runner");
  PtqQatOptions options_;
  int loads_ = 0;
};

TEST_F(Runner, FloatAndEightBitsAreNearEachOtherAndTheFloatNetworkIsKept) {
  const CellStore store(directory_);
  int trainings = 0;
  RunnerHooks watching = hooks();
  watching.progress = [&](int64_t) {
    ++trainings;
    return nullptr;
  };
  CellRunner runner(options_, store, watching);
  const CellResult ptq =
      runner.run({.dataset = "fashion_mnist", .with_batch_norm = true, .method = Method::kPtq, .bits = 8});
  const CellResult real = runner.run({.dataset = "fashion_mnist", .with_batch_norm = true});
  EXPECT_GT(real.accuracy, 30.0);
  EXPECT_NEAR(ptq.accuracy, real.accuracy, 3.0);
  EXPECT_EQ(real.samples, 200);
  EXPECT_EQ(trainings, 1);  // for the other cell already
  EXPECT_GT(ptq.seconds, 0);
  EXPECT_EQ(loads_, 1);
  EXPECT_FALSE(fs::exists(store.checkpoint_path({.dataset = "fashion_mnist", .with_batch_norm = true}, options_)));
}

// Which merges its batch norms in each step.
TEST_F(Runner, NetworksWithBatchNormsLearnWithEightBits) {
  const CellStore store(directory_);
  CellRunner runner(options_, store, hooks());
  const double before = runner.run({.dataset = "fashion_mnist", .with_batch_norm = true}).accuracy;
  options_.qat_epochs = 2;
  for (const Method method : {Method::kQat, Method::kLsq}) {
    const Cell cell{.dataset = "fashion_mnist", .with_batch_norm = true, .method = method, .bits = 8};
    EXPECT_GT(runner.run(cell).accuracy, before) << name(method);
  }
}

TEST_F(Runner, StopsBetweenStepsAndSaysSo) {
  const CellStore store(directory_);
  const std::atomic<bool> stop = true;
  RunnerHooks stopping = hooks();
  stopping.stop = &stop;
  CellRunner runner(options_, store, stopping);
  EXPECT_THROW(runner.run({.dataset = "fashion_mnist"}), Stopped);
  EXPECT_FALSE(fs::exists(store.model_path({.dataset = "fashion_mnist"}, options_)));
}

TEST(Prepare, PixelsAreThoseOfTheOriginal) {
  for (const auto& [name, lowest] : {std::pair("fashion_mnist", 0.0f), std::pair("cifar10", -1.0f)}) {
    data::Dataset dataset = data::synthetic_digits({.train_count = 20, .test_count = 5, .seed = 1});
    dataset.name = name;
    prepare(dataset, 10);
    EXPECT_EQ(dataset.train.count(), 10);
    std::vector<float> x(static_cast<size_t>(dataset.train.shape().elements()));
    dataset.train.gather(std::vector<int64_t>{0}, x);
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    EXPECT_EQ(*low, lowest);
    EXPECT_LE(*high, 1.0f);
    EXPECT_GT(*high, 0.5f);
  }
}

// D2 and D3 of the specification.
TEST(MovedStatistics, KeepTheirShareAndLeaveWeightsAlone) {
  graph::Model model = models::make_builtin("fashion_mnist_cnn_bn");
  graph::initialize_weights(model, 1);
  Tensor x(Shape{64, 28, 28, 1});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) / 16.0f;
  const auto mean = [](const graph::Model& of) { return of.layer("bn_0").find_weight("moving_mean")->value; };
  const graph::Model slow = with_moved_statistics(model, x, 0.9, 1), fast = with_moved_statistics(model, x, 0.1, 1);
  for (int64_t c = 0; c < mean(model).size(); ++c) {
    const float by = mean(slow)[c] - mean(model)[c];
    EXPECT_NE(by, 0.0f);
    EXPECT_NEAR(mean(fast)[c] - mean(model)[c], 9 * by, 1e-3 * std::abs(by));
  }
  for (const graph::Weight& weight : model.layer("conv_0").weights) {
    const Tensor& after = slow.layer("conv_0").find_weight(weight.name)->value;
    for (int64_t i = 0; i < after.size(); ++i) EXPECT_LT(std::abs(after[i] - weight.value[i]), 1e-25f) << weight.name;
  }
  EXPECT_EQ(slow.layer("bn_0").attributes, model.layer("bn_0").attributes);
}

// Images of zeros leave the first kernel to its decay.
TEST(WeightDecay, IsAddedToTheGradientOfKernels) {
  graph::Model model = models::make_builtin("fashion_mnist_cnn");
  graph::initialize_weights(model, 1);
  const graph::Model plain = model;
  set_weight_decay(model, 0.5);
  data::Dataset dataset;
  dataset.train = data::Samples(Shape{28, 28, 1}, std::vector<float>(8 * 28 * 28, 0.0f), std::vector<int32_t>(8, 3));
  train::CompileOptions compile;
  compile.optimizer = train::OptimizerKind::kSgd;
  compile.learning_rate = 0.1;
  compile.weight_averaging = train::WeightAveraging::kNone;
  train::Trainer trainer(model, compile);
  train::FitOptions fit;
  fit.epochs = 1, fit.batch_size = 8, fit.validate = false;
  trainer.fit(dataset, fit);
  graph::Model after = trainer.model();
  const Tensor &kernel = after.layer("conv_0").find_weight("kernel")->value,
               &before = plain.layer("conv_0").find_weight("kernel")->value;
  for (int64_t i = 0; i < kernel.size(); ++i) {
    EXPECT_NEAR(kernel[i], (1 - 0.1f * 0.5f) * before[i], 1e-6f);  // a rounding or two of weights below 1
  }
  set_weight_decay(after, 0);
  for (const graph::Layer& layer : after.layers) EXPECT_EQ(layer.attributes, plain.layer(layer.name).attributes);
}

TEST_F(Runner, WeightDecayAndBatchSizeChangeTheFineTunedNetwork) {
  const CellStore store(directory_);
  const Cell cell{.dataset = "fashion_mnist", .method = Method::kQat, .bits = 4};
  std::vector<int64_t> sizes;
  std::vector<double> accuracies;
  for (const double decay : {0.0, 1.0}) {
    PtqQatOptions options = options_;
    options.qat_weight_decay = decay;
    options.qat_batch_size = 32;
    options.qat_epochs = 3;
    RunnerHooks watching = hooks();
    watching.progress = [&](int64_t batch_size) {
      sizes.push_back(batch_size);
      return nullptr;
    };
    accuracies.push_back(CellRunner(options, store, watching).run(cell).accuracy);
  }
  EXPECT_EQ(sizes, (std::vector<int64_t>{64, 32, 32}));  // the float network is trained once, as always
  EXPECT_NE(accuracies[0], accuracies[1]);               // the strongest decay takes what was learned away
}

class LastLoss : public train::Callback {
 public:
  explicit LastLoss(double& loss) : loss_(loss) {}
  bool on_epoch_end(const train::EpochLog& log, train::Trainer&) override {
    loss_ = log.loss;
    return false;
  }

 private:
  double& loss_;
};

// Of the float network, and of what goes on from it; what is measured on are images as they are.
TEST_F(Runner, AugmentationChangesTrainings) {
  const CellStore store(directory_);
  const auto models = [&](const data::Augmentation& augmentation) {
    PtqQatOptions options = options_;
    options.augmentation = augmentation;
    CellRunner(options, store, hooks()).run({.dataset = "fashion_mnist"});
    return formats::keras::load_model(store.model_path({.dataset = "fashion_mnist"}, options));
  };
  const graph::Model plain = models({}), shifted = models({.shift = 2}), flipped = models({.flip = true});
  const auto kernel = [](const graph::Model& model) { return model.layer("conv_0").find_weight("kernel")->value; };
  EXPECT_FALSE(kernel(plain) == kernel(shifted));
  EXPECT_FALSE(kernel(flipped) == kernel(shifted));

  // From one float network, fine-tuning goes elsewhere.
  const Cell cell{.dataset = "fashion_mnist", .method = Method::kFineTuned};
  PtqQatOptions with = options_;
  with.qat_augmentation = data::Augmentation{.shift = 4};
  double loss = 0, loss_without = 0;
  const auto run = [&](const PtqQatOptions& options, double& last) {
    RunnerHooks watching = hooks();
    watching.progress = [&](int64_t) { return std::make_unique<LastLoss>(last); };
    CellRunner(options, store, watching).run(cell);
  };
  run(with, loss);
  run(options_, loss_without);
  EXPECT_GT(loss, 0);
  EXPECT_NE(loss, loss_without);
}

// Fine-tuning with the teacher alone, which is where it starts, stays there; labels move it on.
TEST_F(Runner, TheFloatNetworkTeaches) {
  const CellStore store(directory_);
  const Cell cell{.dataset = "fashion_mnist", .method = Method::kFineTuned};
  const auto accuracy = [&](std::optional<double> teacher_weight) {
    PtqQatOptions options = options_;
    options.qat_epochs = 3;
    if (teacher_weight) options.teachers["fashion_mnist"] = {};
    options.teacher_weight = teacher_weight.value_or(0.9);
    return CellRunner(options, store, hooks()).run(cell).accuracy;
  };
  const double before = CellRunner(options_, store, hooks()).run(float_cell(cell)).accuracy;
  const double untaught = accuracy(std::nullopt);
  EXPECT_GT(std::abs(untaught - before), 2.0);
  EXPECT_NEAR(accuracy(1.0), before, 0.5);  // one of the 200 images
  EXPECT_EQ(accuracy(0.0), untaught);
}

// The float network again, by the name of its file.
TEST_F(Runner, AModelsFileTeaches) {
  const CellStore store(directory_);
  const Cell cell{.dataset = "fashion_mnist", .method = Method::kFineTuned};
  PtqQatOptions options = options_;
  options.teacher_weight = 1.0, options.teachers["fashion_mnist"] = {};
  const double by_float = CellRunner(options, store, hooks()).run(cell).accuracy;
  options.teachers["fashion_mnist"].model = store.model_path(float_cell(cell), options_);
  EXPECT_EQ(CellRunner(options, store, hooks()).run(cell).accuracy, by_float);
  options.teachers["fashion_mnist"].model = directory_ / "nowhere.keras";
  EXPECT_THROW(CellRunner(options, store, hooks()).run(cell), IoError);
}

TEST_F(Runner, OnlyAStudyOfLearningRatesMayDiverge) {
  const CellStore store(directory_);
  options_.qat_learning_rate = 1e30;
  Cell cell{.dataset = "fashion_mnist", .method = Method::kFineTuned};
  EXPECT_THROW(CellRunner(options_, store, hooks()).run(cell), train::NonFiniteLoss);
  cell.method = Method::kQat, cell.bits = 8;
  cell.variation = {.name = "sgd1e+30", .study = "learning-rate", .learning_rate = 1e30};
  EXPECT_EQ(CellRunner(options_, store, hooks()).run(cell).accuracy, 0);
}

TEST(UsualRanges, AreOfLeastErrorBelowSixBitsFromTheCalibratedOnesOn) {
  graph::Model model = models::make_builtin("cifar10_cnn");
  graph::initialize_weights(model, 1);
  Tensor x(Shape{2, 32, 32, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) / 8.0f - 1.0f;
  model = ptq::quantize_after_training(model, x, {.bit_width = 4, .least_result_bits = 8}, train::layer_function).model;
  const graph::Model before = model;
  use_usual_ranges(model);
  EXPECT_NO_THROW(graph::validate(model));
  int64_t few = 0, many = 0;
  for (const graph::Layer& layer : model.layers) {
    EXPECT_EQ(layer.weights, before.layer(layer.name).weights) << layer.name;
    for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
      const bool is_mse = point.quantizer.range == affine::RangeRule::kMse;
      EXPECT_EQ(is_mse, point.quantizer.num_bits < 6) << layer.name << " " << point.name;
      ++(is_mse ? few : many);
    }
  }
  EXPECT_GT(few, 4);
  EXPECT_GT(many, 0) << "the result has 8 bits";
}

TEST(LearnedSteps, AreSignedWhereRangesGoBelowZero) {
  graph::Model model = models::make_builtin("cifar10_cnn");
  graph::initialize_weights(model, 1);
  Tensor x(Shape{2, 32, 32, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) / 8.0f - 1.0f;
  model = ptq::quantize_after_training(model, x, {.bit_width = 4, .per_axis = true}, train::layer_function).model;
  use_learned_steps(model);
  EXPECT_NO_THROW(graph::validate(model));
  const auto point = [&](const char* layer, std::string_view name) {
    return graph::quantized_point(model.layer(layer), name)->quantizer;
  };
  EXPECT_EQ(point("conv_0", "kernel").kind, graph::AffineKind::kLsq);
  EXPECT_TRUE(point("conv_0", "kernel").symmetric);
  EXPECT_TRUE(point("input", "output").symmetric);
  EXPECT_FALSE(point("relu_0", "output").symmetric);
  EXPECT_TRUE(point("logits", "post_activation").symmetric);
  EXPECT_NO_THROW(graph::require_calibrated(model, "test"));
  // The input is -1 .. 1: 7 steps of 4 signed bits.
  EXPECT_NEAR(model.layer("input").find_weight("output_step")->value[0], 1.0f / 7, 0.03f);
  EXPECT_EQ(model.layer("conv_0").find_weight("kernel_step")->value.size(), 16);
}

}  // namespace
}  // namespace nibble::experiment
