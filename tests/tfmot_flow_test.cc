// A file of a model that went through TFMOT, given to the program in the place of nibble's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "support/tfmot_file.h"

namespace nibble::testing {
namespace {

using formats::keras::load_model;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Workplace& tfmot_place() {
  static const Workplace& place = []() -> const Workplace& {
    const Workplace& place = Workplace::get();
    const graph::Model twin = tfmot_twin();
    spill(place.dir() / "tfmot.h5", tfmot_h5(twin, tfmot_config()));
    spill(place.dir() / "tfmot.keras", tfmot_archive(twin, tfmot_config()));
    formats::keras::save_model(twin, place.dir() / "twin.keras");
    json own = tfmot_config();
    own["config"]["layers"][2]["config"]["quantize_config"] = {{"class_name", "MyConfig"}, {"config", json::object()}};
    spill(place.dir() / "own_config.h5", tfmot_h5(twin, own));
    return place;
  }();
  return place;
}

json parsed(const CliResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  return result.code == 0 ? json::parse(result.out) : json();
}

class TfmotFlow : public ::testing::TestWithParam<const char*> {};

TEST_P(TfmotFlow, EvaluatesAsTheTwin) {
  const Workplace& place = tfmot_place();
  const json told = parsed(place.run("evaluate " + std::string(GetParam()) + " --data cifar10 --json"));
  const json twin = parsed(place.run("evaluate twin.keras --data cifar10 --json"));
  EXPECT_EQ(told.at("accuracy"), twin.at("accuracy"));
  EXPECT_EQ(told.at("loss"), twin.at("loss"));
}

TEST_P(TfmotFlow, IsInspected) {
  const CliResult result = tfmot_place().run("inspect " + std::string(GetParam()));
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("LastValue(8,per_axis,symmetric,narrow_range)"), HasSubstr("AllValues(8)"),
                                HasSubstr("pre_activation"), Not(HasSubstr("quant_conv"))));
}

TEST_P(TfmotFlow, CompilesToTheTwinsProgram) {
  const Workplace& place = tfmot_place();
  const CliResult compiled = place.run("compile " + std::string(GetParam()) + " --output tfmot.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  ASSERT_EQ(place.run("compile twin.keras --output twin.nbl").code, 0);
  EXPECT_EQ(slurp(place.dir() / "tfmot.nbl"), slurp(place.dir() / "twin.nbl"));
  const json told = parsed(place.run("verify " + std::string(GetParam()) + " --data cifar10 --json"));
  EXPECT_EQ(told.at("differing"), 0);
}

TEST_P(TfmotFlow, ConvertsToNibblesOwn) {
  const Workplace& place = tfmot_place();
  const graph::Model loaded = load_model(place.dir() / GetParam());
  for (const char* out : {"own.keras", "own.h5", "own.json"}) {
    const CliResult result = place.run("convert " + std::string(GetParam()) + " " + out);
    ASSERT_EQ(result.code, 0) << result.err;
    for (const graph::Layer& layer : load_model(place.dir() / out).layers) {
      EXPECT_EQ(layer.weights, loaded.layer(layer.name).weights) << out << " " << layer.name;
      EXPECT_EQ(layer.quantization, loaded.layer(layer.name).quantization) << out << " " << layer.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, TfmotFlow, ::testing::Values("tfmot.h5", "tfmot.keras"),
                         [](const auto& row) { return std::string(row.param).substr(6); });

TEST(TfmotRefusal, ConfigurationsOfOnesOwnAreRefused) {
  const CliResult result = tfmot_place().run("convert own_config.h5 never.keras");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("'quant_conv'"), HasSubstr("'MyConfig'"), HasSubstr("nibble qat")));
}

}  // namespace
}  // namespace nibble::testing
