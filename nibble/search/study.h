// nibble/search/study.h
// Studies, trials and the spaces they search. Knows scores, not networks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace nibble::search {

// One dimension: a name and its candidates in order, as text. One candidate makes it fixed.
struct Parameter {
  std::string name;
  std::vector<std::string> candidates;  // at least one
  bool operator==(const Parameter&) const = default;
};
using SearchSpace = std::vector<Parameter>;

// Parameter name -> chosen candidate.
using Assignment = std::map<std::string, std::string>;

enum class TrialState { kWaiting, kRunning, kCompleted, kFailed };
std::string_view to_string(TrialState state);

struct Trial {
  int number = -1;  // 0, 1, 2, ... in the order proposed
  TrialState state = TrialState::kWaiting;
  Assignment values;
  std::optional<double> score;            // maximised
  std::map<std::string, double> metrics;  // "accuracy", "energy_nj", ...
  std::string reason;                     // why it failed
  int attempts = 0;                       // times it was started
  std::string artifact;                   // path of what it left (weights), relative to the study
};

}  // namespace nibble::search
