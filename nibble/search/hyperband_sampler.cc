#include "nibble/search/hyperband_sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <string>

#include "nibble/core/error.h"
#include "nibble/search/annotation.h"

namespace nibble::search {
namespace {

constexpr const char* kBracket = "@bracket";
constexpr const char* kRound = "@round";

std::string bracket_name(const HyperbandRound& round) { return fmt::format("{}.{}", round.iteration, round.bracket); }

// Trials of round `r` of the bracket, by number.
std::vector<const Trial*> trials_of(std::span<const Trial> earlier, const HyperbandRound& round, int r) {
  std::vector<const Trial*> trials;
  const std::string bracket = bracket_name(round), number = std::to_string(r);
  for (const Trial& trial : earlier) {
    const auto its_bracket = trial.values.find(kBracket), its_round = trial.values.find(kRound);
    if (its_bracket == trial.values.end() || its_round == trial.values.end()) continue;
    if (its_bracket->second == bracket && its_round->second == number) trials.push_back(&trial);
  }
  return trials;
}

// The best completed one of the best `count` that none of `promoted` goes on from; null if there is none.
const Trial* next_to_promote(std::vector<const Trial*> trials, int count, std::span<const Trial* const> promoted) {
  std::erase_if(trials, [](const Trial* t) { return t->state != TrialState::kCompleted || !t->score; });
  std::stable_sort(trials.begin(), trials.end(), [](const Trial* a, const Trial* b) { return *a->score > *b->score; });
  if (trials.size() > static_cast<size_t>(count)) trials.resize(static_cast<size_t>(count));
  for (const Trial* trial : trials) {
    const auto goes_on = [&](const Trial* later) { return annotated_number(later->values, kResumes) == trial->number; };
    if (std::none_of(promoted.begin(), promoted.end(), goes_on)) return trial;
  }
  return nullptr;
}

Assignment remark(Assignment values, const HyperbandRound& round) {
  values[kEpochs] = std::to_string(round.epochs);
  values[kBracket] = bracket_name(round);
  values[kRound] = std::to_string(round.round);
  return values;
}

Assignment promoted(const Trial& from, const HyperbandRound& round) {
  Assignment values = remark(from.values, round);
  values[kResumes] = std::to_string(from.number);
  values[kFirst] = std::to_string(annotated_number(from.values, kFirst).value_or(from.number));
  return values;
}

}  // namespace

std::vector<HyperbandRound> hyperband_rounds(const HyperbandOptions& options) {
  if (options.max_epochs < 1 || options.factor < 2 || options.iterations < 1) {
    throw InvalidArgument("[hyperband] max_epochs is {}, factor {}, hyperband_iterations {}; give at least 1, 2 and 1.",
                          options.max_epochs, options.factor, options.iterations);
  }
  // Counted in whole numbers: a logarithm may miss a power of the factor by a rounding error.
  int largest = 0;
  for (int64_t power = options.factor; power <= options.max_epochs; power *= options.factor) ++largest;
  int64_t power = 1;
  for (int i = 0; i < largest; ++i) power *= options.factor;
  const int width = 1 + largest + (power == options.max_epochs ? 0 : 1);  // ceil(1 + log_factor(max_epochs))

  std::vector<HyperbandRound> rounds;
  for (int iteration = 0; iteration < options.iterations; ++iteration) {
    for (int round = 0; round <= largest; ++round) {
      for (int bracket = largest; bracket >= round; --bracket) {
        int64_t left = 1;  // factor^(s - r)
        for (int i = round; i < bracket; ++i) left *= options.factor;
        const int64_t trials = (width * left + bracket) / (bracket + 1);
        const int64_t epochs = (options.max_epochs + left - 1) / left;
        rounds.push_back({iteration, bracket, round, static_cast<int>(trials), static_cast<int>(epochs)});
      }
    }
  }
  return rounds;
}

int hyperband_trials(const HyperbandOptions& options) {
  int64_t count = 0;
  for (const HyperbandRound& round : hyperband_rounds(options)) count += round.trials;
  return static_cast<int>(std::min<int64_t>(count, std::numeric_limits<int>::max()));
}

HyperbandSampler::HyperbandSampler(std::unique_ptr<Sampler> inner, HyperbandOptions options)
    : inner_(std::move(inner)), rounds_(hyperband_rounds(options)) {
  assert(inner_ && "a sampler that draws new configurations");
}

std::optional<Assignment> HyperbandSampler::propose(const SearchSpace& space, std::span<const Trial> earlier) const {
  std::vector<Trial> plain;  // as the inner sampler knows them; made when it is asked
  for (const HyperbandRound& round : rounds_) {
    const std::vector<const Trial*> proposed = trials_of(earlier, round, round.round);
    if (proposed.size() >= static_cast<size_t>(round.trials)) continue;
    if (round.round == 0) {
      if (plain.empty()) plain.assign(earlier.begin(), earlier.end());
      for (Trial& trial : plain) trial.values = without_annotations(trial.values);
      // A space that is smaller than the brackets has nothing new at some time; later rounds go on with what there is.
      if (const auto values = inner_->propose(space, plain)) return remark(*values, round);
      continue;
    }
    const auto candidates = trials_of(earlier, round, round.round - 1);
    const bool all_finished =
        std::all_of(candidates.begin(), candidates.end(), [](const Trial* trial) { return trial->finished(); });
    if (!all_finished) throw WaitForTrials();
    if (const Trial* best = next_to_promote(candidates, round.trials, proposed)) return promoted(*best, round);
  }
  return std::nullopt;
}

}  // namespace nibble::search
