// Trainings on images that are changed at random: what they see, what they must not change, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/train/trainer.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using namespace graph::build;

constexpr int64_t kSide = 6, kSize = kSide * kSide, kSamples = 96;
const Shape kImage{kSide, kSide, 1};
const data::Augmentation kBoth{.flip = true, .shift = 2};

graph::Model network() {
  auto in = Input({.shape = {kSide, kSide, 1}, .name = "pixels"});
  auto x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .use_bias = false, .name = "conv"})(in);
  x = BatchNormalization({.name = "norm"})(x);
  x = Activation({.activation = "relu", .name = "relu"})(x);
  x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flat"})(x));
  return build_model({in}, {Activation({.activation = "softmax", .name = "end"})(x)}, "small");
}

data::Samples noise(int64_t count, uint32_t stream_number, const Shape& shape = kImage) {
  RandomStream stream({5, RandomPurpose::kTest, stream_number, 0});
  std::vector<float> values;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < kSize; ++k) values.push_back(stream.uniform());
    labels.push_back(static_cast<int32_t>(stream.below(3)));
  }
  return data::Samples(shape, std::move(values), std::move(labels));
}

data::Dataset noise_data() {
  return {.name = "noise", .num_classes = 3, .train = noise(kSamples, 1), .test = noise(40, 2)};
}

CompileOptions options() {
  CompileOptions result;
  result.learning_rate = 0.01;
  result.seed = 3;
  return result;
}

// Nothing that is learned moves; batch-norm statistics are measured anew.
CompileOptions frozen() {
  CompileOptions result = options();
  for (const char* layer : {"conv", "norm", "dense"}) result.layer_learning_rates[layer] = 0.0;
  return result;
}

FitOptions epochs(int count, const data::Augmentation& augmentation = {}) {
  FitOptions result;
  result.epochs = count;
  result.batch_size = 32;
  result.augmentation = augmentation;
  return result;
}

// Training set whose images are already what they become in an epoch.
data::Dataset changed_data(int64_t epoch) {
  data::Dataset dataset = noise_data();
  std::vector<int64_t> all(static_cast<size_t>(kSamples));
  std::iota(all.begin(), all.end(), int64_t{0});
  std::vector<float> values(static_cast<size_t>(kSamples * kSize));
  dataset.train.gather(all, values);
  data::augment(kBoth, kImage, options().seed, epoch, all, values);
  const auto labels = dataset.train.labels();
  dataset.train = data::Samples(kImage, std::move(values), {labels.begin(), labels.end()});
  return dataset;
}

TEST(AugmentedTraining, SeesWhatAugmentMakesOfEachSample) {
  CompileOptions moving = options();  // nothing but the training batches is looked at
  moving.batch_norm_statistics = BatchNormStatistics::kMoving;
  Trainer changed_by_fit(network(), moving), changed_before(network(), moving), unchanged(network(), moving);
  const double loss = changed_by_fit.fit(noise_data(), epochs(1, kBoth)).back().loss;
  EXPECT_EQ(changed_before.fit(changed_data(0), epochs(1)).back().loss, loss);
  EXPECT_EQ(changed_by_fit.weights(), changed_before.weights());
  unchanged.fit(noise_data(), epochs(1));
  EXPECT_NE(changed_by_fit.weights(), unchanged.weights());
}

TEST(AugmentedTraining, ChangesTheImagesAnewInEachEpoch) {
  const History fit = Trainer(network(), frozen()).fit(noise_data(), epochs(2, kBoth));
  // In training a batch norm sees its batch alone, which is another one in the second epoch: the same shuffle is
  // needed.
  FitOptions once = epochs(2);
  const History first = Trainer(network(), frozen()).fit(changed_data(0), once);
  const History second = Trainer(network(), frozen()).fit(changed_data(1), once);
  EXPECT_EQ(fit[0].loss, first[0].loss);
  EXPECT_EQ(fit[1].loss, second[1].loss);
  EXPECT_NE(fit[1].loss, first[1].loss);
}

TEST(AugmentedTraining, LeavesEvaluationAndReestimatedStatisticsAsTheyAre) {
  Trainer with(network(), frozen()), without(network(), frozen());
  const auto before = with.weights();
  const EpochLog augmented = with.fit(noise_data(), epochs(1, kBoth)).back();
  const EpochLog plain = without.fit(noise_data(), epochs(1)).back();
  EXPECT_NE(augmented.loss, plain.loss);
  EXPECT_EQ(with.weights(), without.weights());  // statistics are among them
  EXPECT_NE(with.weights(), before);             // and were measured
  EXPECT_EQ(*augmented.val_loss, *plain.val_loss);
}

TEST(AugmentedTraining, SameSeedGivesTheSameBits) {
  Trainer a(network(), options()), b(network(), options());
  a.fit(noise_data(), epochs(2, kBoth));
  b.fit(noise_data(), epochs(2, kBoth));
  EXPECT_EQ(a.weights(), b.weights());
}

TEST(AugmentedTraining, IsGoneOnWithToTheSameBytes) {
  Trainer undisturbed(network(), options());
  undisturbed.fit(noise_data(), epochs(4, kBoth));
  FitOptions part = epochs(2, kBoth);
  part.checkpoint = testing::scratch_dir("augmented") / "checkpoint";
  Trainer(network(), options()).fit(noise_data(), part);
  FitOptions rest = part;
  rest.epochs = 4;
  rest.resume = true;
  Trainer second(network(), options());
  second.fit(noise_data(), rest);
  EXPECT_EQ(second.weights(), undisturbed.weights());
}

TEST(AugmentedTraining, ACheckpointBelongsToItsAugmentation) {
  FitOptions fit = epochs(1, kBoth);
  fit.checkpoint = testing::scratch_dir("augmented_other") / "checkpoint";
  Trainer(network(), options()).fit(noise_data(), fit);
  fit.resume = true;
  for (const data::Augmentation& other :
       {data::Augmentation{}, data::Augmentation{.flip = true}, data::Augmentation{.flip = true, .shift = 1}}) {
    FitOptions changed = fit;
    changed.augmentation = other;
    Trainer trainer(network(), options());
    EXPECT_THROW(trainer.fit(noise_data(), changed), InvalidArgument) << data::to_string(other);
  }
  EXPECT_EQ(Trainer(network(), options()).fit(noise_data(), fit).size(), 1u);  // its own
}

// Flat data of an image network are images; so are images of a flat network.
TEST(AugmentedTraining, TakesTheShapeOfTheImageFromDataOrNetwork) {
  data::Dataset flat = noise_data();
  flat.train = noise(kSamples, 1, Shape{kSize});
  Trainer of_images(network(), options()), of_flat(network(), options());
  of_images.fit(noise_data(), epochs(1, kBoth));
  of_flat.fit(flat, epochs(1, kBoth));
  EXPECT_EQ(of_flat.weights(), of_images.weights());

  auto in = Input({.shape = {kSize}, .name = "values"});
  const graph::Model dense =
      build_model({in}, {Dense({.units = 3, .activation = "softmax", .name = "dense"})(in)}, "flat");
  EXPECT_NO_THROW(Trainer(dense, options()).fit(noise_data(), epochs(1, kBoth)));
}

// ---- a teacher -----------------------------------------------------------------------

// Sure of itself, and of other things where an image has moved.
graph::Model flat_teacher() {
  auto in = Input({.shape = {kSide, kSide, 1}, .name = "pixels"});
  auto x = Dense({.units = 3, .activation = "softmax", .name = "dense"})(Flatten({.name = "flat"})(in));
  graph::Model model = build_model({in}, {x}, "teacher");
  graph::initialize_weights(model, 1);
  for (float& value : model.layer("dense").find_weight("kernel")->value.data()) value *= 10;
  return model;
}

Distillation lessons(bool runs_along) {
  const graph::Model model = flat_teacher();
  return {.outputs = teacher_outputs(model, noise_data().train),
          .weight = 1,
          .temperature = 1,
          .teacher = runs_along ? std::make_shared<const graph::Model>(model) : nullptr};
}

// A student that is its teacher has nothing to learn, as long as both see the same images.
TEST(AugmentedTeacher, SeesWhatTheStudentSees) {
  CompileOptions still = options();
  still.layer_learning_rates["dense"] = 0.0;
  FitOptions fit = epochs(2, kBoth);
  fit.distillation = lessons(true);
  for (const EpochLog& log : Trainer(flat_teacher(), still).fit(noise_data(), fit)) EXPECT_NEAR(log.loss, 0, 1e-5);
  // The same images with what the teacher says of those that are not changed.
  FitOptions stale = epochs(1);
  stale.distillation = lessons(false);
  EXPECT_GT(Trainer(flat_teacher(), still).fit(changed_data(0), stale).back().loss, 0.01);
}

TEST(AugmentedTeacher, IsNeededItselfWhereImagesChange) {
  FitOptions fit = epochs(1, kBoth);
  fit.distillation = lessons(false);
  Trainer trainer(network(), options());
  try {
    trainer.fit(noise_data(), fit);
    ADD_FAILURE() << "was trained";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("Distillation::teacher"), std::string::npos) << error.what();
  }
  fit.distillation->weight = 0;  // it teaches nothing
  EXPECT_NO_THROW(trainer.fit(noise_data(), fit));
}

TEST(AugmentedTeacher, OfOtherClassesOrImagesIsRefused) {
  auto in = Input({.shape = {4, 4, 1}, .name = "pixels"});
  auto x = Dense({.units = 3, .activation = "softmax", .name = "dense"})(Flatten({.name = "flat"})(in));
  graph::Model other = build_model({in}, {x}, "other");
  graph::initialize_weights(other, 1);
  FitOptions fit = epochs(1, kBoth);
  fit.distillation = lessons(false);
  fit.distillation->teacher = std::make_shared<const graph::Model>(other);
  Trainer trainer(network(), options());
  EXPECT_THROW(trainer.fit(noise_data(), fit), InvalidArgument);
}

TEST(AugmentedTeacher, TrainingIsGoneOnWithToTheSameBytes) {
  const auto with_teacher = [](int count) {
    FitOptions fit = epochs(count, kBoth);
    fit.distillation = lessons(true);
    fit.distillation->weight = 0.5;
    return fit;
  };
  Trainer undisturbed(network(), options()), untaught(network(), options());
  undisturbed.fit(noise_data(), with_teacher(3));
  untaught.fit(noise_data(), epochs(3, kBoth));
  EXPECT_NE(undisturbed.weights(), untaught.weights());
  FitOptions part = with_teacher(1);
  part.checkpoint = testing::scratch_dir("augmented_teacher") / "checkpoint";
  Trainer(network(), options()).fit(noise_data(), part);
  FitOptions rest = with_teacher(3);
  rest.checkpoint = part.checkpoint;
  rest.resume = true;
  Trainer second(network(), options());
  second.fit(noise_data(), rest);
  EXPECT_EQ(second.weights(), undisturbed.weights());
}

// ---- refusals ------------------------------------------------------------------------

graph::Model flat_network() {
  auto in = Input({.shape = {kSize}, .name = "values"});
  return build_model({in}, {Dense({.units = 3, .activation = "softmax", .name = "dense"})(in)}, "flat");
}

graph::Model channels_first_network() {
  auto in = Input({.shape = {kSide, kSide, 1}, .name = "pixels"});
  auto x = Conv2D({.filters = 2, .kernel_size = {3, 1}, .padding = "same", .name = "conv"})(in);
  x = Dense({.units = 3, .activation = "softmax", .name = "dense"})(Flatten({.name = "flat"})(x));
  graph::Model model = build_model({in}, {x}, "first");
  model.layer("conv").attributes["data_format"] = std::string("channels_first");
  return model;
}

data::Dataset with_train(data::Samples samples) {
  data::Dataset dataset = noise_data();
  dataset.train = std::move(samples);
  dataset.test = {};
  return dataset;
}

struct Refusal {
  const char* name;
  std::function<void()> act;
  const char* words;
};
class AugmentationOfFit : public ::testing::TestWithParam<Refusal> {};
TEST_P(AugmentationOfFit, IsRefusedWithASentence) {
  try {
    GetParam().act();
    ADD_FAILURE() << "was trained";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().words), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, AugmentationOfFit,
    ::testing::Values(
        Refusal{
            "FlatData",
            [] {
              Trainer(flat_network(), options()).fit(with_train(noise(kSamples, 1, Shape{kSize})), epochs(1, kBoth));
            },
            "input 'values' takes samples of shape (36"},
        Refusal{"TooFar", [] { Trainer(network(), options()).fit(noise_data(), epochs(1, {.shift = 4})); },
                "input 'pixels' takes images of shape (6, 6, 1), and shift is 4; give at most 3"},
        Refusal{"ChannelsFirst",
                [] { Trainer(channels_first_network(), options()).fit(noise_data(), epochs(1, kBoth)); },
                "channels first"},
        Refusal{"SeveralInputs",
                [] {
                  auto a = Input({.shape = {3}, .name = "a"}), b = Input({.shape = {3}, .name = "b"});
                  auto x = Dense({.units = 3, .name = "dense"})(Concatenate({.name = "both"})(std::vector{a, b}));
                  Trainer(build_model({a, b}, {x}, "two"), options()).fit(noise_data(), epochs(1, kBoth));
                },
                "has 2 inputs"},
        Refusal{"TargetsThatAreImages",
                [] {
                  auto in = Input({.shape = {kSide, kSide, 1}, .name = "pixels"});
                  auto x = Conv2D({.filters = 1, .kernel_size = {1, 1}, .name = "conv"})(in);
                  CompileOptions error = options();
                  error.loss = LossKind::kMeanSquaredError;
                  Trainer trainer(build_model({in}, {x}, "images"), error);
                  trainer.fit(with_train(data::Samples(kImage, std::vector<float>(kSize * 2, 0.5f),
                                                       Tensor(Shape{2, kSide, kSide, 1}, 0.5f))),
                              epochs(1, kBoth));
                },
                "have to move with the images"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::train
