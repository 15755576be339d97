#include "nibble/data/tar.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

using Members = std::vector<std::pair<std::string, std::string>>;

Members read_all(const fs::path& path) {
  InputStream stream(path);
  TarReader archive(stream);
  Members members;
  while (const auto member = archive.next()) {
    const auto bytes = stream.read_vector(member->size, member->name);
    members.emplace_back(member->name, std::string(bytes.begin(), bytes.end()));
  }
  return members;
}

TEST(TarReader, GivesRegularFilesInOrder) {
  const fs::path file = testing::scratch_dir("tar") / "a.tar";
  write_file(file, samples::tar_member("folder/", "", '5') + samples::tar_member("folder/a.bin", "alpha") +
                       samples::tar_member("pax", "27 path=long\n", 'x') +
                       samples::tar_member("folder/b.bin", samples::noise(512)) + samples::tar_end());
  EXPECT_EQ(read_all(file), (Members{{"folder/a.bin", "alpha"}, {"folder/b.bin", samples::noise(512)}}));
}

TEST(TarReader, WhatTheCallerLeavesIsPassedOver) {
  const fs::path file = testing::scratch_dir("tar") / "a.tar.gz";
  write_file(file, samples::gzip(samples::tar_member("a", samples::noise(1000)) + samples::tar_member("b", "beta") +
                                 samples::tar_end()));
  InputStream stream(file);
  TarReader archive(stream);
  ASSERT_TRUE(archive.next().has_value());
  EXPECT_EQ(archive.next()->name, "b");
  EXPECT_FALSE(archive.next().has_value());
}

TEST(TarReader, ClosingBlocksMayBeAbsent) {
  const fs::path file = testing::scratch_dir("tar") / "a.tar";
  write_file(file, samples::tar_member("a", "alpha"));
  EXPECT_EQ(read_all(file).size(), 1u);
}

TEST(TarReader, AWrongChecksumIsRefusedWithItsOffset) {
  const fs::path file = testing::scratch_dir("tar") / "a.tar";
  std::string bytes = samples::tar_member("a", "alpha") + samples::tar_member("b", "beta");
  bytes[1024] = 'c';
  write_file(file, bytes);
  try {
    read_all(file);
    FAIL();
  } catch (const CorruptFile& error) {
    EXPECT_NE(std::string(error.what()).find("offset 1024"), std::string::npos) << error.what();
  }
}

TEST(TarReader, DamagedCopiesNeverCrash) {
  const fs::path folder = testing::scratch_dir("tar");
  const std::string bytes =
      samples::tar_member("a", samples::noise(700)) + samples::tar_member("b", "beta") + samples::tar_end();
  const auto read = [](const fs::path& path) { read_all(path); };
  EXPECT_GE(testing::read_damaged_copies(bytes, folder / "damaged.tar", read).refused, 150);
  EXPECT_GE(testing::read_damaged_copies(samples::gzip(bytes), folder / "damaged.tar.gz", read).refused, 300);
}

}  // namespace
}  // namespace nibble::data
