#include "nibble/data/idx.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

std::string message_of(const std::string& bytes) {
  const fs::path file = testing::scratch_dir("idx") / "some.idx";
  write_file(file, bytes);
  try {
    read_idx(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ReadIdx, PlainAndCompressedFilesAreTheSame) {
  const fs::path folder = testing::scratch_dir("idx");
  const std::string elements = samples::noise(2 * 3 * 4);
  write_file(folder / "plain", samples::idx({2, 3, 4}, elements));
  write_file(folder / "packed", samples::gzip(samples::idx({2, 3, 4}, elements)));
  for (const char* name : {"plain", "packed"}) {
    const IdxArray array = read_idx(folder / name);
    EXPECT_EQ(array.shape, Shape({2, 3, 4})) << name;
    EXPECT_EQ(std::string(array.values.begin(), array.values.end()), elements) << name;
  }
}

struct BadIdx {
  const char* name;
  std::string bytes;
  const char* message;  // a part of it
};

class BadIdxTable : public ::testing::TestWithParam<BadIdx> {};
TEST_P(BadIdxTable, IsRefusedWithASentence) {
  const std::string message = message_of(GetParam().bytes);
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_NE(message.find("some.idx"), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadIdxTable,
    ::testing::Values(
        BadIdx{"Empty", "", "only 0 follow"},
        BadIdx{"WrongMagic", std::string("\1\0\10\1", 4), "offset 0: an IDX file begins with two zero"},
        BadIdx{"Floats", std::string("\0\0\15\1\0\0\0\0", 8), "only unsigned bytes"},
        BadIdx{"NoDimension", std::string("\0\0\10\0", 4), "offset 3: the number of dimensions is 0"},
        BadIdx{"FiveDimensions", std::string("\0\0\10\5", 4), "1 to 4 are allowed"},
        BadIdx{"HeaderCut", std::string("\0\0\10\2\0\0\0\1\0", 9), "a dimension of the IDX header"},
        BadIdx{"LargerThanTheFile", samples::idx({1000, 1000}, "abc"), "holds at most"},
        BadIdx{"ProductOverflows", samples::idx({0xffffffff, 0xffffffff, 0xffffffff}, "abc"), "holds at most"},
        BadIdx{"ElementsMissing", samples::idx({12}, "0123456789"), "only 10 follow"},
        BadIdx{"BytesLeftOver", samples::idx({2}, "abc"), "bytes follow the 2 elements"},
        BadIdx{"GzipCut", samples::gzip(samples::idx({99}, samples::noise(99))).substr(0, 60), "cut off"}),
    [](const auto& row) { return row.param.name; });

TEST(ReadIdx, AMissingFileAndAFolderAreRefused) {
  const fs::path folder = testing::scratch_dir("idx");
  EXPECT_THROW(read_idx(folder / "absent"), IoError);
  EXPECT_THROW(read_idx(folder), IoError);
}

TEST(ReadIdxSamples, ImagesAndLabelsMustBelongTogether) {
  const fs::path folder = testing::scratch_dir("idx");
  write_file(folder / "images", samples::idx({3, 2, 2}, samples::noise(12)));
  write_file(folder / "labels", samples::idx({3}, samples::labels(3)));
  write_file(folder / "four", samples::idx({4}, samples::labels(4)));
  write_file(folder / "eleven", samples::idx({3}, "\1\13\2"));
  const Samples good = read_idx_samples(folder / "images", folder / "labels", 10);
  EXPECT_EQ(good.shape(), Shape({2, 2, 1}));
  EXPECT_EQ(good.labels()[2], 2);
  EXPECT_THROW(read_idx_samples(folder / "images", folder / "four", 10), CorruptFile);
  EXPECT_THROW(read_idx_samples(folder / "labels", folder / "labels", 10), CorruptFile);
  EXPECT_THROW(read_idx_samples(folder / "images", folder / "eleven", 10), CorruptFile);
}

TEST(ReadIdx, DamagedCopiesNeverCrash) {
  const fs::path folder = testing::scratch_dir("idx");
  const std::string bytes = samples::idx({5, 7, 3}, samples::noise(105));
  const auto read = [](const fs::path& path) { read_idx(path); };
  EXPECT_GE(testing::read_damaged_copies(bytes, folder / "damaged.idx", read).refused, 200);
  EXPECT_GE(testing::read_damaged_copies(samples::gzip(bytes), folder / "damaged.gz", read).refused, 300);
}

}  // namespace
}  // namespace nibble::data
