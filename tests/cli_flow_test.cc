// Several commands one after the other, as a user would give them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli_workplace.h"
#include "nibble/core/philox.h"
#include "nibble/data/npy.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
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
    if (!weight.at("quantizer").is_null()) EXPECT_TRUE(weight.at("on_grid").get<bool>()) << weight.dump(1);
  }
  ASSERT_EQ(place.run("predict final.keras --input x.npy --output y.npy").code, 0);
  EXPECT_EQ(data::read_npy(place.dir() / "y.npy").shape(), (Shape{3, 10}));
}

TEST(CliFlow, TheSameCommandTwiceGivesTheSameBytes) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("twice_a", "--epochs 2 --quantize four_bits.json")).code, 0);
  ASSERT_EQ(place.run(train_line("twice_b", "--epochs 2 --quantize four_bits.json")).code, 0);
  EXPECT_EQ(slurp(place.dir() / "twice_a/model.keras"), slurp(place.dir() / "twice_b/model.keras"));
}

TEST(CliFlow, CtrlCSavesAndResumeGivesTheUndisturbedResult) {
  const Workplace& place = Workplace::get();
  ASSERT_EQ(place.run(train_line("whole", "--epochs 30")).code, 0);
  // timeout sends SIGINT in mid-training, or the training is over before: then --resume has nothing to do.
  const CliResult stopped = place.run(train_line("parts", "--epochs 30"), "timeout --preserve-status -s INT 1.2");
  if (stopped.code != 0) {
    EXPECT_EQ(stopped.code, 130) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("--resume"));
  }
  ASSERT_EQ(place.run(train_line("parts", "--epochs 30 --resume")).code, 0);
  EXPECT_EQ(slurp(place.dir() / "whole/model.keras"), slurp(place.dir() / "parts/model.keras"));
}

TEST(CliFlow, DamagedModelsNeverCrash) {
  const Workplace& place = Workplace::get();
  const std::string bytes = slurp(place.dir() / "tiny.keras");
  RandomStream random({.seed = 5, .purpose = RandomPurpose::kTest});
  for (int i = 0; i < 20; ++i) {
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
