// nibble ptq and nibble experiment, as a user would give them.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "support/busy_machine.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Trains once.
std::string float_run() {
  static const CliResult trained = Workplace::get().run(
      "train tiny.keras --data cifar10 --batch-size 40 --lr 0.02 --seed 3 --epochs 4 --output ptq_float");
  return trained.code == 0 ? "ptq_float" : trained.err;
}

TEST(PtqFlow, TellsEveryLayerAndWritesAModelThatHasTheToldAccuracy) {
  const Workplace& place = Workplace::get();
  const CliResult result = place.run(
      "ptq " + float_run() + " --data cifar10 --per-channel --calibration-samples 40 --output int8.keras --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const json told = json::parse(result.out);
  EXPECT_EQ(told.at("folded"), json({"conv"}));
  ASSERT_EQ(told.at("layers").size(), 4u);  // input, conv, act, dense
  EXPECT_EQ(told.at("layers")[1].at("weights").at("bits"), 8);
  EXPECT_FALSE(told.at("worst").empty());
  const double quantized = told.at("accuracy").at("quantized").get<double>();
  EXPECT_NEAR(quantized, told.at("accuracy").at("float").get<double>(), 0.1);
  const CliResult evaluated = place.run("evaluate int8.keras --data cifar10 --json");
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_NEAR(json::parse(evaluated.out).at("accuracy").get<double>(), quantized, 1e-9);
  const CliResult again = place.run("ptq int8.keras --data cifar10");
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.err, HasSubstr("already has quantizers"));
}

// A softmax in the last layer hides nothing: its codes are compared before it.
TEST(PtqFlow, VerifyComparesALayerThatEndsInASoftmax) {
  const Workplace& place = Workplace::get();
  using namespace graph::build;
  const Node in = Input({.shape = {32, 32, 3}, .name = "input"});
  const Node x = Dense({.units = 10, .activation = "softmax", .name = "dense"})(Flatten({.name = "flatten"})(in));
  graph::Model model = build_model({in}, {x}, "only");
  graph::initialize_weights(model, 1);
  formats::keras::save_model(model, place.dir() / "only.keras");
  const CliResult quantized = place.run("ptq only.keras --data cifar10 --bits 8 --output only8.keras");
  ASSERT_EQ(quantized.code, 0) << quantized.err;
  const CliResult verified = place.run("verify only8.keras --data cifar10 --json");
  EXPECT_EQ(verified.code, 0) << verified.err << verified.out;
  const json told = json::parse(verified.out);
  ASSERT_EQ(told.at("layers").size(), 1u);
  EXPECT_EQ(told.at("layers")[0].at("layer"), "dense");
  EXPECT_EQ(told.at("layers")[0].at("values"), 10 * told.at("samples").get<int>());
  EXPECT_EQ(told.at("differing"), 0);
  const CliResult floors = place.run("verify only8.keras --data cifar10 --requantization floor --json");
  EXPECT_EQ(floors.code, 1);
  EXPECT_GT(json::parse(floors.out).at("differing"), 0);
}

// float32, in which the network carries a sum to its quantizer, does not tell sums of so many bits apart.
TEST(PtqFlow, CompileTellsWhyWideSumsRoundOtherwise) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run("ptq " + float_run() + " --data cifar10 --bits 14 --per-channel --output p14.keras").code, 0);
  const CliResult wide = place.run("compile p14.keras --requantization single --output p14.nbl");
  ASSERT_EQ(wide.code, 0) << wide.err;
  EXPECT_THAT(wide.err, AllOf(HasSubstr("sums round otherwise than in the trained network. They lie in "),
                              HasSubstr("float32, which is sure of them up to 2^22")));
  EXPECT_EQ(place.run("compile p14.keras --output p14.nbl").err.find("2^22"), std::string::npos);
}

// The network sums DoReFa's weights of one bit as real numbers, and adds their bias as one.
TEST(PtqFlow, CompileTellsWhereBiasBitsHaveNoEffect) {
  const Workplace& place = Workplace::get();
  using namespace graph::build;
  const Node in = Input({.shape = {4}, .name = "input"});
  const Node x = Dense({.units = 2, .name = "real"})(Dense({.units = 3, .name = "codes"})(in));
  graph::Model model = build_model({in}, {x}, "biases");
  graph::initialize_weights(model, 1);
  for (const char* layer : {"codes", "real"}) model.layer(layer).find_weight("bias")->value[0] = 0.3f;
  using Kind = graph::AffineKind;
  const graph::AffineQuantizer values{.kind = Kind::kFixed, .num_bits = 4, .fixed = {0.0f, 3.75f}};
  const graph::AffineQuantizer weights{.kind = Kind::kFixed, .narrow_range = true, .fixed = {-1.0f, 1.0f}};
  const graph::AffineQuantizer signs{.kind = Kind::kDorefa, .num_bits = 1};
  set_quantization(model, "input", graph::LayerQuantization{.output = values});
  set_quantization(
      model, "codes",
      graph::LayerQuantization{.weights = {{"kernel", weights}}, .post_activation = values, .bias_bits = 32});
  set_quantization(model, "real", graph::LayerQuantization{.weights = {{"kernel", signs}}, .bias_bits = 32});
  formats::keras::save_model(model, place.dir() / "biases.keras");
  const CliResult compiled = place.run("compile biases.keras --output biases.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  EXPECT_THAT(compiled.err, HasSubstr("note: bias_bits has no effect on 'real': "));
}

TEST(PtqFlow, EveryOptionTogether) {
  const CliResult result = Workplace::get().run(
      "ptq " + float_run() +
      " --data cifar10 --bits 4 --calibration percentile --percentile 99.9 --equalize --bias-correction --adaround "
      "--adaround-steps 20 --calibration-samples 16 --bias-bits 16");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("worst"), HasSubstr("batch norms folded into: conv"),
                                HasSubstr("equalized 1 pairs"), HasSubstr("in float")));
}

TEST(PtqFlow, BiasesAreCorrectedByStatisticsToo) {
  const Workplace& place = Workplace::get();
  const std::string line = "ptq " + float_run() + " --data cifar10 --bits 3 --calibration-samples 40 --json";
  const auto correction = [&](const std::string& how) {
    const CliResult result = place.run(line + how);
    EXPECT_EQ(result.code, 0) << result.err;
    const json layers = json::parse(result.out).at("layers");
    return layers.back().at("weights").at("bias_correction").get<double>();
  };
  EXPECT_EQ(correction(""), 0.0);
  EXPECT_EQ(correction(" --bias-correction none"), 0.0);
  EXPECT_GT(correction(" --bias-correction analytic"), 0.0);
  EXPECT_GT(correction(" --bias-correction empirical"), 0.0);
  EXPECT_EQ(correction(" --bias-correction"), correction(" --bias-correction empirical"));
}

// A note on the layer does not hide them: of the first nothing is known before it.
TEST(PtqFlow, ClippedBiasesAreToldOfLayersWithANote) {
  const CliResult result = Workplace::get().run("ptq " + float_run() +
                                                " --data cifar10 --calibration-samples 40 --bias-bits 2 "
                                                "--bias-correction analytic");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("note: layer 'conv': "), HasSubstr("warning: layer 'conv': ")));
}

TEST(PtqFlow, TellsThatNothingHasWeights) {
  const Workplace& place = Workplace::get();
  using namespace graph::build;
  const Node in = Input({.shape = {32, 32, 3}, .name = "input"});
  const Node x = Activation({.activation = "relu", .name = "relu"})(Flatten({.name = "flatten"})(in));
  formats::keras::save_model(build_model({in}, {x}, "bare"), place.dir() / "bare.keras");
  const CliResult result = place.run("ptq bare.keras --data cifar10 --calibration-samples 8");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("no layer has weights of a class that is quantized"));
}

TEST(PtqFlow, WhatWasNeverCalibratedIsRefused) {
  const Workplace& place = Workplace::get();
  graph::Model model = formats::keras::load_model(place.dir() / "tiny.keras");
  graph::set_quantization(model, "act",
                          graph::LayerQuantization{.output = {.kind = graph::AffineKind::kMovingAverage}});
  formats::keras::save_model(model, place.dir() / "uncalibrated.keras");
  EXPECT_THAT(place.run("inspect uncalibrated.keras").out, HasSubstr("not yet"));
  for (const char* line : {"ptq uncalibrated.keras --data cifar10", "evaluate uncalibrated.keras --data cifar10",
                           "predict uncalibrated.keras --input x.npy --output never.npy"}) {
    const CliResult result = place.run(line);
    EXPECT_EQ(result.code, 1) << line;
    EXPECT_THAT(result.err, AllOf(HasSubstr("'act'"), HasSubstr("Calibrate or train"))) << line;
  }
  // Where another activation has a range of its own, [-6, 6] is one that was seen.
  graph::set_quantization(model, "conv",
                          graph::LayerQuantization{.output = {.kind = graph::AffineKind::kMovingAverage}});
  graph::store_ranges(model.layer("conv"), "output", std::vector<affine::Range>{{-8.0f, 8.0f}});
  formats::keras::save_model(model, place.dir() / "calibrated.keras");
  const CliResult inspected = place.run("inspect calibrated.keras");
  EXPECT_THAT(inspected.out, AllOf(HasSubstr("-7.969 .. 8.031"), ::testing::Not(HasSubstr("not yet"))));
  EXPECT_EQ(place.run("evaluate calibrated.keras --data cifar10").code, 0);
}

struct Row {
  const char* name;
  const char* line;
  int code;
  const char* err;
};
class PtqRefusal : public ::testing::TestWithParam<Row> {};
TEST_P(PtqRefusal, IsASentence) {
  const CliResult result = Workplace::get().run(GetParam().line);
  EXPECT_EQ(result.code, GetParam().code) << result.err;
  EXPECT_THAT(result.err, HasSubstr(GetParam().err));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, PtqRefusal,
    ::testing::Values(Row{"UnknownCalibration", "ptq tiny.keras --data cifar10 --calibration msee", 2,
                          "Did you mean 'mse'"},
                      Row{"UnknownCorrection", "ptq tiny.keras --data cifar10 --bias-correction analytical", 2,
                          "Did you mean 'analytic'"},
                      Row{"OneBit", "ptq tiny.keras --data cifar10 --bits 1", 2, "--bits"},
                      Row{"UnknownMistake", "ptq tiny.keras --data cifar10 --ablate fold", 2, "fold-by-variance"},
                      Row{"NoWeights", "ptq fashion_mnist_cnn --data cifar10", 2, "no trained weights"},
                      Row{"OutputIsNoModel", "ptq tiny.keras --data cifar10 --output x.h6", 2, ".keras"},
                      Row{"PercentileOfHalf", "ptq tiny.keras --data cifar10 --calibration percentile --percentile 50",
                          1, "above 50"},
                      Row{"StepsWithoutAdaround", "ptq tiny.keras --data cifar10 --adaround-steps 5", 2, "--adaround"},
                      Row{"UnknownExperiment", "experiment ptq --out e", 2, "'ptq-qat'"},
                      Row{"UnknownDataset", "experiment ptq-qat --out e --datasets mnist", 2, "fashion_mnist"},
                      Row{"UnknownMethod", "experiment ptq-qat --out e --methods lsqq", 2, "Did you mean 'lsq'"},
                      Row{"NegativeDecay", "experiment ptq-qat --out e --qat-weight-decay -1", 2, "--qat-weight-decay"},
                      Row{"EmptyBatches", "experiment ptq-qat --out e --qat-batch-size 0", 2, "--qat-batch-size"},
                      Row{"UnknownTeacher", "experiment ptq-qat --out e --teacher qat", 2, "--teacher cannot be 'qat'"},
                      Row{"TeacherNowhere", "experiment ptq-qat --out e --teacher fashion_mnist=./none.keras", 1,
                          "cannot read the model './none.keras'"},
                      Row{"TeacherUntrained", "experiment ptq-qat --out e --teacher fashion_mnist=mnist", 2,
                          "'mnist' has no trained weights"},
                      Row{"TeacherOfNoData", "experiment ptq-qat --out e --datasets cifar10 --teacher mnist=float", 2,
                          "--teacher names the data set 'mnist'"},
                      Row{"NothingToTeach", "experiment ptq-qat --out e --teacher-weight 0.5", 2, "--teacher"},
                      Row{"UnknownAugmentation", "experiment ptq-qat --out e --augment flp", 2,
                          "--augment: [augmentation] 'flp' is unknown. Did you mean 'flip'"},
                      Row{"ShiftTooFar", "experiment ptq-qat --out e --augment shift=15", 2, "at most 14"},
                      Row{"UnknownStudy", "experiment ptq-qat --out e --studies bias", 2, "bias-width"}),
    [](const auto& row) { return row.param.name; });

TEST(ExperimentFlow, GoesOnWhereItWasAndRefusesOtherSettings) {
  const Workplace& place = Workplace::get();
  const std::string line =
      "experiment ptq-qat --out table --datasets cifar10 --networks cnn_bn --methods ptq --bits 8 --seeds 1 "
      "--calibration-samples 16 --json ";
  const CliResult first = place.run(line + "--epochs 1");
  ASSERT_EQ(first.code, 0) << first.err;
  const json cells = json::parse(first.out).at("cells");
  ASSERT_EQ(cells.size(), 2u);
  EXPECT_EQ(cells[1].at("key"), "cifar10-cnn_bn-s1-ptq-8");
  EXPECT_EQ(cells[1].at("published"), 57);
  EXPECT_THAT(slurp(place.dir() / "table/report.md"), HasSubstr("cnn_bn ptq"));
  EXPECT_THAT(slurp(place.dir() / "table/report.html"), HasSubstr("<svg"));
  const CliResult second = place.run(line + "--epochs 1 --studies ablation");
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, ::testing::Not(HasSubstr("-float (")));  // not computed again
  EXPECT_THAT(slurp(place.dir() / "table/report.md"), HasSubstr("D1-variance"));
  const CliResult other = place.run(line + "--epochs 2");
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, HasSubstr("another --out"));
}

TEST(ExperimentFlow, WorkersComputeWhatOneProcessDoes) {
  const Workplace& place = Workplace::get();
  const std::string line =
      " --datasets cifar10 --methods ptq,qat --bits 8 --seeds 1 --epochs 1 --qat-epochs 1 --calibration-samples 16 "
      "--teacher float "
      "--json";
  const CliResult one = place.run("experiment ptq-qat --out by_one" + line);
  ASSERT_EQ(one.code, 0) << one.err;
  const CliResult two = place.run("experiment ptq-qat --out by_two --workers 2" + line);
  ASSERT_EQ(two.code, 0) << two.err;
  json of_one = json::parse(one.out), of_two = json::parse(two.out);
  ASSERT_EQ(of_two.at("cells").size(), 6u);
  EXPECT_EQ(of_one.at("cells"), of_two.at("cells"));
  EXPECT_EQ(of_one.at("claims"), of_two.at("claims"));
  EXPECT_THAT(two.err, AllOf(HasSubstr("2 workers"), HasSubstr("cifar10-cnn_bn-s1-qat-8: "), HasSubstr("(6 of 6)")));
  EXPECT_TRUE(fs::exists(place.dir() / "by_two/logs/worker-2.log"));
  const json cell = json::parse(slurp(place.dir() / "by_two/cells/cifar10-cnn-s1-qat-8.json"));
  EXPECT_EQ(cell.at("settings").at("teacher").at("weight"), 0.9);
  EXPECT_THAT(slurp(place.dir() / "by_two/report.md"), HasSubstr("| cnn_bn qat |"));
  // Nothing is left to do: no workers are started.
  const CliResult again = place.run("experiment ptq-qat --out by_two --workers 2" + line);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, two.out);
  EXPECT_THAT(again.err, ::testing::Not(HasSubstr("workers")));
}

TEST(ExperimentFlow, AWorkersErrorIsTold) {
  const Workplace& place = Workplace::get();
  // A damaged model where the float network should be.
  fs::create_directories(place.dir() / "broken/models");
  spill(place.dir() / "broken/models/cifar10-cnn-s1-float-e1.keras", "no model");
  const CliResult result = place.run(
      "experiment ptq-qat --out broken --workers 2 --datasets cifar10 --networks cnn --methods ptq --bits 8 --seeds 1 "
      "--epochs 1");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("0 of 2 cells"), HasSubstr("ended with exit code 1; its last line is"),
                                HasSubstr("worker-"), HasSubstr("Run the same command again")));
}

TEST(ExperimentFlow, TellsWhichStudiesAreNotComputedAndHow) {
  const Workplace& place = Workplace::get();
  const std::string line =
      "experiment ptq-qat --out 'some table' --datasets cifar10 --networks cnn --methods ptq --bits 8 --seeds 1 "
      "--epochs 1 --qat-weight-decay 1e-05 --augment flip,shift=1 --teacher float --temperature 4 "
      "--calibration-samples 16";
  const CliResult text = place.run(line);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("Studies not computed"),
                              HasSubstr("They are computed by: nibble " + line + " --studies all")));
  const CliResult told = place.run(line + " --json");
  EXPECT_EQ(json::parse(told.out).at("studies_not_computed").size(), 7u);
  EXPECT_EQ(json::parse(told.out).at("studies_command"), "nibble " + line + " --studies all");
}

TEST(ExperimentFlow, AllStudiesAreComputed) {
  const Workplace& place = Workplace::get();
  const std::string line =
      "experiment ptq-qat --out studies --datasets cifar10 --networks cnn_bn --methods ptq --bits 4 --seeds 1 "
      "--epochs 1 --calibration-samples 8 --ptq-bias-correction none";
  ASSERT_EQ(place.run(line).code, 0);
  // AdaRound takes long: another cell, with biases as they are, stands in for it.
  for (const char* scales : {"per-tensor", "per-channel"}) {
    const fs::path cells = place.dir() / "studies/cells";
    fs::copy_file(cells / "cifar10-cnn_bn-s1-ptq-4.json",
                  cells / fmt::format("cifar10-cnn_bn-s1-ptq-4-weights-{}-adaround.json", scales));
  }
  const CliResult result = place.run(line + " --workers 2 --studies all");
  ASSERT_EQ(result.code, 0) << result.err;
  for (const char* study :
       {"bias-width", "learning-rate", "optimizer", "ablation", "master-weights", "calibration", "weights"}) {
    EXPECT_THAT(result.out, HasSubstr(std::string("Study: ") + study));
  }
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("not computed")));
}

bool is_free(const fs::path& lock) {
  const int descriptor = open(lock.c_str(), O_RDWR | O_CLOEXEC);
  const bool free = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  close(descriptor);
  return free;
}

TEST(ExperimentFlow, StopsItsWorkers) {
  const Workplace& place = Workplace::get();
  ChildProcess experiment = place.start(
      "experiment ptq-qat --out stopped --workers 2 --datasets cifar10 --methods ptq --seeds 1 --epochs 10000");
  const auto is_at_a_cell = [&](int worker) {
    const std::string said = slurp(place.dir() / fmt::format("stopped/logs/worker-{}.log", worker));
    return said.find("cifar10-cnn") != std::string::npos;
  };
  ASSERT_TRUE(eventually([&] { return !experiment.is_running() || (is_at_a_cell(1) && is_at_a_cell(2)); }));
  // The workers hear of it from the process that started them.
  experiment.signal(SIGINT);
  EXPECT_EQ(experiment.wait(), 130) << experiment.err();
  EXPECT_FALSE(fs::exists(place.dir() / "stopped/cells/cifar10-cnn-s1-float.json"));
  // A worker that lived would hold one.
  for (const auto& lock : fs::directory_iterator(place.dir() / "stopped/locks")) {
    EXPECT_TRUE(is_free(lock.path())) << lock.path();
  }
}

}  // namespace
}  // namespace nibble::testing
