// nibble/data/npy.h
// NumPy's array file: read into, and written from, a Tensor.
//
//   bytes 0-5  "\x93NUMPY";  6-7 version 1.0, 2.0 or 3.0;  then the length of the header (2 bytes,
//   little-endian; 4 from version 2.0 on);  then the header, a Python dictionary such as
//   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  padded with blanks and ended by
//   a newline;  then the elements, last axis fastest.
// Source: NumPy enhancement proposal 1.
#pragma once

#include <filesystem>

#include "nibble/core/tensor.h"

namespace nibble::data {

class InputStream;  // input_stream.h

// Reads float32 (<f4), float64 (<f8), uint8 (|u1), int32 (<i4) and int64 (<i8) arrays; each value is
// rounded to the nearest float32. Plain or gzip-compressed.
//   throws  IoError; CorruptFile naming file and offset; Unsupported for another element type, for big-endian
//           numbers and for Fortran order, with the NumPy call that converts the array
Tensor read_npy(const std::filesystem::path& path);

// The same, and what the elements were.
enum class NpyElements { kFloat, kByte, kInteger };  // <f4 and <f8; |u1; <i4 and <i8
struct NpyArray {
  Tensor values;
  NpyElements elements = NpyElements::kFloat;
};
NpyArray read_npy_array(const std::filesystem::path& path);
// The whole stream.
NpyArray read_npy_array(InputStream& in);

// Writes float32, version 1.0, atomically.
//   throws  IoError
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace nibble::data
