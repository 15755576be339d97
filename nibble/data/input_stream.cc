#include "nibble/data/input_stream.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nibble/core/error.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {
constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr uint64_t kDeflateRatio = 1032;  // zlib's technical notes: the limit is 1032:1
}  // namespace

struct InputStream::Impl {
  gzFile file = nullptr;
  std::unique_ptr<ByteSource> source;  // instead of a file
  uint64_t file_bytes = 0;
  bool compressed = false;
  std::vector<uint8_t> ahead;  // bytes read to find the end, not yet handed out
  ~Impl() {
    if (file != nullptr) gzclose(file);
  }
};

InputStream::InputStream(const fs::path& path) : impl_(std::make_unique<Impl>()), name_(path.string()) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) throw IoError("[read] {} does not exist.", name_);
  if (!fs::is_regular_file(status)) throw IoError("[read] {} is not a file.", name_);
  impl_->file_bytes = fs::file_size(path, error);
  if (error) throw IoError("[read] cannot ask for the size of {}: {}.", name_, error.message());
  errno = 0;
  impl_->file = gzopen(path.c_str(), "rbe");
  if (impl_->file == nullptr) {
    throw IoError("[read] cannot open {}: {}.", name_, errno != 0 ? std::strerror(errno) : "out of memory");
  }
  gzbuffer(impl_->file, 1 << 18);
  impl_->compressed = gzdirect(impl_->file) == 0;
}

InputStream::InputStream(std::unique_ptr<ByteSource> source, std::string name)
    : impl_(std::make_unique<Impl>()), name_(std::move(name)) {
  impl_->source = std::move(source);
}

InputStream::~InputStream() = default;
InputStream::InputStream(InputStream&&) noexcept = default;

void InputStream::fail_read() const {
  int code = Z_OK;
  const char* text = gzerror(impl_->file, &code);
  if (code == Z_ERRNO) throw IoError("[read] cannot read {}: {}.", name_, std::strerror(errno));
  if (code == Z_BUF_ERROR) {
    throw CorruptFile("[read] {}: the compressed data are cut off; the file is incomplete. Fetch it again.", place());
  }
  throw CorruptFile("[read] {}: the compressed data are damaged ({}). Fetch the file again.", place(), text);
}

size_t InputStream::read(std::span<uint8_t> out) {
  const size_t got = std::min(out.size(), impl_->ahead.size());
  std::copy_n(impl_->ahead.begin(), got, out.begin());
  impl_->ahead.erase(impl_->ahead.begin(), impl_->ahead.begin() + static_cast<std::ptrdiff_t>(got));
  const std::span<uint8_t> rest = out.subspan(got);
  if (!impl_->source) return got + read_file(rest);
  const size_t more = rest.empty() ? 0 : impl_->source->read(rest);
  offset_ += more;
  return got + more;
}

size_t InputStream::read_file(std::span<uint8_t> out) {
  size_t got = 0;
  while (got < out.size()) {
    const auto wanted = static_cast<unsigned>(std::min(out.size() - got, kChunkBytes));
    const int n = gzread(impl_->file, out.data() + got, wanted);
    if (n < 0) fail_read();
    got += static_cast<size_t>(n);
    offset_ += static_cast<uint64_t>(n);
    if (static_cast<unsigned>(n) < wanted) {
      // A short count is the end of the data or, as gzerror then says, of a cut-off file.
      int code = Z_OK;
      gzerror(impl_->file, &code);
      if (code != Z_OK && code != Z_STREAM_END) fail_read();
      break;
    }
  }
  return got;
}

void InputStream::read_exactly(std::span<uint8_t> out, std::string_view what) {
  const uint64_t start = offset();
  const size_t got = read(out);
  if (got == out.size()) return;
  throw CorruptFile("[read] {}: {} should take {} bytes from offset {}, but only {} follow; the file is incomplete.",
                    name_, what, out.size(), start, got);
}

std::vector<uint8_t> InputStream::read_vector(uint64_t size, std::string_view what) {
  const uint64_t start = offset();
  std::vector<uint8_t> bytes;
  while (bytes.size() < size) {
    const size_t before = bytes.size();
    const auto step = static_cast<size_t>(std::min<uint64_t>(size - before, std::max(kChunkBytes, before)));
    bytes.resize(before + step);
    const size_t got = read(std::span(bytes).subspan(before));
    if (got < step) {
      throw CorruptFile(
          "[read] {}: {} should take {} bytes from offset {}, but only {} follow; the file is incomplete.", name_, what,
          size, start, before + got);
    }
  }
  return bytes;
}

std::vector<uint8_t> InputStream::read_rest(uint64_t limit_bytes) {
  std::vector<uint8_t> bytes;
  for (;;) {
    const size_t before = bytes.size();
    const size_t step = std::max(kChunkBytes, before);
    bytes.resize(before + step);
    const size_t got = read(std::span(bytes).subspan(before));
    bytes.resize(before + got);
    if (bytes.size() > limit_bytes) {
      throw CorruptFile("[read] {}: the file holds more than {} bytes, which this format never needs.", name_,
                        limit_bytes);
    }
    if (got < step) return bytes;
  }
}

void InputStream::skip(uint64_t size, std::string_view what) {
  std::vector<uint8_t> dropped(static_cast<size_t>(std::min<uint64_t>(size, kChunkBytes)));
  while (size > 0) {
    const auto step = static_cast<size_t>(std::min<uint64_t>(size, dropped.size()));
    read_exactly(std::span(dropped).first(step), what);
    size -= step;
  }
}

bool InputStream::at_end() {
  if (!impl_->ahead.empty()) return false;
  uint8_t byte = 0;
  if (read({&byte, 1}) == 0) return true;
  impl_->ahead.push_back(byte);
  return false;
}

void InputStream::drain() {
  std::vector<uint8_t> dropped(kChunkBytes);
  while (read(dropped) == dropped.size()) {
  }
}

uint64_t InputStream::offset() const { return offset_ - impl_->ahead.size(); }

uint64_t InputStream::size_bound() const {
  if (impl_->source) return impl_->source->size_bound();
  return impl_->compressed ? impl_->file_bytes * kDeflateRatio : impl_->file_bytes;
}

std::string InputStream::place() const {
  return fmt::format("{}{}, offset {}", name_, impl_->compressed ? " (decompressed)" : "", offset());
}

}  // namespace nibble::data
