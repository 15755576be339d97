#include "nibble/report/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/report/event.pb.h"

namespace nibble::report {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    // The polynomial 0x1edc6f41, its bits in reverse.
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}();

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// A CRC of data that hold CRCs themselves is weak; so it is rotated and moved.
std::string masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return little_endian<uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

std::string record_of(const tensorboard::Event& event) {
  std::string bytes;
  event.SerializeToString(&bytes);
  const std::string length = little_endian<uint64_t>(bytes.size());
  return length + masked_crc(length) + bytes + masked_crc(bytes);
}

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// TensorBoard knows its files by "tfevents" and reads those of a directory in the order of their names.
std::string file_name(double now) {
  static std::atomic<int> count{0};
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {'h', 'o', 's', 't'};
  return fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(now), host.data(), getpid(), count++);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& directory, std::function<double()> clock)
    : clock_(clock ? std::move(clock) : system_seconds) {
  make_directories(directory);
  const double now = clock_();
  path_ = directory / file_name(now);
  descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw IoError("[tensorboard] cannot make '{}': {}. Give a directory that may be written to.", path_.string(),
                  std::strerror(errno));
  }
  tensorboard::Event version;
  version.set_wall_time(now);
  version.set_file_version("brain.Event:2");
  append(record_of(version));
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

EventFile::EventFile(EventFile&& other) noexcept
    : path_(std::move(other.path_)),
      clock_(std::move(other.clock_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

void EventFile::write(int64_t step, const Scalars& scalars) {
  tensorboard::Event event;
  event.set_wall_time(clock_());
  event.set_step(step);
  for (const auto& [tag, value] : scalars) {
    tensorboard::Summary::Value& entry = *event.mutable_summary()->add_value();
    entry.set_tag(tag);
    entry.set_simple_value(static_cast<float>(value));
  }
  append(record_of(event));
}

void EventFile::append(const std::string& record) {
  // At once, so that another reader never sees the half of a record, unless the disk is full.
  const ssize_t written = ::write(descriptor_, record.data(), record.size());
  if (written == static_cast<ssize_t>(record.size())) return;
  throw IoError("[tensorboard] cannot write to '{}': {}.", path_.string(),
                written < 0 ? std::strerror(errno) : "the disk is full");
}

}  // namespace nibble::report
