// nibble/cli/search_report.h
// The report of a search, from its study and its best model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/cost/energy.h"
#include "nibble/report/report.h"
#include "nibble/search/storage.h"

namespace nibble::cli {

// Everything the page shows. Nothing in it depends on clocks: the same trials give the same report.
//   best_model  the file of the best trial; where it does not exist, the page lacks its layers
//   notices     sentences about the data, e.g. that synthetic digits stood in
report::ReportData search_report(const search::Storage& storage, const std::filesystem::path& best_model,
                                 const std::vector<std::string>& notices = {});

// How a search's networks are measured, or its reference is. Where the goal is bits, energies are those of 'nibble
// energy'.
cost::EnergyQuery query_of(const autoq::RunConfig& config, bool for_reference);

// The network before quantization, as the goal's reference and in float.
std::vector<report::Reference> references_of(const autoq::RunConfig& config);

// What the score means.
std::string goal_sentence(const autoq::RunConfig& config);

// Keeps what was said about the data in DIR/notices.txt. throws IoError
void keep_notices(const std::filesystem::path& directory, const std::vector<std::string>& notices);

// Reads the study, DIR/best/model.keras and DIR/notices.txt, writes the page.
void write_search_report(const std::string& study_url, const std::filesystem::path& directory,
                         const std::filesystem::path& page);

}  // namespace nibble::cli
