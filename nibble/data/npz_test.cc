#include "nibble/data/npz.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/catalog.h"
#include "nibble/data/npy_folder.h"
#include "nibble/data/sample_files.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;
using samples::npy;

std::string little_endian(uint32_t value, int bytes) {
  std::string text;
  for (int k = 0; k < bytes; ++k) text += static_cast<char>(value >> (8 * k));
  return text;
}

constexpr uint32_t kStored = 0, kDeflated = 8;

struct Member {
  std::string name, packed;
  uint32_t method = kStored, size = 0, sum = 0, flags = 0;
};

std::string deflated(const std::string& bytes) { return samples::compressed(bytes, -15); }

Member member(const std::string& name, const std::string& bytes, uint32_t method = kStored) {
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  return {.name = name + ".npy",
          .packed = method == kDeflated ? deflated(bytes) : bytes,
          .method = method,
          .size = static_cast<uint32_t>(bytes.size()),
          .sum = static_cast<uint32_t>(sum),
          .flags = 0};
}

// The fields that a member's own header and the directory at the end have in common.
std::string fields_of(const Member& m) {
  constexpr uint32_t kVersion = 20, kDate = 0x21;  // 1980-01-01
  return little_endian(kVersion, 2) + little_endian(m.flags, 2) + little_endian(m.method, 2) + little_endian(0, 2) +
         little_endian(kDate, 2) + little_endian(m.sum, 4) + little_endian(static_cast<uint32_t>(m.packed.size()), 4) +
         little_endian(m.size, 4) + little_endian(static_cast<uint32_t>(m.name.size()), 2) + little_endian(0, 2);
}

std::string zip(const std::vector<Member>& members) {
  std::string bytes, directory;
  for (const Member& m : members) {
    directory += "PK\1\2" + little_endian(20, 2) + fields_of(m) + std::string(10, '\0') +
                 little_endian(static_cast<uint32_t>(bytes.size()), 4) + m.name;
    bytes += "PK\3\4" + fields_of(m) + m.name + m.packed;
  }
  const auto count = static_cast<uint32_t>(members.size());
  return bytes + directory + "PK\5\6" + little_endian(0, 4) + little_endian(count, 2) + little_endian(count, 2) +
         little_endian(static_cast<uint32_t>(directory.size()), 4) +
         little_endian(static_cast<uint32_t>(bytes.size()), 4) + little_endian(0, 2);
}

// Three training and two test images of one row of two bytes, without an axis of channels, as Keras' mnist.npz.
std::vector<Member> good_members() {
  return {member("x_test", npy<uint8_t>("|u1", "(2, 1, 2)", {0, 1, 2, 3}), kDeflated),
          member("x_train", npy<uint8_t>("|u1", "(3, 1, 2)", {0, 1, 2, 3, 4, 255})),
          member("y_train", npy<uint8_t>("|u1", "(3,)", {0, 2, 1}), kDeflated),
          member("y_test", npy<uint8_t>("|u1", "(2,)", {1, 3}))};
}

fs::path file_of(const std::string& bytes, const std::string& name = "mine.npz") {
  const fs::path file = testing::scratch_dir("npz") / name;
  write_file(file, bytes);
  return file;
}

TEST(Npz, StoredAndDeflatedArraysAreADataSet) {
  const Dataset dataset = load_dataset(file_of(zip(good_members())).string());
  EXPECT_EQ(dataset.name, "mine");
  EXPECT_EQ(dataset.num_classes, 4);
  EXPECT_EQ(dataset.max_value, 255.0f);
  EXPECT_EQ(dataset.train.shape(), (Shape{1, 2}));
  ASSERT_EQ(dataset.train.bytes().size(), 6u);
  EXPECT_EQ(dataset.train.bytes()[5], 255);
  EXPECT_EQ(dataset.test.bytes()[3], 3);
  EXPECT_EQ(std::vector<int32_t>(dataset.train.labels().begin(), dataset.train.labels().end()),
            (std::vector<int32_t>{0, 2, 1}));
  EXPECT_EQ(dataset.test.labels()[1], 3);
}

TEST(Npz, OtherMembersAreLeftAlone) {
  std::vector<Member> members = good_members();
  members.push_back({.name = "notes.txt", .packed = "hello", .method = kStored, .size = 5, .sum = 0, .flags = 0});
  members.push_back(member("weights", "no array at all"));
  const NpzFile archive(file_of(zip(members)));
  EXPECT_EQ(archive.names(), (std::vector<std::string>{"x_test", "x_train", "y_train", "y_test", "weights"}));
  EXPECT_TRUE(archive.contains("y_test"));
  EXPECT_FALSE(archive.contains("notes"));
  EXPECT_EQ(archive.read("y_test").values, Tensor(Shape{2}, {1.0f, 3.0f}));
  EXPECT_EQ(read_npz_file(file_of(zip(members))).train.count(), 3);
}

TEST(Npz, AFolderOfThatNameIsAFolder) {
  const fs::path folder = testing::scratch_dir("npz_folder") / "odd.npz";
  fs::create_directories(folder);
  try {
    load_dataset(folder.string());
    ADD_FAILURE() << "accepted";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("the folder"), std::string::npos) << error.what();
  }
}

TEST(Npz, AMissingFileIsNamed) {
  try {
    load_dataset("nothere.npz");
    ADD_FAILURE() << "accepted";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("nothere.npz does not exist"), std::string::npos) << error.what();
  }
}

std::string with_x_train(Member other) {
  std::vector<Member> members = good_members();
  members[1] = std::move(other);
  return zip(members);
}

const std::string kGoodX = npy<uint8_t>("|u1", "(3, 1, 2)", {0, 1, 2, 3, 4, 255});

Member changed(uint32_t Member::*field, uint32_t value, uint32_t method = kDeflated) {
  Member result = member("x_train", kGoodX, method);
  result.*field = value;
  return result;
}

Member cut_short() {
  Member result = member("x_train", kGoodX, kDeflated);
  result.packed.resize(result.packed.size() / 2);
  return result;
}

std::string without_y_test() {
  std::vector<Member> members = good_members();
  members.pop_back();
  return zip(members);
}

struct BadCase {
  const char* name;
  std::string bytes;
  const char* words;
};
class BadNpz : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadNpz, IsRefusedWithASentence) {
  const fs::path file = file_of(GetParam().bytes, "bad.npz");
  try {
    read_npz_file(file);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().words), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("bad.npz"), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadNpz,
    ::testing::Values(
        BadCase{"NoArchive", "hello", "the zip archive cannot be read"},
        BadCase{"Nothing", "", "the zip archive cannot be read"},
        BadCase{"MissingArray", without_y_test(), "lacks y_test; it holds x_test, x_train, y_train"},
        BadCase{"NoNpy", with_x_train(member("x_train", "no array at all")), "does not begin with"},
        BadCase{"ShortNpy", with_x_train(member("x_train", "hello")), "the magic number"},
        BadCase{"ArrayBeyondItsMember",
                with_x_train(member("x_train", npy<uint8_t>("|u1", "(300000, 1, 2)", {0, 1, 2, 3, 4, 5}), kDeflated)),
                "needs more bytes than the file can hold"},
        BadCase{"BytesAfterTheArray", with_x_train(member("x_train", kGoodX + "more", kDeflated)), "bytes follow"},
        BadCase{"Bomb", with_x_train(changed(&Member::size, uint32_t{1} << 30)), "which no compression gives"},
        BadCase{"AboveTheCeiling", with_x_train(changed(&Member::size, 0x90000000)), "at most 2147483648"},
        BadCase{"SizeBelowTheArray", with_x_train(changed(&Member::size, 20)), "x_train.npy"},
        BadCase{"WrongSum", with_x_train(changed(&Member::sum, 5)), "is damaged"},
        BadCase{"WrongSumOfStored", with_x_train(changed(&Member::sum, 5, kStored)), "is damaged"},
        BadCase{"CutShort", with_x_train(cut_short()), "x_train.npy"},
        BadCase{"OtherCompression", with_x_train(changed(&Member::method, 12)), "compressed by method 12"},
        BadCase{"Encrypted", with_x_train(changed(&Member::flags, 1)), "is encrypted"},
        BadCase{"OtherCounts", with_x_train(member("x_train", npy<uint8_t>("|u1", "(2, 1, 2)", {0, 1, 2, 3}))),
                "x_train.npy holds 2 samples"}),
    [](const auto& row) { return row.param.name; });

TEST(Npz, DamagedCopiesNeverCrash) {
  const std::string good = zip(good_members());
  const auto read = [](const fs::path& path) { read_npz_file(path); };
  // All that are cut lack the directory at the end.
  EXPECT_GE(testing::read_damaged_copies(good, file_of(good), read, 200).refused, 210);
}

}  // namespace
}  // namespace nibble::data
