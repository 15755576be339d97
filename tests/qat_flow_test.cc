// nibble qat, as a user would give it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string float_run() {
  static const CliResult trained = Workplace::get().run(
      "train tiny.keras --data cifar10 --batch-size 40 --lr 0.02 --seed 3 --epochs 4 --output qat_float");
  return trained.code == 0 ? "qat_float" : trained.err;
}

TEST(QatFlow, TrainsEvaluatesInspectsCompilesAndVerifies) {
  const Workplace& place = Workplace::get();
  const CliResult result =
      place.run("qat " + float_run() + " --data cifar10 --scheme int8 --batch-size 40 --epochs 2 --output qat8 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const json told = json::parse(result.out);
  EXPECT_EQ(told.at("epochs"), 2);
  EXPECT_NEAR(told.at("val_accuracy").get<double>(), told.at("float_accuracy").get<double>(), 0.15);
  const CliResult evaluated = place.run("evaluate qat8 --data cifar10 --json");
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_EQ(json::parse(evaluated.out).at("accuracy"), told.at("val_accuracy"));
  const CliResult inspected = place.run("inspect qat8");
  EXPECT_THAT(inspected.out,
              AllOf(HasSubstr("LastValue(8,per_axis,symmetric,narrow_range)"), ::testing::Not(HasSubstr("not yet"))));
  const CliResult compiled = place.run("compile qat8 --output qat8.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  const CliResult verified = place.run("verify qat8 --data cifar10 --json");
  ASSERT_EQ(verified.code, 0) << verified.err << verified.out;
  EXPECT_TRUE(json::parse(verified.out).at("first_difference").is_null()) << verified.out;
  // TFLite's rounding moves codes, and classes hardly ever.
  const CliResult twice = place.run("verify qat8 --data cifar10 --requantization gemmlowp-double --json");
  const json counts = json::parse(twice.out);
  EXPECT_GE(counts.at("same_class").get<double>(), 0.97 * counts.at("samples").get<double>()) << twice.out;
  ASSERT_GT(counts.at("differing"), 0);
  const json& first = counts.at("first_difference");
  EXPECT_NE(first.at("network").at("code"), first.at("program").at("code"));
  EXPECT_NE(first.at("network").at("value"), first.at("program").at("value"));
  EXPECT_GE(first.at("index").size(), 1u);
  EXPECT_FALSE(first.at("layer").get<std::string>().empty());
}

// Quantizers that are there stay; what asks for others is told.
TEST(QatFlow, AQuantizedModelIsTrainedOn) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run("ptq " + float_run() + " --data cifar10 --bits 8 --keep-float-weights --output p8.keras").code,
            0);
  const CliResult refused = place.run("qat p8.keras --data cifar10 --scheme int4 --output never");
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("stay as they are"));
  const CliResult on = place.run("qat p8.keras --data cifar10 --batch-size 40 --epochs 1 --output p8_on");
  ASSERT_EQ(on.code, 0) << on.err;
  EXPECT_THAT(on.err, HasSubstr("stay as they are"));
  EXPECT_THAT(on.out, HasSubstr("before: test accuracy"));
}

TEST(QatFlow, ClippedBiasesAreTold) {
  const Workplace& place = Workplace::get();
  const std::string line = "qat " + float_run() + " --data cifar10 --batch-size 40 --epochs 1 --lr 1e-9 --output ";
  const CliResult narrow = place.run(line + "qat_bias2 --bias-bits 2");
  ASSERT_EQ(narrow.code, 0) << narrow.err;
  EXPECT_THAT(narrow.err, HasSubstr("biases do not fit 2 bits and are clipped"));
  const CliResult compiled = place.run("compile qat_bias2 --output qat_bias2.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  EXPECT_THAT(compiled.err, HasSubstr("at the end of their 2 bits"));
  EXPECT_EQ(place.run(line + "qat_bias32").err.find("clipped"), std::string::npos);
}

TEST(QatFlow, LearnedStepsFromAFileAndResumed) {
  const Workplace& place = Workplace::get();
  spill(place.dir() / "mixed.json",
        R"({"scheme": {"base": "int4", "quantizer": "lsq", "edge_weight_bits": 8},
            "layers": {"Dense": {"weights": [{"weight": "kernel", "quantizer":
              {"class_name": "AllValuesQuantizer", "config": {"num_bits": 5, "per_axis": true}}}]}}})");
  const std::string line = "qat " + float_run() + " --data cifar10 --scheme mixed.json --batch-size 40 --begin 0.5 ";
  const CliResult whole = place.run(line + "--epochs 3 --schedule constant --output qat_whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_THAT(whole.out, AllOf(HasSubstr("AllValues(5,per_axis)"), HasSubstr("LSQ(8,per_axis"), HasSubstr("in float")));
  ASSERT_EQ(place.run(line + "--epochs 2 --schedule constant --output qat_parts").code, 0);
  const CliResult rest = place.run(line + "--epochs 3 --schedule constant --output qat_parts --resume");
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(formats::keras::load_model(place.dir() / "qat_parts/model.keras"),
            formats::keras::load_model(place.dir() / "qat_whole/model.keras"));
  const CliResult fewer = place.run(line + "--epochs 2 --schedule constant --output qat_parts --resume");
  EXPECT_EQ(fewer.code, 1);
  EXPECT_THAT(fewer.err, HasSubstr("2 epochs in total were asked for, but 3 are done already"));
}

// Those of the scheme, unless the option says something else; the model's file has them.
TEST(QatFlow, RangesOfLeastErrorAtFourBits) {
  const Workplace& place = Workplace::get();
  const std::string line = "qat " + float_run() + " --data cifar10 --batch-size 40 --epochs 1 --scheme int4 --output ";
  const CliResult mse = place.run(line + "qat_mse");
  ASSERT_EQ(mse.code, 0) << mse.err;
  EXPECT_THAT(mse.out, HasSubstr("LastValue(4,per_axis,symmetric,narrow_range,range=mse)"));
  EXPECT_THAT(place.run("inspect qat_mse").out, HasSubstr("range=mse"));
  const CliResult extremes = place.run(line + "qat_extremes --ranges extremes");
  ASSERT_EQ(extremes.code, 0) << extremes.err;
  EXPECT_THAT(extremes.out, ::testing::Not(HasSubstr("range=mse")));
  const CliResult compiled = place.run("compile qat_mse --output qat_mse.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
}

// A trained model's batch norms are folded where nothing else was said; "float" in a file is something.
TEST(QatFlow, WhatIsSaidOfBatchNormsHolds) {
  const Workplace& place = Workplace::get();
  spill(place.dir() / "bn_unsaid.json", R"({"scheme": {"base": "int8"}})");
  spill(place.dir() / "bn_float.json", R"({"scheme": {"base": "int8", "batch_norm": "float"}})");
  struct Said {
    const char* options;
    bool stays;
  };
  for (const auto& [options, stays] : {Said{"--scheme bn_unsaid.json", false}, Said{"--scheme bn_float.json", true},
                                       Said{"--scheme bn_float.json --batch-norm fold", false},
                                       Said{"--scheme bn_unsaid.json --batch-norm float", true}}) {
    const CliResult result = place.run("qat " + float_run() + " --data cifar10 --batch-size 40 --epochs 1 " + options +
                                       " --output qat_said");
    ASSERT_EQ(result.code, 0) << result.err;
    const graph::Model model = formats::keras::load_model(place.dir() / "qat_said/model.keras");
    EXPECT_EQ(model.find_layer("bn") != nullptr, stays) << options;
  }
}

struct Row {
  const char* name;
  const char* line;
  int code;
  const char* err;
};
class QatRefusal : public ::testing::TestWithParam<Row> {};
TEST_P(QatRefusal, IsASentence) {
  const CliResult result = Workplace::get().run(GetParam().line);
  EXPECT_EQ(result.code, GetParam().code) << result.err;
  EXPECT_THAT(result.err, HasSubstr(GetParam().err));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, QatRefusal,
    ::testing::Values(
        Row{"Scheme", "qat tiny.keras --data cifar10 --scheme int99 --output never", 1, "int2 .. int16"},
        Row{"Quantizer", "qat tiny.keras --data cifar10 --quantizer lsq3 --output never", 1, "Did you mean 'lsq'"},
        Row{"Ranges", "qat tiny.keras --data cifar10 --ranges min-max --output never", 2,
            "--ranges cannot be 'min-max'"},
        Row{"RangesOfTfmot", "qat tiny.keras --data cifar10 --scheme tfmot4 --ranges mse --output never", 1,
            "extremes of a batch"},
        Row{"BatchNorm", "qat tiny.keras --data cifar10 --batch-norm folded --output never", 2, "--batch-norm"},
        Row{"BiasBits", "qat tiny.keras --data cifar10 --bias-bits 33 --output never", 2, "--bias-bits"},
        Row{"MomentumOfAdam", "qat tiny.keras --data cifar10 --optimizer adam --momentum 0.5 --output never", 2,
            "--optimizer sgd"},
        Row{"LateBegin", "qat tiny.keras --data cifar10 --begin 5 --epochs 5 --output never", 1, "never be trained"},
        Row{"LateFreezeOfRanges", "qat tiny.keras --data cifar10 --freeze-ranges 99 --epochs 2 --output never", 1,
            "the ranges would be frozen after 99 epochs, but the training has 2"},
        Row{"LateFreezeOfBatchNorms", "qat tiny.keras --data cifar10 --freeze-batch-norm 2 --epochs 2 --output never",
            1, "the statistics of batch norms would be frozen after 2 epochs, but the training has 2"},
        Row{"BeginIsNan", "qat tiny.keras --data cifar10 --begin nan --output never", 2,
            "--begin: 'nan' must be a number from 0 to 1000000"},
        Row{"FreezeRangesIsNan", "qat tiny.keras --data cifar10 --freeze-ranges nan --output never", 2,
            "--freeze-ranges: 'nan' must be"},
        Row{"FreezeBatchNormIsNan", "qat tiny.keras --data cifar10 --freeze-batch-norm nan --output never", 2,
            "--freeze-batch-norm: 'nan' must be"},
        Row{"PenaltyIsNan", "qat tiny.keras --data cifar10 --quantizer pact --penalty NaN --output never", 2,
            "--penalty: 'NaN' must be"},
        Row{"MomentumIsNan", "qat tiny.keras --data cifar10 --momentum nan --output never", 2,
            "--momentum: 'nan' must be a number from 0 to 1"},
        Row{"EarlyFreeze", "qat tiny.keras --data cifar10 --begin 2 --freeze-ranges 1 --output never", 1, "frozen"},
        Row{"FrozenFromTheStart", "qat tiny.keras --data cifar10 --freeze-ranges 0 --output never_frozen", 1,
            "freeze them later"},
        Row{"NoFile", "qat tiny.keras --data cifar10 --scheme none.json --output never", 1, "none.json"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::testing
