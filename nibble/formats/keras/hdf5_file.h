// nibble/formats/keras/hdf5_file.h
// HDF5 in memory: what Keras' files need of it, over the C API.
//
// A file from outside is hostile: links out of the file, external or virtual storage and unknown filters are refused;
// every count and extent is compared with the file's size before memory is taken, and the library itself reads in a
// child process (isolated_process.h). The HDF5 library is not safe for threads, so only one Hdf5Writer exists at a
// time; a second one waits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/tensor.h"

namespace nibble::formats::keras {

class Hdf5Reader {
 public:
  //   bytes   the whole file
  //   name    what errors call it
  //   throws  CorruptFile if it is no HDF5 file
  Hdf5Reader(std::string bytes, std::string name);
  ~Hdf5Reader();

  bool has_group(const std::string& path) const;
  bool has_dataset(const std::string& path) const;

  // A scalar text, of fixed or variable length; nothing if there is no such attribute.
  std::optional<std::string> text(const std::string& group, const std::string& attribute) const;

  // A list of texts, also in the parts `attribute`0, `attribute`1, ... that Keras makes of long lists. A list without
  // elements may have any type; nothing if there is no such attribute.
  std::optional<std::vector<std::string>> texts(const std::string& group, const std::string& attribute) const;

  // A data set of numbers, converted to float32.
  //   throws  CorruptFile if it is missing, no numbers, or beyond what the file can hold;
  //           InvalidArgument if its extents are not `expected`
  Tensor tensor(const std::string& path, const Shape& expected) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Hdf5Writer {
 public:
  Hdf5Writer();
  ~Hdf5Writer();

  // Parents are made as needed.
  void group(const std::string& path);
  // Variable-length UTF-8.
  void text(const std::string& group, const std::string& attribute, std::string_view value);
  // Fixed-length, null-padded; an empty list is an empty list of float64, as Keras writes it. Lists above 64,512 bytes
  // are split into `attribute`0, ...
  void texts(const std::string& group, const std::string& attribute, const std::vector<std::string>& values);
  void tensor(const std::string& path, const Tensor& value);  // contiguous little-endian float32

  // The file's bytes: the same calls give the same bytes. The writer is finished.
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::formats::keras
