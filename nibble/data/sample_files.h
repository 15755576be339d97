// nibble/data/sample_files.h
// Tiny files of each data format, for the tests of this folder.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/atomic_file.h"

namespace nibble::data::samples {

// Repeatable bytes that do not compress away.
inline std::string noise(size_t size, uint32_t seed = 1) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<char>(seed >> 24);
  }
  return bytes;
}

//   window_bits  zlib's: 15 + 16 for gzip, -15 for deflate alone
inline std::string compressed(std::string_view bytes, int window_bits) {
  std::string out(compressBound(bytes.size()) + 64, '\0');
  z_stream stream = {};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string gzip(std::string_view bytes) { return compressed(bytes, 15 + 16); }

// NumPy's file of values of any type; write_npy() writes floats alone.
//   shape  as Python has it: "(3, 2)"
template <class T>
std::string npy(const char* descr, const std::string& shape, const std::vector<T>& values) {
  std::string header = std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  std::string bytes("\x93NUMPY\1\0", 8);
  bytes += {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return bytes + header + std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

inline std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

inline std::string idx(const std::vector<uint32_t>& dimensions, std::string_view elements) {
  std::string bytes = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (const uint32_t extent : dimensions) bytes += big_endian(extent);
  return bytes.append(elements);
}

// Labels 0, 1, ... 9, 0, ...
inline std::string labels(uint32_t count, uint32_t classes = 10) {
  std::string bytes;
  for (uint32_t i = 0; i < count; ++i) bytes += static_cast<char>(i % classes);
  return bytes;
}

// The four files of an MNIST-like data set with so many samples, in `folder`.
inline void write_idx_folder(const std::filesystem::path& folder, uint32_t train, uint32_t test, uint32_t seed = 1) {
  make_directories(folder);
  write_file(folder / "train-images-idx3-ubyte.gz", gzip(idx({train, 28, 28}, noise(train * 784, seed))));
  write_file(folder / "train-labels-idx1-ubyte.gz", gzip(idx({train}, labels(train))));
  write_file(folder / "t10k-images-idx3-ubyte", idx({test, 28, 28}, noise(test * 784, seed + 1)));
  write_file(folder / "t10k-labels-idx1-ubyte", idx({test}, labels(test)));
}

// CIFAR records: label i % 10 (CIFAR-100: coarse 0, fine i), then red, green and blue planes filled with
// 3 * i, 3 * i + 1, 3 * i + 2.
inline std::string cifar(int records, bool is_100 = false) {
  std::string bytes;
  for (int i = 0; i < records; ++i) {
    bytes += is_100 ? std::string{0, static_cast<char>(i)} : std::string{static_cast<char>(i % 10)};
    for (int channel = 0; channel < 3; ++channel) bytes += std::string(1024, static_cast<char>(3 * i + channel));
  }
  return bytes;
}

// One member of a tar archive, header and padding included.
inline std::string tar_member(std::string_view name, std::string_view bytes, char type = '0') {
  std::string header(512, '\0');
  name.copy(header.data(), 100);
  char size[12];
  snprintf(size, sizeof size, "%011lo", static_cast<unsigned long>(bytes.size()));
  std::string_view(size, 11).copy(header.data() + 124, 11);
  header[156] = type;
  std::string_view("ustar").copy(header.data() + 257, 5);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  char checksum[8];
  snprintf(checksum, sizeof checksum, "%06o", sum);
  std::string_view(checksum, 7).copy(header.data() + 148, 7);
  return header.append(bytes).append((512 - bytes.size() % 512) % 512, '\0');
}

inline std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace nibble::data::samples
