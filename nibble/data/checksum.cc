#include "nibble/data/checksum.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::data {

Sha256::Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
    throw Unsupported("[sha256] the OpenSSL library of this machine offers no SHA-256.");
  }
}

void Sha256::add(std::span<const std::byte> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Sha256::digest() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_DigestFinal_ex(context_.get(), digest.data(), &length);
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  Sha256 sum;
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError("[sha256] cannot open {}: {}.", path.string(), std::strerror(errno));
  std::vector<char> chunk(size_t{1} << 20);
  while (file) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    sum.add(std::as_bytes(std::span(chunk).first(static_cast<size_t>(file.gcount()))));
  }
  if (file.bad()) throw IoError("[sha256] cannot read {}.", path.string());
  return sum.digest();
}

}  // namespace nibble::data
