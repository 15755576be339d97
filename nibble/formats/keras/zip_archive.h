// nibble/formats/keras/zip_archive.h
// Zip archives in memory, over libzip.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nibble::formats::keras {

// Reads the entries of these names; others are left alone. Checks sums, and sizes before memory is taken.
//   bytes   the archive
//   name    what errors call it
//   limits  entry name to its largest accepted size in bytes
//   throws  CorruptFile, or Unsupported for an encrypted entry
std::map<std::string, std::string> read_zip(const std::string& bytes, const std::string& name,
                                            const std::map<std::string, uint64_t>& limits);

// An archive of stored entries in the given order, dated 1980-01-01: the same entries give the same bytes.
std::string write_zip(const std::vector<std::pair<std::string, std::string>>& entries);

}  // namespace nibble::formats::keras
