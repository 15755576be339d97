#include "nibble/autoq/run_config.h"

#include <algorithm>

#include "nibble/autoq/strategy_config.h"
#include "nibble/autoq/training_config.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/unique_keys.h"

namespace nibble::autoq {
namespace {

constexpr uint64_t kLargestFile = uint64_t{16} << 20;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = {
      // AutoQKeras
      "output_dir", "goal", "quantization_config", "learning_rate_optimizer", "transfer_weights", "mode", "seed",
      "limit", "tune_filters", "tune_filters_exceptions", "distribution_strategy", "layer_indexes", "max_trials",
      "activation_bits", "head_name", "metrics", "custom_objects", "overwrite", "executions_per_trial", "blocks",
      "schedule_block", "hyperband_iterations", "factor", "max_epochs", "score_metric", "frozen_layers",
      // ours
      "model", "budget", "reference_model", "inherit_weights", "data", "preprocessing", "holdout", "epochs",
      "batch_size", "optimizer", "learning_rate", "momentum", "schedule", "batch_norm_statistics", "weight_averaging",
      "early_stopping", "workers", "compat", "filter_multipliers", "pruner", "first_trials", "guided_start",
      "later_limit", "layer_learning_rates", "block_learning_rates", "loss", "target", "teacher", "teacher_weight",
      "temperature", "augment", "validation_freq", "dropout"};
  return keys;
}

// Keys and values of AutoQKeras that nibble understands but cannot do.
void refuse_unsupported(const JsonFields& fields) {
  const auto refuse = [&](std::string_view key, std::string_view advice) {
    throw Unsupported("{} is {}, which is not available yet. {}", fields.path(key), excerpt(*fields.find(key)), advice);
  };
  const auto is = [&](std::string_view key, const Json& value) {
    const Json* given = fields.find(key);
    return given == nullptr || *given == value;
  };
  if (fields.find("distribution_strategy") != nullptr) {
    refuse("distribution_strategy",
           "Set it to null; trials run side by side in worker processes instead (key workers).");
  }
  if (!is("custom_objects", Json::object())) refuse("custom_objects", "Remove it or leave it empty.");
  fields.boolean("overwrite", true);  // a study is never overwritten: the launcher refuses or resumes
}

LayerIndexes parse_layer_indexes(const JsonFields& fields) {
  LayerIndexes indexes;
  const Json* value = fields.find("layer_indexes");
  if (value == nullptr) return indexes;
  const auto fits = [](const Json& item) {
    return item.is_number_integer() && item.get<int64_t>() > -100'000 && item.get<int64_t>() < 100'000;
  };
  if (value->is_array() && std::all_of(value->begin(), value->end(), fits)) {
    indexes.kind = LayerIndexes::Kind::kList;
    indexes.list = value->get<std::vector<int>>();
    return indexes;
  }
  const bool is_range = value->is_object() && value->size() == 1 && value->contains("range");
  const Json range = is_range ? value->at("range") : Json();
  if (!range.is_array() || range.size() != 2 || !fits(range[0]) || !fits(range[1])) {
    throw InvalidArgument(
        "{} is {}; it must be a list of layer indexes or {{\"range\": [1, -1]}} (all but the first and the last "
        "layer).",
        fields.path("layer_indexes"), excerpt(*value));
  }
  indexes.kind = LayerIndexes::Kind::kRange;
  indexes.begin = range[0].get<int>();
  indexes.end = range[1].get<int>();
  return indexes;
}

std::optional<std::regex> parse_exceptions(const JsonFields& fields) {
  if (fields.find("tune_filters_exceptions") == nullptr) return std::nullopt;
  const std::string text = fields.text("tune_filters_exceptions", "");
  try {
    return std::regex(text, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    throw InvalidArgument("{} is '{}', which is no valid regular expression ({}).",
                          fields.path("tune_filters_exceptions"), text, error.what());
  }
}

void parse_multipliers(const JsonFields& fields, RunConfig& config) {
  const Json* given = fields.find("filter_multipliers");
  if (given == nullptr) return;
  if (config.tune_filters == TuneFilters::kNone) {
    throw InvalidArgument(
        "{} is given, but tune_filters is \"none\", so that no filters are multiplied. Set tune_filters to \"layer\" "
        "or "
        "\"block\", or remove the key.",
        fields.path("filter_multipliers"));
  }
  config.filter_multipliers.clear();
  for (const Json& item : given->is_array() ? *given : Json::array()) {
    const double multiplier = item.is_number() ? item.get<double>() : 0;
    if (!(multiplier > 0 && multiplier <= 100)) {
      throw InvalidArgument("{} holds {}; multipliers are numbers above 0, at most 100.",
                            fields.path("filter_multipliers"), excerpt(item));
    }
    std::string text = fmt::format("{:.6g}", multiplier);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    config.filter_multipliers.push_back(text);
  }
  if (config.filter_multipliers.empty()) {
    throw InvalidArgument("{} is {}; it must be a list such as [0.5, 0.625, 0.75, 0.875, 1.0].",
                          fields.path("filter_multipliers"), excerpt(*given));
  }
}

void parse_block_rates(const JsonFields& fields, RunConfig& config) {
  const Json* given = fields.find("block_learning_rates");
  if (given == nullptr) return;
  if (config.blocks.empty()) {
    throw InvalidArgument(
        "{} is {}, but there are no blocks whose learning rates it would change. Give blocks, a list of patterns of "
        "layers' names, or remove it.",
        fields.path("block_learning_rates"), excerpt(*given));
  }
  const Json list = given->is_array() ? *given : Json::array({*given});
  for (const Json& item : list) {
    const double factor = item.is_number() ? item.get<double>() : -1;
    const bool fits = factor >= 0 && factor <= 1e6;
    if (!fits || (list.size() != 1 && list.size() != config.blocks.size())) {
      throw InvalidArgument(
          "{} is {}; it must be a factor of the learning rate from 0 (a block that is done stays as it is), or a list "
          "of "
          "one for each of the {} blocks.",
          fields.path("block_learning_rates"), excerpt(*given), config.blocks.size());
    }
    config.block_learning_rates.push_back(factor);
  }
}

void parse_blocks(const JsonFields& fields, RunConfig& config) {
  config.blocks = fields.texts("blocks", {});
  const std::string order = fields.choice("schedule_block", "sequential", {"sequential", "cost"});
  config.schedule_block = order == "cost" ? ScheduleBlock::kCost : ScheduleBlock::kSequential;
  if (fields.find("schedule_block") != nullptr && config.blocks.empty()) {
    throw InvalidArgument(
        "{} is \"{}\", but there are no blocks to order. Give blocks, a list of patterns of layers' names, or remove "
        "it.",
        fields.path("schedule_block"), order);
  }
  for (const std::string& pattern : config.blocks) check_pattern(fields.path("blocks"), pattern);
  parse_block_rates(fields, config);
}

void parse_search(const JsonFields& fields, RunConfig& config) {
  config.output_dir = fields.text("output_dir", "");
  if (const Json* goal = fields.find("goal")) config.goal = parse_goal(*goal);
  if (const Json* tables = fields.find("quantization_config")) {
    config.quantization_config = parse_quantization_config(*tables);
  }
  if (const Json* limit = fields.find("limit")) config.limit = Limit(*limit);
  const std::string tune = fields.choice("tune_filters", "none", {"none", "layer", "block"});
  config.tune_filters = tune == "layer"   ? TuneFilters::kLayer
                        : tune == "block" ? TuneFilters::kBlock
                                          : TuneFilters::kNone;
  parse_multipliers(fields, config);
  config.tune_filters_exceptions = parse_exceptions(fields);
  config.layer_indexes = parse_layer_indexes(fields);
  config.activation_bits = static_cast<int>(fields.integer("activation_bits", config.activation_bits, 1, 32));
  const Json* transfer = fields.find("transfer_weights");
  config.inherit_from_nearest = transfer != nullptr && *transfer == "nearest";
  if (!config.inherit_from_nearest) config.transfer_weights = fields.boolean("transfer_weights", false);
  if (config.transfer_weights && config.tune_filters != TuneFilters::kNone) {
    throw InvalidArgument(
        "{} is true, but with tune_filters '{}' shapes differ from trial to trial; set one of them off, or take "
        "\"nearest\", which takes what agrees.",
        fields.path("transfer_weights"), tune);
  }
  parse_blocks(fields, config);
  config.seed = static_cast<uint64_t>(fields.integer("seed", 0, 0, INT64_MAX));
  const std::string compat = fields.choice("compat", "none", {"none", "qkeras", "qkeras-2020"});
  if (compat == "none") config.limit.check_lengths();
  config.compat = compat == "qkeras" ? Compat::kQkeras : compat == "qkeras-2020" ? Compat::kQkeras2020 : Compat::kNone;
}

// Trials are measured before they are trained: they must begin with weights, all of them.
void check_trained_model(const JsonFields& fields, const RunConfig& config) {
  if (!config.goal.counts_trained_weights()) return;
  if (!config.transfer_weights && !config.inherit_weights) {
    throw InvalidArgument(
        "{}.params.trained_model is true, but trials are measured before they are trained, and these begin without "
        "weights. Give a trained network's file as model and set transfer_weights to true, or set trained_model to "
        "false.",
        fields.path("goal"));
  }
  if (config.tune_filters != TuneFilters::kNone) {
    throw InvalidArgument(
        "{}.params.trained_model is true, but with tune_filters there are trials whose layers do not fit the trained "
        "weights. Set one of them off.",
        fields.path("goal"));
  }
}

Json parse_json(std::string_view text) {
  try {
    return Json::parse(text, unique_keys<Json>("[run_config] "), true, /*ignore_comments=*/true);
  } catch (const Json::exception& error) {
    throw InvalidArgument("[run_config] this is no JSON: {}.", error.what());
  }
}

}  // namespace

std::vector<bool> LayerIndexes::resolve(int layer_count) const {
  if (kind == Kind::kAll) return std::vector<bool>(static_cast<size_t>(layer_count), true);
  std::vector<bool> selected(static_cast<size_t>(layer_count), false);
  std::vector<int> indexes = list;
  if (kind == Kind::kRange) {
    const int last = end < 0 ? layer_count + end : end;
    for (int index = begin < 0 ? layer_count + begin : begin; index < last; ++index) indexes.push_back(index);
  }
  for (const int index : indexes) {
    const int position = index < 0 ? layer_count + index : index;
    if (position < 0 || position >= layer_count) {
      throw InvalidArgument("[run_config] layer_indexes: {} is outside of the model, which has {} layers (0 to {}).",
                            index, layer_count, layer_count - 1);
    }
    selected[static_cast<size_t>(position)] = true;
  }
  return selected;
}

bool RunConfig::is_excepted_from_filter_tuning(const std::string& layer) const {
  return tune_filters_exceptions && std::regex_search(layer, *tune_filters_exceptions);
}

RunConfig parse_run_config(std::string_view json_text) {
  const Json document = parse_json(json_text);
  const JsonFields fields(document, "", known_keys());
  refuse_unsupported(fields);
  RunConfig config;
  parse_search(fields, config);
  parse_training(fields, config);
  parse_strategy(fields, config);
  check_trained_model(fields, config);
  return config;
}

RunConfig load_run_config(const std::filesystem::path& path) { return parse_run_config(read_file(path, kLargestFile)); }

bool same_search(std::string_view json_a, std::string_view json_b) {
  Json a = parse_json(json_a), b = parse_json(json_b);
  for (Json* config : {&a, &b}) {
    if (!config->is_object()) continue;
    for (const char* key : {"max_trials", "workers", "output_dir"}) config->erase(key);
    // Found once, when the study was made.
    if (config->contains("guided_start")) config->erase("first_trials");
  }
  return a == b;
}

}  // namespace nibble::autoq
