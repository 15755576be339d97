#include "nibble/data/cifar.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

const CifarLayout kTwoAndOne{CifarKind::kCifar10, {"one.bin", "two.bin"}, {"test.bin"}};
const CifarLayout kHundred{CifarKind::kCifar100, {"train.bin"}, {"test.bin"}};

std::string archive_of_two_and_one() {
  return samples::tar_member("batches/", "", '5') + samples::tar_member("batches/test.bin", samples::cifar(2)) +
         samples::tar_member("batches/two.bin", samples::cifar(1)) +
         samples::tar_member("batches/readme.html", "none") +
         samples::tar_member("batches/one.bin", samples::cifar(3)) + samples::tar_end();
}

void expect_two_and_one(const CifarSplits& splits) {
  ASSERT_EQ(splits.train.count(), 4);
  ASSERT_EQ(splits.test.count(), 2);
  EXPECT_EQ(splits.train.shape(), Shape({32, 32, 3}));
  EXPECT_EQ(std::vector<int32_t>(splits.train.labels().begin(), splits.train.labels().end()),
            (std::vector<int32_t>{0, 1, 2, 0}));
  // Record 2 of one.bin: red 6, green 7, blue 8, now side by side.
  const auto pixel = splits.train.bytes().subspan(2 * 3072 + 300, 3);
  EXPECT_EQ(std::vector<int>(pixel.begin(), pixel.end()), (std::vector<int>{6, 7, 8}));
}

TEST(ReadCifar, FolderAndArchiveGiveTheSameSamplesChannelLast) {
  const fs::path folder = testing::scratch_dir("cifar");
  write_file(folder / "one.bin", samples::cifar(3));
  write_file(folder / "two.bin", samples::cifar(1));
  write_file(folder / "test.bin", samples::cifar(2));
  write_file(folder / "a.tar", archive_of_two_and_one());
  write_file(folder / "a.tar.gz", samples::gzip(archive_of_two_and_one()));
  expect_two_and_one(read_cifar_folder(folder, kTwoAndOne));
  expect_two_and_one(read_cifar_archive(folder / "a.tar", kTwoAndOne));
  expect_two_and_one(read_cifar_archive(folder / "a.tar.gz", kTwoAndOne));
}

TEST(ReadCifar, HundredUsesTheFineLabel) {
  const fs::path folder = testing::scratch_dir("cifar");
  write_file(folder / "train.bin", samples::cifar(30, true));
  write_file(folder / "test.bin", samples::cifar(1, true));
  const CifarSplits splits = read_cifar_folder(folder, kHundred);
  EXPECT_EQ(splits.train.labels()[29], 29);
  EXPECT_EQ(splits.train.bytes()[29 * 3072 + 2], 3 * 29 + 2);
}

struct BadCifar {
  const char* name;
  std::string one;
  const char* message;
};

class BadCifarTable : public ::testing::TestWithParam<BadCifar> {};
TEST_P(BadCifarTable, IsRefusedWithASentence) {
  const fs::path folder = testing::scratch_dir("cifar");
  write_file(folder / "one.bin", GetParam().one);
  write_file(folder / "two.bin", samples::cifar(1));
  write_file(folder / "test.bin", samples::cifar(2));
  try {
    read_cifar_folder(folder, kTwoAndOne);
    FAIL() << "accepted";
  } catch (const CorruptFile& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("one.bin"), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, BadCifarTable,
                         ::testing::Values(BadCifar{"Empty", "", "has 0 bytes"},
                                           BadCifar{"NotWholeRecords", samples::cifar(2).substr(1), "whole number"},
                                           BadCifar{"LabelTooLarge",
                                                    samples::cifar(1) + "\12" + samples::cifar(1).substr(1),
                                                    "record 1 (offset 3073): label 10"}),
                         [](const auto& row) { return row.param.name; });

TEST(ReadCifar, AnArchiveWithoutAMemberNamesIt) {
  const fs::path file = testing::scratch_dir("cifar") / "a.tar";
  write_file(file, samples::tar_member("one.bin", samples::cifar(1)) + samples::tar_end());
  try {
    read_cifar_archive(file, kTwoAndOne);
    FAIL() << "accepted";
  } catch (const CorruptFile& error) {
    EXPECT_NE(std::string(error.what()).find("without the member two.bin"), std::string::npos) << error.what();
  }
}

TEST(ReadCifar, DamagedCopiesNeverCrash) {
  const fs::path folder = testing::scratch_dir("cifar");
  write_file(folder / "train.bin", samples::cifar(1, true));
  const CifarLayout layout{CifarKind::kCifar10, {"damaged.bin"}, {"damaged.bin"}};
  const auto read_folder = [&](const fs::path& path) { read_cifar_folder(path.parent_path(), layout); };
  EXPECT_GE(testing::read_damaged_copies(samples::cifar(3), folder / "damaged.bin", read_folder).refused, 190);

  const auto read_archive = [](const fs::path& path) { read_cifar_archive(path, kTwoAndOne); };
  const std::string bytes = archive_of_two_and_one();
  EXPECT_GE(testing::read_damaged_copies(bytes, folder / "damaged.tar", read_archive).refused, 190);
  EXPECT_GE(testing::read_damaged_copies(samples::gzip(bytes), folder / "damaged.tar.gz", read_archive).refused, 300);
}

}  // namespace
}  // namespace nibble::data
