#include "nibble/autoq/guided_start.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "nibble/autoq/budget.h"
#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/error.h"
#include "nibble/search/encoding.h"
#include "nibble/search/knapsack.h"
#include "nibble/train/trainer.h"

namespace nibble::autoq {
namespace {

using search::Point;

constexpr int kRounds = 3;  // of costs around the last solution

// The loss with batch-norm statistics of this very network: one step in which nothing learns, then the evaluation.
double loss_of(const RunConfig& config, graph::Model model, const data::Dataset& calibration) {
  train::CompileOptions options;
  options.loss = loss_kind(config);
  options.target = config.target == "input" ? train::Target::kInput : train::Target::kLabel;
  options.weight_averaging = train::WeightAveraging::kNone;
  for (const graph::Layer& layer : model.layers) options.layer_learning_rates[layer.name] = 0.0;
  train::Trainer trainer(std::move(model), options);
  train::FitOptions fit;
  fit.epochs = 1;
  fit.batch_size = calibration.train.count();
  return *trainer.fit(calibration, fit).back().val_loss;
}

// The rise that stands for a network that is broken, and the highest that is told apart from that. Squared errors are
// as large as the targets make them; sums of rises must still tell small ones apart.
double broken_rise(const data::Samples& samples) {
  double squares = 0;
  const auto targets = samples.targets().data();
  for (const float target : targets) squares += static_cast<double>(target) * target;
  return 1e6 * std::max(1.0, squares / static_cast<double>(std::max<size_t>(1, targets.size())));
}

// A choice that breaks the network is one to keep away from, no reason to end the search.
double rise_of(const RunConfig& config, const graph::Model& single, const data::Dataset& calibration,
               double float_loss) {
  const double broken = broken_rise(calibration.train);
  try {
    return std::min(broken, loss_of(config, single, calibration) - float_loss);
  } catch (const train::NonFiniteLoss&) {
    return broken;
  }
}

data::Dataset calibration_of(const RunConfig& config, const data::Dataset& dataset) {
  const int64_t count = std::min<int64_t>(config.guided_start->samples, dataset.train.count());
  data::Dataset calibration = {.name = dataset.name,
                               .num_classes = dataset.num_classes,
                               .max_value = dataset.max_value,
                               .source = dataset.source,
                               .notice = dataset.notice};
  calibration.train = calibration.test = dataset.train.slice(0, count);
  return calibration;
}

void check_weights(const RunConfig& config, const graph::Model& model) {
  for (const graph::Layer& layer : model.layers) {
    if (!layer.weights.empty()) return;
  }
  throw InvalidArgument(
      "[run_config] guided_start measures a trained network, but model '{}' has no weights. Train it first ('nibble "
      "train {} --data NAME --output FOLDER') and give FOLDER/model.keras as model.",
      config.model, config.model);
}

// 1.0, and below it what may be chosen, from the widest on.
std::vector<std::string> narrowing(std::vector<std::string> multipliers) {
  std::erase_if(multipliers, [](const std::string& text) { return std::stod(text) >= 1.0; });
  std::sort(multipliers.begin(), multipliers.end(),
            [](const std::string& a, const std::string& b) { return std::stod(a) > std::stod(b); });
  multipliers.insert(multipliers.begin(), "1.0");
  return multipliers;
}

bool is_of_filters(const std::string& parameter) { return parameter.starts_with("network_filters"); }

// Costs of whole networks and knapsacks around them.
class Planner {
 public:
  Planner(const RunConfig& config, const graph::Model& model, const graph::Model& reference_model,
          const search::SearchSpace& space, const Sensitivity& sensitivity)
      : config_(config),
        model_(model),
        space_(space),
        sensitivity_(sensitivity),
        meter_(config.goal, reference_model, config.compat) {
    leave_out_weights(config_, model_);
    // Energy alone is what solve() keeps, of a network whose layers all are quantized now.
    const bool has_later = config_.budget.bounds_costs() && !config_.later_limit.is_empty();
    if (config_.budget.weight_kib || config_.budget.ram_kib || has_later) budget_.emplace(config_, model_);
  }

  std::vector<search::Assignment> run() {
    std::vector<search::Assignment> trials;
    for (const std::string& multiplier : narrowing(config_.filter_multipliers)) {
      trials = with_filters(multiplier);
      if (!trials.empty()) break;  // else not without fewer filters
    }
    return trials;
  }

 private:
  std::vector<search::Assignment> with_filters(const std::string& multiplier) const {
    std::vector<search::Assignment> trials;
    const Point best = least_sensitive(multiplier);
    const double dearest = cost(best), cheapest = cost(solve(best, 0.0));
    const double most = config_.budget.energy_nj ? std::min(dearest, 1000.0 * *config_.budget.energy_nj) : dearest;
    if (cheapest > most) return trials;
    std::set<Point> seen;
    const int count = trial_count();
    for (int i = 0; i < count; ++i) {
      const double part = count == 1 ? 0.0 : static_cast<double>(i) / (count - 1);
      const std::optional<Point> point = brought_inside(solve(best, most * std::pow(cheapest / most, part)));
      if (!point || (config_.budget.energy_nj && cost(*point) > most)) continue;
      if (seen.insert(*point).second) trials.push_back(search::decode(space_, *point));
    }
    return trials;
  }

  // Of a search that is too short for all of them, so that what it tries still goes from the dearest to the cheapest.
  int trial_count() const {
    const int left = config_.max_trials - static_cast<int>(config_.first_trials.size());
    return std::clamp(left, 1, config_.guided_start->trials);
  }

  // Within the bounds of weights and memory too: choice after choice is made smaller, the one first whose sensitivity
  // rises least for what it saves. Nothing where no single choice saves any more.
  std::optional<Point> brought_inside(Point point) const {
    double beyond = budget_ ? budget_->excess(search::decode(space_, point)) : 0.0;
    while (beyond > 0) {
      std::optional<Point> next;
      double next_beyond = beyond, least_price = HUGE_VAL;
      for (size_t p = 0; p < space_.size(); ++p) {
        Point changed = point;
        for (size_t c = 0; is_free(p) && c < space_[p].candidates.size(); ++c) {
          changed[p] = static_cast<int>(c);
          const double left = budget_->excess(search::decode(space_, changed));
          const double rise = sensitivity_.rises[p][c] - sensitivity_.rises[p][static_cast<size_t>(point[p])];
          if (left >= beyond || rise / (beyond - left) >= least_price) continue;
          next = changed;
          next_beyond = left;
          least_price = rise / (beyond - left);
        }
      }
      if (!next) return std::nullopt;
      point = std::move(*next);
      beyond = next_beyond;
    }
    return point;
  }

  // Every parameter its least sensitive candidate; of equal ones the last, which tables offer as the widest. Filters by
  // the multiplier where that is a choice.
  Point least_sensitive(const std::string& multiplier) const {
    Point point;
    for (size_t p = 0; p < space_.size(); ++p) {
      const auto& candidates = space_[p].candidates;
      size_t best = candidates.size() - 1;
      for (size_t c = candidates.size(); c-- > 0;) {
        if (sensitivity_.rises[p][c] < sensitivity_.rises[p][best]) best = c;
      }
      if (is_of_filters(space_[p].name)) {
        const auto found = std::find(candidates.begin(), candidates.end(), multiplier);
        best = found == candidates.end() ? 0 : static_cast<size_t>(found - candidates.begin());
      }
      // The rate as it was given: the candidates end at 1.1 times it.
      if (space_[p].name == kLearningRate && candidates.size() > 1) best = candidates.size() - 2;
      point.push_back(static_cast<int>(best));
    }
    return point;
  }

  double cost(const Point& point) const {
    const graph::Model trial = build_trial(model_, config_, search::decode(space_, point));
    return meter_.measure(budget_ ? budget_->completed(trial) : trial).cost;
  }

  bool is_free(size_t p) const {
    return space_[p].candidates.size() > 1 && !is_of_filters(space_[p].name) && space_[p].name != kLearningRate;
  }

  // The least sensitive point within `budget`, or the cheapest where nothing is within it.
  Point solve(Point point, double budget) const {
    for (int round = 0; round < kRounds; ++round) {
      Point next = solve_around(point, budget);
      if (next == point) break;
      point = std::move(next);
    }
    return point;
  }

  Point solve_around(const Point& point, double budget) const {
    std::vector<std::vector<search::KnapsackOption>> layers;
    std::vector<size_t> parameters;
    const double base = cost(point);
    double left = budget - base;
    for (size_t p = 0; p < space_.size(); ++p) {
      if (!is_free(p)) continue;
      std::vector<search::KnapsackOption> options;
      Point changed = point;
      double least = HUGE_VAL;
      for (size_t c = 0; c < space_[p].candidates.size(); ++c) {
        changed[p] = static_cast<int>(c);
        options.push_back({cost(changed) - base, sensitivity_.rises[p][c]});
        least = std::min(least, options.back().cost);
      }
      for (search::KnapsackOption& option : options) option.cost = rounded(option.cost - least, budget);
      left -= least;
      layers.push_back(std::move(options));
      parameters.push_back(p);
    }
    const auto choice = search::solve_knapsack(layers, std::max(left, 0.0));
    Point result = point;
    for (size_t i = 0; choice && i < parameters.size(); ++i) result[parameters[i]] = choice->options[i];
    return result;
  }

  // In steps of a ten-thousandth, upwards, which keeps the number of partial sums small.
  double rounded(double value, double budget) const {
    const double step = std::max(budget, meter_.reference() * 1e-3) * 1e-4;
    return std::ceil(value / step) * step;
  }

  RunConfig config_;
  graph::Model model_;
  const search::SearchSpace& space_;
  const Sensitivity& sensitivity_;
  CostMeter meter_;
  std::optional<BudgetMeter> budget_ = {};
};

}  // namespace

Sensitivity measure_sensitivity(const RunConfig& config, const graph::Model& model, const data::Dataset& dataset,
                                const search::SearchSpace& space) {
  check_weights(config, model);
  const data::Dataset calibration = calibration_of(config, dataset);
  Sensitivity result{.float_loss = loss_of(config, model, calibration), .rises = {}};
  for (const search::Parameter& parameter : space) {
    std::vector<double> rises(parameter.candidates.size(), 0.0);
    for (size_t c = 0; parameter.candidates.size() > 1 && c < rises.size(); ++c) {
      const auto single = build_single(model, config, parameter.name, parameter.candidates[c]);
      if (single) rises[c] = rise_of(config, *single, calibration, result.float_loss);
    }
    result.rises.push_back(std::move(rises));
  }
  return result;
}

nlohmann::json to_json(const Sensitivity& sensitivity, const search::SearchSpace& space) {
  nlohmann::json parameters = nlohmann::json::object();
  for (size_t p = 0; p < space.size(); ++p) {
    for (size_t c = 0; c < space[p].candidates.size(); ++c) {
      parameters[space[p].name][space[p].candidates[c]] = sensitivity.rises[p][c];
    }
  }
  return {{"float_loss", sensitivity.float_loss}, {"parameters", parameters}};
}

std::vector<search::Assignment> guided_trials(const RunConfig& config, const graph::Model& model,
                                              const graph::Model& reference_model, const search::SearchSpace& space,
                                              const Sensitivity& sensitivity) {
  return Planner(config, model, reference_model, space, sensitivity).run();
}

}  // namespace nibble::autoq
