// nibble/autoq/config_paths.h
// The files that a run_config names: model, reference_model, teacher, data, goal.params.process.
//
// A person writes their paths from the directory that the command runs in. A study keeps them absolute: its workers,
// --resume and reports run anywhere.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "nibble/autoq/run_config.h"

namespace nibble::autoq {

// The text with these paths absolute, taken from the current directory; as it is (with its comments) where they are
// already. Names stay: of built-in networks, of data sets, of the process "horowitz", and words that look like no path
// and are no file either, so that an error can say what they are like.
//   throws  as parse_run_config
std::string with_absolute_paths(const std::string& run_config);

// Two configurations, their paths absolute, that would be one search but for the files that they name: a sentence with
// the first that differs and what to do about it. Empty where they are one search, or differ in more than that.
//   kept    the study's
//   given   RUN's, with the paths that it names from the current directory
std::string differing_path(const std::string& kept, const std::string& given);

// The configuration of a study whose files lie in `directory`. The network that a block begins with lies above its
// study (block_scheduler.h): where the directory of the search was moved, its new place is taken.
//   directory  empty: the current one
//   throws  as parse_run_config
RunConfig config_of_study(std::string_view run_config, const std::filesystem::path& directory);

// Of the best network after block k, in the directory of a search by blocks.
std::filesystem::path model_of_block(const std::filesystem::path& directory, int k);

}  // namespace nibble::autoq
