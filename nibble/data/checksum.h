// nibble/data/checksum.h
// SHA-256 (FIPS 180-4) of a file, computed by OpenSSL.
#pragma once

#include <filesystem>
#include <string>

namespace nibble::data {

// 64 lower-case hexadecimal digits.
//   throws  IoError if the file cannot be read
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace nibble::data
