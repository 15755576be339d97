// nibble/cli/search_report.h
// The report of a search, from its study and its best model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/report/report.h"
#include "nibble/search/storage.h"

namespace nibble::cli {

// Everything the page shows. Nothing in it depends on clocks: the same trials give the same report.
//   best_model  the file of the best trial; where it does not exist, the page lacks its layers
//   notices     sentences about the data, e.g. that synthetic digits stood in
report::ReportData search_report(const search::Storage& storage, const std::filesystem::path& best_model,
                                 const std::vector<std::string>& notices = {});

// Keeps what was said about the data in DIR/notices.txt. throws IoError
void keep_notices(const std::filesystem::path& directory, const std::vector<std::string>& notices);

// Reads the study, DIR/best/model.keras and DIR/notices.txt, writes the page.
void write_search_report(const std::string& study_url, const std::filesystem::path& directory,
                         const std::filesystem::path& page);

}  // namespace nibble::cli
