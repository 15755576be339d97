// tests/search_workplace.h
// Searches with the real program: a small mnist, a run_config, and what must come out whatever happens on the way.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "child_process.h"
#include "nibble/search/study.h"

namespace nibble::testing {

// The nibble that was built, or $NIBBLE_BINARY (an installed one, say).
std::string nibble_program();

// A working directory whose data/mnist holds 600 + 200 synthetic digits.
class SearchWorkplace {
 public:
  static SearchWorkplace& get();

  std::filesystem::path dir() const { return dir_; }

  // A run_config of 3 trials of the built-in mnist network; `changes` is merged into it. Returns its path.
  std::filesystem::path run_config(const nlohmann::json& changes = {}) const;

  // Starts the program: offline, with this data, one thread.
  //   arguments  relative paths are not changed: use (dir() / "out").string()
  ChildProcess start(const std::vector<std::string>& arguments, ProcessOptions options = {}) const;

 private:
  SearchWorkplace();
  std::filesystem::path dir_;
};

// What a run of the program gave.
struct ProgramRun {
  int code = 0;
  std::string out, err;
};
ProgramRun run_program(const std::vector<std::string>& arguments);

// The trials as they must come out whoever computed them: without the number of attempts.
//   study  a directory or an address
nlohmann::json trials_of(const std::string& study);

// All that must not depend on the number of workers, nor on what was killed on the way.
struct SearchOutcome {
  nlohmann::json trials;            // trials_of()
  std::string best_model;           // bytes
  std::vector<std::string> models;  // bytes, of each trial
  std::string report;               // of the page
  bool operator==(const SearchOutcome&) const = default;
};
SearchOutcome outcome_of(const std::filesystem::path& output);
// Says what differs, not the bytes.
void expect_same(const SearchOutcome& a, const SearchOutcome& b);

// Waits until the study's first `completed` trials are over and the next one runs and has reported an epoch.
//   returns  that trial; number -1 if the search ended before
search::Trial wait_for_mid_trial(const std::filesystem::path& output, int completed, ChildProcess& search);

// The process id in the name of a worker, and in that of a trial's.
pid_t pid_of(std::string_view worker);
pid_t worker_pid(const search::Trial& trial);

// Temporary files of unfinished writing, anywhere below the folder.
std::vector<std::string> half_written(const std::filesystem::path& folder);

}  // namespace nibble::testing
