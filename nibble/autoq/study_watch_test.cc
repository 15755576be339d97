// Which network is kept as the best one, wherever the workers wrote theirs.
#include "nibble/autoq/study_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nibble/core/atomic_file.h"
#include "nibble/search/random_sampler.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace {

namespace fs = std::filesystem;

const search::SearchSpace kSpace = {{"bits", {"1", "2", "3", "4", "5", "6", "7", "8"}}};

struct Notices : SearchObserver {
  void on_notice(const std::string& text) override { texts.push_back(text); }
  std::vector<std::string> texts;
};

// A study whose trials leave a file that holds their number, here or elsewhere.
class StudyWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = nibble::testing::scratch_dir(::testing::UnitTest::GetInstance()->current_test_info()->name());
    storage_.emplace(search::Storage::create((dir_ / "study.db").string(), {.name = "s", .max_trials = 9}));
  }

  void complete_trial(double score, bool is_file_here) {
    const auto claim = storage_->claim("w", kSpace, search::RandomSampler(1));
    ASSERT_TRUE(claim.has_value());
    const std::string artifact = "trials/" + std::to_string(claim->number) + "/model.keras";
    if (is_file_here) {
      fs::create_directories((dir_ / artifact).parent_path());
      write_file(dir_ / artifact, std::to_string(claim->number));
    }
    ASSERT_TRUE(storage_->complete(*claim, score, {}, artifact));
  }

  fs::path best_file() const { return dir_ / "best" / "model.keras"; }
  // "" if there is none
  std::string kept() const { return fs::exists(best_file()) ? read_file(best_file()) : ""; }

  fs::path dir_;
  std::optional<search::Storage> storage_;
  Notices notices_;
};

// However many finish between two looks: what a trial is told does not depend on when somebody looked.
TEST_F(StudyWatchTest, TellsEachTrialTheBestUntilThen) {
  struct Bests : SearchObserver {
    void on_trial_finish(const search::Trial& trial, const search::Trial* best) override {
      told.emplace_back(trial.number, best->number);
    }
    std::vector<std::pair<int, int>> told;
  };
  const std::vector<double> scores = {0.5, 0.4, 0.7, 0.6, 0.9};
  for (const size_t together : {size_t{1}, size_t{2}, scores.size()}) {
    SetUp();  // a new study
    Bests bests;
    StudyWatch watch(*storage_, dir_, &bests);
    for (size_t i = 0; i < scores.size(); ++i) {
      complete_trial(scores[i], false);
      if ((i + 1) % together == 0 || i + 1 == scores.size()) watch.poll();
    }
    EXPECT_EQ(bests.told, (std::vector<std::pair<int, int>>{{0, 0}, {1, 0}, {2, 2}, {3, 2}, {4, 4}})) << together;
  }
}

TEST_F(StudyWatchTest, KeepsTheBestTrialsNetwork) {
  StudyWatch watch(*storage_, dir_, &notices_);
  struct Row {
    double score;
    std::string kept;
  };
  for (const Row& row : {Row{0.5, "0"}, Row{0.4, "0"}, Row{0.7, "2"}, Row{0.7, "2"}}) {
    complete_trial(row.score, true);
    EXPECT_EQ(watch.poll(), 1);
    EXPECT_EQ(kept(), row.kept) << row.score;
    EXPECT_EQ(watch.best_model(), best_file());
  }
  EXPECT_TRUE(notices_.texts.empty());
}

TEST_F(StudyWatchTest, AnEarlierNetworkIsNotTakenForOneOnAnotherMachine) {
  StudyWatch watch(*storage_, dir_, &notices_);
  complete_trial(0.5, true);
  watch.poll();
  complete_trial(0.7, false);
  watch.poll();
  EXPECT_EQ(kept(), "");
  EXPECT_TRUE(watch.best_model().empty());
  ASSERT_EQ(notices_.texts.size(), 1u);
  EXPECT_NE(notices_.texts[0].find("trial 1"), std::string::npos) << notices_.texts[0];
}

// Somebody cleared trials/ to save room: the copy is all that is left of the network.
TEST_F(StudyWatchTest, TheOnlyCopyLeftStays) {
  complete_trial(0.5, true);
  StudyWatch(*storage_, dir_, nullptr).poll();
  fs::remove_all(dir_ / "trials");
  StudyWatch resumed(*storage_, dir_, &notices_);
  resumed.poll();
  EXPECT_EQ(kept(), "0");
  EXPECT_TRUE(resumed.best_model().empty());
  EXPECT_EQ(notices_.texts.size(), 1u);
}

TEST_F(StudyWatchTest, WithoutAnyNetworkThereIsNone) {
  StudyWatch watch(*storage_, dir_, nullptr);
  EXPECT_EQ(watch.poll(), 0);
  EXPECT_TRUE(watch.best_model().empty());
  EXPECT_EQ(kept(), "");
}

}  // namespace
}  // namespace nibble::autoq
