#include "nibble/search/storage.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/search/database.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/study_lock.h"
#include "nibble/search/worker_id.h"
#include "support/golden.h"

namespace nibble::search {
namespace {
namespace fs = std::filesystem;

const SearchSpace kSpace = {{"kernel", {"binary", "ternary", "quantized_bits(4,0,1)"}},
                            {"filters", {"0.5", "0.75", "1.0", "1.5", "2.0"}}};
const RandomSampler kSampler(42);
const StudyInfo kInfo = {.name = "mnist energy",
                         .code_version = "nibble 0.1.0",
                         .run_config = R"({"seed": 42, "text": "it's \"quoted\" : ü"})",
                         .space = to_json(kSpace),
                         .seed = 18446744073709551615u,
                         .max_trials = 4};

// A study whose clock stands until the test moves it.
struct Fixture {
  explicit Fixture(const std::string& name, StudyInfo info = kInfo) : url(testing::scratch_dir(name) / "study.db") {
    storage.emplace(Storage::create(url, info, options()));
  }
  StorageOptions options() {
    return {.busy_timeout_s = 5, .lease_ms = 1000, .clock = [this] { return now; }};
  }
  std::optional<Storage::Claim> claim(const std::string& worker = "w") {
    return storage->claim(worker, kSpace, kSampler);
  }
  std::string url;
  int64_t now = 1'000'000;
  std::optional<Storage> storage;
};

TEST(Storage, KeepsTheStudy) {
  Fixture study("keeps_study");
  EXPECT_EQ(study.storage->info(), kInfo);
  EXPECT_EQ(Storage::open(study.url).info(), kInfo);
  EXPECT_EQ(Storage::open(fmt::format("sqlite:{}", study.url)).info(), kInfo);
}

TEST(Storage, WorksOnAPathWithBlanks) {
  const fs::path directory = testing::scratch_dir("a path = with blanks");
  Storage::create(directory / "study.db", kInfo);
  EXPECT_TRUE(fs::exists(directory / "study.db"));
  EXPECT_EQ(Storage::open(directory / "study.db").info(), kInfo);
}

TEST(Storage, TrialsAreProposedInOrderAndCompletedOnce) {
  Fixture study("lifecycle");
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

TEST(Storage, DoublesComeBackToTheLastBit) {
  Fixture study("doubles");
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

TEST(Storage, MetricsThatAreNoNumbersAreLeftOut) {
  Fixture study("not_finite");
  const double infinity = std::numeric_limits<double>::infinity();
  const auto claim = study.claim();
  EXPECT_TRUE(study.storage->report(*claim, {1, {{"loss", 2.0}, {"val_loss", std::nan("")}}}));
  EXPECT_TRUE(study.storage->complete(*claim, 1.0, {{"accuracy", 0.5}, {"a", infinity}, {"b", -infinity}}, ""));
  EXPECT_EQ(study.storage->steps(0).at(0).metrics, (Metrics{{"loss", 2.0}}));
  EXPECT_EQ(study.storage->trials().at(0).metrics, (Metrics{{"accuracy", 0.5}}));
}

TEST(Storage, NullsThatEarlierVersionsWroteAreSkipped) {
  Fixture study("nulls");
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

TEST(Storage, AnExpiredLeaseIsTakenOverWithItsSteps) {
  Fixture study("lease");
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

TEST(Storage, AReleasedTrialIsGoneOnWithFirst) {
  Fixture study("release");
  const auto first = study.claim();
  const auto second = study.claim();
  EXPECT_TRUE(study.storage->release(*first));
  EXPECT_EQ(study.storage->trials()[0].state, TrialState::kWaiting);
  const auto again = study.claim();
  EXPECT_EQ(again->number, 0);
  EXPECT_EQ(again->attempt, 2);
  EXPECT_EQ(study.claim()->number, 2);
}

TEST(Storage, AFailedTrialKeepsItsReasonAndIsNotTriedAgain) {
  Fixture study("failed");
  const auto claim = study.claim();
  EXPECT_TRUE(study.storage->fail(*claim, "the loss became NaN in epoch 2"));
  EXPECT_EQ(study.claim()->number, 1);
  const Trial trial = study.storage->trials()[0];
  EXPECT_EQ(trial.state, TrialState::kFailed);
  EXPECT_EQ(trial.reason, "the loss became NaN in epoch 2");
  EXPECT_FALSE(trial.score.has_value());
}

TEST(Storage, ATrialThatKillsItsWorkersFails) {
  Fixture study("deaths");
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
struct DeathCase {
  const char* name;
  std::vector<int> steps;  // what each worker reports before it dies; 0: nothing
  bool survives;
};
class Deaths : public ::testing::TestWithParam<DeathCase> {};
TEST_P(Deaths, CountOnlyWhereTheTrialDoesNotGetOn) {
  Fixture study(std::string("deaths_") + GetParam().name);
  for (const int step : GetParam().steps) {
    const auto claim = study.claim();
    ASSERT_EQ(claim->number, 0);
    if (step > 0) study.storage->report(*claim, {step, {}});
    study.now += 1001;
  }
  EXPECT_EQ(study.claim()->number, GetParam().survives ? 0 : 1);
  EXPECT_EQ(study.storage->trials()[0].state, GetParam().survives ? TrialState::kRunning : TrialState::kFailed);
}
INSTANTIATE_TEST_SUITE_P(Lives, Deaths,
                         ::testing::Values(DeathCase{"NoStep", {0, 0, 0}, false},
                                           DeathCase{"AStepEach", {1, 2, 3, 4}, true},
                                           DeathCase{"OneStep", {0, 0, 1, 0}, true},
                                           DeathCase{"TheSameStep", {1, 1, 1}, false},
                                           DeathCase{"TwoAfterAStep", {1, 0, 0}, false}),
                         [](const auto& info) { return info.param.name; });

TEST(Storage, AnAbandonedTrialCountsAsADeath) {
  Fixture study("abandoned");
  for (int death = 1; death <= 3; ++death) {
    const auto claim = study.claim();
    ASSERT_EQ(claim->number, 0);
    EXPECT_EQ(study.storage->abandon(*claim), death == 3);
    EXPECT_EQ(study.storage->trials()[0].state, death == 3 ? TrialState::kFailed : TrialState::kWaiting);
    EXPECT_FALSE(study.storage->abandon(*claim)) << "no longer the current attempt";
  }
}

TEST(Storage, TrialsOfDeadWorkersAreFreedAtOnce) {
  Fixture study("dead");
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

TEST(Storage, AnExhaustedSpaceEndsTheSearch) {
  const SearchSpace tiny = {{"a", {"0", "1"}}};
  StudyInfo info = kInfo;
  info.max_trials = 50;
  Fixture study("exhausted", info);
  int trials = 0;
  while (const auto claim = study.storage->claim("w", tiny, kSampler)) {
    ++trials;
    EXPECT_TRUE(study.storage->complete(*claim, 0.0, {}, ""));
  }
  EXPECT_EQ(trials, 2);
  EXPECT_TRUE(study.storage->is_over());
}

TEST(Storage, MoreTrialsCanBeAskedForLater) {
  StudyInfo info = kInfo;
  info.max_trials = 1;
  Fixture study("more", info);
  study.storage->complete(*study.claim(), 0.0, {}, "");
  EXPECT_TRUE(study.storage->is_over());
  study.storage->set_max_trials(2);
  EXPECT_FALSE(study.storage->is_over());
  EXPECT_EQ(study.claim()->number, 1);
  EXPECT_THROW(study.storage->set_max_trials(0), InvalidArgument);
}

TEST(Storage, TheRevisionGrowsWithEveryChangeOnly) {
  Fixture study("revision");
  const int64_t before = study.storage->revision();
  study.storage->trials();
  EXPECT_EQ(study.storage->revision(), before);
  const auto claim = study.claim();
  EXPECT_GT(study.storage->revision(), before);
}

// ---- refusals: a kind of error and what its sentence must name ----

template <class Kind, class Act>
void expect_error(Act&& act, const std::vector<std::string>& words) {
  try {
    act();
    ADD_FAILURE() << "no error";
  } catch (const Kind& error) {
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what() << " lacks " << word;
    }
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another kind of error: " << error.what();
  }
}

TEST(StorageErrors, SayFileAndReason) {
  const fs::path directory = testing::scratch_dir("errors");
  const std::string db = directory / "study.db";
  expect_error<IoError>([&] { Storage::open(db); }, {"no study", db});
  expect_error<IoError>([&] { Storage::open(directory); }, {"is a directory", "study.db"});
  expect_error<IoError>([&] { Storage::create(directory / "absent" / "study.db", kInfo); },
                        {"absent", "could not open"});
  expect_error<Unsupported>([] { Storage::open("postgresql://host/study"); }, {"PostgreSQL", "SQLite"});
  expect_error<InvalidArgument>([] { Storage::open(""); }, {"no path"});
  StudyInfo no_trials = kInfo;
  no_trials.max_trials = 0;
  expect_error<InvalidArgument>([&] { Storage::create(db, no_trials); }, {"max_trials is 0"});
  EXPECT_FALSE(fs::exists(db));
  Storage::create(db, kInfo);
  expect_error<InvalidArgument>([&] { Storage::create(db, kInfo); }, {"already", "--resume", db});
  EXPECT_EQ(Storage::open(db).info(), kInfo);
}

TEST(Storage, AFileWithoutTablesIsNoStudyYet) {
  const fs::path directory = testing::scratch_dir("killed_early");
  EXPECT_FALSE(Storage::holds_study(directory / "absent.db"));
  EXPECT_FALSE(fs::exists(directory / "absent.db"));
  write_file(directory / "empty.db", "");
  { Database opened(directory / "opened.db", true, 1); }
  for (const char* name : {"empty.db", "opened.db"}) {
    EXPECT_FALSE(Storage::holds_study(directory / name)) << name;
    Storage::create(directory / name, kInfo);
    EXPECT_TRUE(Storage::holds_study(directory / name)) << name;
    EXPECT_EQ(Storage::open(directory / name).info(), kInfo) << name;
  }
}

TEST(StorageErrors, FilesThatAreNoStudies) {
  const fs::path directory = testing::scratch_dir("foreign");
  write_file(directory / "empty.db", "");
  write_file(directory / "text.db", std::string(5000, 'x'));
  {
    Database other(directory / "other.db", true, 1);
    other.make("make a table", [](soci::session& sql) { sql << "CREATE TABLE study (id INTEGER)"; });
  }
  for (const char* name : {"empty.db", "text.db", "other.db"}) {
    expect_error<CorruptFile>([&] { Storage::open(directory / name); }, {name});
  }
}

TEST(StorageErrors, ANewerSchemaIsRefused) {
  Fixture study("newer");
  {
    Database database(study.url, false, 1);
    database.write("age the study", [](soci::session& sql) {
      sql << "UPDATE study SET schema_version = 99";
      return 0;
    });
  }
  expect_error<Unsupported>([&] { Storage::open(study.url); }, {"newer nibble", "schema 99", "Update"});
}

TEST(StorageErrors, AReadOnlyDirectoryIsRefused) {
  const fs::path directory = testing::scratch_dir("readonly");
  ASSERT_EQ(chmod(directory.c_str(), 0555), 0);
  // Root may write everywhere; nobody may not.
  const bool is_root = geteuid() == 0;
  if (is_root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  expect_error<IoError>([&] { Storage::create(directory / "study.db", kInfo); }, {"could not open", "study.db"});
  expect_error<IoError>([&] { StudyLock lock(directory); }, {"study.lock", "ermission"});
  if (is_root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  chmod(directory.c_str(), 0755);
}

// Everything a reader does, on bytes that anyone may have touched. Whatever comes out, it comes
// out as an error of nibble.
void read_everything(const fs::path& path) {
  try {
    Storage storage = Storage::open(path, {.busy_timeout_s = 1});
    storage.info();
    storage.is_over();
    storage.revision();
    for (const Trial& trial : storage.trials()) storage.steps(trial.number);
    if (const auto claim = storage.claim("w", kSpace, kSampler)) {
      storage.report(*claim, {1, {{"score", 1.0}}});
      storage.complete(*claim, 1.0, {}, "");
    }
  } catch (const Error&) {
  }
}

std::string bytes_of_a_study() {
  Fixture study("whole");
  for (int i = 0; i < 3; ++i) {
    const auto claim = study.claim();
    study.storage->report(*claim, {1, {{"score", 0.5}, {"loss", 2.0}}});
    if (i != 2) study.storage->complete(*claim, 0.5, {{"accuracy", 0.5}}, "trials/0000/model.keras");
  }
  study.storage.reset();  // the last connection writes the log back
  return read_file(study.url);
}

TEST(StorageCorruption, TruncatedFilesNeverCrash) {
  const std::string bytes = bytes_of_a_study();
  const fs::path directory = testing::scratch_dir("truncated");
  for (size_t i = 0; i < 200; ++i) {
    const fs::path path = directory / fmt::format("{}.db", i);
    std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() * i / 200);
    read_everything(path);
    fs::remove(path);
  }
}

TEST(StorageCorruption, FlippedBitsNeverCrash) {
  const std::string bytes = bytes_of_a_study();
  const fs::path directory = testing::scratch_dir("flipped");
  RandomStream random({.seed = 5});
  for (int i = 0; i < 200; ++i) {
    std::string damaged = bytes;
    // Pages are mostly empty: aim half of the flips at the header and the schema.
    const auto range = static_cast<uint32_t>(i % 2 == 0 ? damaged.size() : 200);
    damaged[random.below(range)] ^= static_cast<char>(1u << random.below(8));
    const fs::path path = directory / fmt::format("{}.db", i);
    std::ofstream(path, std::ios::binary) << damaged;
    read_everything(path);
    fs::remove(path);
  }
}

TEST(StudyLock, OneLauncherAtATime) {
  const fs::path directory = testing::scratch_dir("lock");
  {
    StudyLock lock(directory);
    expect_error<InvalidArgument>([&] { StudyLock second(directory); },
                                  {"in use by another search", std::to_string(getpid()), "--output"});
  }
  StudyLock again(directory);
}

TEST(WorkerId, TellsTheLivingFromTheDeadAndTheUnknown) {
  EXPECT_EQ(is_alive(this_worker_id()), true);
  const std::string me = this_worker_id();
  EXPECT_EQ(is_alive(fmt::format("{}/1", me.substr(0, me.rfind('/')))), false);  // the pid, started at another time
  for (const char* unknown : {"", "w", "other-machine/1/1", "/1/1", "a/b/c"}) {
    EXPECT_EQ(is_alive(unknown), std::nullopt) << unknown;
  }
}

}  // namespace
}  // namespace nibble::search
