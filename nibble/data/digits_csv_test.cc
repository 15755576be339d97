#include "nibble/data/digits_csv.h"

#include <gtest/gtest.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

// 64 pixels, each i % 17, and a label.
std::string line(int label, int pixels = 64) {
  std::string text;
  for (int i = 0; i < pixels; ++i) text += std::to_string(i % 17) + ",";
  return text + std::to_string(label);
}

TEST(ReadDigitsCsv, LinesBecomeSamples) {
  const fs::path folder = testing::scratch_dir("csv");
  const std::string text = line(3) + "\r\n\n" + line(9);
  write_file(folder / "plain.tra", text);
  write_file(folder / "packed.gz", samples::gzip(text));
  for (const char* name : {"plain.tra", "packed.gz"}) {
    const Samples samples = read_digits_csv(folder / name);
    ASSERT_EQ(samples.count(), 2) << name;
    EXPECT_EQ(samples.shape(), Shape({8, 8, 1}));
    EXPECT_EQ(samples.labels()[1], 9);
    EXPECT_EQ(samples.bytes()[64 + 16], 16);
  }
}

struct BadCsv {
  const char* name;
  std::string text;
  const char* message;
};

class BadCsvTable : public ::testing::TestWithParam<BadCsv> {};
TEST_P(BadCsvTable, IsRefusedWithLineAndOffset) {
  const fs::path file = testing::scratch_dir("csv") / "some.tra";
  write_file(file, GetParam().text);
  try {
    read_digits_csv(file);
    FAIL() << "accepted";
  } catch (const CorruptFile& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadCsvTable,
    ::testing::Values(BadCsv{"Empty", "\n\n", "holds no line"},
                      BadCsv{"LabelTooLarge", line(10), "line 1, offset 152: '10' is not"},
                      BadCsv{"PixelTooLarge", std::string("17,").append(line(1, 63)), "offset 0: '17' is not"},
                      BadCsv{"SecondLineShort", line(1) + "\n" + line(1, 63), "line 2, offset 154"},
                      BadCsv{"TooManyFields", line(1) + ",1", "66 fields"},
                      BadCsv{"EmptyField", std::string(",").append(line(1, 63)), "'' is not a whole number"},
                      BadCsv{"Text", std::string("pixel_0").append(line(1)), "is not a whole number"}),
    [](const auto& row) { return row.param.name; });

TEST(ReadDigitsCsv, DamagedCopiesNeverCrash) {
  const fs::path folder = testing::scratch_dir("csv");
  std::string text;
  for (int label = 0; label < 10; ++label) text += line(label) + "\n";
  const auto read = [](const fs::path& path) { read_digits_csv(path); };
  EXPECT_GE(testing::read_damaged_copies(text, folder / "damaged.tra", read).refused, 200);
  EXPECT_GE(testing::read_damaged_copies(samples::gzip(text), folder / "damaged.gz", read).refused, 300);
}

}  // namespace
}  // namespace nibble::data
