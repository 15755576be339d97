// Studies in files: paths, refusals and damage.
#include <gtest/gtest.h>
#include <soci/soci-config.h>
#undef SOCI_HAVE_BOOST
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/search/database.h"
#include "nibble/search/storage_workplace.h"
#include "nibble/search/study_lock.h"
#include "nibble/search/worker_id.h"
#include "support/golden.h"

namespace nibble::search {
namespace {
namespace fs = std::filesystem;
using namespace testing;

TEST(StorageSqlite, WorksOnAPathWithBlanks) {
  const fs::path directory = nibble::testing::scratch_dir("a path = with blanks");
  Storage::create(directory / "study.db", kInfo);
  EXPECT_TRUE(fs::exists(directory / "study.db"));
  EXPECT_EQ(Storage::open(directory / "study.db").info(), kInfo);
  EXPECT_EQ(Storage::open(fmt::format("sqlite:{}", (directory / "study.db").string())).info(), kInfo);
}

TEST(StorageErrors, SayFileAndReason) {
  const fs::path directory = nibble::testing::scratch_dir("errors");
  const std::string db = directory / "study.db";
  expect_error<IoError>([&] { Storage::open(db); }, {"no study", db});
  expect_error<IoError>([&] { Storage::open(directory); }, {"is a directory", "study.db"});
  expect_error<IoError>([&] { Storage::create(directory / "absent" / "study.db", kInfo); },
                        {"absent", "could not open"});
  expect_error<InvalidArgument>([] { Storage::open(""); }, {"no path"});
  StudyInfo no_trials = kInfo;
  no_trials.max_trials = 0;
  expect_error<InvalidArgument>([&] { Storage::create(db, no_trials); }, {"max_trials is 0"});
  EXPECT_FALSE(fs::exists(db));
  Storage::create(db, kInfo);
  expect_error<InvalidArgument>([&] { Storage::create(db, kInfo); }, {"already", "--resume", db});
  EXPECT_EQ(Storage::open(db).info(), kInfo);
}

TEST(StorageSqlite, AFileWithoutTablesIsNoStudyYet) {
  const fs::path directory = nibble::testing::scratch_dir("killed_early");
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

// The index of SQLite's journal cannot be made where a link into nothing has its name, as in a place that cannot be
// written to (which root, who may run this test, can always).
TEST(StorageSqlite, IsReadWhereNothingCanBeMade) {
  const fs::path there = nibble::testing::scratch_dir("unwritable_original");
  const fs::path here = nibble::testing::scratch_dir("unwritable");
  Storage original = Storage::create(there / "study.db", kInfo);
  original.set_max_trials(kInfo.max_trials + 1);  // in the journal still
  for (const char* name : {"study.db", "study.db-wal"}) fs::copy_file(there / name, here / name);
  fs::create_symlink("/there is no such directory/index", here / "study.db-shm");
  const std::string before = read_file(here / "study.db", 1 << 20);
  {
    Storage study = Storage::open(here / "study.db");
    EXPECT_EQ(study.info().max_trials, kInfo.max_trials + 1);
    EXPECT_TRUE(study.trials().empty());
    expect_error<IoError>([&] { study.set_max_trials(99); }, {"study.db", "writable"});
  }
  EXPECT_EQ(read_file(here / "study.db", 1 << 20), before);
  fs::remove(here / "study.db-wal");
  fs::remove(here / "study.db-shm");
}

constexpr int kPages = 3000;  // large, so that a reading takes as long as some transactions

// Every transaction adds 1 to one page and takes 1 from another; soon both are moved from the journal into the
// database.
void write_rounds(const fs::path& there, const fs::path& here) {
  soci::session sql(soci::sqlite3, (there / "study.db").string());
  std::string mode;
  int pages = 0;
  sql << "PRAGMA journal_mode=WAL", soci::into(mode);
  sql << "PRAGMA wal_autocheckpoint=2", soci::into(pages);
  sql << "PRAGMA synchronous=OFF";
  sql << "CREATE TABLE page (id INTEGER PRIMARY KEY, number INTEGER, filling TEXT)";
  {
    soci::transaction transaction(sql);
    const std::string filling(3000, 'x');
    for (int i = 0; i < kPages; ++i)
      sql << "INSERT INTO page VALUES (:id, 0, :filling)", soci::use(i), soci::use(filling);
    transaction.commit();
  }
  for (const char* name : {"study.db", "study.db-wal"}) fs::create_hard_link(there / name, here / name);
  fs::create_symlink("/there is no such directory/index", here / "study.db-shm");
  for (int round = 0; round < 300; ++round) {
    const int more = round % kPages, less = (round + kPages / 2) % kPages;
    sql << fmt::format("UPDATE page SET number = number + CASE id WHEN {0} THEN 1 ELSE -1 END WHERE id IN ({0}, {1})",
                       more, less);
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 30 == 0 ? 50 : 3));
  }
}

// In a process of its own: within one, SQLite's connections share their index by the file, whatever its name.
TEST(StorageSqlite, ACopyIsOfOneMomentOfASearch) {
  const fs::path there = nibble::testing::scratch_dir("moving_original");
  const fs::path here = nibble::testing::scratch_dir("moving");
  const pid_t writer = fork();
  if (writer == 0) {
    try {
      write_rounds(there, here);
    } catch (const std::exception& error) {
      fprintf(stderr, "writer: %s\n", error.what());
      _exit(1);
    }
    _exit(0);  // leaves the journal as a search does that is killed
  }
  int status = -1, copies = 0;
  bool is_over = false;
  while (!is_over) {
    is_over = waitpid(writer, &status, WNOHANG) != 0;
    if (!fs::is_symlink(here / "study.db-shm")) {  // not begun
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    std::optional<Database> copy;
    try {
      copy.emplace(here / "study.db", false, 60);
    } catch (const IoError& error) {
      // Where reading takes longer than the writer's pauses; none is left for the last copy.
      const bool is_too_fast = std::string(error.what()).find("changes it too fast") != std::string::npos;
      ASSERT_TRUE(is_too_fast && !is_over) << error.what();
      continue;
    }
    int sum = -1, pages = 0;
    copy->read("add the pages", [&](soci::session& sql) {
      sql << "SELECT sum(number), count(*) FROM page", soci::into(sum), soci::into(pages);
      return true;
    });
    ASSERT_EQ(sum, 0) << "in copy " << copies;
    ASSERT_EQ(pages, kPages) << "in copy " << copies;
    ++copies;
  }
  EXPECT_EQ(status, 0);
  EXPECT_GT(copies, 0);
  fs::remove(here / "study.db-shm");
}

// A process that gets no time on a busy machine may hear of a lock long after it began to wait.
TEST(StorageSqlite, ATryThatTookLongIsNotTheLast) {
  Database database(nibble::testing::scratch_dir("late") / "study.db", true, 1);
  int tries = 0;
  const auto body = [&](soci::session&) {
    if (++tries == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1100));
      throw soci::sqlite3_soci_error("database is locked", SQLITE_BUSY);
    }
    return tries;
  };
  EXPECT_EQ(database.read("try", body), 2);
  const auto never = [&](soci::session&) -> int {
    ++tries;
    throw soci::sqlite3_soci_error("database is locked", SQLITE_BUSY);
  };
  expect_error<IoError>([&] { database.read("try", never); }, {"could not try", "kept it locked for 1 s"});
  EXPECT_GT(tries, 3) << "it tries anew until its time is over";
}

TEST(StorageErrors, FilesThatAreNoStudies) {
  const fs::path directory = nibble::testing::scratch_dir("foreign");
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

// SQLite keeps the journal's mode in the file.
TEST(StorageSqlite, AForeignFileStaysAsItIs) {
  const fs::path file = nibble::testing::scratch_dir("foreign_mode") / "other.db";
  {
    soci::session other(soci::sqlite3, file.string());
    other << "CREATE TABLE song (title TEXT)";
  }
  const std::string before = read_file(file, 1 << 20);
  expect_error<CorruptFile>([&] { Storage::open(file); }, {file.string()});
  EXPECT_TRUE(Storage::holds_study(file)) << "whatever it holds, no study is made there";
  EXPECT_EQ(read_file(file, 1 << 20), before);
}

TEST(StorageErrors, AReadOnlyDirectoryIsRefused) {
  const fs::path directory = nibble::testing::scratch_dir("readonly");
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
  StudyAtRest study(Place::kSqlite, "whole");
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
  const fs::path directory = nibble::testing::scratch_dir("truncated");
  for (size_t i = 0; i < 200; ++i) {
    const fs::path path = directory / fmt::format("{}.db", i);
    std::ofstream(path, std::ios::binary) << bytes.substr(0, bytes.size() * i / 200);
    read_everything(path);
    fs::remove(path);
  }
}

TEST(StorageCorruption, FlippedBitsNeverCrash) {
  const std::string bytes = bytes_of_a_study();
  const fs::path directory = nibble::testing::scratch_dir("flipped");
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
  const fs::path directory = nibble::testing::scratch_dir("lock");
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
