// nibble/data/checksum.h
// SHA-256 (FIPS 180-4), computed by OpenSSL.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

struct evp_md_ctx_st;  // OpenSSL's

namespace nibble::data {

// Of bytes that come in pieces.
class Sha256 {
 public:
  //   throws  Unsupported if this machine's OpenSSL offers none
  Sha256();
  void add(std::span<const std::byte> bytes);
  // 64 lower-case hexadecimal digits. Nothing can be added afterwards.
  std::string digest();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

// 64 lower-case hexadecimal digits.
//   throws  IoError if the file cannot be read
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace nibble::data
