// Searches whose study is on a PostgreSQL server, with the real program: several launchers and workers, versions,
// scripts.
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/search/storage.h"
#include "search_workplace.h"
#include "support/busy_machine.h"
#include "support/golden.h"
#include "support/postgresql_server.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What one quiet search in a file gives.
struct Quiet {
  fs::path run_config, directory;
  json trials;
};
const Quiet& quiet_search() {
  static const Quiet quiet = [] {
    SearchWorkplace& workplace = SearchWorkplace::get();
    Quiet result{.run_config = workplace.run_config(), .directory = workplace.dir() / "quiet", .trials = {}};
    const ProgramRun search =
        run_program({"autoq", result.run_config.string(), "--output", result.directory.string(), "--workers", "1"});
    EXPECT_EQ(search.code, 0) << search.err;
    result.trials = trials_of(result.directory.string());
    return result;
  }();
  return quiet;
}

class StudyOnServer : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = PostgresqlServer::get();
    if (server_ == nullptr) GTEST_SKIP() << PostgresqlServer::kAbsent;
  }
  struct Started {
    std::string url;
    fs::path directory;
  };
  // Makes the study and stops before a trial is done, or soon after.
  Started started_study(const std::string& name) {
    const std::string url = server_->url(name);
    fs::path directory;
    EXPECT_TRUE(is_caught([&](int number) {
      directory = SearchWorkplace::get().dir() / fmt::format("{}_{}", name, number);
      ChildProcess search = SearchWorkplace::get().start({"autoq", quiet_search().run_config.string(), "--study", url,
                                                          "--output", directory.string(), "--workers", "1"});
      EXPECT_TRUE(eventually([&] { return !search.is_running() || search::Storage::holds_study(url); }));
      search.signal(SIGTERM);
      if (search.wait() == 0) {
        EXPECT_EQ(trials_of(url), quiet_search().trials);
        search::Storage::remove(url);
        return false;
      }
      EXPECT_EQ(search.wait(), 130) << search.err();
      return true;
    })) << "each search was over before it could be stopped";
    return {url, directory};
  }
  PostgresqlServer* server_ = nullptr;
};

TEST_F(StudyOnServer, ASearchGivesWhatItGivesInAFile) {
  const std::string url = server_->url("search");
  const fs::path directory = SearchWorkplace::get().dir() / "search";
  const ProgramRun search = run_program({"autoq", quiet_search().run_config.string(), "--study", url, "--output",
                                         directory.string(), "--workers", "2", "--json"});
  ASSERT_EQ(search.code, 0) << search.err;
  EXPECT_EQ(json::parse(search.out).at("trials"), 3);
  EXPECT_EQ(trials_of(url), quiet_search().trials);
  EXPECT_TRUE(read_file(directory / "best" / "model.keras") ==
              read_file(quiet_search().directory / "best" / "model.keras"));
  EXPECT_TRUE(fs::exists(directory / "report.html"));
  EXPECT_FALSE(fs::exists(directory / "study.db"));

  const ProgramRun again = run_program(
      {"autoq", quiet_search().run_config.string(), "--study", url, "--output", (directory / "b").string()});
  EXPECT_EQ(again.code, 1);
  EXPECT_NE(again.err.find("already is a study"), std::string::npos) << again.err;

  const ProgramRun list = run_program({"study", "list", server_->url("x"), "--json"});
  bool is_listed = false;
  const json listed = json::parse(list.out);
  for (const json& study : listed.at("studies")) {
    is_listed |= study.at("file").get<std::string>().ends_with("study=search") && study.at("completed") == 3;
  }
  EXPECT_TRUE(is_listed) << list.out;
  EXPECT_NE(run_program({"study", "show", url}).out.find("3 of 3 trials completed"), std::string::npos);
  EXPECT_EQ(run_program({"study", "best", url}).code, 0);
  EXPECT_EQ(run_program({"study", "pareto", url}).code, 0);
  EXPECT_EQ(run_program({"report", url}).code, 2);
  EXPECT_EQ(
      run_program({"report", url, "--files", directory.string(), "--output", (directory / "r.html").string()}).code, 0);
  EXPECT_EQ(run_program({"study", "delete", url}).code, 2);
  EXPECT_EQ(run_program({"study", "delete", url, "--yes"}).code, 0);
  const ProgramRun gone = run_program({"study", "show", url});
  EXPECT_EQ(gone.code, 1);
  EXPECT_NE(gone.err.find("there is no study"), std::string::npos) << gone.err;
}

// The first trial of this worker that is running and has reported an epoch; -1 if there is none.
int trial_at_work(const search::Storage& storage, pid_t worker) {
  for (const search::Trial& trial : storage.trials()) {
    const bool is_begun = trial.state == search::TrialState::kRunning && !storage.steps(trial.number).empty();
    if (is_begun && worker_pid(trial) == worker) return trial.number;
  }
  return -1;
}

TEST_F(StudyOnServer, WorkersElsewhereHelpAndMayBeKilled) {
  EXPECT_TRUE(is_caught([this](int number) {
    const std::string url = started_study(fmt::format("elsewhere_{}", number)).url;
    const fs::path a = SearchWorkplace::get().dir() / fmt::format("host_a_{}", number);
    const fs::path b = SearchWorkplace::get().dir() / fmt::format("host_b_{}", number);
    // As if on two machines that share nothing but the server: a short lease, for one is killed.
    const auto worker = [&](const fs::path& output) {
      return std::vector<std::string>{"worker", "--study", url, "--output", output.string(), "--lease", "10"};
    };
    ChildProcess first = SearchWorkplace::get().start(worker(a));
    ChildProcess second = SearchWorkplace::get().start(worker(b));
    const search::Storage storage = search::Storage::open(url);
    int trial = -1;
    EXPECT_TRUE(eventually([&] { return !first.is_running() || (trial = trial_at_work(storage, first.pid())) >= 0; }));
    const int attempts = trial < 0 ? 0 : storage.trials()[static_cast<size_t>(trial)].attempts;
    first.signal(SIGKILL);
    EXPECT_EQ(second.wait(), 0) << second.err();
    EXPECT_TRUE(storage.is_over());
    EXPECT_EQ(trials_of(url), quiet_search().trials);
    return trial >= 0 && storage.trials()[static_cast<size_t>(trial)].attempts > attempts;
  })) << "each trial was over before its worker could be killed";
}

TEST_F(StudyOnServer, AWorkerOfAnotherVersionIsRefused) {
  const std::string url = server_->url("version");
  search::Storage::create(url, {.name = "old one",
                                .code_version = "nibble 0.0.1",
                                .run_config = read_file(quiet_search().run_config),
                                .max_trials = 3});
  const ProgramRun worker = run_program({"worker", "--study", url, "--output", SearchWorkplace::get().dir().string()});
  EXPECT_EQ(worker.code, 1);
  EXPECT_NE(worker.err.find("'old one' was made by nibble 0.0.1"), std::string::npos) << worker.err;
  EXPECT_NE(worker.err.find("--any-version"), std::string::npos) << worker.err;
  EXPECT_TRUE(search::Storage::open(url).trials().empty());
}

TEST_F(StudyOnServer, WhatIsMissingIsSaid) {
  const std::string url = started_study("missing").url;
  struct Row {
    std::vector<std::string> arguments;
    std::string words;
  };
  const std::string config = quiet_search().run_config.string(), out = (SearchWorkplace::get().dir() / "m").string();
  for (const Row& row :
       {Row{{"worker", "--study", url}, "--output must say where"},
        Row{{"worker", "--study", "postgresql://nobody@127.0.0.1:1/nets", "--output", out}, "refused"},
        Row{{"autoq", config, "--study", "file.db", "--output", out}, "--study 'file.db' is no postgresql://"},
        Row{{"autoq", "--resume", "--study", server_->url("none"), "--output", out}, "no study"}}) {
    const ProgramRun outcome = run_program(row.arguments);
    EXPECT_NE(outcome.code, 0) << row.words;
    EXPECT_NE(outcome.err.find(row.words), std::string::npos) << outcome.err;
  }
}

// Its blocks are the studies NAME-0, NAME-1, ...
TEST_F(StudyOnServer, ASearchByBlocksIsShownAsAWhole) {
  for (const char* name : {"whole-0", "whole-1", "part-1", "part-2024"}) {
    search::Storage::create(
        server_->url(name),
        {.name = name, .run_config = R"({"limit": {"^dense$": [4, 4, 4]}})", .seed = 1, .max_trials = 3});
  }
  const ProgramRun shown = run_program({"study", "show", server_->url("whole"), "--json"});
  ASSERT_EQ(shown.code, 0) << shown.err;
  const json result = json::parse(shown.out);
  EXPECT_TRUE(result.at("planned_blocks").is_null()) << shown.out;
  ASSERT_EQ(result.at("blocks").size(), 2u) << shown.out;
  EXPECT_EQ(result.at("blocks")[1].at("layers"), json::array({"^dense$"}));
  EXPECT_EQ(result.at("blocks")[1].at("max_trials"), 3);
  EXPECT_NE(run_program({"study", "show", server_->url("whole")}).out.find("2 begun"), std::string::npos);
  const json part = json::parse(run_program({"study", "show", server_->url("part"), "--json"}).out);
  ASSERT_EQ(part.at("blocks").size(), 1u) << "of 0 nothing is left, and a year is no block";
  EXPECT_EQ(part.at("blocks")[0].at("block"), 1);
  for (const char* word : {"best", "trials", "pareto", "delete"}) {
    const ProgramRun refused = run_program({"study", word, server_->url("whole")});
    EXPECT_NE(refused.code, 0) << word;
    EXPECT_NE(refused.err.find("is a search by blocks"), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("whole-1"), std::string::npos) << refused.err;
  }
  const ProgramRun none = run_program({"study", "show", server_->url("whol")});
  EXPECT_NE(none.code, 0);
  EXPECT_NE(none.err.find("no study"), std::string::npos) << none.err;
}

// The scripts in scripts/, without Slurm: a task of the array is a worker.
TEST_F(StudyOnServer, ScriptsFinishAStudy) {
  const std::string scripts = std::string(NIBBLE_SOURCE_DIR) + "/scripts/";
  std::string url, out;
  const auto environment_of_study = [&] {
    return ProcessOptions{.environment = {"NIBBLE=" + nibble_program(), "NIBBLE_STUDY=" + url, "NIBBLE_OUTPUT=" + out,
                                          "NIBBLE_DATA_DIR=" + (SearchWorkplace::get().dir() / "data").string(),
                                          "NIBBLE_OFFLINE=1"}};
  };
  EXPECT_TRUE(is_caught([&](int number) {
    const Started study = started_study(fmt::format("scripts_{}", number));
    url = study.url, out = study.directory.string();
    ChildProcess local("/bin/bash", {scripts + "local_workers.sh", url, "-n", "2", "-o", out}, environment_of_study());
    const search::Storage storage = search::Storage::open(url);
    EXPECT_TRUE(eventually([&] { return !local.is_running() || storage.held_trials() > 0; }));
    local.signal(SIGTERM);
    if (local.wait() == 0) return false;
    EXPECT_EQ(local.wait(), 130) << local.err();
    EXPECT_EQ(storage.held_trials(), 0) << "they are put back";
    return !storage.is_over();
  })) << "the workers were done before they could be stopped";
  const ProcessOptions environment = environment_of_study();
  ChildProcess task("/bin/bash", {scripts + "slurm_array.sh"}, environment);
  EXPECT_EQ(task.wait(), 0) << task.err();
  EXPECT_EQ(trials_of(url), quiet_search().trials);
  ChildProcess idle("/bin/bash", {scripts + "local_workers.sh", url, "-n", "2", "-o", out}, environment);
  EXPECT_EQ(idle.wait(), 0) << idle.err();
  ChildProcess wrong("/bin/bash", {scripts + "local_workers.sh", url, "-n", "none"}, environment);
  EXPECT_EQ(wrong.wait(), 2);
  ChildProcess failing("/bin/bash", {scripts + "local_workers.sh", server_->url("nowhere"), "-n", "1", "-o", out},
                       environment);
  EXPECT_EQ(failing.wait(), 1);
  EXPECT_NE(failing.err().find("no study"), std::string::npos) << failing.err();
}

}  // namespace
}  // namespace nibble::testing
