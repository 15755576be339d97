// Quantization-aware training the TFMOT way, as a user sees it.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/train/quantization_schedule.h"
#include "nibble/train/stripes.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/qat/quantize_apply.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using graph::AffineKind;
using graph::Model;
using namespace graph::build;

Model float_network(int64_t filters = 8) {
  const Node in = Input({.shape = {8, 8, 1}, .name = "in"});
  Node x = Conv2D({.filters = filters, .kernel_size = {3, 3}, .name = "conv"})(in);
  x = ReLU({.name = "relu"})(BatchNormalization({.name = "norm"})(x));
  x = Flatten({.name = "flat"})(MaxPooling2D({.name = "pool"})(x));
  Model model = build_model({in}, {Dense({.units = 3, .activation = "softmax", .name = "dense"})(x)}, "small");
  graph::initialize_weights(model, 1);
  return model;
}

CompileOptions options() { return {.learning_rate = 0.01, .seed = 3}; }

FitOptions epochs(int count, std::vector<Callback*> callbacks = {}) {
  FitOptions result;
  result.epochs = count;
  result.batch_size = 50;
  result.callbacks = std::move(callbacks);
  return result;
}

const Model& trained() {
  static const Model model = [] {
    Trainer trainer(float_network(), options());
    trainer.fit(stripes_data(), epochs(6));
    return trainer.model();
  }();
  return model;
}

qat::Scheme scheme(const std::string& quantizer, int bits = 4) {
  qat::Scheme result = qat::scheme_named("int" + std::to_string(bits));
  qat::set_quantizer(result, quantizer);
  return result;
}

class EachQuantizer : public ::testing::TestWithParam<const char*> {};

TEST_P(EachQuantizer, LearnsWithFourBits) {
  Trainer trainer(qat::quantize_model(trained(), scheme(GetParam())), options());
  const History history = trainer.fit(stripes_data(), epochs(4));
  EXPECT_GT(*history.back().val_accuracy, 0.95);
  const Model model = trainer.model();
  graph::require_calibrated(model, "test");

  // What was saved predicts the same.
  const auto path = testing::scratch_dir("affine") / (std::string(GetParam()) + ".keras");
  formats::keras::save_model(model, path);
  const Model read = formats::keras::load_model(path);
  ASSERT_EQ(read.layers.size(), model.layers.size());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    EXPECT_EQ(read.layers[i].weights, model.layers[i].weights) << model.layers[i].name;
    EXPECT_EQ(read.layers[i].quantization, model.layers[i].quantization) << model.layers[i].name;
  }
  Trainer again(read, {});
  EXPECT_EQ(again.evaluate(stripes(200, 2)).accuracy, *history.back().val_accuracy);
}

INSTANTIATE_TEST_SUITE_P(Rows, EachQuantizer,
                         ::testing::Values("moving_average", "last_value", "all_values", "lsq", "lsq_plus", "pact",
                                           "dorefa"),
                         [](const auto& row) { return row.param; });

// The sum of the clipping levels of a trained model, squared.
double squared_levels(const Model& model) {
  double sum = 0.0;
  for (const graph::Layer& layer : model.layers) {
    for (const graph::Weight& weight : layer.weights) {
      if (weight.name.ends_with("_alpha")) sum += std::pow(weight.value[0], 2);
    }
  }
  return sum;
}

TEST(AffineTraining, PenaltyLowersClippingLevels) {
  std::vector<double> levels;
  for (const double penalty : {0.0, 0.05}) {
    qat::Scheme pact = scheme("pact");
    pact.penalty = penalty;
    Trainer trainer(qat::quantize_model(trained(), pact), options());
    trainer.fit(stripes_data(), epochs(2));
    levels.push_back(squared_levels(trainer.model()));
  }
  EXPECT_GT(levels[1], 0.0);
  EXPECT_LT(levels[1], 0.9 * levels[0]);
}

TEST(AffineTraining, LearnsFromGradientsOfSixBits) {
  qat::Scheme dorefa = scheme("dorefa");
  dorefa.gradient_bits = 6;
  Trainer trainer(qat::quantize_model(trained(), dorefa), options());
  EXPECT_GT(*trainer.fit(stripes_data(), epochs(4)).back().val_accuracy, 0.95);
}

TEST(AffineTraining, LearnedStepsTakeBothOptimizers) {
  CompileOptions sgd = options();
  sgd.optimizer = OptimizerKind::kSgd;
  sgd.momentum = 0.9;
  for (const CompileOptions& each : {options(), sgd}) {
    const Model start = qat::quantize_model(trained(), scheme("lsq", 2));
    Trainer trainer(start, each);
    const History history = trainer.fit(stripes_data(), epochs(6));
    EXPECT_GT(*history.back().val_accuracy, 0.9);
    const Model model = trainer.model();
    for (const float step : model.layer("conv").find_weight("kernel_step")->value.data()) {
      EXPECT_GT(step, 1e-4f);
      EXPECT_LT(step, 10.0f);
    }
  }
}

// Seed 2: with TFMOT, kernel_min and kernel_max were scalars whatever per_axis said. What that costs is
// tests/qat_accuracy_test.cc.
TEST(AffineTraining, AllValuesPerAxisHasARangeForEachOf32Filters) {
  for (const bool per_axis : {false, true}) {
    qat::Scheme four = scheme("all_values");
    four.per_axis = per_axis;
    four.ranges = affine::RangeRule::kExtremes;
    Trainer trainer(qat::quantize_model(float_network(32), four), options());
    EXPECT_GT(*trainer.fit(stripes_data(), epochs(5)).back().val_accuracy, 0.95);
    const Model model = trainer.model();
    const graph::Layer& conv = model.layer("conv");
    const auto ranges = graph::stored_ranges(conv, "kernel");
    ASSERT_EQ(ranges.size(), per_axis ? 32u : 1u);
    EXPECT_EQ(conv.find_weight("kernel_min")->value.shape(), per_axis ? Shape{32} : Shape{});
    const Tensor& kernel = conv.find_weight("kernel")->value;
    for (int64_t i = 0; i < kernel.size(); ++i) {
      const affine::Range range = ranges[per_axis ? static_cast<size_t>(i % 32) : 0];
      EXPECT_LE(range.min, kernel[i]);
      EXPECT_GE(range.max, kernel[i]);
    }
  }
}

// Of the kernels' own size.
double rounding_error(const Model& model) {
  double sum = 0.0;
  for (const char* name : {"conv", "dense"}) {
    const graph::Layer& layer = model.layer(name);
    const graph::QuantizedPoint point = *graph::quantized_point(layer, "kernel");
    const Tensor& kernel = layer.find_weight("kernel")->value;
    const affine::ChannelLayout layout = graph::point_layout(layer, point, kernel.shape());
    affine::RangeTracker tracker(graph::tracker_config(point.quantizer), layout.channels);
    tracker.restore(graph::stored_ranges(layer, "kernel"));
    std::vector<float> rounded(static_cast<size_t>(kernel.size()));
    tracker.quantize(kernel.data(), layout, rounded);
    double error = 0.0, whole = 0.0;
    for (size_t i = 0; i < rounded.size(); ++i) {
      error += std::pow(static_cast<double>(kernel.data()[i]) - static_cast<double>(rounded[i]), 2.0);
      whole += std::pow(static_cast<double>(kernel.data()[i]), 2.0);
    }
    sum += error / whole;
  }
  return sum;
}

// From the same weights, by steps that are too small to tell them apart.
TEST(AffineTraining, RangesOfLeastErrorRoundFinerWithFourBits) {
  CompileOptions slow = options();
  slow.learning_rate = 1e-6;
  std::vector<double> errors;
  std::vector<float> reach;
  for (const affine::RangeRule rule : {affine::RangeRule::kMse, affine::RangeRule::kExtremes}) {
    qat::Scheme four = scheme("moving_average");
    four.ranges = rule;
    Trainer trainer(qat::quantize_model(trained(), four), slow);
    trainer.fit(stripes_data(), epochs(1));
    const Model model = trainer.model();
    errors.push_back(rounding_error(model));
    reach.push_back(graph::stored_ranges(model.layer("relu"), "output")[0].max);
  }
  EXPECT_GT(errors[0], 0.0);
  EXPECT_LT(errors[0], errors[1]);
  EXPECT_LT(reach[0], reach[1]) << "of what leaves the ReLU, the few largest are clipped";
}

class EachBatchNorm : public ::testing::TestWithParam<qat::BatchNormMode> {};

TEST_P(EachBatchNorm, Learns) {
  qat::Scheme four = scheme("moving_average");
  four.batch_norm = GetParam();
  const Model start = qat::quantize_model(trained(), four);
  Trainer trainer(start, options());
  const History history = trainer.fit(stripes_data(), epochs(4));
  EXPECT_GT(*history.back().val_accuracy, 0.95);
  const Model model = trainer.model();
  EXPECT_NE(model.layer("conv").find_weight("kernel_max")->value, start.layer("conv").find_weight("kernel_max")->value);
}

INSTANTIATE_TEST_SUITE_P(Rows, EachBatchNorm,
                         ::testing::Values(qat::BatchNormMode::kFloat, qat::BatchNormMode::kFold,
                                           qat::BatchNormMode::kFoldBatch, qat::BatchNormMode::kFoldRunning));

// The largest absolute value of each channel, the last axis.
std::vector<float> reach_of_channels(const Tensor& kernel) {
  std::vector<float> reach(static_cast<size_t>(kernel.shape()[-1]), 0.0f);
  for (int64_t i = 0; i < kernel.size(); ++i) {
    float& channel = reach[static_cast<size_t>(i) % reach.size()];
    channel = std::max(channel, std::fabs(kernel[i]));
  }
  return reach;
}

// What the last batch's statistics make of the kernel is not what the network is deployed with.
TEST(AffineTraining, RangesAreThoseOfTheKernelsThatAreDeployed) {
  for (const auto mode : {qat::BatchNormMode::kFoldBatch, qat::BatchNormMode::kFoldRunning}) {
    for (const auto statistics : {BatchNormStatistics::kReestimated, BatchNormStatistics::kMoving}) {
      qat::Scheme four = scheme("last_value");
      four.batch_norm = mode;
      four.ranges = affine::RangeRule::kExtremes;
      CompileOptions compile = options();
      compile.batch_norm_statistics = statistics;
      Trainer trainer(qat::quantize_model(trained(), four), compile);
      trainer.fit(stripes_data(), epochs(1));
      const Model deployed = qat::unfold_batch_norms(trainer.model());
      const graph::Layer& conv = deployed.layer("conv");
      const std::vector<float> reach = reach_of_channels(conv.find_weight("kernel")->value);
      const Tensor& most = conv.find_weight("kernel_max")->value;
      ASSERT_EQ(most.size(), std::ssize(reach));
      for (int64_t c = 0; c < most.size(); ++c) {
        EXPECT_NEAR(most[c], reach[static_cast<size_t>(c)], 1e-6f * most[c]) << c;
      }
    }
  }
}

TEST(QuantizationSchedule, SaysWhatHoldsWhen) {
  const QuantizationSchedule schedule{.begin = 1.5, .freeze_ranges = 3.0, .freeze_batch_norm = 2.0};
  EXPECT_EQ(phase_at(schedule, 0.0), (QuantizationPhase{.applies = false}));
  EXPECT_EQ(phase_at(schedule, 1.5), (QuantizationPhase{}));
  EXPECT_EQ(phase_at(schedule, 2.0), (QuantizationPhase{.statistics_move = false}));
  EXPECT_EQ(phase_at(schedule, 3.0), (QuantizationPhase{.ranges_move = false, .statistics_move = false}));
  EXPECT_EQ(phase_at({}, 0.0), (QuantizationPhase{}));
}

TEST(QuantizationSchedule, Refuses) {
  EXPECT_THROW(quantization_schedule({.begin = -1.0}), InvalidArgument);
  EXPECT_THROW(quantization_schedule({.begin = 2.0, .freeze_ranges = 1.0}), InvalidArgument);
}

// Times that the training never reaches: it has epochs 0 to 3.
TEST(QuantizationSchedule, RefusesWhatNeverHappens) {
  for (const auto& late : {QuantizationSchedule{.begin = 3.0}, QuantizationSchedule{.freeze_ranges = 3.0},
                           QuantizationSchedule{.freeze_batch_norm = 99.0}}) {
    const auto schedule = quantization_schedule(late);
    EXPECT_THROW(schedule->on_train_begin(3, 10), InvalidArgument) << schedule->state().dump();
    EXPECT_NO_THROW(schedule->on_train_begin(100, 10)) << schedule->state().dump();
    Trainer trainer(qat::quantize_model(float_network()), options());
    EXPECT_THROW(trainer.fit(stripes_data(), epochs(3, {schedule.get()})), InvalidArgument) << schedule->state().dump();
  }
}

std::vector<float> values_of(const Model& model, const char* layer, const char* name) {
  const auto data = model.layer(layer).find_weight(name)->value.data();
  return {data.begin(), data.end()};
}

TEST(QuantizationSchedule, BeforeItBeginsTheNetworkIsFloat) {
  const auto schedule = quantization_schedule({.begin = 1.0});
  Trainer quantized(qat::quantize_model(float_network(), scheme("moving_average")), options());
  struct Watch : Callback {
    std::vector<std::vector<float>> first;
    bool on_epoch_end(const EpochLog&, Trainer& trainer) override {
      if (first.empty()) first = {values_of(trainer.model(), "conv", "kernel")};
      return false;
    }
    std::string name() const override { return "watch"; }
  } watch;
  quantized.fit(stripes_data(), epochs(2, {schedule.get(), &watch}));
  Trainer in_float(float_network(), options());
  in_float.fit(stripes_data(), epochs(1));
  EXPECT_EQ(watch.first[0], values_of(in_float.model(), "conv", "kernel"));
  in_float = Trainer(float_network(), options());
  in_float.fit(stripes_data(), epochs(2));
  EXPECT_NE(values_of(quantized.model(), "conv", "kernel"), values_of(in_float.model(), "conv", "kernel"));
}

TEST(QuantizationSchedule, WhatIsFrozenStays) {
  const auto schedule = quantization_schedule({.freeze_ranges = 1.0, .freeze_batch_norm = 1.0});
  CompileOptions moving = options();
  moving.batch_norm_statistics = BatchNormStatistics::kMoving;
  struct Watch : Callback {
    Model first;
    bool on_epoch_end(const EpochLog& log, Trainer& trainer) override {
      if (log.epoch == 1) first = trainer.model();
      return false;
    }
    std::string name() const override { return "watch"; }
  } watch;
  Trainer trainer(qat::quantize_model(float_network(), scheme("moving_average")), moving);
  trainer.fit(stripes_data(), epochs(3, {schedule.get(), &watch}));
  const Model last = trainer.model();
  EXPECT_EQ(values_of(last, "norm", "moving_mean"), values_of(watch.first, "norm", "moving_mean"));
  EXPECT_EQ(values_of(last, "relu", "output_max"), values_of(watch.first, "relu", "output_max"));
  EXPECT_EQ(values_of(last, "conv", "kernel_max"), values_of(watch.first, "conv", "kernel_max"));
  EXPECT_NE(values_of(last, "conv", "kernel"), values_of(watch.first, "conv", "kernel"));
}

TEST(Calibration, FindsRangesWithoutTraining) {
  const Model start = qat::quantize_model(trained(), scheme("moving_average", 8));
  Trainer trainer(start, options());
  trainer.calibrate(stripes(600, 1), 50, 4);
  const Model model = trainer.model();
  graph::require_calibrated(model, "test");
  EXPECT_EQ(values_of(model, "conv", "kernel"), values_of(start, "conv", "kernel"));
  EXPECT_EQ(values_of(model, "norm", "moving_mean"), values_of(start, "norm", "moving_mean"));
  Trainer in_float(trained(), options());
  EXPECT_NEAR(trainer.evaluate(stripes(200, 2)).accuracy, in_float.evaluate(stripes(200, 2)).accuracy, 0.02);
}

// Ranges move while it runs, and no longer: not in an evaluation after data that were refused.
TEST(Calibration, EndsWhereDataAreRefused) {
  Trainer trainer(qat::quantize_model(trained(), scheme("moving_average", 8)), options());
  trainer.calibrate(stripes(100, 1), 50, 2);
  std::vector<float> values(64 * 20, 1.0f);
  values[70] = std::nanf("");
  const data::Samples broken(Shape{8, 8, 1}, std::move(values), std::vector<int32_t>(20));
  EXPECT_THROW(trainer.calibrate(broken, 20, 1), InvalidArgument);
  const Model calibrated = trainer.model();
  trainer.evaluate(stripes(200, 2));
  EXPECT_EQ(trainer.model(), calibrated);
}

// An input that is 0 in all the data has a range all the same.
TEST(Calibration, ZerosThatWereSeenAreCalibrated) {
  const Model start = qat::quantize_model(trained(), scheme("moving_average", 8));
  EXPECT_EQ(graph::uncalibrated_point(start.layer("in")), "output");
  Trainer trainer(start, options());
  const data::Samples zeros(Shape{8, 8, 1}, std::vector<float>(64 * 20), std::vector<int32_t>(20));
  trainer.calibrate(zeros, 10, 2);
  const Model model = trainer.model();
  graph::require_calibrated(model, "test");
  EXPECT_EQ(graph::stored_ranges(model.layer("in"), "output"), std::vector<affine::Range>(1));
  const auto path = testing::scratch_dir("affine_zeros") / "zeros.keras";
  formats::keras::save_model(model, path);
  const Model read = formats::keras::load_model(path);
  graph::require_calibrated(read, "test");
  Trainer again(read, {});
  EXPECT_EQ(again.evaluate(zeros).accuracy, trainer.evaluate(zeros).accuracy);
}

}  // namespace
}  // namespace nibble::train
