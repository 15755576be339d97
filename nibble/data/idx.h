// nibble/data/idx.h
// IDX, the format of MNIST and Fashion-MNIST: arrays of unsigned bytes.
//
//   bytes 0-1  zero
//   byte  2    element type; 8 = unsigned byte, the only one read here
//   byte  3    number of dimensions, 1 to 4
//   then       the dimensions, 32 bits each, most significant byte first
//   then       the elements, last dimension fastest
// Source: Y. LeCun, C. Cortes, "The MNIST database of handwritten digits".
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/data/dataset.h"

namespace nibble::data {

struct IdxArray {
  Shape shape;  // (60000, 28, 28) for images, (60000) for labels
  std::vector<uint8_t> values;
};

// Plain or gzip-compressed.
//   throws  IoError; CorruptFile naming file and offset; Unsupported for another element type
IdxArray read_idx(const std::filesystem::path& path);

// Images (n, rows, columns) and labels (n) as samples of shape (rows, columns, 1).
//   throws  as read_idx; CorruptFile if the two files do not belong together or a label is not
//           0 .. num_classes-1
Samples read_idx_samples(const std::filesystem::path& images, const std::filesystem::path& labels, int num_classes);

}  // namespace nibble::data
