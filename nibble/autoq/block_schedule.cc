#include "nibble/autoq/block_schedule.h"

#include <algorithm>
#include <map>

#include "nibble/autoq/cost_meter.h"
#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {
namespace {

constexpr int kLeastTrials = 10, kMostTrials = 1'000'000;  // the most that max_trials may be

bool begins_with_match(const std::string& name, const std::regex& pattern) {
  return std::regex_search(name, pattern, std::regex_constants::match_continuous);
}

// A name as a pattern that matches nothing but it.
std::string escaped(const std::string& name) {
  std::string text;
  for (const char c : name) {
    if (std::string_view("^$\\.*+?()[]{}|").find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  return text;
}

int trials_of(const RunConfig& config, double cost, double reference) {
  if (config.runs_all_rounds) return std::min(config.max_trials, kMostTrials);
  return static_cast<int>(std::clamp(config.max_trials * cost / reference, static_cast<double>(kLeastTrials),
                                     static_cast<double>(kMostTrials)));
}

class Planner {
 public:
  Planner(const graph::Model& model, const RunConfig& config)
      : model_(model),
        config_(config),
        compat_(config.compat != Compat::kNone),
        selected_(config.layer_indexes.resolve(static_cast<int>(model.layers.size()))),
        // AutoQKerasScheduler cuts the limit into blocks before anything completes it.
        effective_(compat_ ? config.limit.given() : config.limit.to_json()) {}

  BlockSchedule run() {
    const CostMeter meter(config_.goal, model_, config_.compat);
    costs_ = meter.layer_costs(model_);
    BlockSchedule schedule{.reference = meter.reference() * config_.goal.factor.stress, .blocks = {}};
    for (const std::string& pattern : config_.blocks) {
      const auto same = [&](const Block& block) { return block.pattern == pattern; };
      if (std::any_of(schedule.blocks.begin(), schedule.blocks.end(), same)) continue;
      schedule.blocks.push_back(plan(pattern, schedule.reference));
    }
    if (!compat_) check_overlap(schedule.blocks);
    if (config_.schedule_block == ScheduleBlock::kCost) {
      // Of equal blocks the earlier one stays first.
      std::stable_sort(schedule.blocks.begin(), schedule.blocks.end(),
                       [](const Block& a, const Block& b) { return a.cost > b.cost; });
    }
    return schedule;
  }

 private:
  Block plan(const std::string& pattern, double reference) const {
    Block block{.pattern = pattern, .layers = {}, .cost = 0, .trials = 0, .limit = Json::object()};
    const std::regex compiled(pattern, std::regex::ECMAScript);
    std::vector<const graph::Layer*> members;
    for (size_t i = 0; i < model_.layers.size(); ++i) {
      const graph::Layer& layer = model_.layers[i];
      if (!selected_[i] || !begins_with_match(layer.name, compiled)) continue;
      members.push_back(&layer);
      block.layers.push_back(layer.name);
      const auto cost = costs_.find(layer.name);
      if (cost != costs_.end()) block.cost += cost->second;
    }
    if (members.empty()) refuse_empty(pattern);
    block.trials = trials_of(config_, block.cost, reference);
    block.limit = limit_of(members);
    if (block.limit.empty()) {
      throw InvalidArgument(
          "[run_config] blocks: nothing in '{}' can be quantized: no key of limit fits one of its layers ({}). Add "
          "such a key, or remove the block.",
          pattern, fmt::join(block.layers, ", "));
    }
    return block;
  }

  // Entries found by class first, then those found by a pattern, each in the layers' order.
  Json limit_of(const std::vector<const graph::Layer*>& members) const {
    Json limit = Json::object();
    std::vector<std::pair<std::string, std::vector<std::string>>> groups;  // key of the limit -> layers
    for (const graph::Layer* layer : members) {
      const auto match = config_.limit.find(layer->name, layer->class_name);
      // A key that nothing follows from would be refused.
      if (!match || (!compat_ && !takes_quantizers(*layer))) continue;
      const std::string& key = match->entry->key;
      if (!match->by_pattern) {
        // The bare name, a pattern too, would catch conv_10 for conv_1.
        limit[compat_ ? layer->name : exact_pattern(layer->name)] = effective_.at(key);
        continue;
      }
      const auto same = [&](const auto& group) { return group.first == key; };
      auto group = std::find_if(groups.begin(), groups.end(), same);
      if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
      group->second.push_back(compat_ ? layer->name : escaped(layer->name));
    }
    for (const auto& [key, names] : groups) {
      limit[fmt::format("^({})$", fmt::join(names, "|"))] = effective_.at(key);
    }
    return limit;
  }

  [[noreturn]] void refuse_empty(const std::string& pattern) const {
    std::vector<std::string> names;
    for (size_t i = 0; i < model_.layers.size(); ++i) {
      if (selected_[i]) names.push_back(model_.layers[i].name);
    }
    std::string bare = pattern;
    std::erase_if(bare, [](char c) { return std::string_view("^$.*+?()[]{}|\\").find(c) != std::string_view::npos; });
    const auto near = nearest_names(bare, names);
    throw InvalidArgument(
        "[run_config] blocks: '{}' matches the start of no layer's name in layer_indexes.{} Correct or remove it; "
        "'nibble models MODEL' lists the layers.",
        pattern, near.empty() ? "" : fmt::format(" Near: '{}'.", fmt::join(near, "', '")));
  }

  static void check_overlap(const std::vector<Block>& blocks) {
    std::map<std::string, std::string> owner;
    for (const Block& block : blocks) {
      for (const std::string& layer : block.layers) {
        const auto [found, is_new] = owner.emplace(layer, block.pattern);
        if (is_new) continue;
        throw InvalidArgument(
            "[run_config] blocks: layer '{}' is in two blocks, '{}' and '{}', but is quantized once only. Make the "
            "patterns disjoint; a pattern must match from the start of a name, and '$' ends it.",
            layer, found->second, block.pattern);
      }
    }
  }

  const graph::Model& model_;
  const RunConfig& config_;
  const bool compat_;
  const std::vector<bool> selected_;
  const Json effective_;  // limit; its classes are completed but for compat
  std::map<std::string, double> costs_;
};

}  // namespace

std::string exact_pattern(const std::string& name) { return "^" + escaped(name) + "$"; }

BlockSchedule schedule_blocks(const graph::Model& model, const RunConfig& config) {
  if (config.blocks.empty()) {
    throw InvalidArgument(
        "[run_config] blocks is missing; give a list of patterns of layers' names such as [\"^.*_0$\", \"^dense\"].");
  }
  return Planner(model, config).run();
}

std::string describe(const BlockSchedule& schedule) {
  std::string text;
  for (size_t i = 0; i < schedule.blocks.size(); ++i) {
    const Block& block = schedule.blocks[i];
    text += fmt::format("block {} '{}': cost {:.0f} / {:.0f}, {} trials\n", i, block.pattern, block.cost,
                        schedule.reference, block.trials);
    text += fmt::format("  layers {}\n", fmt::join(block.layers, " "));
    text += fmt::format("  limit  {}\n", block.limit.dump());
  }
  return text;
}

}  // namespace nibble::autoq
