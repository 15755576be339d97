#include "nibble/autoq/training_config.h"

#include <algorithm>
#include <map>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {
namespace {

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

// frozen_layers first: 0 is stronger than any factor.
void parse_layer_rates(const JsonFields& fields, RunConfig& config) {
  for (const std::string& pattern : fields.texts("frozen_layers", {})) {
    check_pattern(fields.path("frozen_layers"), pattern);
    config.layer_learning_rates.emplace_back(pattern, 0.0);
  }
  const Json* rates = fields.find("layer_learning_rates");
  if (rates == nullptr) return;
  if (!rates->is_object()) {
    throw InvalidArgument("{} is {}; it must be an object such as {{\"^conv2d_0$\": 0.1}}.",
                          fields.path("layer_learning_rates"), excerpt(*rates));
  }
  for (const auto& [pattern, factor] : rates->items()) {
    check_pattern(fields.path("layer_learning_rates"), pattern);
    if (!factor.is_number() || !(factor.get<double>() >= 0 && factor.get<double>() <= 1e6)) {
      throw InvalidArgument("{}['{}'] is {}; it must be a factor of the learning rate from 0 (frozen).",
                            fields.path("layer_learning_rates"), pattern, excerpt(factor));
    }
    config.layer_learning_rates.emplace_back(pattern, factor.get<double>());
  }
}

// Name -> the one that RunConfig has for it. Those of train/loss_names.h, which needs torch.
const std::map<std::string, std::string, std::less<>>& losses() {
  static const std::map<std::string, std::string, std::less<>> names = {
      {"crossentropy", "crossentropy"},
      {"categorical_crossentropy", "crossentropy"},
      {"sparse_categorical_crossentropy", "crossentropy"},
      {"mse", "mse"},
      {"mean_squared_error", "mse"},
      {"mae", "mae"},
      {"mean_absolute_error", "mae"},
      {"mape", "mean_absolute_percentage_error"},
      {"mean_absolute_percentage_error", "mean_absolute_percentage_error"},
      {"msle", "mean_squared_logarithmic_error"},
      {"mean_squared_logarithmic_error", "mean_squared_logarithmic_error"},
      {"huber", "huber"},
      {"log_cosh", "log_cosh"},
      {"logcosh", "log_cosh"},
      {"bce", "binary_crossentropy"},
      {"binary_crossentropy", "binary_crossentropy"},
      {"poisson", "poisson"},
      {"kld", "kl_divergence"},
      {"kl_divergence", "kl_divergence"}};
  return names;
}

void parse_loss(const JsonFields& fields, RunConfig& config) {
  const std::string given = fields.text("loss", config.loss);
  config.loss = plain_loss(given);
  if (config.loss.empty()) {
    throw InvalidArgument("{} is '{}', which is no loss. {}", fields.path("loss"), given, suggest(given, loss_names()));
  }
  config.target = fields.choice("target", config.target, {"label", "input"});
  if (config.target == "input" && config.loss == "crossentropy") {
    throw InvalidArgument(
        "{} is \"input\", but loss \"crossentropy\" compares with labels; set loss to \"mse\" or \"mae\".",
        fields.path("target"));
  }
}

void parse_teacher(const JsonFields& fields, RunConfig& config) {
  config.teacher = fields.text("teacher", "");
  config.teacher_weight = fields.number("teacher_weight", config.teacher_weight, 0, 1);
  config.temperature = fields.positive("temperature", config.temperature, 1e6);
  for (const char* key : {"teacher_weight", "temperature"}) {
    if (!config.teacher.empty() || fields.find(key) == nullptr) continue;
    throw InvalidArgument("{} is {}, but there is no teacher; give teacher, the file of a trained model, or remove it.",
                          fields.path(key), excerpt(*fields.find(key)));
  }
  if (!config.teacher.empty() && config.loss != "crossentropy") {
    throw InvalidArgument("{} is '{}', which teaches classes, but loss is \"{}\"; remove one of them.",
                          fields.path("teacher"), config.teacher, config.loss);
  }
}

void parse_augment(const JsonFields& fields, RunConfig& config) {
  try {
    config.augmentation = data::parse_augmentation(fields.text("augment", "none"));
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("{}: {}", fields.path("augment"), error.what());
  }
}

void parse_weight_averaging(const JsonFields& fields, RunConfig& config) {
  if (fields.find("weight_averaging") == nullptr) return;
  config.weight_averaging = fields.choice("weight_averaging", "", {"tail", "none"});
  if (config.weight_averaging == "tail" && config.batch_norm_statistics == "moving") {
    throw InvalidArgument(
        "{} is \"tail\", which needs re-estimated batch-norm statistics; remove it, or set "
        "batch_norm_statistics to \"reestimated\".",
        fields.path("weight_averaging"));
  }
}

}  // namespace

std::vector<std::string> loss_names() {
  std::vector<std::string> names;
  for (const auto& [name, known_as] : losses()) names.push_back(name);
  return names;
}

std::string plain_loss(std::string_view name) {
  const auto found = losses().find(name);
  return found == losses().end() ? "" : found->second;
}

void parse_training(const JsonFields& fields, RunConfig& config) {
  config.model = fields.text("model", config.model);
  config.head_name = fields.text("head_name", "");
  config.reference_model = fields.text("reference_model", "");
  config.inherit_weights = fields.boolean("inherit_weights", false);
  config.data = fields.text("data", "");
  config.preprocessing = fields.choice("preprocessing", config.preprocessing, {"tutorial", "unit", "none"});
  config.holdout = fields.text("holdout", "");
  config.epochs = static_cast<int>(fields.integer("epochs", config.epochs, 1, 1'000'000));
  config.validation_freq = static_cast<int>(fields.integer("validation_freq", 1, 1, 1'000'000));
  if (fields.find("dropout") != nullptr) config.dropout = fields.number("dropout", 0.0, 0.0, 0.999);
  config.batch_size = fields.integer("batch_size", config.batch_size, 1, 10'000'000);
  config.optimizer = fields.choice("optimizer", config.optimizer, {"adam", "sgd"});
  config.learning_rate = fields.positive("learning_rate", config.learning_rate, 3e38);
  config.learning_rate_optimizer = fields.boolean("learning_rate_optimizer", false);
  config.momentum = fields.number("momentum", 0, 0, 1);
  if (config.momentum != 0 && config.optimizer != "sgd") {
    throw InvalidArgument("{} is {}, which means nothing to \"{}\"; remove it, or set optimizer to \"sgd\".",
                          fields.path("momentum"), config.momentum, config.optimizer);
  }
  parse_layer_rates(fields, config);
  parse_loss(fields, config);
  parse_teacher(fields, config);
  parse_augment(fields, config);
  config.schedule = fields.choice("schedule", config.schedule, {"constant", "cosine"});
  config.batch_norm_statistics =
      fields.choice("batch_norm_statistics", config.batch_norm_statistics, {"reestimated", "moving"});
  parse_weight_averaging(fields, config);
  config.early_stopping = parse_early_stopping(fields, config.epochs);
  config.workers = static_cast<int>(fields.integer("workers", 0, 0, 4096));
}

}  // namespace nibble::autoq
