#include "nibble/data/idx.h"

#include <array>

#include "nibble/core/error.h"
#include "nibble/data/input_stream.h"

namespace nibble::data {
namespace {

constexpr uint8_t kUnsignedByte = 8;
constexpr int kMaxRank = 4;

Shape read_dimensions(InputStream& in, int rank) {
  std::vector<int64_t> extents;
  uint64_t elements = 1;
  for (int axis = 0; axis < rank; ++axis) {
    std::array<uint8_t, 4> word{};
    in.read_exactly(word, "a dimension of the IDX header");
    const uint64_t extent = uint64_t{word[0]} << 24 | uint64_t{word[1]} << 16 | uint64_t{word[2]} << 8 | word[3];
    // Checked at every step, so that the product cannot overflow.
    if (extent != 0 && elements > in.size_bound() / extent) {
      throw CorruptFile(
          "[read_idx] {}: dimension {} is {}, but a file of this size holds at most {} elements. The header is damaged "
          "or the file is incomplete.",
          in.place(), axis, extent, in.size_bound());
    }
    elements *= extent;
    extents.push_back(static_cast<int64_t>(extent));
  }
  return Shape(std::move(extents));
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path) {
  InputStream in(path);
  std::array<uint8_t, 4> magic{};
  in.read_exactly(magic, "the IDX header");
  if (magic[0] != 0 || magic[1] != 0) {
    throw CorruptFile("[read_idx] {} offset 0: an IDX file begins with two zero bytes, this one with {:02x} {:02x}.",
                      in.name(), magic[0], magic[1]);
  }
  if (magic[2] != kUnsignedByte) {
    throw Unsupported("[read_idx] {} offset 2: the element type is {:#04x}; only unsigned bytes (0x08) are read.",
                      in.name(), magic[2]);
  }
  if (magic[3] < 1 || magic[3] > kMaxRank) {
    throw CorruptFile("[read_idx] {} offset 3: the number of dimensions is {}; 1 to {} are allowed.", in.name(),
                      magic[3], kMaxRank);
  }
  IdxArray array;
  array.shape = read_dimensions(in, magic[3]);
  array.values = in.read_vector(static_cast<uint64_t>(array.shape.elements()), "the elements");
  if (!in.at_end()) {
    throw CorruptFile("[read_idx] {}: bytes follow the {} elements that the header announces.", in.place(),
                      array.values.size());
  }
  return array;
}

Samples read_idx_samples(const std::filesystem::path& images, const std::filesystem::path& labels, int num_classes) {
  IdxArray pixels = read_idx(images);
  const IdxArray classes = read_idx(labels);
  if (pixels.shape.rank() != 3) {
    throw CorruptFile("[read_idx] {} holds an array of shape {}; images need 3 dimensions.", images.string(),
                      pixels.shape.str());
  }
  if (classes.shape.rank() != 1 || classes.shape[0] != pixels.shape[0]) {
    throw CorruptFile("[read_idx] {} holds labels of shape {} for the {} images of {}. Are they of one data set?",
                      labels.string(), classes.shape.str(), pixels.shape[0], images.string());
  }
  std::vector<int32_t> wide(classes.values.begin(), classes.values.end());
  for (size_t i = 0; i < wide.size(); ++i) {
    if (wide[i] >= num_classes) {
      throw CorruptFile("[read_idx] {} offset {}: label {} is not in 0 .. {}.", labels.string(), 8 + i, wide[i],
                        num_classes - 1);
    }
  }
  return Samples(Shape{pixels.shape[1], pixels.shape[2], 1}, std::move(pixels.values), std::move(wide));
}

}  // namespace nibble::data
