// Several commands one after the other, as a user would give them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli_workplace.h"
#include "nibble/core/philox.h"
#include "nibble/data/npy.h"
#include "nibble/formats/keras/keras_file.h"
#include "support/busy_machine.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string train_line(const std::string& output, const std::string& more = "") {
  return "train tiny.keras --data cifar10 --batch-size 40 --lr 0.02 --seed 3 --output " + output + " " + more;
}

TEST(CliFlow, TrainQuantizeTrainFinalizeInspectPredict) {
  const Workplace& place = Workplace::get();
  const CliResult trained = place.run(train_line("float", "--epochs 4 --json --csv log.csv"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(json::parse(trained.out).at("epochs"), 4);
  EXPECT_THAT(slurp(place.dir() / "log.csv"), HasSubstr("epoch"));

  const CliResult evaluated = place.run("evaluate float --data cifar10 --json");
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_NEAR(json::parse(evaluated.out).at("accuracy").get<double>(),
              json::parse(trained.out).at("val_accuracy").get<double>(), 1e-6);

  ASSERT_EQ(place.run("quantize float four_bits.json --output q.keras").code, 0);
  ASSERT_EQ(place.run("train q.keras --data cifar10 --batch-size 40 --lr 0.01 --epochs 2 --output quantized").code, 0);
  const CliResult before = place.run("inspect quantized");
  EXPECT_THAT(before.err, HasSubstr("nibble finalize"));

  const CliResult finalized = place.run("finalize quantized --output final.keras --codes codes.json --json");
  ASSERT_EQ(finalized.code, 0) << finalized.err;
  const json codes = json::parse(finalized.out);
  EXPECT_EQ(codes, json::parse(slurp(place.dir() / "codes.json")));
  EXPECT_TRUE(codes.at("qkeras_weights").contains("conv"));
  for (int code : codes.at("layers").at(0).at("weights").at(0).at("codes")) EXPECT_LE(std::abs(code), 7);

  const json inspected = json::parse(place.run("inspect final.keras --json").out);
  for (const json& weight : inspected.at("weights")) {
    EXPECT_TRUE(weight.at("quantizer").is_null() || weight.at("on_grid").get<bool>()) << weight.dump(1);
  }
  ASSERT_EQ(place.run("predict final.keras --input x.npy --output y.npy").code, 0);
  EXPECT_EQ(data::read_npy(place.dir() / "y.npy").shape(), (Shape{3, 10}));
}

// The model may be all that there is of a training.
TEST(CliFlow, CompileDoesNotWriteOverAModel) {
  const Workplace& place = Workplace::get();
  const std::string before = slurp(place.dir() / "tiny.keras");
  const CliResult result = place.run("compile tiny.keras --output tiny.keras");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("must end in .nbl"));
  EXPECT_EQ(slurp(place.dir() / "tiny.keras"), before);
}

TEST(CliFlow, ANetworkWithoutWeightsCannotBeTrained) {
  const Workplace& place = Workplace::get();
  spill(place.dir() / "no_weights.json",
        R"({"class_name": "Sequential", "config": {"name": "none", "layers": [
          {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [null, 32, 32, 3]}},
          {"class_name": "Flatten", "config": {"name": "flat"}},
          {"class_name": "Softmax", "config": {"name": "softmax"}}]}})");
  const CliResult result = place.run("train no_weights.json --data cifar10 --epochs 1 --output none");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr("no layer of the network has a weight that is trained"));
}

TEST(CliFlow, ConvertWritesForWhomItWasRead) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("to_convert", "--epochs 1")).code, 0);
  const auto keras_of = [&](const std::string& line) {
    const CliResult converted = place.run("convert " + line + " --json");
    EXPECT_EQ(converted.code, 0) << converted.err;
    return json::parse(converted.out).at("keras").get<int>();
  };
  EXPECT_EQ(keras_of("to_convert old.h5 --keras 2"), 2);
  EXPECT_EQ(keras_of("old.h5 older.json"), 2);
  EXPECT_EQ(keras_of("older.json new.keras"), 3);
  EXPECT_EQ(keras_of("new.keras newer.h5"), 3);
}

// The model says how much of its quantization it was trained with: all of it only where the ramp has ended.
TEST(CliFlow, QuantizationComesInGradually) {
  const Workplace& place = Workplace::get();
  const auto kernel_of = [&](const std::string& output, const std::string& finish) {
    const CliResult trained = place.run(train_line(
        output, "--epochs 3 --quantize four_bits.json --qnoise-start 0 --qnoise-exponent 1 --qnoise-finish " + finish));
    EXPECT_EQ(trained.code, 0) << trained.err;
    return formats::keras::load_model(place.dir() / output / "model.keras")
        .layer("conv")
        .get_quantizer("kernel_quantizer");
  };
  EXPECT_EQ(*kernel_of("ramp_ended", "2"), *quant::get_quantizer("quantized_bits(4,0,1,alpha='auto_po2')"));
  EXPECT_EQ(*kernel_of("ramp_on", "4"),
            *quant::get_quantizer("quantized_bits(4,0,1,alpha='auto_po2',qnoise_factor=0.5)"));
}

double figure(const CliResult& result, const char* key) {
  return result.code == 0 ? json::parse(result.out).at(key).get<double>() : std::nan("");
}

TEST(CliFlow, AnEarlyStopIsToldWithTheFiguresOfTheSavedWeights) {
  const Workplace& place = Workplace::get();
  // A learning rate of this size makes val_loss rise sooner or later.
  const CliResult trained = place.run(
      "train tiny.keras --data cifar10 --batch-size 40 --lr 0.5 --seed 3 --output stopped_early --epochs 40 "
      "--early-stopping 2 --save-best lowest.keras --json");
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_LT(figure(trained, "epochs"), 40);
  const CliResult evaluated = place.run("evaluate stopped_early --data cifar10 --json");
  EXPECT_NEAR(figure(trained, "val_loss"), figure(evaluated, "loss"), 1e-6);
  EXPECT_NEAR(figure(trained, "val_accuracy"), figure(evaluated, "accuracy"), 1e-6);
  EXPECT_NEAR(figure(place.run("evaluate lowest.keras --data cifar10 --json"), "loss"), figure(evaluated, "loss"),
              1e-6);
  ASSERT_EQ(place.run("report stopped_early").code, 0);
  EXPECT_THAT(slurp(place.dir() / "stopped_early/report.html"),
              HasSubstr(fmt::format("\"accuracy\":{}", json(figure(trained, "val_accuracy")).dump())));
}

TEST(CliFlow, SaveBestKeepsTheLowestValidationLoss) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(
      place.run(train_line("kept", "--epochs 12 --optimizer sgd --momentum 0.9 --csv kept.csv --save-best kept.keras"))
          .code,
      0);
  std::istringstream log(slurp(place.dir() / "kept.csv"));
  std::string line;
  std::getline(log, line);
  double lowest = HUGE_VAL;
  while (std::getline(log, line)) {
    std::istringstream cells(line);
    std::string cell;
    for (int c = 0; c < 5; ++c) std::getline(cells, cell, ',');  // epoch, rate, loss, accuracy, val_loss
    lowest = std::min(lowest, std::stod(cell));
  }
  EXPECT_NEAR(figure(place.run("evaluate kept.keras --data cifar10 --json"), "loss"), lowest, 1e-6);
}

TEST(CliFlow, AResumedTrainingSaysWhatIsLeftToDo) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("done", "--epochs 3")).code, 0);
  const std::string model = slurp(place.dir() / "done/model.keras");
  EXPECT_THAT(place.run(train_line("done", "--epochs 3 --resume")).err, HasSubstr("nothing was left to train"));
  const CliResult fewer = place.run(train_line("done", "--epochs 2 --resume"));
  EXPECT_EQ(fewer.code, 1);  // as every checkpoint that does not fit the training
  EXPECT_THAT(fewer.err, HasSubstr("2 epochs in total were asked for, but 3 are done already"));
  EXPECT_EQ(slurp(place.dir() / "done/model.keras"), model);
}

TEST(CliFlow, DamagedHistoriesAreRefused) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("told", "--epochs 2")).code, 0);
  const fs::path log = place.dir() / "told/history.csv";
  const std::string text = slurp(log);
  const std::string header = text.substr(0, text.find('\n') + 1);
  for (const char* epoch : {"1e300", "-1e300", "nan", "inf", "0", "2.5", "1e", ""}) {
    spill(log, header + epoch + ",0.02,1,0.5,1,0.5,0.1\n");
    const CliResult result = place.run("report told");
    EXPECT_EQ(result.code, 1) << epoch;
    EXPECT_THAT(result.err, HasSubstr("epoch")) << epoch;
  }
  RandomStream random({.seed = 6, .purpose = RandomPurpose::kTest});
  for (int i = 0; i < 12; ++i) {
    std::string damaged = text;
    damaged[random.bits() % damaged.size()] ^= static_cast<char>(1u << (random.bits() % 8));
    if (i % 2 == 0) damaged.resize(random.bits() % damaged.size());
    spill(log, damaged);
    const CliResult result = place.run("report told");
    EXPECT_TRUE(result.code == 0 || result.code == 1) << result.code << result.err;
  }
}

TEST(CliFlow, TheSameCommandTwiceGivesTheSameBytes) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("twice_a", "--epochs 2 --quantize four_bits.json")).code, 0);
  ASSERT_EQ(place.run(train_line("twice_b", "--epochs 2 --quantize four_bits.json")).code, 0);
  EXPECT_EQ(slurp(place.dir() / "twice_a/model.keras"), slurp(place.dir() / "twice_b/model.keras"));
}

TEST(CliFlow, CtrlCSavesAndResumeGivesTheUndisturbedResult) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("whole", "--epochs 60")).code, 0);
  EXPECT_TRUE(is_caught([&](int number) {
    const std::string parts = fmt::format("parts_{}", number);
    ChildProcess training = place.start(train_line(parts, "--epochs 60"));
    const fs::path first_epoch = place.dir() / parts / "checkpoint.nibble";
    EXPECT_TRUE(eventually([&] { return !training.is_running() || fs::exists(first_epoch); }));
    training.signal(SIGINT);
    if (training.wait() == 0) return false;
    EXPECT_EQ(training.wait(), 130) << training.err();
    EXPECT_THAT(training.err(), HasSubstr("--resume"));
    EXPECT_TRUE(fs::exists(place.dir() / parts / "model.keras"));
    const CliResult resumed = place.run(train_line(parts, "--epochs 60 --resume"));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(slurp(place.dir() / "whole/model.keras"), slurp(place.dir() / parts / "model.keras"));
    return true;
  })) << "each training was over before it could be stopped";
}

const char* const kSearch = R"json({
  "model": "tiny.keras", "data": "cifar10", "epochs": 2, "batch_size": 40, "learning_rate": 0.02, "seed": 5,
  "goal": {"type": "energy", "params": {"delta_p": 8.0, "delta_n": 8.0, "rate": 2.0}},
  "quantization_config": {
    "kernel": {"binary": 1, "quantized_bits(4,0,1,alpha=1.0)": 4},
    "bias": {"quantized_bits(4,0,1)": 4},
    "activation": {"quantized_relu(3,1)": 3, "quantized_relu(4,2)": 4}},
  "limit": {"Dense": [4, 4, 4], "Conv2D": [4, 4, 4], "Activation": [4], "BatchNormalization": []},
  "mode": "random", "max_trials": 3
})json";

TEST(CliFlow, ASearchLeavesAStudyAReportAndTheBestModel) {
  const Workplace& place = Workplace::get();
  spill(place.dir() / "search.json", kSearch);
  const CliResult result = place.run("autoq search.json --output search --workers 1 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(json::parse(result.out).at("is_over").get<bool>());
  EXPECT_THAT(slurp(place.dir() / "search/report.html"), AllOf(HasSubstr("\"weight_bits\":"), HasSubstr("</html>")));

  const json trials = json::parse(place.run("study trials search --json").out).at("trials");
  ASSERT_EQ(trials.size(), 3u);
  for (const json& trial : trials) {
    EXPECT_EQ(trial.at("state"), "completed");
    for (const char* key : {"number", "score", "accuracy", "energy_nj"}) EXPECT_TRUE(trial.at(key).is_number()) << key;
    EXPECT_TRUE(trial.at("quantizers").contains("conv_kernel_quantizer"));
  }
  const json best = json::parse(place.run("study best search --json").out);
  const CliResult evaluated = place.run("evaluate search/best --data cifar10 --json");
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_NEAR(json::parse(evaluated.out).at("accuracy").get<double>(), best.at("accuracy").get<double>(), 1e-6);
  EXPECT_THAT(place.run("study list .").out, HasSubstr("search/study.db"));
  EXPECT_THAT(place.run("study show search").out, HasSubstr("3 of 3 trials completed"));

  EXPECT_EQ(place.run("autoq search.json --output search").code, 1) << "a study must not be written over";
  ASSERT_EQ(place.run("autoq search.json --output search --max-trials 4 --resume").code, 0);
  EXPECT_EQ(json::parse(place.run("study trials search --json").out).at("trials").size(), 4u);
  // Without the file, too.
  ASSERT_EQ(place.run("autoq --output search --max-trials 5 --resume").code, 0);
  EXPECT_EQ(json::parse(place.run("study trials search --json").out).at("trials").size(), 5u);
  const CliResult other = place.run("autoq --output search --epochs 3 --resume");
  EXPECT_EQ(other.code, 1);
  EXPECT_THAT(other.err, HasSubstr("another configuration"));
}

TEST(CliFlow, ASearchMayHaveCommentsAndNameItsFolder) {
  const Workplace& place = Workplace::get();
  std::string text = kSearch;
  text.replace(0, 1, "{ // a comment\n  \"output_dir\": \"named\",");
  spill(place.dir() / "commented.json", text);
  const CliResult result = place.run("autoq commented.json --max-trials 1");
  ASSERT_EQ(result.code, 0) << result.err;
  const json shown = json::parse(place.run("study show named --json").out, nullptr, false);
  ASSERT_TRUE(shown.is_object());
  EXPECT_EQ(shown.at("run_config").at("output_dir"), "named");
  EXPECT_EQ(place.run("autoq commented.json --max-trials 1 --output named_too").code, 0);
  EXPECT_TRUE(json::parse(place.run("study show named_too --json").out).at("run_config").is_object());
}

struct BadSearch {
  const char* name;
  const char* from;  // text of kSearch that is replaced
  const char* to;
  const char* says;
};

class CliBadSearch : public ::testing::TestWithParam<BadSearch> {};

TEST_P(CliBadSearch, IsRefusedInASentence) {
  const Workplace& place = Workplace::get();
  std::string text = kSearch;
  const std::string from = GetParam().from;
  ASSERT_NE(text.find(from), std::string::npos);
  text.replace(text.find(from), from.size(), GetParam().to);
  spill(place.dir() / "bad_search.json", text);
  const CliResult result = place.run("autoq bad_search.json --output bad_search");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr(GetParam().says));
  EXPECT_FALSE(fs::exists(place.dir() / "bad_search/study.db"));
}

INSTANTIATE_TEST_SUITE_P(Rows, CliBadSearch,
                         ::testing::Values(BadSearch{"UnknownKey", "\"epochs\"", "\"epocs\"", "'epochs'"},
                                           BadSearch{"UnknownModel", "tiny.keras", "cifra10", "'cifar10'"},
                                           BadSearch{"UnknownData", "\"cifar10\"", "\"cifra10\"", "'cifar10'"},
                                           BadSearch{"UnknownQuantizer", "\"binary\": 1", "\"binray\": 1", "binray"},
                                           BadSearch{"EmptyLimit", "\"Dense\": [4, 4, 4]", "\"Dense\": [0, 4, 4]",
                                                     "dense"},
                                           BadSearch{"UnknownMode", "\"random\"", "\"randon\"", "random"}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(CliFlow, DamagedModelsNeverCrash) {
  const Workplace& place = Workplace::get();
  const std::string bytes = slurp(place.dir() / "tiny.keras");
  RandomStream random({.seed = 5, .purpose = RandomPurpose::kTest});
  for (int i = 0; i < 6; ++i) {
    std::string damaged = bytes;
    damaged[random.bits() % damaged.size()] ^= static_cast<char>(1u << (random.bits() % 8));
    if (i % 2 == 0) damaged.resize(random.bits() % damaged.size());
    spill(place.dir() / "damaged.keras", damaged);
    const CliResult result = place.run("inspect damaged.keras");
    EXPECT_TRUE(result.code == 0 || result.code == 1) << result.code << result.err;
  }
}

}  // namespace
}  // namespace nibble::testing
