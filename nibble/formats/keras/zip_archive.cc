#include "nibble/formats/keras/zip_archive.h"

#include <zip.h>

#include <memory>

#include "nibble/core/error.h"

namespace nibble::formats::keras {
namespace {

// Deflate cannot expand more than 1032 times.
constexpr uint64_t kLargestExpansion = 1100;
constexpr zip_uint16_t kFirstDosDate = (1 << 5) | 1;  // 1980-01-01

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
template <class T>
using Owned = std::unique_ptr<T, Discard>;

class ZipError {
 public:
  ZipError() { zip_error_init(&error_); }
  ~ZipError() { zip_error_fini(&error_); }
  zip_error_t* get() { return &error_; }
  std::string text() { return zip_error_strerror(&error_); }

 private:
  zip_error_t error_;
};

Owned<zip_t> open_archive(const std::string& bytes, const std::string& name) {
  ZipError error;
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, error.get());
  if (!source) throw IoError("[keras] {}: {}.", name, error.text());
  Owned<zip_t> archive(zip_open_from_source(source, ZIP_RDONLY, error.get()));
  if (archive) return archive;
  zip_source_free(source);
  throw CorruptFile("[keras] {}: the zip archive cannot be read ({}); it may be cut off or damaged.", name,
                    error.text());
}

void check_entry(const zip_stat_t& stat, const std::string& name, const std::string& entry, uint64_t limit) {
  constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_ENCRYPTION_METHOD;
  if ((stat.valid & kNeeded) != kNeeded) throw CorruptFile("[keras] {}: '{}' has no size.", name, entry);
  if (stat.encryption_method != ZIP_EM_NONE) {
    throw Unsupported("[keras] {}: '{}' is encrypted; nibble reads plain archives only.", name, entry);
  }
  if (stat.size > limit) {
    throw CorruptFile("[keras] {}: '{}' claims {} bytes; at most {} are accepted.", name, entry, stat.size, limit);
  }
  if (stat.comp_size > (uint64_t{1} << 40) || stat.size > stat.comp_size * kLargestExpansion) {
    throw CorruptFile("[keras] {}: '{}' claims {} bytes out of {}, which no compression gives.", name, entry, stat.size,
                      stat.comp_size);
  }
}

std::string read_entry(zip_t* archive, const std::string& name, const std::string& entry, uint64_t limit) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat(archive, entry.c_str(), 0, &stat) != 0) {
    throw CorruptFile(
        "[keras] {}: there is no entry '{}'. A .keras file holds metadata.json, config.json and "
        "model.weights.h5.",
        name, entry);
  }
  check_entry(stat, name, entry, limit);
  const Owned<zip_file_t> file(zip_fopen(archive, entry.c_str(), 0));
  if (!file) throw CorruptFile("[keras] {}: '{}' cannot be read ({}).", name, entry, zip_strerror(archive));
  std::string bytes(stat.size, '\0');
  const zip_int64_t count = zip_fread(file.get(), bytes.data(), bytes.size());
  // The sum is compared when the end is met.
  char beyond = 0;
  const zip_int64_t rest = zip_fread(file.get(), &beyond, 1);
  if (count < 0 || static_cast<uint64_t>(count) != stat.size || rest != 0) {
    throw CorruptFile("[keras] {}: '{}' is damaged ({}).", name, entry, zip_file_strerror(file.get()));
  }
  return bytes;
}

void add_entry(zip_t* archive, const std::string& entry, const std::string& bytes) {
  zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
  const zip_int64_t index = source ? zip_file_add(archive, entry.c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
  if (index < 0) {
    if (source) zip_source_free(source);
    throw IoError("[keras] cannot add '{}' to the archive ({}).", entry, zip_strerror(archive));
  }
  const auto position = static_cast<zip_uint64_t>(index);
  zip_set_file_compression(archive, position, ZIP_CM_STORE, 0);
  zip_file_set_dostime(archive, position, 0, kFirstDosDate, 0);
}

std::string content(zip_source_t* source) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_open(source) != 0) throw IoError("[keras] the archive in memory cannot be read back.");
  if (zip_source_stat(source, &stat) != 0) throw IoError("[keras] the archive in memory has no size.");
  std::string bytes(stat.size, '\0');
  const zip_int64_t count = zip_source_read(source, bytes.data(), bytes.size());
  zip_source_close(source);
  if (count < 0 || static_cast<uint64_t>(count) != stat.size) {
    throw IoError("[keras] the archive in memory cannot be read back.");
  }
  return bytes;
}

}  // namespace

std::map<std::string, std::string> read_zip(const std::string& bytes, const std::string& name,
                                            const std::map<std::string, uint64_t>& limits) {
  const Owned<zip_t> archive = open_archive(bytes, name);
  std::map<std::string, std::string> entries;
  for (const auto& [entry, limit] : limits) entries[entry] = read_entry(archive.get(), name, entry, limit);
  return entries;
}

std::string write_zip(const std::vector<std::pair<std::string, std::string>>& entries) {
  ZipError error;
  const Owned<zip_source_t> source(zip_source_buffer_create(nullptr, 0, 0, error.get()));
  if (!source) throw IoError("[keras] no archive in memory: {}.", error.text());
  zip_source_keep(source.get());  // closing the archive gives one reference back
  Owned<zip_t> archive(zip_open_from_source(source.get(), ZIP_TRUNCATE, error.get()));
  if (!archive) {
    zip_source_free(source.get());
    throw IoError("[keras] no archive in memory: {}.", error.text());
  }
  for (const auto& [entry, bytes] : entries) add_entry(archive.get(), entry, bytes);
  if (zip_close(archive.get()) != 0)
    throw IoError("[keras] cannot write the archive: {}.", zip_strerror(archive.get()));
  archive.release();
  return content(source.get());
}

}  // namespace nibble::formats::keras
