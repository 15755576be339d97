#include "nibble/autoq/sampler.h"

#include <algorithm>

#include "nibble/autoq/budget.h"
#include "nibble/autoq/score.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/search/annotation.h"
#include "nibble/search/bayesian_sampler.h"
#include "nibble/search/enqueued_sampler.h"
#include "nibble/search/nearest_sampler.h"
#include "nibble/search/nsga2_sampler.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/tpe_sampler.h"

namespace nibble::autoq {
namespace {

std::unique_ptr<search::Sampler> sampler_of_mode(const RunConfig& config, uint64_t seed) {
  switch (config.mode) {
    case Mode::kBayesian:
      return std::make_unique<search::BayesianSampler>(seed);
    case Mode::kTpe:
      return std::make_unique<search::TpeSampler>(seed);
    case Mode::kNsga2: {
      const search::Objective metric{std::string(to_string(config.metric)), is_maximised(config.metric)};
      return std::make_unique<search::Nsga2Sampler>(seed,
                                                    search::Nsga2Options{.objectives = {metric, {"cost", false}}});
    }
    case Mode::kRandom:
    case Mode::kHyperband:
      break;
  }
  return std::make_unique<search::RandomSampler>(seed);
}

}  // namespace

std::unique_ptr<search::Sampler> make_sampler(const RunConfig& config, const graph::Model& model, uint64_t seed) {
  std::unique_ptr<search::Sampler> sampler = sampler_of_mode(config, seed);
  if (!config.first_trials.empty()) {
    std::vector<search::Assignment> first;
    for (const search::Assignment& values : config.first_trials) first.push_back(search::without_annotations(values));
    sampler = std::make_unique<search::EnqueuedSampler>(std::move(sampler), std::move(first));
  }
  sampler = within_budget(std::move(sampler), config, model, seed);
  if (config.inherit_from_nearest) sampler = std::make_unique<search::NearestSampler>(std::move(sampler));
  if (config.mode == Mode::kHyperband) {
    sampler = std::make_unique<search::HyperbandSampler>(std::move(sampler), config.hyperband);
  }
  return sampler;
}

void check_first_trials(const RunConfig& config, const search::SearchSpace& space) {
  std::vector<std::string> names;
  for (const search::Parameter& parameter : space) names.push_back(parameter.name);
  for (size_t i = 0; i < config.first_trials.size(); ++i) {
    const search::Assignment values = search::without_annotations(config.first_trials[i]);
    for (const auto& [name, value] : values) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      throw InvalidArgument("[run_config] first_trials[{}]: there is no hyperparameter '{}'. {}", i, name,
                            suggest(name, names));
    }
    for (const search::Parameter& parameter : space) {
      const auto found = values.find(parameter.name);
      if (found == values.end()) {
        throw InvalidArgument("[run_config] first_trials[{}] has no '{}'; give each hyperparameter a choice.", i,
                              parameter.name);
      }
      const auto& allowed = parameter.candidates;
      if (std::find(allowed.begin(), allowed.end(), found->second) != allowed.end()) continue;
      throw InvalidArgument("[run_config] first_trials[{}]: '{}' is no candidate of '{}'. {}", i, found->second,
                            parameter.name, suggest(found->second, allowed));
    }
  }
}

}  // namespace nibble::autoq
