#include "nibble/cli/model_argument.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/command.h"
#include "nibble/core/nearest_name.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/models/builtin.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

bool looks_like_path(const std::string& text) { return text.find_first_of("/\\.") != std::string::npos; }

std::optional<fs::path> file_of(const std::string& text) {
  std::error_code ignored;
  const fs::path path = text;
  if (fs::is_directory(path, ignored) && fs::exists(path / "model.keras", ignored)) return path / "model.keras";
  return fs::is_regular_file(path, ignored) ? std::optional(path) : std::nullopt;
}

graph::Model load_architecture(const std::string& text) {
  std::error_code ignored;
  const fs::path path = text;
  if (const auto file = file_of(text)) return formats::keras::load_model(*file);
  const auto names = models::builtin_names();
  if (std::find(names.begin(), names.end(), text) != names.end()) return models::make_builtin(text);
  if (looks_like_path(text)) {
    throw IoError("cannot read the model '{}': {}.", text,
                  fs::is_directory(path, ignored) ? "the folder holds no model.keras" : "there is no such file");
  }
  throw UsageError("there is neither a file nor a built-in model '{}'. {}", text, suggest(text, names));
}

}  // namespace

void add_model(CLI::App& app, ModelArgument& argument) {
  app.add_option("MODEL", argument.model, "Built-in name, model file, or folder written by 'nibble train'")->required();
}

void add_weights(CLI::App& app, ModelArgument& argument) {
  app.add_option("--weights", argument.weights, "Take the weights from this .h5 or .keras file")->type_name("FILE");
}

std::optional<fs::path> model_file(const ModelArgument& argument) { return file_of(argument.model); }

bool has_weights(const graph::Model& model) {
  for (const graph::Layer& layer : model.layers) {
    const graph::LayerSchema* schema = graph::find_schema(layer.class_name);
    if (schema != nullptr && schema->weights != nullptr && layer.weights.empty()) return false;
  }
  return true;
}

graph::Model load(const ModelArgument& argument) {
  graph::Model model = load_architecture(argument.model);
  if (argument.weights.empty()) return model;
  if (argument.weights.extension() == ".keras") {
    const graph::Model other = formats::keras::load_model(argument.weights);
    for (graph::Layer& layer : model.layers) {
      if (const graph::Layer* source = other.find_layer(layer.name)) layer.weights = source->weights;
    }
    graph::validate(model);
    return model;
  }
  // Every weight needs its place before a file can fill it.
  graph::initialize_weights(model, 0);
  formats::keras::load_weights(model, argument.weights);
  return model;
}

graph::Model load_with_weights(const ModelArgument& argument) {
  graph::Model model = load(argument);
  if (!has_weights(model)) {
    throw UsageError("'{}' has no trained weights. Train it first ('nibble train {}'), or give --weights FILE.",
                     argument.model, argument.model);
  }
  return model;
}

void check_model_output(const fs::path& path) {
  if (path.extension() != ".keras") {
    throw UsageError("the output '{}' must end in .keras, nibble's model file.", path.string());
  }
}

}  // namespace nibble::cli
