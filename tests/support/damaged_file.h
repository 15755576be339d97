// tests/support/damaged_file.h
// What a reader does with broken copies of a good file.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::testing {

struct DamageCounts {
  int refused = 0;   // the reader threw a nibble::Error
  int accepted = 0;  // the damage did not matter (a pixel has another value)
};

// Without write_file's flush to the disk: 400 of those take seconds.
inline void overwrite(const std::filesystem::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Reads one copy. Anything but success or an Error that names the file fails the test.
inline void read_damaged(const std::filesystem::path& file, const std::string& what,
                         const std::function<void(const std::filesystem::path&)>& read, DamageCounts& counts) {
  try {
    read(file);
    ++counts.accepted;
  } catch (const Error& error) {
    ++counts.refused;
    EXPECT_NE(std::string(error.what()).find(file.filename().string()), std::string::npos)
        << what << ": the message does not name the file: " << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": not a nibble::Error: " << error.what();
  }
}

// `variants` copies of `bytes` cut at places spread over the file, and as many with one bit flipped (half of
// them within the first 64 bytes, where headers are), are written to `file` and read.
inline DamageCounts read_damaged_copies(const std::string& bytes, const std::filesystem::path& file,
                                        const std::function<void(const std::filesystem::path&)>& read,
                                        int variants = 200) {
  DamageCounts counts;
  RandomStream random({.seed = 1, .purpose = RandomPurpose::kTest});
  const auto size = static_cast<uint32_t>(bytes.size());
  for (int i = 0; i < variants; ++i) {
    const size_t length = bytes.size() * static_cast<size_t>(i) / static_cast<size_t>(variants);
    overwrite(file, std::string_view(bytes).substr(0, length));
    read_damaged(file, "cut to " + std::to_string(length) + " bytes", read, counts);

    std::string flipped = bytes;
    const uint32_t at = random.below(i % 2 == 0 && size > 64 ? 64 : size);
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random.below(8)));
    overwrite(file, flipped);
    read_damaged(file, "bit flipped in byte " + std::to_string(at), read, counts);
  }
  return counts;
}

}  // namespace nibble::testing
