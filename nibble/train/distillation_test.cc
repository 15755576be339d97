// Learning from a teacher: the loss by its formula, and trainings with it.
#include "nibble/train/distillation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/train/loss.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;
using Rows = std::vector<double>;  // of kClasses each
constexpr size_t kClasses = 4, kSamples = 3;
constexpr int64_t kBatch = 5;  // of which the samples are a share

// ---- the formula, written once more in double ----------------------------------------

// x^(1/T) of each row, made to add up to 1.
Rows softened(Rows x, double temperature) {
  for (double& value : x) value = std::pow(value, 1 / temperature);
  for (size_t at = 0; at < x.size(); at += kClasses) {
    double sum = 0;
    for (size_t c = 0; c < kClasses; ++c) sum += x[at + c];
    for (size_t c = 0; c < kClasses; ++c) x[at + c] /= sum;
  }
  return x;
}

double formula(const Rows& outputs, const Rows& teacher, bool are_logits, double temperature) {
  Rows student = outputs;
  if (are_logits) {
    for (double& value : student) value = std::exp(value);
  }
  student = softened(softened(student, 1), temperature);
  const Rows taught = softened(teacher, temperature);
  double sum = 0;
  for (size_t i = 0; i < taught.size(); ++i) sum += taught[i] * std::log(taught[i] / student[i]);
  return temperature * temperature * sum / static_cast<double>(kBatch);
}

at::Tensor to_tensor(const Rows& rows) {
  return at::tensor(rows, at::kDouble).reshape({-1, static_cast<int64_t>(kClasses)});
}

struct LossCase {
  const char* name;
  bool are_logits;
  double temperature;
};
class DistillationLoss : public ::testing::TestWithParam<LossCase> {};
TEST_P(DistillationLoss, AndItsGradientAreTheFormulas) {
  const auto& [name, are_logits, temperature] = GetParam();
  const Rows logits = {0.5, -1, 2, 0, 1, 1, -2, 0.25, -0.5, 3, 0, 1};
  const Rows probabilities = {0.1, 0.2, 0.3, 0.4, 0.25, 0.25, 0.2, 0.3, 0.7, 0.1, 0.15, 0.05};
  const Rows teacher = {0.9, 0.05, 0.03, 0.02, 0.25, 0.25, 0.25, 0.25, 0.001, 0.002, 0.99, 0.007};
  Rows outputs = are_logits ? logits : probabilities;
  at::Tensor x = to_tensor(outputs).requires_grad_(true);
  const at::Tensor loss = distillation_loss(x, to_tensor(teacher), are_logits, temperature, kBatch);
  EXPECT_NEAR(loss.item<double>(), formula(outputs, teacher, are_logits, temperature), 1e-12);
  loss.backward();
  const at::Tensor gradient = x.grad().contiguous();
  for (size_t i = 0; i < kSamples * kClasses; ++i) {
    constexpr double kStep = 1e-6;
    Rows up = outputs, down = outputs;
    up[i] += kStep, down[i] -= kStep;
    const double slope =
        (formula(up, teacher, are_logits, temperature) - formula(down, teacher, are_logits, temperature)) / (2 * kStep);
    EXPECT_NEAR(gradient.data_ptr<double>()[i], slope, 1e-7) << i;  // of central differences in double
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, DistillationLoss,
                         ::testing::Values(LossCase{"Logits", true, 1}, LossCase{"SoftLogits", true, 2},
                                           LossCase{"VerySoftLogits", true, 5}, LossCase{"SharpLogits", true, 0.5},
                                           LossCase{"Probabilities", false, 1},
                                           LossCase{"SoftProbabilities", false, 2}),
                         [](const auto& row) { return row.param.name; });

TEST(DistillationLossAtItsEnds, IsFiniteAndZeroWhereBothAgree) {
  const at::Tensor sure = at::tensor({1.0f, 0.0f, 0.0f, 0.0f}, at::kFloat).reshape({1, 4});
  const at::Tensor away = at::tensor({-200.0f, 300.0f, 0.0f, 0.0f}, at::kFloat).reshape({1, 4});
  for (const double temperature : {1.0, 2.0, 20.0}) {
    EXPECT_TRUE(std::isfinite(distillation_loss(away, sure, true, temperature, 1).item<float>()));
    const at::Tensor logits = at::tensor({1.0f, -2.0f, 0.5f, 3.0f}, at::kFloat).reshape({1, 4});
    // T^2 times a few ulps of logarithms up to 5
    EXPECT_NEAR(distillation_loss(logits, at::softmax(logits, 1), true, temperature, 1).item<float>(), 0,
                4e-6 * temperature * temperature);
  }
}

// ---- trainings -----------------------------------------------------------------------

// Points around three corners of a cube.
data::Samples corners(int64_t count, uint32_t stream_number, bool has_labels = true) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(stream.below(3));
    for (int32_t x = 0; x < 3; ++x) values.push_back((x == label ? 1.0f : 0.0f) + stream.uniform() - 0.5f);
    labels.push_back(has_labels ? label : 0);
  }
  return data::Samples(Shape{3}, std::move(values), std::move(labels));
}

//   has_labels  false: the training samples are all said to be of class 0
data::Dataset corners_data(bool has_labels = true) {
  return {.name = "corners", .num_classes = 3, .train = corners(512, 1, has_labels), .test = corners(200, 2)};
}

graph::Model network(int64_t hidden, int64_t classes = 3, const std::string& activation = "softmax") {
  auto in = Input({.shape = {3}, .name = "input"});
  auto x = Activation({.activation = "relu", .name = "relu"})(Dense({.units = hidden, .name = "hidden"})(in));
  x = Activation({.activation = activation, .name = "end"})(Dense({.units = classes, .name = "last"})(x));
  return build_model({in}, {x}, "corners");
}

CompileOptions options() {
  CompileOptions result;
  result.learning_rate = 0.02;
  result.seed = 3;
  return result;
}

FitOptions epochs(int count) {
  FitOptions result;
  result.epochs = count;
  result.batch_size = 32;
  return result;
}

const Tensor& taught() {
  static const Tensor outputs = [] {
    Trainer teacher(network(16), options());
    teacher.fit(corners_data(), epochs(6));
    return teacher_outputs(teacher.model(), corners_data().train);
  }();
  return outputs;
}

FitOptions with_teacher(int count, double weight, double temperature = 2) {
  FitOptions fit = epochs(count);
  fit.distillation = Distillation{.outputs = taught(), .weight = weight, .temperature = temperature};
  return fit;
}

TEST(Distillation, AStudentLearnsFromItsTeacherAlone) {
  Trainer student(network(8), options());
  const data::Dataset dataset = corners_data(false);
  const double before = student.evaluate(dataset.test).accuracy;
  const History history = student.fit(dataset, with_teacher(10, 1));
  EXPECT_GT(*history.back().val_accuracy, 0.9);
  EXPECT_GT(*history.back().val_accuracy, before);
  EXPECT_LT(history.back().loss, history.front().loss);
  // By the labels, which are wrong, it would say 0.
  Trainer alone(network(8), options());
  EXPECT_LT(*alone.fit(dataset, epochs(10)).back().val_accuracy, 0.5);
}

TEST(Distillation, AWeightOfZeroIsTrainingWithoutATeacher) {
  Trainer without(network(4), options()), with(network(4), options());
  const History expected = without.fit(corners_data(), epochs(3));
  const History history = with.fit(corners_data(), with_teacher(3, 0));
  EXPECT_EQ(with.weights(), without.weights());
  EXPECT_EQ(history.back().loss, expected.back().loss);
  Trainer mixed(network(4), options());
  mixed.fit(corners_data(), with_teacher(3, 0.5));
  EXPECT_NE(mixed.weights(), without.weights());
}

// With the learning rate at almost 0 the loss of an epoch is that of the first weights.
TEST(Distillation, TheLossIsTheWeightedSum) {
  const auto loss_of = [](double weight) {
    CompileOptions still = options();
    still.learning_rate = 1e-12;
    return Trainer(network(4), still).fit(corners_data(), with_teacher(1, weight)).back().loss;
  };
  EXPECT_NEAR(loss_of(0.25), 0.75 * loss_of(0) + 0.25 * loss_of(1), 1e-5);  // sums of floats
  EXPECT_GT(std::abs(loss_of(0) - loss_of(1)), 1e-3);
}

TEST(Distillation, TrainingIsGoneOnWithToTheSameBytes) {
  Trainer undisturbed(network(4), options());
  undisturbed.fit(corners_data(), with_teacher(4, 0.9));
  FitOptions part = with_teacher(2, 0.9);
  part.checkpoint = testing::scratch_dir("distillation") / "checkpoint";
  Trainer(network(4), options()).fit(corners_data(), part);
  FitOptions rest = part;
  rest.epochs = 4;
  rest.resume = true;
  Trainer second(network(4), options());
  second.fit(corners_data(), rest);
  EXPECT_EQ(second.weights(), undisturbed.weights());
}

TEST(Distillation, ACheckpointBelongsToItsTeacher) {
  FitOptions fit = with_teacher(1, 0.9);
  fit.checkpoint = testing::scratch_dir("distillation_other") / "checkpoint";
  Trainer(network(4), options()).fit(corners_data(), fit);
  fit.resume = true;
  Tensor other_outputs = taught();
  std::swap(other_outputs[0], other_outputs[1]);
  for (const std::optional<Distillation>& other :
       {std::optional<Distillation>{}, std::optional(Distillation{taught(), 0.8, 2}),
        std::optional(Distillation{taught(), 0.9, 3}), std::optional(Distillation{other_outputs, 0.9, 2})}) {
    FitOptions changed = fit;
    changed.distillation = other;
    Trainer trainer(network(4), options());
    EXPECT_THROW(trainer.fit(corners_data(), changed), InvalidArgument);
  }
  EXPECT_EQ(Trainer(network(4), options()).fit(corners_data(), fit).size(), 1u);  // its own
}

TEST(TeacherOutputs, AreThePredictionsInOrder) {
  graph::Model model = network(5);
  graph::initialize_weights(model, 1);
  const data::Samples samples = corners(1030, 4);  // more than a batch
  const Tensor outputs = teacher_outputs(model, samples);
  ASSERT_EQ(outputs.shape(), (Shape{1030, 3}));
  const std::vector<int64_t> last = {1029};
  Tensor x(Shape{1, 3});
  samples.gather(last, x.data());
  const Tensor y = Trainer(model, options()).predict(x);
  for (int64_t c = 0; c < 3; ++c) EXPECT_NEAR(outputs[1029 * 3 + c], y[c], 1e-6);
}

graph::Model trained(graph::Model model) {
  graph::initialize_weights(model, 1);
  return model;
}

struct BadCase {
  const char* name;
  std::function<void()> act;
  const char* words;
};
class BadDistillation : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadDistillation, IsRefusedWithASentence) {
  try {
    GetParam().act();
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().words), std::string::npos) << error.what();
  }
}
void fit_with(const Distillation& distillation, LossKind loss = LossKind::kCrossEntropy) {
  CompileOptions compile = options();
  compile.loss = loss;
  FitOptions fit = epochs(1);
  fit.distillation = distillation;
  Trainer(network(4), compile).fit(corners_data(), fit);
}
const Tensor kThird(Shape{512, 3}, 1.0f / 3);
INSTANTIATE_TEST_SUITE_P(
    Rows, BadDistillation,
    ::testing::Values(
        BadCase{"Weight",
                [] {
                  fit_with({kThird, 1.5, 2});
                },
                "weight of the teacher is 1.5"},
        BadCase{"WeightNotANumber",
                [] {
                  fit_with({kThird, NAN, 2});
                },
                "weight of the teacher is nan"},
        BadCase{"Temperature",
                [] {
                  fit_with({kThird, 0.9, 0});
                },
                "temperature is 0"},
        BadCase{"Classes",
                [] {
                  fit_with({Tensor(Shape{512, 4}, 0.25f), 0.9, 2});
                },
                "the teacher knows 4 classes"},
        BadCase{"Samples",
                [] {
                  fit_with({Tensor(Shape{500, 3}, 0.25f), 0.9, 2});
                },
                "512 training samples need"},
        BadCase{"Loss",
                [] {
                  fit_with({kThird, 0.9, 2}, LossKind::kMeanSquaredError);
                },
                "needs cross-entropy"},
        BadCase{"NoWeights", [] { teacher_outputs(network(4), corners(8, 1)); }, "train the teacher first"},
        BadCase{"NoSoftmax", [] { teacher_outputs(trained(network(4, 3, "linear")), corners(8, 1)); },
                "does not give probabilities"},
        BadCase{"OtherSamples",
                [] {
                  teacher_outputs(trained(network(4)), data::Samples(Shape{2}, std::vector<float>(4), {0, 0}));
                },
                "takes samples of shape"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
