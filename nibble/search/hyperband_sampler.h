// Hyperband: many configurations for a few epochs, the best of them for more
// [Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization"].
//
//   smax + 1 brackets: as often as max_epochs can be divided by factor before it is below 1
//   round r of bracket s:  ceil(ceil(1 + log_factor(max_epochs)) / (s + 1) * factor^(s - r)) trials
//                          up to epoch ceil(max_epochs / factor^(s - r))
// as KerasTuner cuts it (spec/autoqkeras.md section 7). Round 0 draws new configurations; round r goes on with the best
// trials of round r - 1, from their checkpoints. Rounds are proposed in a fixed order: round 0 of all
// brackets, then round 1, ...; and a round waits until the one that it chooses from is finished. So trial k is
// the same whatever the number of workers.
#pragma once

#include <memory>
#include <vector>

#include "nibble/search/sampler.h"

namespace nibble::search {

struct HyperbandOptions {
  int max_epochs = 100;  // >= 1
  int factor = 3;        // >= 2
  int iterations = 1;    // times all brackets are run, >= 1
};

struct HyperbandRound {
  int iteration = 0, bracket = 0, round = 0;
  int trials = 0;  // at most
  int epochs = 0;  // in total, those of earlier rounds included
};

// All rounds in the order in which they are proposed.
//   throws  InvalidArgument for options out of range
std::vector<HyperbandRound> hyperband_rounds(const HyperbandOptions& options);
// Of all rounds together, as far as an int goes.
int hyperband_trials(const HyperbandOptions& options);

class HyperbandSampler final : public Sampler {
 public:
  //   inner  draws the new configurations; not null
  HyperbandSampler(std::unique_ptr<Sampler> inner, HyperbandOptions options);

  // Values with the remarks @epochs, @bracket ("iteration.bracket"), @round and, from round 1 on, @resumes and @first.
  //   throws  WaitForTrials while the trials to choose from still run
  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  std::unique_ptr<Sampler> inner_;
  std::vector<HyperbandRound> rounds_;
};

}  // namespace nibble::search
