// Searches that are refused before anything is made.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/small_search.h"
#include "nibble/core/error.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {
namespace fs = std::filesystem;

struct BadCase {
  const char* name;
  const char* json;
  const char* word;
};
class BadSearch : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadSearch, LeavesNothingBehind) {
  const fs::path directory = testing::scratch_dir("autoq_bad") / "out";
  try {
    run_search(GetParam().json, {.directory = directory});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().word), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(directory));
}
INSTANTIATE_TEST_SUITE_P(
    Cases, BadSearch,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"UnknownModel", R"({"model": "mnits", "limit": {"Dense": [8, 8, 4]}})", "mnist"},
        {"NothingToSearch", R"({"model": "mnist", "data": "mnist"})", "nothing to search"},
        {"NoCandidate", R"({"model": "mnist", "limit": {"Dense": [8, 2, 4]}})", "leaves no candidate"},
        {"UnknownData", R"({"model": "mnist", "data": "mnits", "limit": {"Dense": [8, 8, 4]}})", "mnist"},
        {"TwoSourcesOfOneInput",
         R"({"model": "mnist", "data": "mnist", "limit": {"Dense": [8, 8, 4]},
             "goal": {"type": "energy", "params": {"source_quantizers": ["int8", "int8"]}}})",
         "source_quantizers has 2 elements, but the network has 1 input."},
        {"FrozenNothing",
         R"({"model": "mnist", "data": "mnist", "frozen_layers": ["^conv2d_9$"], "limit": {"Dense": [8, 8, 4]}})",
         "conv2d_9"},
        {"ExceptedNothing",
         R"({"model": "mnist", "data": "mnist", "tune_filters": "layer", "tune_filters_exceptions": "conv_9",
             "limit": {"Dense": [8, 8, 4]}})",
         "tune_filters_exceptions is found in no layer's name"},
        {"NoRates",
         R"({"model": "mnist", "data": "mnist", "layer_learning_rates": {"dence": 0.1}, "limit": {"Dense": [8, 8, 4]}})",
         "Did you mean 'dense'"},
        {"ShiftTooFar", R"({"model": "mnist", "data": "mnist", "augment": "shift=15", "limit": {"Dense": [8, 8, 4]}})",
         "shift is 15; give at most 14"},
        {"NoTeacher", R"({"model": "mnist", "data": "mnist", "teacher": "none.keras", "limit": {"Dense": [8, 8, 4]}})",
         "none.keras' is not there"},
        {"SamplesOfAnotherShape",
         R"({"model": "mnist", "data": "synthetic_regression", "loss": "mse", "limit": {"Dense": [8, 8, 4]}})",
         "takes samples of shape (28, 28, 1), but the data have (8,)"},
        {"ClassesAsAnImage",
         R"({"model": "mnist", "data": "mnist", "loss": "mse", "target": "input", "limit": {"Dense": [8, 8, 4]}})",
         "but the samples that it should give back have"},
        {"TransferWithoutWeights",
         R"({"model": "mnist", "data": "mnist", "transfer_weights": true, "limit": {"Dense": [8, 8, 4]}})",
         "has no weights"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nibble::autoq

int main(int argc, char** argv) { return nibble::autoq::run_as_worker_or_tests(argc, argv); }
