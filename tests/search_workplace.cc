#include "search_workplace.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/synthetic_digits.h"
#include "nibble/search/storage.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string big_endian(int64_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

void write_split(const fs::path& folder, const std::string& name, const data::Samples& samples) {
  std::string images = {0, 0, 8, 3}, labels = {0, 0, 8, 1};
  images += big_endian(samples.count()) + big_endian(28) + big_endian(28);
  images.append(reinterpret_cast<const char*>(samples.bytes().data()), samples.bytes().size());
  labels += big_endian(samples.count());
  for (const int32_t label : samples.labels()) labels.push_back(static_cast<char>(label));
  write_file(folder / (name + "-images-idx3-ubyte"), images);
  write_file(folder / (name + "-labels-idx1-ubyte"), labels);
}

json base_config() {
  return json::parse(R"json({
    "model": "mnist", "data": "mnist", "epochs": 4, "batch_size": 50, "learning_rate": 0.01,
    "seed": 42, "max_trials": 3, "early_stopping": false,
    "goal": {"type": "energy", "params": {"delta_p": 8.0, "delta_n": 8.0, "rate": 2.0, "process": "horowitz",
             "parameters_on_memory": ["sram", "sram"], "activations_on_memory": ["sram", "sram"],
             "rd_wr_on_io": [false, false], "source_quantizers": ["int8"],
             "reference_internal": "int8", "reference_accumulator": "int32"}},
    "limit": {"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "DepthwiseConv2D": [4, 8, 4], "Activation": [4],
              "BatchNormalization": []},
    "tune_filters": "layer", "tune_filters_exceptions": "^dense"
  })json");
}

bool is_mid_trial(const search::Storage& storage, const search::Trial& trial) {
  return trial.state == search::TrialState::kRunning && !storage.steps(trial.number).empty();
}

}  // namespace

std::string nibble_program() {
  const char* other = std::getenv("NIBBLE_BINARY");
  return other == nullptr ? NIBBLE_BINARY : other;
}

SearchWorkplace& SearchWorkplace::get() {
  static SearchWorkplace workplace;
  return workplace;
}

SearchWorkplace::SearchWorkplace() : dir_(scratch_dir("search")) {
  const data::Dataset digits = data::synthetic_digits({.train_count = 600, .test_count = 200});
  make_directories(dir_ / "data" / "mnist");
  write_split(dir_ / "data" / "mnist", "train", digits.train);
  write_split(dir_ / "data" / "mnist", "t10k", digits.test);
}

fs::path SearchWorkplace::run_config(const json& changes) const {
  static std::atomic<int> count{0};
  json config = base_config();
  if (!changes.is_null()) config.merge_patch(changes);
  const fs::path path = dir_ / fmt::format("run_{}.json", count++);
  write_file(path, config.dump(1));
  return path;
}

ChildProcess SearchWorkplace::start(const std::vector<std::string>& arguments, ProcessOptions options) const {
  options.environment.push_back("NIBBLE_DATA_DIR=" + (dir_ / "data").string());
  options.environment.emplace_back("NIBBLE_OFFLINE=1");
  return ChildProcess(nibble_program(), arguments, options);
}

ProgramRun run_program(const std::vector<std::string>& arguments) {
  ChildProcess process = SearchWorkplace::get().start(arguments);
  const int code = process.wait();
  return {code, process.out(), process.err()};
}

json trials_of(const std::string& study) {
  const ProgramRun listing = run_program({"study", "trials", study, "--json"});
  EXPECT_EQ(listing.code, 0) << listing.err;
  json trials = json::parse(listing.out).at("trials");
  for (json& trial : trials) trial.erase("attempts");
  return trials;
}

SearchOutcome outcome_of(const fs::path& output) {
  SearchOutcome outcome;
  outcome.trials = trials_of(output.string());
  for (const json& trial : outcome.trials) {
    const std::string artifact = trial.at("artifact");
    outcome.models.push_back(artifact.empty() ? "" : read_file(output / artifact));
  }
  if (fs::exists(output / "best" / "model.keras")) outcome.best_model = read_file(output / "best" / "model.keras");
  outcome.report = read_file(output / "report.html");
  return outcome;
}

void expect_same(const SearchOutcome& a, const SearchOutcome& b) {
  EXPECT_EQ(a.trials, b.trials);
  EXPECT_TRUE(a.best_model == b.best_model) << "best/model.keras differs";
  ASSERT_EQ(a.models.size(), b.models.size());
  for (size_t i = 0; i < a.models.size(); ++i) EXPECT_TRUE(a.models[i] == b.models[i]) << "model of trial " << i;
  EXPECT_TRUE(a.report == b.report) << "report.html differs";
}

search::Trial wait_for_mid_trial(const fs::path& output, int completed, ChildProcess& search) {
  while (search.is_running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (!fs::exists(output / "study.db")) continue;
    try {
      const search::Storage storage = search::Storage::open((output / "study.db").string());
      while (search.is_running()) {
        for (const search::Trial& trial : storage.trials()) {
          if (trial.number >= completed && is_mid_trial(storage, trial)) return trial;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    } catch (const Error&) {
      // The launcher is still making its tables.
    }
  }
  return {};
}

pid_t pid_of(std::string_view worker) {
  const std::string_view host_and_pid = worker.substr(0, worker.rfind('/'));
  return static_cast<pid_t>(std::stol(std::string(host_and_pid.substr(host_and_pid.rfind('/') + 1))));
}

pid_t worker_pid(const search::Trial& trial) { return pid_of(trial.worker); }

std::vector<std::string> half_written(const fs::path& folder) {
  std::vector<std::string> found;
  if (!fs::exists(folder)) return found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".part") found.push_back(entry.path().string());
  }
  return found;
}

}  // namespace nibble::testing
