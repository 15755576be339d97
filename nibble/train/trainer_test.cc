// Training as a user sees it: it learns, repeats, and refuses what does not fit. Stops: checkpoint_test.
#include "nibble/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "nibble/train/callbacks.h"
#include "nibble/train/small_training.h"

namespace nibble::train {
namespace {

TEST(Trainer, LearnsStripes) {
  Trainer trainer(small_network(), options());
  const History history = trainer.fit(stripes_data(), epochs(8));
  ASSERT_EQ(history.size(), 8u);
  EXPECT_GT(*history.back().val_accuracy, 0.95);
  EXPECT_LT(history.back().loss, history.front().loss);
  EXPECT_EQ(trainer.evaluate(stripes(200, 2)).accuracy, *history.back().val_accuracy);
}

TEST(Trainer, SameSeedGivesTheSameBytes) {
  Trainer a(small_network("stochastic_ternary(alpha='auto_po2')"), options());
  Trainer b(small_network("stochastic_ternary(alpha='auto_po2')"), options());
  a.fit(stripes_data(), epochs(2));
  b.fit(stripes_data(), epochs(2));
  EXPECT_EQ(a.weights(), b.weights());
  CompileOptions other = options();
  other.seed = 4;
  Trainer c(small_network("stochastic_ternary(alpha='auto_po2')"), other);
  c.fit(stripes_data(), epochs(2));
  EXPECT_NE(a.weights(), c.weights());
}

TEST(Trainer, TwoThreadsRepeatAndLearn) {
  CompileOptions two = options();
  two.threads = 2;
  Trainer a(small_network(), two), b(small_network(), two);
  EXPECT_GT(*a.fit(stripes_data(), epochs(6)).back().val_accuracy, 0.9);
  b.fit(stripes_data(), epochs(6));
  EXPECT_EQ(a.weights(), b.weights());
}

TEST(Trainer, PlainPathLearnsToo) {
  CompileOptions plain = options();
  plain.fused = false;
  Trainer trainer(small_network(), plain);
  EXPECT_GT(*trainer.fit(stripes_data(), epochs(6)).back().val_accuracy, 0.9);
}

// Remembers the weights after each step.
class StepWeights : public Callback {
 public:
  explicit StepWeights(Trainer& trainer) : trainer_(trainer) {}
  void on_batch_end(int, int64_t, double, std::optional<double>) override { steps.push_back(trainer_.weights()); }
  std::vector<std::vector<std::vector<float>>> steps;

 private:
  Trainer& trainer_;
};

TEST(Trainer, WeightsAfterAnEpochAreTheMeanOfItsSecondHalf) {
  Trainer trainer(small_network(), options());
  StepWeights recorder(trainer);
  FitOptions fit = epochs(2);  // 9 steps each
  fit.callbacks = {&recorder};
  trainer.fit(stripes_data(), fit);
  ASSERT_EQ(recorder.steps.size(), 18u);
  const std::vector<float> kernel = trainer.weights()[0];
  for (size_t i = 0; i < kernel.size(); ++i) {
    double sum = 0;
    for (size_t step = 14; step < 18; ++step) sum += recorder.steps[step][0][i];
    EXPECT_NEAR(kernel[i], sum / 4, 1e-6);
  }
}

TEST(Trainer, AveragingLeavesTheTrainingAsItIs) {
  CompileOptions none = options();
  none.weight_averaging = WeightAveraging::kNone;
  Trainer averaged(small_network(), options()), last(small_network(), none);
  StepWeights of_averaged(averaged), of_last(last);
  FitOptions fit = epochs(3);
  fit.callbacks = {&of_averaged};
  averaged.fit(stripes_data(), fit);
  fit.callbacks = {&of_last};
  last.fit(stripes_data(), fit);
  EXPECT_EQ(of_averaged.steps.back()[0], of_last.steps.back()[0]);
  EXPECT_EQ(last.weights()[0], of_last.steps.back()[0]);
  EXPECT_NE(averaged.weights()[0], last.weights()[0]);
}

TEST(Trainer, AveragingRefusesMovingStatistics) {
  CompileOptions moving = options();
  moving.batch_norm_statistics = BatchNormStatistics::kMoving;
  Trainer keras(small_network(), moving);
  StepWeights recorder(keras);
  FitOptions fit = epochs(1);
  fit.callbacks = {&recorder};
  keras.fit(stripes_data(), fit);
  EXPECT_EQ(keras.weights(), recorder.steps.back());  // no averaging of its own accord
  moving.weight_averaging = WeightAveraging::kTail;
  EXPECT_THROW(Trainer(small_network(), moving), InvalidArgument);
}

TEST(Trainer, NonFiniteLossSaysWhere) {
  CompileOptions wild = options();
  wild.learning_rate = 3e38;
  Trainer trainer(small_network(), wild);
  try {
    trainer.fit(stripes_data(), epochs(3));
    FAIL() << "the loss stayed finite";
  } catch (const NonFiniteLoss& error) {
    EXPECT_NE(std::string(error.what()).find("epoch"), std::string::npos);
  }
}

TEST(Trainer, NonFiniteValidationLossIsAnErrorToo) {
  CompileOptions wild = options();
  wild.learning_rate = 3e38;
  Trainer trainer(small_network(), wild);
  FitOptions one_step = epochs(1);
  one_step.batch_size = 600;
  EXPECT_THROW(trainer.fit(stripes_data(), one_step), NonFiniteLoss);
}

TEST(Trainer, SecondFitStartsItsCosineAnew) {
  FitOptions fit = epochs(2);
  fit.schedule = ScheduleKind::kCosine;
  Trainer trainer(small_network(), options());
  EXPECT_EQ(trainer.fit(stripes_data(), fit)[0].learning_rate, trainer.fit(stripes_data(), fit)[0].learning_rate);
}

TEST(Trainer, LearningRateMayBeAFunctionOfTheStep) {
  FitOptions fit = epochs(3);
  fit.learning_rate = [](int64_t step, int64_t total) {
    return 0.02 * (1.0 - static_cast<double>(step) / static_cast<double>(total));
  };
  const History history = Trainer(small_network(), options()).fit(stripes_data(), fit);
  EXPECT_DOUBLE_EQ(history[0].learning_rate, 0.02);
  EXPECT_NEAR(history[2].learning_rate, 0.02 / 3, 1e-12);
}

TEST(Trainer, RegularizersArePartOfTheLossAndPullWeightsIn) {
  graph::Model model = small_network();
  Trainer plain(model, options());
  model.layers[1].attributes["kernel_regularizer"] =
      graph::OpaqueJson{R"({"class_name": "L1L2", "config": {"l1": 0.02, "l2": 0.01}})"};
  Trainer regularized(model, options());
  const auto magnitude = [](const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += 0.02 * std::abs(value) + 0.01 * value * value;
    return sum;
  };
  const double penalty = magnitude(plain.weights()[0]);
  const data::Samples samples = stripes(200, 2);
  EXPECT_NEAR(regularized.evaluate(samples).loss, plain.evaluate(samples).loss + penalty, 1e-5);
  plain.fit(stripes_data(), epochs(4));
  regularized.fit(stripes_data(), epochs(4));
  EXPECT_LT(magnitude(regularized.weights()[0]), 0.7 * magnitude(plain.weights()[0]));
}

TEST(Trainer, ConstraintsAreObeyed) {
  graph::Model model = small_network();
  model.layers[1].attributes["kernel_constraint"] =
      graph::OpaqueJson{R"({"class_name": "MaxNorm", "config": {"max_value": 0.25, "axis": [0, 1, 2]}})"};
  CompileOptions last = options();
  last.weight_averaging = WeightAveraging::kNone;
  Trainer trainer(model, last);
  trainer.fit(stripes_data(), epochs(2));
  const std::vector<float> kernel = trainer.weights()[0];  // (3, 3, 1, 8)
  for (size_t c = 0; c < 8; ++c) {
    double square = 0;
    for (size_t i = c; i < kernel.size(); i += 8) square += static_cast<double>(kernel[i]) * kernel[i];
    EXPECT_LE(std::sqrt(square), 0.25 + 1e-5);
  }
}

// The mean over samples of what L1L2 makes of the outputs of layer `name`.
double activity_penalty(const graph::Model& model, const std::string& name, const data::Samples& samples) {
  graph::Model part = model;
  part.outputs = {name};
  while (part.layers.back().name != name) part.layers.pop_back();
  Tensor x(Shape{samples.count(), 8, 8, 1});
  std::vector<int64_t> all(static_cast<size_t>(samples.count()));
  std::iota(all.begin(), all.end(), 0);
  samples.gather(all, x.data());
  const Tensor outputs = Trainer(part, options()).predict(x);
  double sum = 0;
  for (const float y : outputs.data()) sum += 0.02 * std::abs(y) + 0.01 * y * y;
  return sum / static_cast<double>(samples.count());
}

TEST(Trainer, RegularizersOfOutputsArePartOfTheLossAndPullOutputsIn) {
  // A convolution that a batch norm reads, whose output no fused step may hide, and the last layer before softmax.
  for (const size_t at : {1u, 6u}) {
    graph::Model model = small_network();
    ASSERT_TRUE(model.layers.at(at).attributes.contains("activity_regularizer"));
    Trainer plain(model, options());
    const data::Samples samples = stripes(200, 2);
    const std::string name = model.layers[at].name;
    const double penalty = activity_penalty(plain.model(), name, samples);
    model.layers[at].attributes["activity_regularizer"] =
        graph::OpaqueJson{R"({"class_name": "L1L2", "config": {"l1": 0.02, "l2": 0.01}})"};
    for (const bool fused : {true, false}) {
      CompileOptions how = options();
      how.fused = fused;
      Trainer regularized(model, how);
      EXPECT_GT(penalty, 0.01);
      EXPECT_NEAR(regularized.evaluate(samples).loss, plain.evaluate(samples).loss + penalty, 1e-5 * (1 + penalty))
          << name;
      Trainer free(plain.model(), how);
      free.fit(stripes_data(), epochs(4));
      regularized.fit(stripes_data(), epochs(4));
      EXPECT_LT(activity_penalty(regularized.model(), name, samples),
                0.7 * activity_penalty(free.model(), name, samples))
          << name;
    }
  }
}

// The quantizer alone does not know whose tensor it refuses.
TEST(Trainer, RefusedScaleAxesNameTheLayer) {
  const graph::Model model = small_network("quantized_bits(4,0,1,alpha='auto',scale_axis=7)");
  const std::string name = model.layers[1].name;
  for (const bool fused : {true, false}) {
    CompileOptions how = options();
    how.fused = fused;
    try {
      Trainer(model, how).fit(stripes_data(), epochs(1));
      FAIL() << "was trained";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("layer '" + name + "' (QConv2D): scale_axis 7"), std::string::npos)
          << error.what();
    }
  }
}

// Of a class of somebody's own: inference does not need it.
TEST(Trainer, UnknownRegularizersOfOutputsAreRefusedInTrainingOnly) {
  for (const size_t at : {1u, 6u}) {
    graph::Model model = small_network();
    Trainer plain(model, options());
    model.layers[at].attributes["activity_regularizer"] = graph::OpaqueJson{R"({"class_name": "Own", "config": {}})"};
    const data::Samples samples = stripes(40, 2);
    Trainer trainer(model, options());
    // The output is a value of its own here, which a fused step rounds otherwise.
    EXPECT_NEAR(trainer.evaluate(samples).loss, plain.evaluate(samples).loss, 1e-5);
    try {
      trainer.fit(stripes_data(), epochs(1));
      FAIL() << "was trained";
    } catch (const Unsupported& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("'" + model.layers[at].name + "'"), std::string::npos) << message;
      EXPECT_NE(message.find("activity_regularizer"), std::string::npos) << message;
    }
  }
}

TEST(Trainer, WrongDataAreRefused) {
  data::Dataset wrong = stripes_data();
  wrong.train = data::Samples(Shape{4, 4, 1}, std::vector<float>(16), {0});
  Trainer trainer(small_network(), options());
  EXPECT_THROW(trainer.fit(wrong, epochs(1)), InvalidArgument);
  wrong.train = data::Samples(Shape{8, 8, 1}, std::vector<float>(64), {7});
  EXPECT_THROW(trainer.fit(wrong, epochs(1)), InvalidArgument);
  EXPECT_THROW(trainer.fit(stripes_data(), epochs(0)), InvalidArgument);
  EXPECT_THROW(trainer.evaluate(stripes(10, 1), 0), InvalidArgument);
}

TEST(Trainer, PredictionsAreProbabilities) {
  Trainer trainer(small_network(), options());
  const Tensor y = trainer.predict(Tensor(Shape{5, 8, 8, 1}, 0.25f));
  EXPECT_EQ(y.shape(), (Shape{5, 3}));
  for (int64_t i = 0; i < 5; ++i) EXPECT_NEAR(y[3 * i] + y[3 * i + 1] + y[3 * i + 2], 1.0f, 1e-6);
  EXPECT_THROW(trainer.predict(Tensor(Shape{5, 7}, 0.0f)), InvalidArgument);
}

// As Keras' mnist.npz has them.
TEST(Trainer, ImagesMayLackTheAxisOfTheirOneChannel) {
  Trainer trainer(small_network(), options());
  const auto loss = [&](const Shape& shape) {
    std::vector<float> values;
    for (int i = 0; i < 3 * 64; ++i) values.push_back(0.01f * static_cast<float>(i % 50));
    return trainer.evaluate(data::Samples(shape, std::move(values), std::vector<int32_t>{0, 1, 2})).loss;
  };
  EXPECT_EQ(loss(Shape{8, 8}), loss(Shape{8, 8, 1}));
  for (const Shape& shape : {Shape{8, 4, 2}, Shape{4, 16}, Shape{1, 8, 8}}) {
    EXPECT_THROW(loss(shape), InvalidArgument) << shape.str();
  }
}

}  // namespace
}  // namespace nibble::train
