// Remarks of a sampler beside a trial's values: how long it trains, which trial it goes on from. Their names
// begin with "@", so they are told from parameters; they are stored with the values, so whoever takes the
// trial over does the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nibble/search/study.h"

namespace nibble::search {

inline constexpr const char* kEpochs = "@epochs";             // ends after so many, those of earlier trials included
inline constexpr const char* kResumes = "@resumes";           // number of the trial that it goes on from
inline constexpr const char* kFirst = "@first";               // number of the trial that began: its seed is used
inline constexpr const char* kWeightsFrom = "@weights_from";  // number of the trial whose weights it starts from

inline bool is_annotation(std::string_view name) { return name.starts_with('@'); }

Assignment without_annotations(const Assignment& values);

// A remark that is a whole number >= 0; nothing if it is absent.
//   throws  CorruptFile if it is something else
std::optional<int> annotated_number(const Assignment& values, const std::string& name);

}  // namespace nibble::search
