#include "nibble/autoq/run_config.h"

#include <algorithm>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"

namespace nibble::autoq {
namespace {

constexpr uint64_t kLargestFile = uint64_t{16} << 20;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = {
      // AutoQKeras
      "output_dir", "goal", "quantization_config", "learning_rate_optimizer", "transfer_weights", "mode", "seed",
      "limit", "tune_filters", "tune_filters_exceptions", "distribution_strategy", "layer_indexes", "max_trials",
      "activation_bits", "head_name", "metrics", "custom_objects", "overwrite", "executions_per_trial", "blocks",
      "schedule_block", "hyperband_iterations", "factor", "max_epochs", "score_metric",
      // ours
      "model", "budget", "reference_model", "inherit_weights", "data", "preprocessing", "holdout", "epochs",
      "batch_size", "optimizer", "learning_rate", "momentum", "schedule", "batch_norm_statistics", "weight_averaging",
      "early_stopping", "workers", "compat"};
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
  const std::string mode = fields.choice("mode", "random", {"random", "bayesian", "tpe", "nsga2", "hyperband"});
  if (mode == "hyperband") refuse("mode", "Available: \"random\", \"bayesian\", \"tpe\", \"nsga2\".");
  if (fields.boolean("learning_rate_optimizer", false)) {
    refuse("learning_rate_optimizer", "Set it to false and give learning_rate; schedule \"cosine\" is available.");
  }
  for (const char* key : {"hyperband_iterations", "factor", "max_epochs"}) {
    if (fields.find(key) != nullptr)
      refuse(key, "It belongs to mode \"hyperband\"; remove it and use mode \"random\".");
  }
  if (fields.find("distribution_strategy") != nullptr) {
    refuse("distribution_strategy",
           "Set it to null; trials run side by side in worker processes instead (key workers).");
  }
  if (fields.find("head_name") != nullptr)
    refuse("head_name", "Only models with one output can be searched; remove it.");
  if (!is("custom_objects", Json::object())) refuse("custom_objects", "Remove it or leave it empty.");
  if (!is("executions_per_trial", 1)) refuse("executions_per_trial", "Each trial is trained once; remove it.");
  if (!is("score_metric", "val_score")) refuse("score_metric", "Trials are ranked by val_score; remove it.");
  for (const std::string& metric : fields.texts("metrics", {})) {
    if (metric != "acc" && metric != "accuracy") refuse("metrics", "The score's metric is [\"acc\"].");
  }
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

std::optional<int> parse_early_stopping(const JsonFields& fields, int epochs) {
  const int fallback = std::min(20, epochs / 5);
  const Json* value = fields.find("early_stopping");
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>() ? std::optional<int>(fallback) : std::nullopt;
  if (value->is_object()) {
    const JsonFields inner(*value, "early_stopping", {"patience"});
    return static_cast<int>(inner.integer("patience", fallback, 0, 1'000'000));
  }
  return static_cast<int>(fields.integer("early_stopping", fallback, 0, 1'000'000));
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

void parse_budget(const JsonFields& fields, RunConfig& config) {
  const Json* given = fields.find("budget");
  if (given == nullptr) return;
  const JsonFields inner(*given, "budget", {"energy_nj", "weight_kib", "ram_kib", "accuracy"});
  for (const char* key : {"ram_kib", "accuracy"}) {
    if (inner.find(key) == nullptr) continue;
    throw Unsupported("{} is {}, which is not available yet. Available: energy_nj, weight_kib.", inner.path(key),
                      excerpt(*inner.find(key)));
  }
  if (inner.find("energy_nj") != nullptr) config.budget.energy_nj = inner.positive("energy_nj", 0, 1e15);
  if (inner.find("weight_kib") != nullptr) config.budget.weight_kib = inner.positive("weight_kib", 0, 1e15);
  if (config.budget.energy_nj && config.goal.kind != GoalKind::kEnergy) {
    throw InvalidArgument("{} needs a goal of type \"energy\", whose settings say how energy is counted; add one.",
                          inner.path("energy_nj"));
  }
  if (!config.budget.is_empty() && !config.blocks.empty()) {
    throw InvalidArgument(
        "{} cannot be kept by a search by blocks, whose first networks are quantized in part only; remove budget or "
        "blocks.",
        fields.path("budget"));
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
  for (const std::string& pattern : config.blocks) {
    try {
      std::regex(pattern, std::regex::ECMAScript);
    } catch (const std::regex_error& error) {
      throw InvalidArgument("{} holds '{}', which is no valid regular expression ({}).", fields.path("blocks"), pattern,
                            error.what());
    }
  }
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
  config.tune_filters_exceptions = parse_exceptions(fields);
  config.layer_indexes = parse_layer_indexes(fields);
  config.activation_bits = static_cast<int>(fields.integer("activation_bits", config.activation_bits, 1, 32));
  config.transfer_weights = fields.boolean("transfer_weights", false);
  if (config.transfer_weights && config.tune_filters != TuneFilters::kNone) {
    throw InvalidArgument(
        "{} is true, but with tune_filters '{}' shapes differ from trial to trial; set one of them off.",
        fields.path("transfer_weights"), tune);
  }
  const std::string mode = fields.text("mode", "random");
  config.mode = mode == "bayesian" ? Mode::kBayesian
                : mode == "tpe"    ? Mode::kTpe
                : mode == "nsga2"  ? Mode::kNsga2
                                   : Mode::kRandom;
  parse_blocks(fields, config);
  parse_budget(fields, config);
  config.seed = static_cast<uint64_t>(fields.integer("seed", 0, 0, INT64_MAX));
  config.max_trials = static_cast<int>(fields.integer("max_trials", config.max_trials, 1, 1'000'000));
  const std::string compat = fields.choice("compat", "none", {"none", "qkeras", "qkeras-2020"});
  if (compat == "none") config.limit.check_lengths();
  config.compat = compat == "qkeras" ? Compat::kQkeras : compat == "qkeras-2020" ? Compat::kQkeras2020 : Compat::kNone;
}

void parse_training(const JsonFields& fields, RunConfig& config) {
  config.model = fields.text("model", config.model);
  config.reference_model = fields.text("reference_model", "");
  config.inherit_weights = fields.boolean("inherit_weights", false);
  config.data = fields.text("data", "");
  config.preprocessing = fields.choice("preprocessing", config.preprocessing, {"tutorial", "unit", "none"});
  config.holdout = fields.text("holdout", "");
  config.epochs = static_cast<int>(fields.integer("epochs", config.epochs, 1, 1'000'000));
  config.batch_size = fields.integer("batch_size", config.batch_size, 1, 10'000'000);
  config.optimizer = fields.choice("optimizer", config.optimizer, {"adam", "sgd"});
  config.learning_rate = fields.positive("learning_rate", config.learning_rate, 3e38);
  config.momentum = fields.number("momentum", 0, 0, 1);
  if (config.momentum != 0 && config.optimizer != "sgd") {
    throw InvalidArgument("{} is {}, which means nothing to \"{}\"; remove it, or set optimizer to \"sgd\".",
                          fields.path("momentum"), config.momentum, config.optimizer);
  }
  config.schedule = fields.choice("schedule", config.schedule, {"constant", "cosine"});
  config.batch_norm_statistics =
      fields.choice("batch_norm_statistics", config.batch_norm_statistics, {"reestimated", "moving"});
  if (fields.find("weight_averaging") != nullptr) {
    config.weight_averaging = fields.choice("weight_averaging", "", {"tail", "none"});
    if (config.weight_averaging == "tail" && config.batch_norm_statistics == "moving") {
      throw InvalidArgument(
          "{} is \"tail\", which needs re-estimated batch-norm statistics; remove it, or set "
          "batch_norm_statistics to \"reestimated\".",
          fields.path("weight_averaging"));
    }
  }
  config.early_stopping = parse_early_stopping(fields, config.epochs);
  config.workers = static_cast<int>(fields.integer("workers", 0, 0, 4096));
}

Json parse_json(std::string_view text) {
  try {
    return Json::parse(text, nullptr, true, /*ignore_comments=*/true);
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
  return config;
}

RunConfig load_run_config(const std::filesystem::path& path) { return parse_run_config(read_file(path, kLargestFile)); }

bool same_search(std::string_view json_a, std::string_view json_b) {
  Json a = parse_json(json_a), b = parse_json(json_b);
  for (Json* config : {&a, &b}) {
    if (!config->is_object()) continue;
    for (const char* key : {"max_trials", "workers", "output_dir"}) config->erase(key);
  }
  return a == b;
}

}  // namespace nibble::autoq
