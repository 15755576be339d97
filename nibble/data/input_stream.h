// nibble/data/input_stream.h
// A file read from its beginning to its end, plain or gzip-compressed: the bytes of the
// format that lies inside, and where in them a reader stands.
//
// Readers ask for what they need and get it or an error that names the file and the offset.
// Nothing here trusts a length from the file: buffers grow with the bytes that really arrive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// Bytes of another kind of place, such as a member of an archive.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to out.size() bytes; fewer only at the end.
  //   throws  CorruptFile naming the place
  virtual size_t read(std::span<uint8_t> out) = 0;
  virtual uint64_t size_bound() const = 0;  // the most bytes that there can be
};

class InputStream {
 public:
  // A file whose first bytes are gzip's is decompressed, whatever its name.
  //   throws  IoError if it does not exist, is not a file or cannot be opened
  explicit InputStream(const std::filesystem::path& path);
  // The bytes of `source` as they are.
  InputStream(std::unique_ptr<ByteSource> source, std::string name);
  ~InputStream();
  InputStream(InputStream&&) noexcept;

  // Reads up to out.size() bytes; fewer only at the end of the file.
  //   throws  CorruptFile if the compressed data are damaged or cut off
  size_t read(std::span<uint8_t> out);

  // Fills `out`. `what` names the part for the error: "the labels".
  //   throws  CorruptFile if the file ends before
  void read_exactly(std::span<uint8_t> out, std::string_view what);

  // The next `size` bytes as a vector, grown chunk by chunk.
  //   throws  CorruptFile if the file ends before
  std::vector<uint8_t> read_vector(uint64_t size, std::string_view what);

  // Everything up to the end.
  //   throws  CorruptFile if more than limit_bytes follow
  std::vector<uint8_t> read_rest(uint64_t limit_bytes);

  //   throws  CorruptFile if the file ends before
  void skip(uint64_t size, std::string_view what);

  // True at the end; this also checks gzip's own checksum.
  bool at_end();

  // Reads on to the end and drops the bytes, so that gzip's checksum is checked.
  void drain();

  uint64_t offset() const;  // in the decompressed bytes, of the next byte to be read
  const std::string& name() const { return name_; }

  // The most bytes that the whole file can hold once decompressed: its size if plain, else
  // 1032 times its size, deflate's best ratio. An upper bound for lengths in headers.
  uint64_t size_bound() const;

  // "mnist/train.gz (decompressed), offset 16", for messages.
  std::string place() const;

 private:
  struct Impl;
  [[noreturn]] void fail_read() const;
  size_t read_file(std::span<uint8_t> out);

  std::unique_ptr<Impl> impl_;
  std::string name_;
  uint64_t offset_ = 0;  // of the bytes taken from zlib or the source
};

}  // namespace nibble::data
