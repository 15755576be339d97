// Studies on a PostgreSQL server: its URLs, its refusals, and a server that goes away and comes back.
#include <gtest/gtest.h>

#include <thread>

#include "nibble/core/error.h"
#include "nibble/search/database.h"
#include "nibble/search/storage_workplace.h"
#include "nibble/search/study_url.h"
#include "support/postgresql_server.h"

namespace nibble::search {
namespace {

using namespace testing;
using nibble::testing::PostgresqlServer;

class StorageServer : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = PostgresqlServer::get();
    if (server_ == nullptr) GTEST_SKIP() << PostgresqlServer::kAbsent;
  }
  PostgresqlServer* server_ = nullptr;
};

TEST_F(StorageServer, WrongUrlsGetASentence) {
  const std::string right = server_->loopback_url(PostgresqlServer::password(), "urls");
  Storage::create(right, kInfo);
  EXPECT_EQ(Storage::open(right).info(), kInfo);
  struct Row {
    std::string url;
    std::vector<std::string> words;
  };
  const std::string host = fmt::format("127.0.0.1:{}", server_->port());
  for (const Row& row : {Row{server_->loopback_url("wrong", "urls"), {"password authentication failed", "PGPASSWORD"}},
                         Row{fmt::format("postgresql://nibble:wrong@{}/nowhere", host), {"could not open", "nowhere"}},
                         Row{"postgresql://nibble@127.0.0.1:1/nets", {"127.0.0.1:1", "refused", "See that the server"}},
                         Row{"postgresql://nibble@127.0.0.1/nets?colour=red", {"colour", "could not open"}}}) {
    const std::string sentence = expect_error<IoError>([&] { Storage::open(row.url); }, row.words);
    EXPECT_EQ(sentence.find("wrong"), std::string::npos) << "the password is told: " << sentence;
  }
  expect_error<InvalidArgument>([] { Storage::open("postgresql:/nets"); }, {"postgresql://USER@HOST"});
}

TEST_F(StorageServer, StudiesOfOneServerDoNotMeet) {
  const std::string a = server_->url("meet_a"), b = with_study(a, "meet-b");
  Storage first = Storage::create(a, kInfo);
  StudyInfo other = kInfo;
  other.name = "another";
  Storage second = Storage::create(b, other);
  first.complete(*first.claim("w", kSpace, kSampler), 1.0, {}, "");
  EXPECT_EQ(first.trials().size(), 1u);
  EXPECT_TRUE(second.trials().empty());
  EXPECT_EQ(second.info().name, "another");
  const std::vector<std::string> names = Storage::studies_on(server_->url("anything"));
  EXPECT_NE(std::find(names.begin(), names.end(), "meet_a"), names.end());
  EXPECT_NE(std::find(names.begin(), names.end(), "meet-b"), names.end());
  EXPECT_EQ(std::find(names.begin(), names.end(), "anything"), names.end());
}

TEST_F(StorageServer, OfManyThatMakeAStudyOneDoes) {
  std::atomic<int> made = 0, refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      try {
        Storage::create(server_->url("race"), kInfo);
        ++made;
      } catch (const InvalidArgument&) {
        ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(refused, 5);
  EXPECT_EQ(Storage::open(server_->url("race")).info(), kInfo);
}

TEST_F(StorageServer, TablesOfAnotherProgramAreNoStudy) {
  const std::string url = server_->url("foreign");
  {
    Database database(url, true, 1);
    database.make("make a table", [](soci::session& sql) { sql << "CREATE TABLE study (id INTEGER)"; });
  }
  expect_error<CorruptFile>([&] { Storage::open(url); }, {"foreign", "no study of nibble"});
}

TEST_F(StorageServer, WorkGoesOnWhenTheServerComesBack) {
  Storage storage = Storage::create(server_->url("restart"), kInfo);
  const auto claim = storage.claim("w", kSpace, kSampler);
  ASSERT_TRUE(storage.report(*claim, {1, {{"score", 0.5}}}));
  server_->stop();
  std::atomic<bool> reported = false;
  std::thread worker([&] { reported = storage.report(*claim, {2, {{"score", 0.6}}}); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_FALSE(reported);
  server_->start();  // by this thread: the server ends with the one that started it
  worker.join();
  EXPECT_TRUE(reported);
  EXPECT_TRUE(storage.complete(*claim, 0.6, {}, ""));
  EXPECT_EQ(storage.steps(0).size(), 2u);
}

TEST_F(StorageServer, AServerThatStaysAwayIsSaid) {
  Storage storage = Storage::create(server_->url("away"), kInfo, {.busy_timeout_s = 1});
  server_->stop();
  expect_error<IoError>([&] { storage.trials(); }, {"could not read the trials", "away", "See that the server runs"});
  server_->start();
  EXPECT_TRUE(storage.trials().empty());
}

// A worker whose machine stops in the middle of a transaction, as far as the others can see it.
TEST_F(StorageServer, ALockThatIsHeldTooLongIsSaid) {
  const std::string url = server_->url("locked");
  Storage storage = Storage::create(url, kInfo, {.busy_timeout_s = 2});
  Database holder(url, false, 1);
  holder.write("hold the lock", [&](soci::session&) {
    expect_error<IoError>([&] { storage.set_max_trials(5); }, {"change max_trials", "kept it locked for 2 s"});
    return 0;
  });
  storage.set_max_trials(5);
  EXPECT_EQ(storage.info().max_trials, 5);
}

}  // namespace
}  // namespace nibble::search
