// scripts/local_workers.sh with a program of a few lines in nibble's place: what ends, is killed or fails, and signals
// at any moment. Likewise the task of scripts/slurm_array.sh.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "child_process.h"
#include "nibble/core/atomic_file.h"
#include "support/busy_machine.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;

class LocalWorkers : public ::testing::Test {
 protected:
  void SetUp() override { dir_ = scratch_dir(::testing::UnitTest::GetInstance()->current_test_info()->name()); }

  // The script with two slots for workers.
  //   worker  what each does, in the shell's language; each start leaves a line in starts()
  ChildProcess start(const std::string& worker) const {
    return ChildProcess("/bin/bash", {NIBBLE_SOURCE_DIR "/scripts/local_workers.sh", "study.db", "-n", "2"},
                        {.environment = {"NIBBLE=" + program_of(worker)}});
  }

  std::string program_of(const std::string& worker) const {
    const fs::path program = dir_ / "worker.sh";
    write_file(program, "#!/bin/bash\necho >> '" + starts_file().string() + "'\n" + worker + "\n");
    fs::permissions(program, fs::perms::owner_all);
    return program.string();
  }

  int starts() const {
    if (!fs::exists(starts_file())) return 0;
    const std::string lines = read_file(starts_file());
    return static_cast<int>(lines.size());
  }

  fs::path starts_file() const { return dir_ / "starts"; }

  fs::path dir_;
};

TEST_F(LocalWorkers, EndWithWhatTheirWorkersSaid) {
  struct Row {
    std::string worker;
    int code, starts;
  };
  const std::string flag = (dir_ / "flag").string();
  for (const Row& row : {Row{"exit 0", 0, 2}, Row{"exit 1", 1, 4}, Row{"exit 130", 1, 4},
                         // one of the two is killed once: mkdir succeeds for the first alone
                         Row{"mkdir '" + flag + "' 2>/dev/null && kill -9 $$; exit 0", 0, 3}}) {
    fs::remove(starts_file());
    ChildProcess script = start(row.worker);
    EXPECT_EQ(script.wait(), row.code) << row.worker << "\n" << script.err();
    EXPECT_EQ(starts(), row.starts) << row.worker;
  }
}

// One ends while the script starts the next, which lives on: its slot is not to wait for that one.
TEST_F(LocalWorkers, OneThatEndsAtOnceIsStartedAgainBesideTheOther) {
  const std::string flag = (dir_ / "flag").string();
  ChildProcess script = start("mkdir '" + flag + "' 2>/dev/null && kill -9 $$; sleep 3600");
  EXPECT_TRUE(eventually([&] { return starts() >= 3 || !script.is_running(); }));
  EXPECT_EQ(starts(), 3);
  script.signal(SIGTERM);
  EXPECT_EQ(script.wait(), 130) << script.err();
}

// Between the starts of the workers, while the script waits, while they end: it must neither hang nor leave one.
TEST_F(LocalWorkers, EndAtASignalAtAnyMoment) {
  for (int moment = 0; moment < 40; ++moment) {
    ChildProcess script = start("trap 'exit 130' TERM; while :; do sleep 0.02; done");
    while (starts() == 0 && script.is_running()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::this_thread::sleep_for(std::chrono::microseconds(500 * moment));
    script.signal(moment % 2 == 0 ? SIGTERM : SIGINT);
    ASSERT_EQ(script.wait(), 130) << "moment " << moment << "\n" << script.err();
    fs::remove(starts_file());
  }
}

// Slurm signals the process that began as the script, and no other: the worker must hear of it and be waited for.
TEST_F(LocalWorkers, ATaskOfTheArrayPutsItsTrialBackWhenSlurmSaysSo) {
  const fs::path listens = dir_ / "listens", back = dir_ / "trial_is_back";
  const std::string worker = "trap 'sleep 0.2; echo > \"" + back.string() + "\"; exit 130' TERM; echo > '" +
                             listens.string() + "'; while :; do sleep 0.02; done";
  ChildProcess task("/bin/bash", {NIBBLE_SOURCE_DIR "/scripts/slurm_array.sh"},
                    {.environment = {"NIBBLE=" + program_of(worker), "NIBBLE_STUDY=study.db", "NIBBLE_OUTPUT=out"}});
  while (!fs::exists(listens) && task.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  task.signal(SIGTERM);
  EXPECT_EQ(task.wait(), 130) << task.err();
  EXPECT_TRUE(fs::exists(back));
  const std::string script = read_file(NIBBLE_SOURCE_DIR "/scripts/slurm_array.sh");
  EXPECT_NE(script.find("\n#SBATCH --signal=B:TERM@"), std::string::npos) << "steps alone would be told";
}

}  // namespace
}  // namespace nibble::testing
