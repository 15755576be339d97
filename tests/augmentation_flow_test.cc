// --augment and --dropout of nibble train and nibble qat, as a user would give them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"

namespace nibble::testing {
namespace {

using ::testing::HasSubstr;

std::string train(const std::string& output, const std::string& more) {
  return "train tiny.keras --data cifar10 --batch-size 40 --lr 0.02 --output " + output + " " + more;
}

TEST(AugmentationFlow, ATrainingIsGoneOnWithToTheSameBytes) {
  const Workplace& place = Workplace::get();
  const std::string augment = " --augment flip,shift=2 --epochs ";
  ASSERT_EQ(place.run(train("augmented", augment + "3")).code, 0);
  ASSERT_EQ(place.run(train("augmented_parts", augment + "1")).code, 0);
  const CliResult other = place.run(train("augmented_parts", "--epochs 3 --resume --augment shift=2"));
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, HasSubstr("other training options"));
  const CliResult rest = place.run(train("augmented_parts", augment + "3 --resume"));
  ASSERT_EQ(rest.code, 0) << rest.err;
  const std::string expected = slurp(place.dir() / "augmented/model.keras");
  EXPECT_TRUE(slurp(place.dir() / "augmented_parts/model.keras") == expected);
  ASSERT_EQ(place.run(train("not_augmented", "--epochs 3")).code, 0);
  EXPECT_FALSE(slurp(place.dir() / "not_augmented/model.keras") == expected);
  ASSERT_EQ(place.run(train("augmented_by_none", "--epochs 3 --augment none")).code, 0);
  EXPECT_TRUE(slurp(place.dir() / "augmented_by_none/model.keras") == slurp(place.dir() / "not_augmented/model.keras"));
}

TEST(AugmentationFlow, QatHasIt) {
  const Workplace& place = Workplace::get();
  const std::string line = "qat tiny.keras --data cifar10 --scheme int8 --batch-size 40 --epochs 1 --output ";
  ASSERT_EQ(place.run(line + "qat_plain").code, 0);
  const CliResult augmented = place.run(line + "qat_augmented --augment shift");
  ASSERT_EQ(augmented.code, 0) << augmented.err;
  EXPECT_FALSE(slurp(place.dir() / "qat_augmented/model.keras") == slurp(place.dir() / "qat_plain/model.keras"));
}

TEST(AugmentationFlow, ATeacherRunsAlong) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train("augmented_teacher", "--epochs 1")).code, 0);
  const CliResult taught =
      place.run(train("augmented_taught", "--epochs 1 --augment flip --teacher augmented_teacher"));
  ASSERT_EQ(taught.code, 0) << taught.err;
  EXPECT_THAT(taught.err, HasSubstr("teacher: tiny, accuracy "));
  ASSERT_EQ(place.run(train("augmented_untaught", "--epochs 1 --augment flip")).code, 0);
  EXPECT_FALSE(slurp(place.dir() / "augmented_taught/model.keras") ==
               slurp(place.dir() / "augmented_untaught/model.keras"));
}

// --dropout changes the training and the rate that the model is saved with.
TEST(DropoutFlow, TheRateIsTheOneGiven) {
  using namespace graph::build;
  const Workplace& place = Workplace::get();
  const auto in = Input({.shape = {32, 32, 3}, .name = "image"});
  const auto x = Dropout({.rate = 0.5, .name = "drop"})(Flatten()(in));
  graph::Model model =
      build_model({in}, {Dense({.units = 10, .activation = "softmax", .name = "dense"})(x)}, "dropping");
  graph::initialize_weights(model, 1);
  formats::keras::save_model(model, place.dir() / "dropping.keras");
  const auto line = [](const char* output, const char* more) {
    return fmt::format("train dropping.keras --data cifar10 --epochs 1 --output {} {}", output, more);
  };
  ASSERT_EQ(place.run(line("drops_half", "")).code, 0);
  ASSERT_EQ(place.run(line("drops_half_too", "--dropout 0.5")).code, 0);
  ASSERT_EQ(place.run(line("drops_none", "--dropout 0")).code, 0);
  const auto trained = [&](const char* output) {
    return formats::keras::load_model(place.dir() / output / "model.keras");
  };
  EXPECT_TRUE(trained("drops_half") == trained("drops_half_too"));
  EXPECT_EQ(trained("drops_none").layer("drop").get_float("rate"), 0.0);
  EXPECT_FALSE(trained("drops_none").layer("dense").weights == trained("drops_half").layer("dense").weights);
  const CliResult none_there = place.run(train("no_dropout", "--epochs 1 --dropout 0"));
  EXPECT_EQ(none_there.code, 1);
  EXPECT_THAT(none_there.err, HasSubstr("has no layer whose dropout rate could be 0"));
  const CliResult all = place.run(line("drops_all", "--dropout 1"));
  EXPECT_EQ(all.code, 2);
  EXPECT_THAT(all.err, HasSubstr("--dropout"));
}

void write_flat_model() {
  using namespace graph::build;
  auto in = Input({.shape = {32 * 96}, .name = "values"});
  graph::Model model = build_model({in}, {Dense({.units = 10, .activation = "softmax", .name = "dense"})(in)}, "flat");
  graph::initialize_weights(model, 1);
  formats::keras::save_model(model, Workplace::get().dir() / "flat.keras");
}

struct Row {
  const char* name;
  const char* options;
  int code;
  const char* err;
};
class AugmentRefusal : public ::testing::TestWithParam<Row> {};
TEST_P(AugmentRefusal, IsASentence) {
  for (const char* command : {"train", "qat"}) {
    const CliResult result = Workplace::get().run(
        std::string(command) + " tiny.keras --data cifar10 --epochs 1 --output never_augmented " + GetParam().options);
    EXPECT_EQ(result.code, GetParam().code) << command << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(GetParam().err)) << command;
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, AugmentRefusal,
                         ::testing::Values(Row{"Unknown", "--augment shft", 2, "Did you mean 'shift'"},
                                           Row{"NoPixels", "--augment shift=0", 2, "whole one from 1"},
                                           Row{"TooFar", "--augment flip,shift=17", 1,
                                               "shape (32, 32, 3), and shift is 17; give at most 16"}),
                         [](const auto& row) { return row.param.name; });

// The data say that they are images, whatever the network makes of them.
TEST(AugmentationFlow, ImagesOfAFlatNetworkAreImages) {
  write_flat_model();
  const CliResult result =
      Workplace::get().run("train flat.keras --data cifar10 --epochs 1 --output flat --augment shift=2");
  EXPECT_EQ(result.code, 0) << result.err;
}

}  // namespace
}  // namespace nibble::testing
