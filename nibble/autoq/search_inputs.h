// nibble/autoq/search_inputs.h
// What a search reads besides its run_config, told apart by what it holds: a study keeps the digests, so that trials
// that another process table counts, or that come from another network or other data, are not ranked beside those that
// are there. Private to autoq/.
#pragma once

#include <string>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/data/dataset.h"
#include "nibble/search/storage.h"

namespace nibble::autoq {

struct SearchInput {
  std::string key;     // of the run_config: "model", "reference_model", "teacher", "goal.params.process", "data"
  std::string place;   // for sentences: "'/home/ann/net.keras'"
  std::string digest;  // SHA-256, in hexadecimal digits
};

// The files that config names. None are what the program brings along (built-in networks, "horowitz"), which goes by
// its version, and files that are not there, whose reader has the better sentence.
//   throws  IoError if a file cannot be read
std::vector<SearchInput> file_inputs(const RunConfig& config);

// The samples as they are stored, before preprocessing: by name alone, synthetic ones might stand in for real ones.
SearchInput data_input(const RunConfig& config, const data::Dataset& dataset);

// For StudyInfo::inputs.
std::string digests_json(const std::vector<SearchInput>& inputs);

// Nothing where the study knows no digest of an input: an earlier version of nibble made it.
//   throws  InvalidArgument for an input that holds something else than when the study was made; CorruptFile if the
//           study's digests are none
void check_inputs(const search::StudyInfo& info, const std::vector<SearchInput>& inputs);

}  // namespace nibble::autoq
