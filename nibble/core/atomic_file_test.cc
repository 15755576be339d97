#include "nibble/core/atomic_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "nibble/core/error.h"
#include "support/golden.h"

namespace nibble {
namespace {
namespace fs = std::filesystem;

int entries(const fs::path& directory) {
  return static_cast<int>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(AtomicFile, CommitPutsTheWholeFileInPlace) {
  const fs::path directory = testing::scratch_dir("atomic_commit");
  write_file(directory / "a.bin", "first");
  const std::string bytes("second\0line", 11);
  write_file(directory / "a.bin", bytes);
  EXPECT_EQ(read_file(directory / "a.bin"), bytes);
  EXPECT_EQ(entries(directory), 1);
}

TEST(AtomicFile, WithoutCommitTheOldFileStaysAndNothingElse) {
  const fs::path directory = testing::scratch_dir("atomic_no_commit");
  write_file(directory / "a.bin", "old");
  {
    AtomicFile file(directory / "a.bin");
    std::ofstream(file.temporary_path()) << "half";
    EXPECT_EQ(file.temporary_path().parent_path(), directory);  // a rename must not cross file systems
  }
  EXPECT_EQ(read_file(directory / "a.bin"), "old");
  EXPECT_EQ(entries(directory), 1);
}

TEST(AtomicFile, TwoWritersOfOneTargetDoNotShareATemporaryFile) {
  const fs::path directory = testing::scratch_dir("atomic_two");
  const AtomicFile first(directory / "a"), second(directory / "a");
  EXPECT_NE(first.temporary_path(), second.temporary_path());
}

TEST(AtomicFile, ImpossibleTargetsAreRefusedBeforeAnythingIsWritten) {
  const fs::path directory = testing::scratch_dir("atomic_refused");
  write_file(directory / "file", "");
  EXPECT_THROW(AtomicFile(directory / "missing" / "a"), IoError);
  EXPECT_THROW(AtomicFile(directory / "file" / "a"), IoError);
  EXPECT_THROW(AtomicFile{directory}, IoError);
}

TEST(AtomicFile, CommitWithoutATemporaryFileIsAnError) {
  AtomicFile file(testing::scratch_dir("atomic_empty") / "a");
  EXPECT_THROW(file.commit(), IoError);
}

TEST(ReadFile, RefusesWhatItCannotReadWhole) {
  const fs::path directory = testing::scratch_dir("read_file");
  write_file(directory / "five", "12345");
  EXPECT_EQ(read_file(directory / "five", 5), "12345");
  EXPECT_THROW(read_file(directory / "five", 4), InvalidArgument);
  EXPECT_THROW(read_file(directory / "absent"), IoError);
  EXPECT_THROW(read_file(directory), IoError);
}

TEST(MakeDirectories, MakesParentsAndRefusesAFileInTheWay) {
  const fs::path directory = testing::scratch_dir("make_directories");
  make_directories(directory / "a" / "b");
  make_directories(directory / "a" / "b");
  EXPECT_TRUE(fs::is_directory(directory / "a" / "b"));
  write_file(directory / "file", "");
  EXPECT_THROW(make_directories(directory / "file"), IoError);
}

}  // namespace
}  // namespace nibble
