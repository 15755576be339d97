#include "nibble/data/npy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "tests/support/damaged_file.h"
#include "tests/support/golden.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// A file of version `major`.0 with this dictionary.
std::string npy(const std::string& dictionary, const std::string& elements, int major = 1) {
  const std::string header = dictionary + "\n";
  std::string bytes = "\x93NUMPY";
  bytes +=
      {static_cast<char>(major), '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  if (major > 1) bytes += std::string(2, '\0');
  return bytes + header + elements;
}

std::string dictionary(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}

struct GoodNpy {
  const char* name;
  std::string bytes;
  Tensor expected;
};

class GoodNpyTable : public ::testing::TestWithParam<GoodNpy> {};
TEST_P(GoodNpyTable, IsRead) {
  const fs::path file = testing::scratch_dir("npy") / "x.npy";
  write_file(file, GetParam().bytes);
  EXPECT_EQ(read_npy(file), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, GoodNpyTable,
    ::testing::Values(
        GoodNpy{"Float32", npy(dictionary("<f4", "(2, 1)"), raw<float>({1.5f, -2})), Tensor({2, 1}, {1.5f, -2})},
        GoodNpy{"Float64Version2", npy(dictionary("<f8", "(2,)"), raw<double>({0.1, 1e300}), 2),
                Tensor({2}, {0.1f, std::numeric_limits<float>::infinity()})},
        GoodNpy{"Uint8Version3", npy(dictionary("|u1", "(3,)"), raw<uint8_t>({0, 7, 255}), 3),
                Tensor({3}, {0, 7, 255})},
        GoodNpy{"Int32", npy(dictionary("<i4", "(1, 2)"), raw<int32_t>({-5, 16777217})),
                Tensor({1, 2}, {-5, 16777216})},
        GoodNpy{"Int64", npy(dictionary("<i8", "(1,)"), raw<int64_t>({-9})), Tensor({1}, {-9})},
        GoodNpy{"Scalar", npy(dictionary("<f4", "()"), raw<float>({4})), Tensor::scalar(4)},
        GoodNpy{"NoElements", npy(dictionary("<f4", "(0, 3)"), ""), Tensor(Shape{0, 3})},
        GoodNpy{"OtherOrderOfKeys", npy("{\"shape\":(1,),\"descr\":\"<f4\",\"fortran_order\":False}", raw<float>({4})),
                Tensor({1}, {4})},
        GoodNpy{"FortranOrderOfOneAxis", npy(dictionary("<f4", "(1,)", "True"), raw<float>({4})), Tensor({1}, {4})}),
    [](const auto& row) { return row.param.name; });

struct BadNpy {
  const char* name;
  std::string bytes;
  const char* message;
};

class BadNpyTable : public ::testing::TestWithParam<BadNpy> {};
TEST_P(BadNpyTable, IsRefusedWithASentence) {
  const fs::path file = testing::scratch_dir("npy") / "x.npy";
  write_file(file, GetParam().bytes);
  try {
    read_npy(file);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("x.npy"), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadNpyTable,
    ::testing::Values(BadNpy{"NotNpy", "PK\3\4 something else", "does not begin with"},
                      BadNpy{"Version9", npy(dictionary("<f4", "(1,)"), "abcd", 9), "version 9.0"},
                      BadNpy{"HugeHeader", std::string("\x93NUMPY\2\0\xff\xff\xff\x7f", 12), "65536 at most"},
                      BadNpy{"HeaderCut", npy(dictionary("<f4", "(1,)"), "").substr(0, 40), "only 30 follow"},
                      BadNpy{"FortranOrder", npy(dictionary("<f4", "(1, 1)", "True"), "abcd"), "ascontiguousarray"},
                      BadNpy{"Complex", npy(dictionary("<c8", "(1,)"), "abcdefgh"), "astype('float32')"},
                      BadNpy{"BigEndian", npy(dictionary(">f4", "(1,)"), "abcd"), "'>f4' are not read"},
                      BadNpy{"NegativeExtent", npy(dictionary("<f4", "(-1,)"), "abcd"), "an extent"},
                      BadNpy{"KeyMissing", npy("{'descr': '<f4', 'shape': (1,), }", "abcd"), "is missing"},
                      BadNpy{"UnknownKey", npy("{'sort': 1}", "abcd"), "the key 'sort' is unknown"},
                      BadNpy{"ProductOverflows",
                             npy(dictionary("<f4", "(9223372036854775807, 9223372036854775807)"), "abcd"),
                             "more bytes than the file can hold"},
                      BadNpy{"ElementsMissing", npy(dictionary("<f4", "(2,)"), "abcdef"), "only 6 follow"},
                      BadNpy{"BytesLeftOver", npy(dictionary("<f4", "(1,)"), "abcdef"), "bytes follow"}),
    [](const auto& row) { return row.param.name; });

TEST(WriteNpy, RoundTripsEveryRankAndAlignsTheData) {
  const fs::path file = testing::scratch_dir("npy") / "y.npy";
  for (const Tensor& tensor :
       {Tensor::scalar(3), Tensor({3}, {1, -0.5f, 3e38f}), Tensor(Shape{2, 3, 4}, 1.25f), Tensor(Shape{0, 5})}) {
    write_npy(file, tensor);
    EXPECT_EQ(read_npy(file), tensor) << tensor.shape().str();
    EXPECT_EQ((fs::file_size(file) - tensor.data().size_bytes()) % 64, 0u);
  }
}

TEST(WriteNpy, HeaderIsNumPys) {
  const fs::path file = testing::scratch_dir("npy") / "y.npy";
  write_npy(file, Tensor(Shape{2, 3}));
  EXPECT_EQ(read_file(file).substr(0, 128), std::string("\x93NUMPY\1\0v\0", 10) +
                                                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" +
                                                std::string(58, ' ') + "\n");
  write_npy(file, Tensor(Shape{3}));
  EXPECT_NE(read_file(file).find("'shape': (3,), }"), std::string::npos);
}

TEST(ReadNpy, DamagedCopiesNeverCrash) {
  const fs::path file = testing::scratch_dir("npy") / "damaged.npy";
  const std::string bytes = npy(dictionary("<f4", "(5, 4)"), raw(std::vector<float>(20, 1.0f)));
  const auto read = [](const fs::path& path) { read_npy(path); };
  EXPECT_GE(testing::read_damaged_copies(bytes, file, read).refused, 250);
}

}  // namespace
}  // namespace nibble::data
