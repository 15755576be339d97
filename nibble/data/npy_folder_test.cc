#include "nibble/data/npy_folder.h"

#include <gtest/gtest.h>

#include <limits>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/catalog.h"
#include "nibble/data/npy.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;
using samples::npy;

// Three training and two test samples of two floats, with classes.
fs::path good_folder(const std::string& name = "mine") {
  const fs::path folder = testing::scratch_dir("npy_folder") / name;
  fs::create_directories(folder);
  write_file(folder / "x_train.npy", npy<float>("<f4", "(3, 2)", {1, 2, 3, 4, 5, 6}));
  write_file(folder / "y_train.npy", npy<int64_t>("<i8", "(3,)", {0, 2, 1}));
  write_file(folder / "x_test.npy", npy<float>("<f4", "(2, 2)", {7, 8, 9, 10}));
  write_file(folder / "y_test.npy", npy<int64_t>("<i8", "(2,)", {1, 3}));
  return folder;
}

TEST(NpyFolder, IntegersAreClasses) {
  const Dataset dataset = load_dataset(good_folder().string());
  EXPECT_EQ(dataset.name, "mine");
  EXPECT_EQ(dataset.num_classes, 4);
  EXPECT_EQ(dataset.train.count(), 3);
  EXPECT_EQ(dataset.train.shape(), (Shape{2}));
  EXPECT_FALSE(dataset.train.has_targets());
  EXPECT_EQ(std::vector<int32_t>(dataset.train.labels().begin(), dataset.train.labels().end()),
            (std::vector<int32_t>{0, 2, 1}));
  EXPECT_EQ(dataset.test.labels()[1], 3);
  EXPECT_EQ(dataset.max_value, 1.0f);
}

TEST(NpyFolder, AFolderWithASlashHasTheSameName) { EXPECT_EQ(load_dataset(good_folder().string() + "/").name, "mine"); }

TEST(NpyFolder, BytesStayBytesAndAColumnOfIntegersIsClasses) {
  const fs::path folder = good_folder();
  write_file(folder / "x_train.npy", npy<uint8_t>("|u1", "(3, 1, 2, 1)", {0, 1, 2, 3, 4, 255}));
  write_file(folder / "x_test.npy", npy<uint8_t>("|u1", "(2, 1, 2, 1)", {0, 1, 2, 3}));
  write_file(folder / "y_train.npy", npy<uint8_t>("|u1", "(3, 1)", {0, 2, 1}));
  const Dataset dataset = read_npy_folder(folder);
  EXPECT_EQ(dataset.max_value, 255.0f);
  EXPECT_EQ(dataset.train.shape(), (Shape{1, 2, 1}));
  ASSERT_EQ(dataset.train.bytes().size(), 6u);
  EXPECT_EQ(dataset.train.bytes()[5], 255);
  EXPECT_EQ(dataset.train.labels()[1], 2);
}

TEST(NpyFolder, FloatsAreTargetsOfAnyShape) {
  const fs::path folder = good_folder();
  write_file(folder / "y_train.npy", npy<double>("<f8", "(3,)", {0.5, -1, 2}));
  write_file(folder / "y_test.npy", npy<float>("<f4", "(2, 1)", {1, 2}));
  const Dataset dataset = read_npy_folder(folder);
  EXPECT_EQ(dataset.num_classes, 0);
  ASSERT_TRUE(dataset.train.has_targets());
  EXPECT_EQ(dataset.train.targets(), Tensor(Shape{3, 1}, {0.5f, -1, 2}));
  write_file(folder / "y_train.npy", npy<float>("<f4", "(3, 2, 2)", std::vector<float>(12, 0.25f)));
  write_file(folder / "y_test.npy", npy<float>("<f4", "(2, 2, 2)", std::vector<float>(8, 0.25f)));
  EXPECT_EQ(read_npy_folder(folder).test.target_shape(), (Shape{2, 2}));
}

TEST(NpyFolder, NumbersKeepTheirScaleInPreprocessing) {
  Dataset dataset = read_npy_folder(good_folder());
  apply_preprocessing(dataset, Preprocessing::kTutorial);
  EXPECT_EQ(dataset.train.scale(), 1.0f);
  EXPECT_EQ(dataset.train.mean()[0], 3.0f);
}

TEST(NpyFolder, IsToldFromAName) {
  EXPECT_TRUE(names_a_path("mine.npz"));
  EXPECT_TRUE(names_a_path("some/where"));
  EXPECT_TRUE(names_a_path(good_folder().string()));
  EXPECT_FALSE(names_a_path("cifar"));
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct BadCase {
  const char* name;
  const char* file;
  std::string bytes;  // empty: the file is missing
  const char* words;
};
class BadFolder : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadFolder, IsRefusedWithASentence) {
  const fs::path folder = good_folder();
  if (GetParam().bytes.empty()) {
    fs::remove(folder / GetParam().file);
  } else {
    write_file(folder / GetParam().file, GetParam().bytes);
  }
  try {
    read_npy_folder(folder);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().words), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadFolder,
    ::testing::Values(
        BadCase{"Missing", "y_test.npy", "", "lacks y_test.npy"},
        BadCase{"NoArray", "x_test.npy", "no array", "x_test.npy offset 0"},
        BadCase{"ShortLabels", "y_train.npy", npy<int16_t>("<i2", "(3,)", {0, 1, 2}), "astype('int32') where"},
        BadCase{"Samples1d", "x_train.npy", npy<float>("<f4", "(3,)", {1, 2, 3}), "such as (n, 28, 28, 1)"},
        BadCase{"NoSamples", "x_train.npy", npy<float>("<f4", "(0, 2)", {}), "n of 1 or more"},
        BadCase{"EmptySamples", "x_train.npy", npy<float>("<f4", "(3, 0)", {}), "holds no values"},
        BadCase{"Scalar", "y_train.npy", npy<float>("<f4", "()", {1}), "expected is (n,)"},
        BadCase{"Counts", "y_train.npy", npy<int64_t>("<i8", "(2,)", {0, 1}), "holds 3 samples, but"},
        BadCase{"NegativeLabel", "y_train.npy", npy<int64_t>("<i8", "(3,)", {0, -1, 1}), "sample 1 has the label -1"},
        BadCase{"HugeLabel", "y_train.npy", npy<int64_t>("<i8", "(3,)", {0, 1, int64_t{1} << 40}), "astype('float32')"},
        BadCase{"NanTarget", "y_train.npy", npy<float>("<f4", "(3, 2)", {0, 1, 2, kNan, 4, 5}), "sample 1 holds nan"},
        BadCase{"InfiniteSample", "x_test.npy", npy<float>("<f4", "(2, 2)", {0, 1, kInfinity, 0}),
                "x_test.npy: sample 1 holds inf"},
        BadCase{"OtherShape", "x_test.npy", npy<float>("<f4", "(2, 1)", {0, 1}), "the shapes of the training samples"},
        BadCase{"OtherAnswers", "y_test.npy", npy<float>("<f4", "(2,)", {0, 1}), "the answers of the training samples"},
        BadCase{"OtherValues", "x_test.npy", npy<uint8_t>("|u1", "(2, 2)", {0, 1, 2, 3}), "bytes. They must agree"}),
    [](const auto& row) { return row.param.name; });

TEST(NpyFolder, AMissingFolderSaysWhatIsLacking) {
  try {
    load_dataset("no/such/folder");
    ADD_FAILURE() << "accepted";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("lacks x_train.npy"), std::string::npos) << error.what();
  }
}

TEST(NpyFolder, HasNoHoldout) {
  EXPECT_THROW(load_dataset(good_folder().string(), {.holdout = "batch5"}), InvalidArgument);
}

TEST(NpyFolder, DamagedCopiesNeverCrash) {
  const fs::path folder = good_folder();
  const auto read = [&](const fs::path& path) { read_npy_folder(path.parent_path()); };
  for (const char* name : {"x_train.npy", "y_train.npy", "y_test.npy"}) {
    const std::string good = read_file(folder / name);
    EXPECT_GE(testing::read_damaged_copies(good, folder / name, read, 100).refused, 110) << name;
    testing::overwrite(folder / name, good);
  }
}

}  // namespace
}  // namespace nibble::data
