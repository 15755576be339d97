#include "nibble/report/trial_feed.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/search/random_sampler.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

using nlohmann::json;
using search::Storage;

const search::SearchSpace kSpace = {{"a", {"0", "1", "2", "3"}}, {"b", {"x", "y"}}};
const search::RandomSampler kSampler(3);

struct Study {
  explicit Study(const std::string& name)
      : storage(Storage::create(testing::scratch_dir(name) / "study.db",
                                {.name = name, .space = search::to_json(kSpace), .max_trials = 3})),
        feed(storage, kSpace) {}
  Storage::Claim claim() { return *storage.claim("w", kSpace, kSampler); }
  json since(int64_t version) {
    feed.refresh();
    return json::parse(feed.since(version));
  }
  Storage storage;
  TrialFeed feed;
};

std::vector<int> numbers(const json& message) {
  std::vector<int> list;
  for (const json& row : message.at("rows")) list.push_back(row[0]);
  return list;
}

TEST(TrialFeed, TellsEachChangeOnce) {
  Study study("feed_changes");
  const json nothing = study.since(0);
  EXPECT_EQ(nothing.at("count"), 0);
  EXPECT_EQ(nothing.at("max_trials"), 3);
  EXPECT_EQ(nothing.at("is_over"), false);
  const Storage::Claim first = study.claim(), second = study.claim();
  const json both = study.since(nothing.at("version"));
  EXPECT_EQ(numbers(both), (std::vector<int>{0, 1}));
  EXPECT_EQ(study.since(both.at("version")).at("rows"), json::array());
  study.storage.report(second, {1, {{"score", 0.25}}});
  const json step = study.since(both.at("version"));
  EXPECT_EQ(numbers(step), (std::vector<int>{1}));
  EXPECT_EQ(step.at("rows")[0][1], 1);     // running
  EXPECT_EQ(step.at("rows")[0][2], 0.25);  // so far
  EXPECT_EQ(step.at("rows")[0][5], 1);     // epoch
  study.storage.renew(second);             // nothing to see
  EXPECT_FALSE(study.feed.refresh());
  EXPECT_EQ(numbers(study.since(0)), (std::vector<int>{0, 1}));
  EXPECT_EQ(numbers(study.since(1'000'000)), (std::vector<int>{0, 1})) << "a page of an earlier dashboard gets all";
}

TEST(TrialFeed, ARowHoldsMetricsByNameAndChoicesByIndex) {
  Study study("feed_row");
  const Storage::Claim claim = study.claim();
  study.storage.complete(claim, 1.5, {{"energy_nj", 30.0}, {"epochs", 7}}, "");
  study.storage.fail(study.claim(), "the loss became nan");
  const json message = study.since(0);
  const json& row = message.at("rows")[0];
  EXPECT_EQ(row[1], 2);
  EXPECT_EQ(row[2], 1.5);
  const json& names = message.at("metrics");
  EXPECT_EQ(row[3][std::find(names.begin(), names.end(), "energy_nj") - names.begin()], 30.0);
  EXPECT_EQ(kSpace[0].candidates[row[4][0].get<size_t>()], claim.values.at("a"));
  EXPECT_EQ(kSpace[1].candidates[row[4][1].get<size_t>()], claim.values.at("b"));
  EXPECT_EQ(row[5], 7);
  EXPECT_EQ(row[8], "");
  EXPECT_EQ(message.at("rows")[1][8], "the loss became nan");
  EXPECT_EQ(message.at("rows")[1][2], nullptr);
  EXPECT_EQ(study.feed.trial(0)->score, 1.5);
  EXPECT_FALSE(study.feed.trial(2).has_value());
  EXPECT_FALSE(study.feed.trial(-1).has_value());
}

TEST(TrialFeed, AStudyWithoutTrialsThatTookThePlaceOfAnotherIsNews) {
  Study study("feed_emptied");
  study.claim();
  const json before = study.since(0);
  EXPECT_EQ(before.at("count"), 1);
  study.storage = Storage::create(testing::scratch_dir("feed_emptied_anew") / "study.db",
                                  {.name = "anew", .space = search::to_json(kSpace), .max_trials = 3});
  EXPECT_TRUE(study.feed.refresh());
  const json after = study.since(before.at("version"));
  EXPECT_EQ(after.at("count"), 0);
  EXPECT_GT(after.at("version"), before.at("version"));
}

// The trials of the new study finished before it was looked at, in the same attempts as the old one's.
TEST(TrialFeed, BeginsAnewWithEveryRow) {
  Study study("feed_anew"), other("feed_anew_other");
  for (Study* each : {&study, &other}) {
    const double score = each == &study ? 0.25 : 0.75;
    for (int i = 0; i < 2; ++i) each->storage.complete(each->claim(), score, {}, "");
  }
  const json before = study.since(0);
  study.storage = std::move(other.storage);
  study.feed.begin_anew();
  const json after = study.since(before.at("version"));
  EXPECT_EQ(numbers(after), (std::vector<int>{0, 1}));
  EXPECT_EQ(after.at("rows")[0][2], 0.75);
}

TEST(TrialFeed, TroubleIsNewsOnceAndSoIsItsEnd) {
  Study study("feed_trouble");
  const json well = study.since(0);
  EXPECT_EQ(well.at("trouble"), "");
  study.feed.say("");
  EXPECT_EQ(study.since(0).at("version"), well.at("version"));
  study.feed.say("it is \"gone\"");
  const json gone = study.since(well.at("version"));
  EXPECT_EQ(gone.at("trouble"), "it is \"gone\"");
  EXPECT_GT(gone.at("version"), well.at("version"));
  study.feed.say("it is \"gone\"");
  EXPECT_EQ(study.since(0).at("version"), gone.at("version"));
  study.feed.say("");
  EXPECT_EQ(study.since(gone.at("version")).at("trouble"), "");
}

// A page that lost an earlier dashboard may have the number of a version that this one had too.
TEST(TrialFeed, VersionsBeginWhereToldAndOlderPagesGetAll) {
  Study study("feed_begin");
  study.claim();
  const json earlier = study.since(0);
  TrialFeed later(study.storage, kSpace, 1000);
  later.refresh();
  EXPECT_EQ(numbers(json::parse(later.since(earlier.at("version")))), std::vector<int>{0});
}

TEST(TrialFeed, WaitsForNews) {
  Study study("feed_wait");
  study.feed.refresh();
  const int64_t version = json::parse(study.feed.since(0)).at("version");
  EXPECT_EQ(study.feed.wait_beyond(version, std::chrono::milliseconds(1)), version);
  std::thread search([&] {
    study.claim();
    study.feed.refresh();
  });
  EXPECT_GT(study.feed.wait_beyond(version, std::chrono::minutes(5)), version);
  search.join();
  study.feed.end();
  study.feed.wait_beyond(version + 1, std::chrono::hours(10));  // returns at once; else the test is ended
}

TEST(TrialFeed, TheEndOfASearchIsNews) {
  Study study("feed_end");
  for (int i = 0; i < 3; ++i) study.storage.complete(study.claim(), 0.5, {}, "");
  EXPECT_EQ(study.since(0).at("is_over"), true);
  study.storage.set_max_trials(5);
  const json more = study.since(0);
  EXPECT_EQ(more.at("is_over"), false);
  EXPECT_EQ(more.at("max_trials"), 5);
}

}  // namespace
}  // namespace nibble::report
