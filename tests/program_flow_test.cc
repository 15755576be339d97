// nibble compile, run, verify and bench, as a user would give them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"

namespace nibble::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

// Scales that are powers of two, so that the float network rounds nowhere.
constexpr const char* kFourBits = R"json({
  "QConv2D": {"kernel_quantizer": "quantized_bits(4,0,1,alpha=1.0)", "bias_quantizer": "quantized_bits(4,0,1)"},
  "QDense": {"kernel_quantizer": "quantized_bits(4,0,1,alpha=1.0)", "bias_quantizer": "quantized_bits(4,0,1)"},
  "QActivation": {"relu": "quantized_relu(4,2)"}
})json";

const Workplace& compiled_place() {
  static const Workplace& place = [&]() -> const Workplace& {
    const Workplace& place = Workplace::get();
    spill(place.dir() / "exact.json", kFourBits);
    place.run("quantize tiny.keras exact.json --output exact.keras");
    place.run("compile exact.keras --output exact.nbl");
    return place;
  }();
  return place;
}

json parsed(const CliResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  return result.code == 0 ? json::parse(result.out) : json();
}

TEST(ProgramFlow, BothExecutorsRunTheSame) {
  const Workplace& place = compiled_place();
  const json fast = parsed(place.run("run exact.nbl --data cifar10 --json"));
  const json reference = parsed(place.run("run exact.nbl --data cifar10 --executor reference --json"));
  EXPECT_EQ(fast, reference);
}

TEST(ProgramFlow, BothExecutorsHaveTheNetworksIntegers) {
  const Workplace& place = compiled_place();
  for (const char* executor : {"fast", "reference"}) {
    const json told = parsed(place.run(std::string("verify exact.keras --data cifar10 --json --executor ") + executor));
    EXPECT_EQ(told.at("differing"), 0) << executor;
  }
}

TEST(ProgramFlow, CompileTellsOfARoundedInput) {
  const Workplace& place = compiled_place();
  const CliResult silent = place.run("compile exact.keras --output exact.nbl");
  EXPECT_THAT(silent.err, HasSubstr("rounds them to quantized_bits(8,0,1,alpha=1.0)"));
  const CliResult chosen =
      place.run("compile exact.keras --input-quantizer 'quantized_bits(8,0,0,alpha=1.0)' -o chosen.nbl");
  EXPECT_EQ(chosen.code, 0) << chosen.err;
  EXPECT_THAT(chosen.err, Not(HasSubstr("rounds them")));
}

TEST(ProgramFlow, BenchTellsTimesAndSizes) {
  const Workplace& place = compiled_place();
  const json told = parsed(place.run("bench exact.nbl --batches 1,3 --seconds 0.02 --json"));
  EXPECT_EQ(told.at("file_bytes"), std::filesystem::file_size(place.dir() / "exact.nbl"));
  ASSERT_EQ(told.at("results").size(), 2u);
  EXPECT_EQ(told["results"][1]["batch"], 3);
  EXPECT_GT(told["results"][1]["us_per_call"], 0);
  EXPECT_GE(told.at("activation_bytes"), told.at("peak_activation_bytes"));
  EXPECT_GT(told.at("peak_activation_bytes"), 32 * 32 * 3);
  EXPECT_THAT(place.run("bench exact.nbl --seconds 0.02 --steps").out, HasSubstr("conv: sums of bytes, linear"));
}

TEST(ProgramFlow, MultipliersAndShiftsAreTold) {
  const Workplace& place = compiled_place();
  const CliResult compiled = place.run("compile exact.keras --requantization single --output single.nbl");
  ASSERT_EQ(compiled.code, 0) << compiled.err;
  EXPECT_THAT(compiled.out, AllOf(HasSubstr("requantization"), HasSubstr(">> ")));
  const json told = parsed(place.run("compile exact.keras --requantization single --output single.nbl --json"));
  int rules = 0;
  for (const json& operation : told.at("operations")) {
    if (!operation.contains("requantization")) continue;
    EXPECT_EQ(operation["requantization"].at("rounding"), "single");
    EXPECT_EQ(operation["requantization"].at("multipliers").size(), operation["requantization"].at("shifts").size());
    EXPECT_GT(operation["requantization"].at("sums"), 0);
    EXPECT_LT(operation["requantization"].at("missed_sums"), operation["requantization"].at("sums"));
    ++rules;
  }
  EXPECT_GT(rules, 0);
  EXPECT_THAT(compiled.err, HasSubstr("of " + std::to_string(rules) + " layers that multiply, every sum rounds"));
  const CliResult floors = place.run("compile exact.keras --requantization floor --output floor.nbl");
  EXPECT_THAT(floors.err, HasSubstr("sums round otherwise than in the trained network"));
  EXPECT_EQ(place.run("compile exact.keras --output plain.nbl").err.find("layers that multiply"), std::string::npos);
  const CliResult verified = place.run("verify exact.keras --requantization single --data cifar10 --json");
  EXPECT_EQ(json::parse(verified.out).at("same_class"), json::parse(verified.out).at("samples")) << verified.out;
  const CliResult wrong = place.run("compile exact.keras --requantization double --output single.nbl");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("gemmlowp-double"));
}

TEST(ProgramFlow, SoftmaxCanBeOfIntegers) {
  const Workplace& place = compiled_place();
  const json told = parsed(place.run("compile exact.keras --softmax integer --output softmax.nbl --json"));
  EXPECT_EQ(told.at("operations").back().at("operation"), "softmax");
  EXPECT_EQ(told["operations"].back().at("bits"), 16);
  EXPECT_EQ(parsed(place.run("run softmax.nbl --data cifar10 --json")),
            parsed(place.run("run exact.nbl --data cifar10 --json")));
  const json verified = parsed(place.run("verify exact.keras --softmax integer --data cifar10 --json"));
  EXPECT_EQ(verified.at("differing"), 0);
  EXPECT_EQ(verified.at("same_class"), verified.at("samples"));
  const CliResult wrong = place.run("compile exact.keras --softmax int --output softmax.nbl");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("--softmax cannot be 'int'"));
}

TEST(ProgramFlow, UnknownExecutorIsWrongUsage) {
  const CliResult result = compiled_place().run("run exact.nbl --data cifar10 --executor slow");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("--executor cannot be 'slow'"));
}

}  // namespace
}  // namespace nibble::testing
