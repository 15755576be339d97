// nibble/cli/data_options.h
// The options of every command that reads a data set.
#pragma once

#include <filesystem>
#include <string>

#include "nibble/cli/command.h"
#include "nibble/data/catalog.h"

namespace nibble::cli {

struct DataOptions {
  std::string name;
  std::string holdout;
  std::string preprocessing = "tutorial";
  std::filesystem::path data_dir;
  bool offline = false;
};

// --data, --holdout, --preprocessing, --data-dir, --offline
void add_data_options(CLI::App& app, DataOptions& options);

// throws UsageError unless `name` is known or names a folder or an .npz archive
void check_data_name(const std::string& name);

// Finds or downloads the data, with a bar; says on stderr where they come from.
//   throws  UsageError for an unknown name, as load_dataset() otherwise
data::Dataset load(const DataOptions& options, Streams& streams);

// What load_dataset() needs from these options and streams; bar must outlive the result.
class ProgressBar;
data::LoadOptions load_options(const DataOptions& options, ProgressBar& bar);

}  // namespace nibble::cli
