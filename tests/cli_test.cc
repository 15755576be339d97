// Right and wrong usage, bad input, results: a row is a command line and what must come of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include <fmt/format.h>
#include "cli_workplace.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

struct Row {
  const char* name;
  const char* arguments;
  int code;
  const char* out = "";  // must be part of stdout
  const char* err = "";  // must be part of stderr
};

class Cli : public ::testing::TestWithParam<Row> {};

TEST_P(Cli, Answers) {
  const CliResult result = Workplace::get().run(GetParam().arguments);
  EXPECT_EQ(result.code, GetParam().code) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr(GetParam().out));
  EXPECT_THAT(result.err, HasSubstr(GetParam().err));
  if (GetParam().code != 0) {
    EXPECT_TRUE(result.out.empty()) << "stdout is for results: " << result.out;
    EXPECT_FALSE(fs::exists(Workplace::get().dir() / "never.keras"));
    EXPECT_FALSE(fs::exists(Workplace::get().dir() / "never.npy"));
  }
}

constexpr auto row_name = [](const auto& row) { return std::string(row.param.name); };

INSTANTIATE_TEST_SUITE_P(
    Usage, Cli,
    ::testing::Values(
        Row{"NoCommand", "", 2, "", "subcommand"}, Row{"Help", "--help", 0, "train"},
        Row{"Version", "version", 0, "nibble 0."}, Row{"VersionNamesTheCommit", "version --json", 0, "\"commit\": "},
        Row{"VersionFlag", "--version", 0, "nibble 0."}, Row{"UnknownCommand", "trian", 2, "", "Did you mean 'train'"},
        Row{"UnknownOption", "train tiny.keras --epoch 3", 2, "", "Did you mean '--epochs'"},
        Row{"MissingArgument", "energy", 2, "", "MODEL"},
        Row{"TooManyArguments", "energy mnist cifar10", 2, "", "cifar10"},
        Row{"NotANumber", "train tiny.keras --data cifar10 --output r --epochs many", 2, "", "epochs"},
        Row{"ZeroEpochs", "train tiny.keras --data cifar10 --output r --epochs 0", 2, "", "epochs"},
        Row{"NegativeLearningRate", "train tiny.keras --data cifar10 --output r --lr -1", 2, "", "lr"},
        Row{"LearningRateNoNumber", "train tiny.keras --data cifar10 --output r --lr abc", 2, "",
            "--lr: 'abc' must be a number above 0"},
        Row{"MomentumIsNan", "train tiny.keras --data cifar10 --output r --optimizer sgd --momentum nan", 2, "",
            "--momentum: 'nan' must be a number from 0 to 1"},
        Row{"MomentumAboveOne", "train tiny.keras --data cifar10 --output r --optimizer sgd --momentum 1.5", 2, "",
            "--momentum: '1.5' must be a number from 0 to 1"},
        Row{"HalfAnEpoch", "train tiny.keras --data cifar10 --output r --epochs 2.5", 2, "",
            "--epochs: '2.5' must be a whole number from 1 to "},
        Row{"MomentumOfAdam", "train tiny.keras --data cifar10 --output r --momentum 0.9", 2, "", "--optimizer sgd"},
        Row{"ActivationBitsAlone", "train tiny.keras --data cifar10 --output r --activation-bits 3", 2, "",
            "--quantize"},
        Row{"QNoiseWithoutEnd", "train tiny.keras --data cifar10 --output r --qnoise-start 1", 2, "",
            "--qnoise-finish"},
        Row{"QNoiseBackwards", "train tiny.keras --data cifar10 --output r --qnoise-start 3 --qnoise-finish 1", 2, "",
            "--qnoise-start 3 is after --qnoise-finish 1"},
        Row{"QNoiseOfWeeks",
            "train tiny.keras --data cifar10 --output r --qnoise-start 0 --qnoise-finish 1 --qnoise-freq-type weeks", 2,
            "", "--qnoise-freq-type cannot be 'weeks'"},
        Row{"SaveBestIsNoModel", "train tiny.keras --data cifar10 --output r --save-best best.h6", 2, "", ".keras"},
        Row{"NegativeSample", "data show cifar10 --sample -1", 2, "", "of 0 or more"},
        Row{"NegativeSeed", "train tiny.keras --data cifar10 --output r --seed -1", 2, "", "of 0 or more"},
        Row{"UnknownOptimizer", "train tiny.keras --data cifar10 --output r --optimizer adma", 2, "",
            "Did you mean 'adam'"},
        Row{"UnknownSchedule", "train tiny.keras --data cifar10 --output r --schedule cosin", 2, "", "'cosine'"},
        Row{"UnknownModel", "energy mnits", 2, "", "Did you mean 'mnist'"},
        Row{"UnknownDataset", "evaluate tiny.keras --data cifra10", 2, "", "Did you mean 'cifar10'"},
        Row{"UnknownPreprocessing", "evaluate tiny.keras --data cifar10 --preprocessing unti", 2, "", "'unit'"},
        Row{"UnknownReference", "energy mnist --reference fp31", 2, "", "'fp32'"},
        Row{"UnknownCompat", "energy mnist --compat qkears", 2, "", "'qkeras'"},
        Row{"StudyWithoutAct", "study", 2, "", "subcommand"}, Row{"HelpOfNothing", "help trian", 2, "", "'train'"},
        Row{"StudyUnknownAct", "study trails x", 2, "", "Did you mean 'trials'"},
        Row{"AutoqWithoutOutput", "autoq search_without_output.json", 2, "", "output_dir"},
        Row{"AnyVersionOfANewSearch", "autoq search_without_output.json --output r --any-version", 2, "",
            "--any-version is for --resume"},
        Row{"NoWeights", "evaluate cifar10 --data cifar10", 2, "", "no trained weights"},
        Row{"ConvertIntoUnknownKind", "convert tiny.keras tiny.onnx", 2, "", "known are .keras, .h5"},
        Row{"ArchiveForKeras2", "convert tiny.keras other.keras --keras 2", 2, "", ".h5 or .json"},
        Row{"OutputIsNoModel", "finalize tiny.keras --output tiny.h6", 2, "", ".keras"}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    BadInput, Cli,
    ::testing::Values(
        Row{"MissingModelFile", "energy nothere.keras", 1, "", "nothere.keras"},
        Row{"ShortModelFile", "inspect short.keras", 1, "", "short.keras"},
        Row{"GarbageModelFile", "inspect garbage.keras", 1, "", "garbage.keras"},
        Row{"EmptyModelFile", "inspect empty.keras", 1, "", "empty.keras"},
        Row{"FolderWithoutModel", "inspect ./no_study", 1, "", "model.keras"},
        Row{"MissingWeights", "predict cifar10 --weights nothere.h5 --input x.npy --output never.npy", 1, "",
            "nothere.h5"},
        Row{"GarbageWeights", "predict cifar10 --weights garbage.keras --input x.npy --output never.npy", 1, "",
            "garbage"},
        Row{"MissingConfig", "quantize tiny.keras nothere.json --output never.keras", 1, "", "nothere.json"},
        Row{"BrokenConfig", "quantize tiny.keras broken.json --output never.keras", 1, "", "broken.json"},
        Row{"UnknownLayer", "quantize tiny.keras unknown_layer.json --output never.keras", 1, "",
            "Did you mean 'conv'"},
        Row{"UnknownKey", "quantize tiny.keras unknown_key.json --output never.keras", 1, "", "'kernel_quantizer'"},
        Row{"UnknownQuantizer", "quantize tiny.keras unknown_quantizer.json --output never.keras", 1, "",
            "'quantized_bits'"},
        Row{"NoSuchFolder", "quantize tiny.keras four_bits.json --output nowhere/never.keras", 1, "", "nowhere"},
        Row{"UnwritableFolder", "train tiny.keras --data cifar10 --output /proc/never", 1, "", "/proc/never"},
        Row{"InputTransposed", "predict tiny.keras --input x_transposed.npy --output never.npy", 1, "",
            "(3, 3, 32, 32)"},
        Row{"ResumeOfNothing", "train tiny.keras --data cifar10 --output nowhere --resume", 1, "",
            "leave --resume out"},
        Row{"OutputIsADevice", "predict tiny.keras --input x.npy --output /dev/null", 1, "", "regular file"},
        Row{"LossBecomesInfinite", "train tiny.keras --data cifar10 --output diverged --epochs 3 --lr 1e30", 1, "",
            "epoch"},
        Row{"UnwritableLog", "train tiny.keras --data cifar10 --output never --csv /dev/full", 1, "", "/dev/full"},
        Row{"UnwritableBest", "train tiny.keras --data cifar10 --output never --save-best nowhere/a.keras", 1, "",
            "nowhere"},
        Row{"UnwritableCodes", "finalize tiny.keras --output never.keras --codes /dev/full", 1, "", "/dev/full"},
        Row{"RunConfigIsNoJson", "autoq broken.json --output never", 1, "", "broken.json"},
        Row{"MissingInput", "predict tiny.keras --input nothere.npy --output never.npy", 1, "", "nothere.npy"},
        Row{"ShortInput", "predict tiny.keras --input x_short.npy --output never.npy", 1, "", "x_short.npy"},
        Row{"InputOfAnotherShape", "predict tiny.keras --input x_grey.npy --output never.npy", 1, "", "28"},
        Row{"DataOfAnotherShape", "evaluate tiny.keras --data synthetic_digits", 1, "", "28"},
        Row{"DamagedData", "evaluate tiny.keras --data cifar10 --data-dir bad_data", 1, "", "test_batch.bin"},
        Row{"DataNotThere", "evaluate tiny.keras --data cifar10 --data-dir no_study", 1, "", "no_study"},
        Row{"NoStudyInFolder", "study trials no_study", 1, "", "study.db"},
        Row{"MissingStudy", "study show nothere.db", 1, "", "nothere.db"},
        Row{"GarbageStudy", "study show no_study.db", 1, "", "no_study.db"}),
    row_name);

INSTANTIATE_TEST_SUITE_P(
    Results, Cli,
    ::testing::Values(Row{"Models", "models", 0, "fashion_mnist"}, Row{"ModelLayers", "models tiny.keras", 0, "conv"},
                      Row{"FlatInput", "predict tiny.keras --input x_flat.npy --output y.npy", 0, "", "(3, 10)"},
                      Row{"DataList", "data list", 0, "cifar100"}, Row{"DataShow", "data show cifar10", 0, "200"},
                      Row{"ConvertForKeras2", "convert tiny.keras for_keras2.json --keras 2", 0, "parameters",
                          "for_keras2_weights.h5"},
                      Row{"Energy", "energy tiny.keras", 0, "total"},
                      Row{"Inspect", "inspect tiny.keras", 0, "kernel", "has no quantizers"},
                      Row{"StudyListOfNothing", "study list no_study", 0, "study"}),
    row_name);

TEST(CliHelp, EveryCommandHasExamples) {
  const std::string page = Workplace::get().run("help --markdown").out;
  int commands = 0;
  for (size_t at = page.find("\n## nibble "); at != std::string::npos; at = page.find("\n## nibble ", at + 1)) {
    const std::string section = page.substr(at + 1, page.find("\n## ", at + 1) - at);
    const std::string name = section.substr(3, section.find('\n') - 3);
    if (name != "nibble version") {
      EXPECT_THAT(section, HasSubstr("Examples:\n  " + name)) << section;
    }
    ++commands;
  }
  EXPECT_GE(commands, 13);
}

TEST(CliHelp, ThePageInDocsIsUpToDate) {
  const CliResult page = Workplace::get().run("help --markdown");
  EXPECT_EQ(page.out, slurp(fs::path(NIBBLE_SOURCE_DIR) / "docs/cli.md"))
      << "run: build/release/bin/nibble help --markdown > docs/cli.md";
}

TEST(CliJson, EnergyOfTheTutorial) {
  const json fp32 = json::parse(Workplace::get().run("energy mnist --reference fp32 --json").out);
  EXPECT_NEAR(fp32.at("total_energy_pj").get<double>(), 3295370, 1);
  EXPECT_FALSE(fp32.at("layers").empty());
  const json int8 = json::parse(Workplace::get().run("energy mnist --reference int8 --json").out);
  EXPECT_NEAR(int8.at("total_energy_pj").get<double>(), 574175, 1);
  const json old = json::parse(Workplace::get().run("energy mnist --reference int8 --compat qkeras-2020 --json").out);
  EXPECT_NEAR(old.at("total_energy_pj").get<double>(), 204399, 1);
}

// Two feature maps of 8-bit values: 14 x 14 x 16 and 7 x 7 x 32.
TEST(CliJson, EnergyTellsTheMemory) {
  const json memory = json::parse(Workplace::get().run("energy mnist --json").out).at("memory");
  EXPECT_EQ(memory.at("ram_kib").get<double>(), (14 * 14 * 16 + 7 * 7 * 32) / 1024.0);
  EXPECT_EQ(memory.at("peak_layer"), "act_1");
  EXPECT_GT(memory.at("weight_kib").get<double>(), 100);
}

TEST(CliOutput, AFullDiskIsNoticed) {
  const Workplace& place = Workplace::get();
  const std::string command =
      fmt::format("'{}' models > /dev/full 2>'{}'", program(), (place.dir() / "stderr.txt").string());
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  EXPECT_THAT(slurp(place.dir() / "stderr.txt"), HasSubstr("disk full"));
}

}  // namespace
}  // namespace nibble::testing
