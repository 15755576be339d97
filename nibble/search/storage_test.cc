// What a study promises, in every kind of database.
#include "nibble/search/storage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nibble/core/error.h"
#include "nibble/search/database.h"
#include "nibble/search/storage_workplace.h"

namespace nibble::search {
namespace {

using namespace testing;
class StorageContract : public AtEveryPlace {};

TEST_P(StorageContract, KeepsTheStudy) {
  StudyAtRest study(GetParam(), "keeps_study");
  EXPECT_EQ(study.storage->info(), kInfo);
  EXPECT_EQ(Storage::open(study.url).info(), kInfo);
}

TEST_P(StorageContract, NamesEachVersionThatWentOnWithItOnce) {
  StudyAtRest study(GetParam(), "versions");
  for (const char* version :
       {"nibble 0.1.0", "nibble 0.1.0, commit a", "nibble 0.1.0, commit b", "nibble 0.1.0, commit a"}) {
    study.storage->add_code_version(version);
  }
  const StudyInfo info = Storage::open(study.url).info();
  EXPECT_EQ(info.code_version, "nibble 0.1.0; then nibble 0.1.0, commit a; then nibble 0.1.0, commit b");
  struct Row {
    const char* version;
    bool named;
  };
  for (const Row& row : {Row{"nibble 0.1.0", true}, Row{"nibble 0.1.0, commit b", true}, Row{"nibble 0.1", false},
                         Row{"nibble 0.1.0, commit", false}, Row{"", false}}) {
    EXPECT_EQ(names_version(info, row.version), row.named) << row.version;
  }
}

TEST_P(StorageContract, TrialsAreProposedInOrderAndCompletedOnce) {
  StudyAtRest study(GetParam(), "lifecycle");
  std::vector<Trial> expected;
  for (int number = 0; number < 4; ++number) {
    const auto claim = study.claim();
    ASSERT_TRUE(claim.has_value());
    EXPECT_EQ(claim->number, number);
    EXPECT_EQ(claim->attempt, 1);
    EXPECT_EQ(claim->values, *kSampler.propose(kSpace, expected));
    expected.push_back({.number = number, .values = claim->values});
    EXPECT_FALSE(study.storage->is_over());
    study.now += 10;
    EXPECT_TRUE(study.storage->complete(*claim, 0.1 * number, {{"accuracy", 0.99}}, "trials/x/model.keras"));
    EXPECT_FALSE(study.storage->complete(*claim, 7.0, {}, ""));
    EXPECT_FALSE(study.storage->fail(*claim, "too late"));
  }
  EXPECT_FALSE(study.claim().has_value());
  EXPECT_TRUE(study.storage->is_over());
  const auto trials = study.storage->trials();
  ASSERT_EQ(trials.size(), 4u);
  for (const Trial& trial : trials) {
    EXPECT_EQ(trial.state, TrialState::kCompleted);
    EXPECT_EQ(trial.score, 0.1 * trial.number);
    EXPECT_EQ(trial.metrics, (Metrics{{"accuracy", 0.99}}));
    EXPECT_EQ(trial.artifact, "trials/x/model.keras");
    EXPECT_EQ(trial.finished_ms - trial.started_ms, 10);
  }
  EXPECT_EQ(best_trial(trials)->number, 3);
}

TEST_P(StorageContract, DoublesComeBackToTheLastBit) {
  StudyAtRest study(GetParam(), "doubles");
  const double values[] = {0.1 + 0.2, 1.0 / 3.0, std::nextafter(0.9876, 1.0), 5e-324, -1.7976931348623157e308};
  int number = 0;
  for (const double value : {values[0], values[1], values[2], values[3]}) {
    const auto claim = study.claim();
    ASSERT_TRUE(study.storage->report(*claim, {1, {{"loss", value}}}));
    ASSERT_TRUE(study.storage->complete(*claim, value, {{"loss", values[4] / 3}, {"x", value}}, ""));
    const Trial trial = study.storage->trials()[static_cast<size_t>(number)];
    EXPECT_EQ(*trial.score, value);
    EXPECT_EQ(trial.metrics.at("x"), value);
    EXPECT_EQ(trial.metrics.at("loss"), values[4] / 3);
    EXPECT_EQ(study.storage->steps(number).at(0).metrics.at("loss"), value);
    ++number;
  }
}

TEST_P(StorageContract, MetricsThatAreNoNumbersAreLeftOut) {
  StudyAtRest study(GetParam(), "not_finite");
  const double infinity = std::numeric_limits<double>::infinity();
  const auto claim = study.claim();
  EXPECT_TRUE(study.storage->report(*claim, {1, {{"loss", 2.0}, {"val_loss", std::nan("")}}}));
  EXPECT_TRUE(study.storage->complete(*claim, 1.0, {{"accuracy", 0.5}, {"a", infinity}, {"b", -infinity}}, ""));
  EXPECT_EQ(study.storage->steps(0).at(0).metrics, (Metrics{{"loss", 2.0}}));
  EXPECT_EQ(study.storage->trials().at(0).metrics, (Metrics{{"accuracy", 0.5}}));
}

TEST_P(StorageContract, NullsThatEarlierVersionsWroteAreSkipped) {
  StudyAtRest study(GetParam(), "nulls");
  const auto claim = study.claim();
  study.storage->report(*claim, {1, {{"loss", 2.0}}});
  {
    Database database(study.url, false, 1);
    database.write("write null", [](soci::session& sql) {
      sql << R"(UPDATE trial_step SET metrics = '{"loss":2.0,"val_loss":null}')";
      sql << R"(UPDATE trial SET metrics = '{"accuracy":0.5,"x":null}')";
      return 0;
    });
  }
  EXPECT_EQ(study.storage->steps(0).at(0).metrics, (Metrics{{"loss", 2.0}}));
  EXPECT_EQ(study.storage->trials().at(0).metrics, (Metrics{{"accuracy", 0.5}}));
}

TEST_P(StorageContract, AnExpiredLeaseIsTakenOverWithItsSteps) {
  StudyAtRest study(GetParam(), "lease");
  const auto first = study.claim("first");
  ASSERT_TRUE(study.storage->report(*first, {1, {{"score", 0.25}}}));
  study.now += 999;
  EXPECT_TRUE(study.storage->renew(*first));
  study.now += 1000;
  EXPECT_EQ(study.claim("other")->number, 1);  // still held: the lease ends after 1000 ms
  study.now += 1;
  const auto second = study.claim("second");
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->number, 0);
  EXPECT_EQ(second->attempt, 2);
  EXPECT_EQ(second->values, first->values);
  ASSERT_EQ(second->steps.size(), 1u);
  EXPECT_EQ(second->steps[0].metrics, (Metrics{{"score", 0.25}}));
  // The first comes back to life: all that it says is refused.
  EXPECT_FALSE(study.storage->renew(*first));
  EXPECT_FALSE(study.storage->report(*first, {2, {}}));
  EXPECT_FALSE(study.storage->complete(*first, 9.0, {}, ""));
  EXPECT_FALSE(study.storage->release(*first));
  EXPECT_TRUE(study.storage->report(*second, {1, {{"score", 0.5}}}));
  EXPECT_EQ(study.storage->steps(0).size(), 1u);
  EXPECT_EQ(study.storage->steps(0)[0].metrics, (Metrics{{"score", 0.5}}));
  EXPECT_TRUE(study.storage->complete(*second, 1.0, {}, ""));
  EXPECT_EQ(study.storage->trials()[0].score, 1.0);
}

TEST_P(StorageContract, AReleasedTrialIsGoneOnWithFirst) {
  StudyAtRest study(GetParam(), "release");
  const auto first = study.claim();
  const auto second = study.claim();
  EXPECT_TRUE(study.storage->release(*first));
  EXPECT_EQ(study.storage->trials()[0].state, TrialState::kWaiting);
  const auto again = study.claim();
  EXPECT_EQ(again->number, 0);
  EXPECT_EQ(again->attempt, 2);
  EXPECT_EQ(study.claim()->number, 2);
}

TEST_P(StorageContract, AFailedTrialKeepsItsReasonAndIsNotTriedAgain) {
  StudyAtRest study(GetParam(), "failed");
  const auto claim = study.claim();
  EXPECT_TRUE(study.storage->fail(*claim, "the loss became NaN in epoch 2"));
  EXPECT_EQ(study.claim()->number, 1);
  const Trial trial = study.storage->trials()[0];
  EXPECT_EQ(trial.state, TrialState::kFailed);
  EXPECT_EQ(trial.reason, "the loss became NaN in epoch 2");
  EXPECT_FALSE(trial.score.has_value());
}

TEST_P(StorageContract, ATrialThatKillsItsWorkersFails) {
  StudyAtRest study(GetParam(), "deaths");
  for (int death = 1; death <= 3; ++death) {
    EXPECT_EQ(study.claim()->number, 0) << death;
    study.now += 1001;
  }
  EXPECT_EQ(study.claim()->number, 1);
  const Trial trial = study.storage->trials()[0];
  EXPECT_EQ(trial.state, TrialState::kFailed);
  EXPECT_NE(trial.reason.find("died or hung 3 times"), std::string::npos) << trial.reason;
}

// Each row: a worker's life; does the trial survive all of them (three deaths in a row end it)?
TEST_P(StorageContract, DeathsCountOnlyWhereTheTrialDoesNotGetOn) {
  struct Row {
    const char* name;
    std::vector<int> steps;  // what each worker reports before it dies; 0: nothing
    bool survives;
  };
  for (const Row& row :
       {Row{"no_step", {0, 0, 0}, false}, Row{"a_step_each", {1, 2, 3, 4}, true}, Row{"one_step", {0, 0, 1, 0}, true},
        Row{"the_same_step", {1, 1, 1}, false}, Row{"two_after_a_step", {1, 0, 0}, false}}) {
    StudyAtRest study(GetParam(), std::string("deaths_") + row.name);
    for (const int step : row.steps) {
      const auto claim = study.claim();
      ASSERT_EQ(claim->number, 0) << row.name;
      if (step > 0) study.storage->report(*claim, {step, {}});
      study.now += 1001;
    }
    EXPECT_EQ(study.claim()->number, row.survives ? 0 : 1) << row.name;
    EXPECT_EQ(study.storage->trials()[0].state, row.survives ? TrialState::kRunning : TrialState::kFailed) << row.name;
  }
}

TEST_P(StorageContract, AnAbandonedTrialCountsAsADeath) {
  StudyAtRest study(GetParam(), "abandoned");
  for (int death = 1; death <= 3; ++death) {
    const auto claim = study.claim();
    ASSERT_EQ(claim->number, 0);
    EXPECT_EQ(study.storage->abandon(*claim), death == 3);
    EXPECT_EQ(study.storage->trials()[0].state, death == 3 ? TrialState::kFailed : TrialState::kWaiting);
    EXPECT_FALSE(study.storage->abandon(*claim)) << "no longer the current attempt";
  }
}

TEST_P(StorageContract, TrialsOfDeadWorkersAreFreedAtOnce) {
  StudyAtRest study(GetParam(), "dead");
  study.claim("dead");
  study.claim("alive");
  study.claim("elsewhere");
  const auto is_alive = [](std::string_view worker) -> std::optional<bool> {
    if (worker == "elsewhere") return std::nullopt;
    return worker == "alive";
  };
  EXPECT_EQ(study.storage->release_dead(is_alive), 1);
  EXPECT_EQ(study.storage->release_dead(is_alive), 0);
  EXPECT_EQ(study.claim("next")->number, 0);
}

TEST_P(StorageContract, AnExhaustedSpaceEndsTheSearch) {
  const SearchSpace tiny = {{"a", {"0", "1"}}};
  StudyInfo info = kInfo;
  info.max_trials = 50;
  StudyAtRest study(GetParam(), "exhausted", info);
  int trials = 0;
  while (const auto claim = study.storage->claim("w", tiny, kSampler)) {
    ++trials;
    EXPECT_TRUE(study.storage->complete(*claim, 0.0, {}, ""));
  }
  EXPECT_EQ(trials, 2);
  EXPECT_TRUE(study.storage->is_over());
  // Whoever asks for more trials may have brought a sampler that finds more.
  study.storage->set_max_trials(51);
  EXPECT_FALSE(study.storage->is_over());
  EXPECT_EQ(study.claim()->number, 2);
}

// A clock that is set back by a day does not make a dead worker's lease a day longer; one that differs a little, as
// those of two machines do, costs nobody a trial.
TEST_P(StorageContract, AClockMaySetBack) {
  StudyAtRest study(GetParam(), "clock");
  ASSERT_EQ(study.claim("died")->number, 0);
  study.now -= 5'000;
  EXPECT_EQ(study.claim("next")->number, 1);
  EXPECT_EQ(study.storage->held_trials(), 2);
  study.now -= 86'400'000;
  EXPECT_EQ(study.storage->held_trials(), 0);
  EXPECT_EQ(study.claim("next")->number, 0);
}

TEST_P(StorageContract, MoreTrialsCanBeAskedForLater) {
  StudyInfo info = kInfo;
  info.max_trials = 1;
  StudyAtRest study(GetParam(), "more", info);
  study.storage->complete(*study.claim(), 0.0, {}, "");
  EXPECT_TRUE(study.storage->is_over());
  study.storage->set_max_trials(2);
  EXPECT_FALSE(study.storage->is_over());
  EXPECT_EQ(study.claim()->number, 1);
  EXPECT_THROW(study.storage->set_max_trials(0), InvalidArgument);
}

TEST_P(StorageContract, TheRevisionGrowsWithEveryChangeOnly) {
  StudyAtRest study(GetParam(), "revision");
  const int64_t before = study.storage->revision();
  study.storage->trials();
  EXPECT_EQ(study.storage->revision(), before);
  const auto claim = study.claim();
  EXPECT_GT(study.storage->revision(), before);
}

TEST_P(StorageContract, ANewerSchemaIsRefused) {
  StudyAtRest study(GetParam(), "newer");
  {
    Database database(study.url, false, 1);
    database.write("age the study", [](soci::session& sql) {
      sql << "UPDATE study SET schema_version = 99";
      return 0;
    });
  }
  expect_error<Unsupported>([&] { Storage::open(study.url); }, {"newer nibble", "schema 99", "Update"});
}

// As nibble made them before a study knew its inputs.
TEST_P(StorageContract, AStudyOfTheFirstSchemaIsReadAndGoneOnWith) {
  StudyAtRest study(GetParam(), "first_schema");
  {
    Database database(study.url, false, 1);
    database.write("make the study older", [](soci::session& sql) {
      sql << "ALTER TABLE study DROP COLUMN inputs";
      sql << "UPDATE study SET schema_version = 1";
      return 0;
    });
  }
  Storage older = Storage::open(study.url, study.options());
  StudyInfo expected = kInfo;
  expected.inputs.clear();
  EXPECT_EQ(older.info(), expected);
  const auto claim = older.claim("w", kSpace, kSampler);
  ASSERT_TRUE(claim.has_value());
  EXPECT_TRUE(older.complete(*claim, 0.5, {}, ""));
  older.add_code_version("nibble 0.2.0");
  EXPECT_EQ(Storage::open(study.url).info().code_version, "nibble 0.1.0; then nibble 0.2.0");
}

TEST_P(StorageContract, AStudyIsMadeOnce) {
  StudyAtRest study(GetParam(), "once");
  expect_error<InvalidArgument>([&] { Storage::create(study.url, kInfo); }, {"already", "--resume"});
  EXPECT_EQ(Storage::open(study.url).info(), kInfo);
}

TEST_P(StorageContract, WhatHoldsNoStudyIsNoStudy) {
  const std::string url = new_study_url(GetParam(), "absent");
  EXPECT_FALSE(Storage::holds_study(url));
  expect_error<IoError>([&] { Storage::open(url); }, {"no study", "absent"});
  EXPECT_FALSE(Storage::holds_study(url)) << "looking has made one";
  Storage::create(url, kInfo);
  EXPECT_TRUE(Storage::holds_study(url));
}

TEST_P(StorageContract, ARemovedStudyIsGoneAndCanBeMadeAgain) {
  StudyAtRest study(GetParam(), "removed");
  study.claim();
  EXPECT_EQ(study.storage->held_trials(), 1);
  study.now += 1001;
  EXPECT_EQ(study.storage->held_trials(), 0);
  study.storage.reset();
  Storage::remove(study.url);
  EXPECT_FALSE(Storage::holds_study(study.url));
  expect_error<IoError>([&] { Storage::remove(study.url); }, {"no study"});
  EXPECT_TRUE(Storage::create(study.url, kInfo).trials().empty());
}

INSTANTIATE_TEST_SUITE_P(Databases, StorageContract, ::testing::Values(Place::kSqlite, Place::kPostgresql), place_name);

}  // namespace
}  // namespace nibble::search
