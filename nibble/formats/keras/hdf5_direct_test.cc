#include "nibble/formats/keras/hdf5_direct.h"

#include <gtest/gtest.h>

#include <cstring>

#include "nibble/formats/keras/hdf5_file.h"

namespace nibble::formats::keras {
namespace {

constexpr size_t kReference = 16;  // bytes of a variable-length text's place: length, heap, index in it
constexpr size_t kTexts = 3000;
constexpr size_t kLongest = 60'000;

// A file with this attribute of /: a text of kLongest bytes and kTexts - 1 of one byte, all variable.
std::string file_of_texts(const std::string& attribute) {
  const Hdf5Session session;
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access, 1 << 20, false);
  const Handle file(H5Fcreate("in-memory", H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, H5T_VARIABLE);
  const hsize_t extent = kTexts;
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const std::string longest(kLongest, 'x');
  std::vector<const char*> texts(kTexts, "y");
  texts[0] = longest.c_str();
  {
    const Handle handle(H5Acreate2(file, attribute.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    EXPECT_GE(H5Awrite(handle, type, texts.data()), 0);
  }
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  std::string bytes(static_cast<size_t>(H5Fget_file_image(file, nullptr, 0)), '\0');
  H5Fget_file_image(file, bytes.data(), bytes.size());
  return bytes;
}

uint32_t number_at(const std::string& bytes, size_t place) {
  uint32_t number = 0;
  std::memcpy(&number, bytes.data() + place, sizeof number);
  return number;
}

// Every text is the long one.
void repeat_first(std::string& bytes) {
  for (size_t place = 0; place + kReference * kTexts <= bytes.size(); ++place) {
    if (number_at(bytes, place) != kLongest || number_at(bytes, place + kReference) != 1 ||
        number_at(bytes, place + 2 * kReference) != 1) {
      continue;
    }
    for (size_t i = 1; i < kTexts; ++i) std::memcpy(&bytes[place + i * kReference], &bytes[place], kReference);
    return;
  }
  FAIL() << "the texts' places are not in the file";
}

TEST(VariableTexts, AreRead) {
  const Hdf5Reader reader(file_of_texts("list"), "good.h5");
  const auto texts = reader.texts("/", "list");
  ASSERT_EQ(texts->size(), kTexts);
  EXPECT_EQ(texts->front(), std::string(kLongest, 'x'));
  EXPECT_EQ(texts->back(), "y");
}

// 180 MB of texts out of a file of about 0.2 MB.
TEST(VariableTexts, AboveTheFilesSizeAreRefused) {
  for (const std::string attribute : {"list", "list0"}) {
    std::string bytes = file_of_texts(attribute);
    repeat_first(bytes);
    const Hdf5Reader reader(std::move(bytes), "bomb.h5");
    try {
      reader.texts("/", "list");
      ADD_FAILURE() << attribute;
    } catch (const CorruptFile& error) {
      EXPECT_NE(std::string(error.what()).find("claims texts of 180003000 bytes"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(reader.has_group("/")) << "the reading process lives on";
  }
}

}  // namespace
}  // namespace nibble::formats::keras
