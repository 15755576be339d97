// nibble/cli/training_report.h
// The report of a training, from the folder that 'nibble train' wrote.
#pragma once

#include <filesystem>

namespace nibble::cli {

// Reads DIR/model.keras and DIR/history.csv, writes the page.
//   throws  IoError, CorruptFile if they are not there or damaged
void write_training_report(const std::filesystem::path& directory, const std::filesystem::path& page);

}  // namespace nibble::cli
