// nibble/formats/keras/hdf5_direct.h
// What Hdf5Reader promises, in this process: damaged bytes that pass the checks here can crash the HDF5 library.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/tensor.h"
#include "nibble/formats/keras/hdf5_handle.h"

namespace nibble::formats::keras {

// Deflate cannot expand more than 1032 times.
inline constexpr uint64_t kLargestExpansion = 1100;

// The functions are those of Hdf5Reader. The texts of one answer have no more bytes than the file, ends included. The
// caller holds an Hdf5Session.
class Hdf5Direct {
 public:
  Hdf5Direct(const std::string& bytes, std::string name);
  void open();

  bool has_group(const std::string& path) const { return open_group(path).valid(); }
  bool has_dataset(const std::string& path) const { return open_dataset(path).valid(); }
  std::optional<std::string> text(const std::string& group, const std::string& attribute) const;
  std::optional<std::vector<std::string>> texts(const std::string& group, const std::string& attribute) const;
  Tensor tensor(const std::string& path, const Shape& expected) const;

 private:
  template <class... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    throw CorruptFile("[keras] {}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
  }

  Handle open_group(const std::string& path) const;
  Handle open_dataset(const std::string& path) const;
  std::vector<std::string> read_texts(hid_t group, const std::string& attribute) const;
  std::vector<std::string> read_fixed(hid_t attribute, hid_t type, uint64_t count, const std::string& label) const;
  std::vector<std::string> read_variable(hid_t attribute, hid_t space, uint64_t count, const std::string& label) const;
  void check_shape(hid_t dataset, const std::string& path, const Shape& expected) const;
  void check_storage(hid_t dataset, uint64_t elements, uint64_t element_size, const std::string& path) const;
  void check_chunks(hid_t plist, uint64_t element_size, const std::string& path) const;

  const std::string& bytes_;
  std::string name_;
  Handle file_, group_access_, data_access_;
};

}  // namespace nibble::formats::keras
