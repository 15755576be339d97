// nibble/data/public_files.h
// Where the files of the public data sets are published, how large they are and their SHA-256:
// a table of data.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/data/download.h"

namespace nibble::data {

struct PublicFile {
  std::string dataset;  // "mnist"
  std::string name;     // also its name in the cache
  std::vector<std::string> urls;
  std::vector<FileVersion> versions;
};

// The rows of one data set, in the table's order; empty for an unknown name.
std::vector<PublicFile> public_files(std::string_view dataset);

}  // namespace nibble::data
