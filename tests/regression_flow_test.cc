// Numbers instead of classes, through the whole program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/core/philox.h"
#include "nibble/data/npy.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"

namespace nibble::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The workplace with networks for numbers and a folder of arrays.
const Workplace& place() {
  static const Workplace& workplace = []() -> const Workplace& {
    using namespace graph::build;
    const Workplace& made = Workplace::get();
    auto in = Input({.shape = {8}, .name = "input"});
    auto x = Activation({.activation = "relu", .name = "relu"})(Dense({.units = 12, .name = "hidden"})(in));
    graph::Model model = build_model({in}, {Dense({.units = 1, .name = "last"})(x)}, "numbers");
    graph::initialize_weights(model, 1);
    formats::keras::save_model(model, made.dir() / "numbers.keras");
    RandomStream random({.seed = 1, .purpose = RandomPurpose::kTest});
    std::filesystem::create_directories(made.dir() / "own");
    for (const char* part : {"train", "test"}) {
      Tensor values(Shape{64, 8}), targets(Shape{64, 1});
      for (float& value : values.data()) value = random.uniform();
      for (int64_t i = 0; i < 64; ++i) targets[i] = values[8 * i] - values[8 * i + 1];
      data::write_npy(made.dir() / "own" / (std::string("x_") + part + ".npy"), values);
      data::write_npy(made.dir() / "own" / (std::string("y_") + part + ".npy"), targets);
    }
    return made;
  }();
  return workplace;
}

std::string train_line(const std::string& output, const std::string& more = "") {
  return "train numbers.keras --data synthetic_regression --batch-size 32 --lr 0.01 --seed 3 --epochs 4 --output " +
         output + " " + more;
}

// The payload of FOLDER/report.html.
json reported(const std::string& folder) {
  const std::string page = slurp(place().dir() / folder / "report.html");
  const std::string start = R"(<script type="application/json" id="nibble-data">)";
  const size_t begin = page.find(start) + start.size();
  return json::parse(page.substr(begin, page.find("</script", begin) - begin));
}

TEST(RegressionFlow, TrainAndEvaluateTellErrorsByTheirNames) {
  const CliResult trained = place().run(train_line("numbers", "--json"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_THAT(trained.err, Not(HasSubstr("val_acc")));
  const json result = json::parse(trained.out);
  EXPECT_EQ(result.at("val_loss"), result.at("val_mean_squared_error"));
  EXPECT_TRUE(result.at("val_accuracy").is_null());
  const CliResult evaluated = place().run("evaluate numbers --data synthetic_regression --loss mae --json");
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  const json figures = json::parse(evaluated.out);
  EXPECT_EQ(figures.at("loss"), figures.at("mean_absolute_error"));
  EXPECT_NEAR(figures.at("mean_squared_error").get<double>(), result.at("val_loss").get<double>(), 1e-6);
  EXPECT_THAT(place().run("evaluate numbers --data synthetic_regression").out,
              AllOf(HasSubstr("mean_squared_error "), HasSubstr("on 256 samples"), Not(HasSubstr("accuracy"))));
  ASSERT_EQ(place().run("report numbers").code, 0);
  const json report = reported("numbers");
  EXPECT_EQ(report.at("metric").at("name"), "mse");
  EXPECT_EQ(report.at("outcome").at("mse"), result.at("val_mean_squared_error"));
  const json& points = report.at("curves").at(0).at("points");
  ASSERT_EQ(points.size(), 4u);
  for (const char* name : {"mse", "mae", "val_mse", "val_mae"}) EXPECT_TRUE(points[0].at(name).is_number()) << name;
  EXPECT_FALSE(points[0].contains("accuracy"));
}

TEST(RegressionFlow, WhatRegularizersAddIsPartOfTheLossAndOfNoError) {
  graph::Model model = formats::keras::load_model(place().dir() / "numbers.keras");
  model.layers[1].attributes["kernel_regularizer"] =
      graph::OpaqueJson{R"({"class_name": "L2", "config": {"l2": 0.5}})"};
  formats::keras::save_model(model, place().dir() / "held.keras");
  const std::string line = " --data synthetic_regression";
  EXPECT_THAT(place().run("evaluate numbers.keras" + line).out, ::testing::StartsWith("mean_squared_error "));
  const json free = json::parse(place().run("evaluate numbers.keras --json" + line).out);
  const json held = json::parse(place().run("evaluate held.keras --json" + line).out);
  EXPECT_EQ(held.at("mean_squared_error"), free.at("mean_squared_error"));
  EXPECT_GT(held.at("loss").get<double>(), free.at("loss").get<double>());
  EXPECT_EQ(place().run("evaluate held.keras" + line).out,
            fmt::format("loss {:.6g}, mean_squared_error {:.6g}, mean_absolute_error {:.6g} on 256 samples\n",
                        held.at("loss").get<double>(), held.at("mean_squared_error").get<double>(),
                        held.at("mean_absolute_error").get<double>()));
}

TEST(RegressionFlow, AFolderOfArraysServesEveryCommand) {
  const std::string data = " --data own ";
  const auto expect_fine = [](const std::string& line) {
    const CliResult result = place().run(line);
    EXPECT_EQ(result.code, 0) << line << "\n" << result.err;
    return result.out;
  };
  EXPECT_THAT(expect_fine("data show own"), HasSubstr("samples of shape (8,), real targets of shape (1,)\n"));
  EXPECT_EQ(json::parse(expect_fine("data show own --json")).at("target_shape"), json::array({1}));
  expect_fine("train numbers.keras --batch-size 16 --epochs 2 --loss huber --output own_float" + data);
  EXPECT_THAT(expect_fine("evaluate own_float --json" + data), HasSubstr("\"mean_squared_error\""));
  expect_fine("report own_float");
  EXPECT_EQ(reported("own_float").at("metric").at("name"), "loss");  // no error's name is that of huber
  EXPECT_TRUE(reported("own_float").at("outcome").at("loss").is_number());
  EXPECT_THAT(expect_fine("ptq own_float --bits 8 --output own_ptq.keras" + data), HasSubstr("mean_squared_error"));
  EXPECT_THAT(expect_fine("qat own_float --epochs 1 --batch-size 16 --output own_qat" + data),
              AllOf(HasSubstr("in float: test loss"), HasSubstr("quantized: test mean_squared_error")));
  expect_fine("compile own_qat --output own.nbl");
  expect_fine("verify own_qat" + data);
  EXPECT_THAT(expect_fine("run own.nbl --json" + data), HasSubstr("\"mean_squared_error\""));
}

//   more  further keys of the run_config
std::string search_config(const std::string& more) {
  return R"json({
    "model": "numbers.keras", "data": "synthetic_regression", "loss": "mse", "epochs": 3, "batch_size": 64,
    "learning_rate": 0.02, "max_trials": 4, "seed": 5,
    "goal": {"type": "bits", "params": {"delta_p": 20, "delta_n": 20, "rate": 2}},
    "quantization_config": {
      "kernel": {"binary": 1, "quantized_bits(2,1,1,alpha=1.0)": 2, "quantized_bits(8,0,1,alpha=1.0)": 8},
      "bias": {"quantized_bits(8,3,1)": 8}, "activation": {"quantized_relu(2,1)": 2, "quantized_relu(8,3)": 8},
      "linear": {"quantized_bits(8,3,1)": 8}},
    "limit": {"Dense": [8, 8, 8], "Activation": [8]})json" +
         more + "}";
}

// Scores are -mse, or -mse / (1 + delta) with the forgiving factor; the highest one is the best.
TEST(RegressionFlow, TheBestTrialIsTheOneOfTheLeastLoss) {
  for (const bool forgives : {false, true}) {
    const std::string name = forgives ? "search_forgiving" : "search_alone";
    spill(place().dir() / (name + ".json"), search_config(forgives ? "" : R"json(, "score_metric": "val_mse")json"));
    const CliResult searched = place().run("autoq " + name + ".json --workers 1 --output " + name);
    ASSERT_EQ(searched.code, 0) << searched.err;
    const CliResult listed = place().run("study trials " + name + " --json");
    ASSERT_EQ(listed.code, 0) << listed.err;
    const json trials = json::parse(listed.out).at("trials");
    ASSERT_EQ(trials.size(), 4u) << listed.out;
    double least = 1e30;
    int best = -1;
    for (const json& trial : trials) {
      const json& metrics = trial.at("metrics");
      EXPECT_FALSE(metrics.contains("accuracy")) << trial.dump(1);
      const double factor = forgives ? 1 + metrics.at("delta").get<double>() : 1.0;
      const double loss = metrics.at("mse").get<double>() / factor;
      EXPECT_NEAR(trial.at("score").get<double>(), -loss, 1e-12) << trial.dump(1);
      if (loss < least) {
        least = loss;
        best = trial.at("number").get<int>();
      }
    }
    const CliResult told = place().run("study best " + name + " --json");
    ASSERT_EQ(told.code, 0) << told.err;
    EXPECT_EQ(json::parse(told.out).at("number").get<int>(), best) << told.out;
    // What its charts are drawn from: the trade-off and the curves.
    const json report = reported(name);
    EXPECT_TRUE(report.at("outcome").contains("bits"));
    const json& point = report.at("curves").at(0).at("points").at(0);
    for (const char* member : {"mse", "val_mse"}) EXPECT_TRUE(point.at(member).is_number()) << member;
  }
}

struct Row {
  const char* name;
  const char* line;
  int code;
  const char* err;
};
class RegressionRefusal : public ::testing::TestWithParam<Row> {};
TEST_P(RegressionRefusal, IsASentence) {
  const CliResult result = place().run(GetParam().line);
  EXPECT_EQ(result.code, GetParam().code) << result.err;
  EXPECT_THAT(result.err, HasSubstr(GetParam().err));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, RegressionRefusal,
    ::testing::Values(
        Row{"UnknownLoss", "train numbers.keras --data own --loss mean_squared_eror --output never", 2,
            "Did you mean 'mean_squared_error'"},
        Row{"EntropyOfNumbers", "train numbers.keras --data own --loss crossentropy --output never", 1, "such as mse"},
        Row{"EntropyOfInputs", "train numbers.keras --data own --loss crossentropy --target input --output never", 2,
            "--target input"},
        Row{"Target", "train numbers.keras --data own --target outputs --output never", 2, "--target"},
        Row{"NoFolder", "train numbers.keras --data ./none --output never", 1, "lacks x_train.npy"},
        Row{"NeitherNameNorFolder", "train numbers.keras --data onw --output never", 2, "there is no data set 'onw'"},
        Row{"Teacher", "train numbers.keras --data own --teacher numbers.keras --output never", 1, "probabilities"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::testing
