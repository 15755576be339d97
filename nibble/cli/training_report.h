// nibble/cli/training_report.h
// The report of a training, from the folder that 'nibble train' wrote.
#pragma once

#include <filesystem>

namespace nibble::cli {

// What `nibble train` measured with the weights in DIR/model.keras: the same as its --json. Not there if the
// training was stopped.
inline constexpr const char* kResultFile = "result.json";

// Reads DIR/model.keras, DIR/history.csv and, if it is there, DIR/result.json; writes the page.
//   throws  IoError, CorruptFile if they are not there or damaged
void write_training_report(const std::filesystem::path& directory, const std::filesystem::path& page);

}  // namespace nibble::cli
