// nibble/data/npz.h
// NumPy's archive of arrays (numpy.savez, numpy.savez_compressed), which Keras' data sets come in: a zip archive whose
// members are .npy files, stored or deflated.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "nibble/data/npy.h"

namespace nibble::data {

class NpzFile {
 public:
  // An array of more bytes than that, decompressed, is refused before memory is taken.
  static constexpr uint64_t kLargestArray = uint64_t{2} << 30;

  //   throws  IoError if there is no such file; CorruptFile if it is no zip archive, or cut off
  explicit NpzFile(const std::filesystem::path& path);
  ~NpzFile();
  NpzFile(NpzFile&&) noexcept;

  // Without ".npy", in the archive's order.
  std::vector<std::string> names() const;
  bool contains(const std::string& array) const;

  // Members are decompressed as their bytes are asked for: no more memory is taken than the array's header says, nor
  // than bytes arrive.
  //   array   "x_train" of the member x_train.npy
  //   throws  CorruptFile naming the file and the member, for sums that differ too; Unsupported for a member that is
  //           encrypted or compressed otherwise; else as read_npy()
  NpyArray read(const std::string& array) const;

  // "mnist.npz: x_train.npy", for messages.
  std::string place(const std::string& array) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::data
