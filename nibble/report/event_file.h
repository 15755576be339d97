// nibble/report/event_file.h
// Scalars for TensorBoard, in its own files.
//
// An event file is a sequence of records:
//   uint64 length, uint32 masked CRC of the length, bytes, uint32 masked CRC of the bytes    all little-endian
//   masked CRC = rotate_right(CRC-32C, 15) + 0xa282ead8
// and the bytes are messages of event.proto, the first one naming the version.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::report {

// CRC-32C (Castagnoli) [RFC 3720, appendix B.4].
uint32_t crc32c(std::string_view bytes);

class EventFile {
 public:
  using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value

  // Makes a new file in the directory, which may hold others: TensorBoard shows all of one directory as one run.
  //   clock   seconds since 1970; replaced by tests
  //   throws  IoError
  explicit EventFile(const std::filesystem::path& directory, std::function<double()> clock = {});
  ~EventFile();
  EventFile(EventFile&& other) noexcept;
  EventFile& operator=(EventFile&&) = delete;

  // Appends one event. What is written is there even if the process is killed right after.
  //   throws  IoError, e.g. where the disk is full
  void write(int64_t step, const Scalars& scalars);

  const std::filesystem::path& path() const { return path_; }

 private:
  void append(const std::string& record);

  std::filesystem::path path_;
  std::function<double()> clock_;
  int descriptor_ = -1;
};

}  // namespace nibble::report
