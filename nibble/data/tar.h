// nibble/data/tar.h
// Walks through the members of a tar archive (POSIX ustar, also inside gzip) without unpacking it.
//
//   TarReader archive(stream);
//   while (auto member = archive.next()) {
//     if (member->name == "a.bin") bytes = stream.read_vector(member->size, "a.bin");
//   }
//
// A member is a header of 512 bytes (name, size in octal, checksum, ...) and its bytes, filled
// up to a multiple of 512. Headers are hostile: the checksum and every number are checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nibble/data/input_stream.h"

namespace nibble::data {

struct TarMember {
  std::string name;  // with its folders: "cifar-10-batches-bin/data_batch_1.bin"
  uint64_t size = 0;
};

class TarReader {
 public:
  // `stream` stands at the beginning of the archive and must outlive the reader.
  explicit TarReader(InputStream& stream) : stream_(stream), next_header_(stream.offset()) {}

  // Goes to the next regular file; the stream then stands at its first byte, and the caller may
  // read up to size bytes (what it leaves is passed over). Folders, links and extended
  // headers are passed over. Nothing at the end of the archive.
  //   throws  CorruptFile naming file and offset
  std::optional<TarMember> next();

 private:
  InputStream& stream_;
  uint64_t next_header_;
};

}  // namespace nibble::data
