// 'nibble energy': what its options change, what it says about what it assumed, and how it refuses.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli_workplace.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"

namespace nibble::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using Names = std::vector<std::string>;

// tiny.keras: conv (3x3x3x4, 8x8 positions), bn, act, flatten, dense (256x10), softmax; no quantizers.
constexpr int64_t kConvProducts = 8 * 8 * 4 * 27, kDenseProducts = 256 * 10;

std::string text_of(const std::string& options) {
  const CliResult result = Workplace::get().run("energy " + options);
  EXPECT_EQ(result.code, 0) << options << "\n" << result.err;
  return result.out;
}

json json_of(const std::string& options) {
  const std::string text = text_of(options + " --json");
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(value.is_discarded()) << text;
  return value;
}

const json& layer_of(const json& report, const std::string& name) {
  for (const json& layer : report.at("layers"))
    if (layer.at("name") == name) return layer;
  throw std::out_of_range(name);
}

// ---- refusals --------------------------------------------------------------------

struct Row {
  const char* name;
  const char* options;
  int code;
  const char* complaint;
};

class EnergyRefuses : public ::testing::TestWithParam<Row> {};

TEST_P(EnergyRefuses, InASentence) {
  const CliResult result = Workplace::get().run(std::string("energy ") + GetParam().options);
  EXPECT_EQ(result.code, GetParam().code) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr(GetParam().complaint));
  EXPECT_TRUE(result.out.empty()) << result.out;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, EnergyRefuses,
    ::testing::Values(Row{"UnknownProcess", "mnist --process horowits", 1, "Did you mean 'horowitz'"},
                      Row{"MissingProcess", "mnist --process nothere.json", 1, "nothere.json"},
                      Row{"ProcessIsNoJson", "mnist --process broken.json", 1, "broken.json"},
                      Row{"ProcessOfAnotherForm", "mnist --process four_bits.json", 1, "[process_table]"},
                      Row{"UnknownSource", "mnist --source-quantizers int9", 2, "'int8'"},
                      Row{"SourceCutOff", "mnist --source-quantizers 'quantized_bits(4,'", 2, "--source-quantizers"},
                      Row{"SourceOfTooManyBits", "mnist --source-quantizers 'quantized_bits(99,0,1)'", 2, "bits is 99"},
                      Row{"SourceMissing", "mnist --source-quantizers int8,", 2, "--source-quantizers"},
                      Row{"TooManySources", "mnist --source-quantizers int8,int8", 1,
                          "2 source quantizers are given for 1 model inputs"},
                      Row{"RuleOfUnknownClass", "mnist --include QConv2d:inputs", 2, "Did you mean 'QConv2D'"},
                      Row{"RuleOfUnknownPart", "mnist --include QConv2D:input", 2, "'inputs'"},
                      Row{"RuleOfNoneAndSome", "mnist --include QConv2D:none,inputs", 2, "'none' beside other parts"},
                      Row{"RuleOfAllAndSome", "mnist --include default:inputs,all", 2, "'all' beside other parts"},
                      Row{"MemoryBeyondAny", "mnist --min-sram-bits 1125899906842625", 2, "at most 1125899906842624"},
                      Row{"MemoryBeyondAnyNumber", "mnist --min-sram-bits 9223372036854775807", 2, "128 TiB"},
                      Row{"RuleTwice", "mnist --include Conv2D:inputs --include Conv2D:op_cost", 2, "a rule already"},
                      Row{"WeightsOfAReference", "tiny.keras --weights-given --reference int8", 2, "--reference int8"},
                      Row{"FusingOfAReference", "tiny.keras --fuse-batch-norm --reference fp32", 2,
                          "--fuse-batch-norm"},
                      Row{"WeightsNotThere", "mnist --weights-given", 2, "no trained weights"},
                      Row{"UnknownMemory", "mnist --parameters-on-memory dran", 2, "'dram'"},
                      Row{"HalfAMachine", "mnist --roofline --peak-ops 1e9", 2, "--bandwidth"},
                      Row{"MachineWithoutRoofline", "mnist --peak-ops 1e9 --bandwidth 1e9", 2, "--roofline"},
                      Row{"NoBandwidth", "mnist --roofline --peak-ops 1e9 --bandwidth 0", 2, "above 0"}),
    [](const auto& row) { return std::string(row.param.name); });

// ---- what is assumed -----------------------------------------------------------------

TEST(EnergyOfAFloatNetwork, SaysWhatItIsCountedAs) {
  const std::string text = text_of("tiny.keras");
  EXPECT_THAT(text, HasSubstr("weights of 3 layers (conv, bn, dense) count as int8"));
  EXPECT_THAT(text, HasSubstr("activations of 2 layers (act, softmax) count as int32"));
  const json counted = json_of("tiny.keras").at("counted_as");
  EXPECT_EQ(counted.at("values"), "int8");
  EXPECT_EQ(counted.at("accumulators"), "int32");
  EXPECT_EQ(counted.at("weights_without_quantizer"), (Names{"conv", "bn", "dense"}));
  EXPECT_EQ(counted.at("activations_without_quantizer"), (Names{"act", "softmax"}));
}

TEST(EnergyOfAFloatNetwork, AsAReferenceSaysSo) {
  EXPECT_THAT(text_of("tiny.keras --reference fp32"), HasSubstr("as if all values were fp32 and all sums fp32"));
  EXPECT_THAT(text_of("tiny.keras --reference int8"), HasSubstr("as if all values were int8 and all sums int32"));
  const json counted = json_of("tiny.keras --reference fp16").at("counted_as");
  EXPECT_EQ(counted.at("reference"), "fp16");
  EXPECT_EQ(counted.at("values"), "fp16");
}

// ---- settings ------------------------------------------------------------------------

// A word costs 1 pJ and nothing else costs anything.
constexpr const char* kWords = R"json({
  "name": "words", "word_bits": 64,
  "fixed": {"add": [0], "mux": [0], "xor": [0], "and": [0], "shifter": [0], "mul": [0]},
  "fp16": {"add": [0], "mul": [0]}, "fp32": {"add": [0], "mul": [0]}, "sram": [1], "dram": [0, 1]
})json";

TEST(EnergySettings, AProcessOfTheUsers) {
  spill(Workplace::get().dir() / "words.json", kWords);
  const json report = json_of("tiny.keras --process words.json");
  EXPECT_EQ(report.at("process"), "words");
  const json& conv = layer_of(report, "conv");
  EXPECT_EQ(conv.at("inputs"), 32 * 32 * 3 * 8 / 64);
  EXPECT_EQ(conv.at("parameters"), 14 + 1) << "108 and 4 weights of 8 bits";
  EXPECT_EQ(conv.at("op_cost"), 0);
  EXPECT_EQ(json_of("mnist --reference int8 --process horowitz").at("total_energy_pj"), 574175);
}

TEST(EnergySettings, ATableOfNoEnergiesIsRefusedByName) {
  const Workplace& place = Workplace::get();
  std::string negative = kWords;
  negative.replace(negative.find("\"sram\": [1]"), 11, "\"sram\": [-1]");
  spill(place.dir() / "negative.json", negative);
  const CliResult result = place.run("energy tiny.keras --process negative.json");
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr("'negative.json': 'sram' gives -1 pJ"));
}

TEST(EnergySettings, Sources) {
  spill(Workplace::get().dir() / "words.json", kWords);
  const auto inputs = [](const std::string& source) {
    const json report = json_of(fmt::format("tiny.keras --process words.json --source-quantizers '{}'", source));
    return layer_of(report, "conv").at("inputs").get<double>();
  };
  EXPECT_EQ(inputs("int16"), 32 * 32 * 3 * 16 / 64);
  EXPECT_EQ(inputs("quantized_bits(4,0,1)"), 32 * 32 * 3 * 4 / 64);
}

TEST(EnergySettings, QToolsNamesOfTheMemories) {
  EXPECT_EQ(
      json_of("tiny.keras --parameters-on-memory fixed --activations-on-memory dram --rd-wr-on-io --min-sram-size 99"),
      json_of("tiny.keras --weights-memory fixed --activations-memory dram --io-on-dram --min-sram-bits 99"));
  EXPECT_EQ(layer_of(json_of("tiny.keras --parameters-on-memory fixed"), "conv").at("parameters"), 0);
}

TEST(EnergySettings, WhatCounts) {
  const json all = json_of("tiny.keras --include default:all");
  EXPECT_NEAR(all.at("total_energy_pj").get<double>(), all.at("total_cost_pj").get<double>(), 1);
  EXPECT_EQ(json_of("--include default:none tiny.keras").at("total_energy_pj"), 0);
  const json usual = json_of("tiny.keras"), two = json_of("tiny.keras --include Flatten:none --include Dense:op_cost");
  EXPECT_EQ(layer_of(two, "flatten").at("total"), 0);
  EXPECT_EQ(layer_of(two, "dense").at("total"), layer_of(usual, "dense").at("op_cost"));
  EXPECT_EQ(layer_of(two, "conv"), layer_of(usual, "conv"));
}

// 15 words of weights at 0.03 pJ: what is cut to 0 pJ has digits and shares all the same.
TEST(EnergySettings, SmallEnergiesHaveThreeDigitsAndWholeShares) {
  std::string cheap = kWords;
  cheap.replace(cheap.find("\"sram\": [1]"), 11, "\"sram\": [0.03]");
  spill(Workplace::get().dir() / "cheap.json", cheap);
  const std::string options = "tiny.keras --process cheap.json --include default:none --include Conv2D:parameters";
  EXPECT_EQ(json_of(options).at("total_energy_pj"), 0);
  const std::string text = text_of(options);
  EXPECT_THAT(text, HasSubstr("total 0.450 pJ = 0.000450 nJ per inference"));
  EXPECT_THAT(text, HasSubstr("100.0 %"));
  EXPECT_THAT(text_of("mnist --reference int8"), HasSubstr("total 574175 pJ = 574.18 nJ per inference"));
}

// ---- what is left out -------------------------------------------------------------------

TEST(EnergyNotes, NameTheLayersThatQToolsForgets) {
  using namespace graph::build;
  const Node in = Input({.shape = {6, 6, 2}, .name = "in"});
  Node x = layer("Conv2DTranspose", "up", {{"filters", int64_t{2}}, {"kernel_size", std::vector<int64_t>{2, 2}}})(in);
  x = layer("SeparableConv2D", "apart", {{"filters", int64_t{2}}, {"kernel_size", std::vector<int64_t>{2, 2}}})(x);
  x = layer("Reshape", "steps", {{"target_shape", std::vector<int64_t>{36, 2}}})(x);
  graph::Model model = build_model({in}, {layer("LSTM", "memory", {{"units", int64_t{2}}})(x)}, "forgotten");
  graph::initialize_weights(model, 1);
  formats::keras::save_model(model, Workplace::get().dir() / "forgotten.keras");
  EXPECT_THAT(Workplace::get().run("energy forgotten.keras").err, Not(HasSubstr("not counted")));
  const CliResult compat = Workplace::get().run("energy forgotten.keras --compat qkeras");
  EXPECT_EQ(compat.code, 0) << compat.err;
  for (const char* part : {"'memory' is a LSTM, whose weights and operations are not counted with --compat",
                           "'apart' is a SeparableConv2D, whose weights and operations are not counted with --compat",
                           "'up' is a Conv2DTranspose, whose operations are not counted with --compat"}) {
    EXPECT_THAT(compat.err, HasSubstr(part));
  }
  EXPECT_THAT(compat.err, Not(HasSubstr("'steps'")));
}

// ---- what lies behind the energies ------------------------------------------------------

TEST(EnergyTables, Types) {
  const std::string text = text_of("tiny.keras --types");
  for (const char* part : {"multiplier", "accumulator", "fixed(8,0)", "fixed(32,10)", " by mul"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text_of("tiny.keras"), Not(HasSubstr("multiplier")));
  const json types = json_of("tiny.keras --types").at("types");
  EXPECT_EQ(types.at("conv").at("weight_quantizer").at("bits"), 8);
  EXPECT_EQ(types.at("source_quantizers").size(), 1u);
}

TEST(EnergyTables, Operations) {
  const json operations = json_of("tiny.keras").at("operations");
  EXPECT_EQ(operations.at("multiplications"), kConvProducts + kDenseProducts);
  // The activation before 'dense' has no quantizer: 32 bits.
  EXPECT_EQ(operations.at("bit_operations"), kConvProducts * 8 * 8 + kDenseProducts * 8 * 32);
  EXPECT_THAT(text_of("tiny.keras"), HasSubstr(fmt::format("{} multiplications", kConvProducts + kDenseProducts)));
}

TEST(EnergyTables, Summary) {
  EXPECT_THAT(text_of("tiny.keras --summary"), HasSubstr("alive KiB"));
  EXPECT_THAT(text_of("tiny.keras --summary --reference fp32"), Not(HasSubstr("alive KiB")));
  const json summary = json_of("tiny.keras --summary").at("summary");
  ASSERT_EQ(summary.size(), 6u);
  EXPECT_EQ(summary[0].at("name"), "conv");
  EXPECT_EQ(summary[0].at("multiplications"), kConvProducts);
  EXPECT_EQ(summary[0].at("weight_kib"), (108 + 4) / 1024.0);
}

TEST(EnergyTables, Roofline) {
  const json figures = json_of("tiny.keras --roofline").at("roofline");
  EXPECT_EQ(figures.at("quantized").at("operations"), 2 * (kConvProducts + kDenseProducts));
  EXPECT_EQ(figures.at("quantized").at("weight_bytes"), 108 + 4 + 4 * 4 + 2560 + 10);
  EXPECT_EQ(figures.at("float32").at("weight_bytes"), 4 * (108 + 4 + 4 * 4 + 2560 + 10));
  EXPECT_FALSE(figures.contains("machine"));
  const auto bound = [](const std::string& machine) {
    return json_of("tiny.keras --roofline " + machine).at("roofline").at("quantized").at("bound_by");
  };
  EXPECT_EQ(bound("--peak-ops 1e9 --bandwidth 1e12"), "compute");
  EXPECT_EQ(bound("--peak-ops 1e12 --bandwidth 1e9"), "memory");
  EXPECT_THAT(text_of("tiny.keras --roofline --peak-ops 1e9 --bandwidth 1e12"), HasSubstr("compute"));
}

// A shifter costs by the values that a power of two really has.
TEST(EnergyTables, GivenWeights) {
  const Workplace& place = Workplace::get();
  spill(place.dir() / "po2.json", R"json({
    "QConv2D": {"kernel_quantizer": "quantized_po2(4)", "bias_quantizer": "quantized_po2(4)"},
    "QDense": {"kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": "quantized_bits(4,0,1)"},
    "QActivation": {"relu": "quantized_relu(4)"}
  })json");
  ASSERT_EQ(place.run("quantize tiny.keras po2.json --output po2.keras").code, 0);
  EXPECT_THAT(text_of("po2.keras --types"), Not(HasSubstr("po2(4) of ")));
  EXPECT_THAT(text_of("po2.keras --types --weights-given"), HasSubstr("po2(4) of "));
  EXPECT_NE(layer_of(json_of("po2.keras"), "conv").at("op_cost"),
            layer_of(json_of("po2.keras --weights-given"), "conv").at("op_cost"));
  EXPECT_EQ(json_of("po2.keras").at("counted_as").at("weights_without_quantizer"), Names{"bn"});
}

}  // namespace
}  // namespace nibble::testing
