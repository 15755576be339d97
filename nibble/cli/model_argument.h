// nibble/cli/model_argument.h
// MODEL on the command line: a built-in name, or a file, or a folder that 'nibble train' wrote.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "nibble/graph/model.h"

namespace CLI {
class App;
}

namespace nibble::cli {

struct ModelArgument {
  std::string model;
  std::filesystem::path weights;  // empty: those in the model's file
};

// The positional MODEL.
void add_model(CLI::App& app, ModelArgument& argument);
// --weights
void add_weights(CLI::App& app, ModelArgument& argument);

// A built-in network has no weights yet.
//   throws  UsageError for a name that is neither (with the nearest known ones); IoError, CorruptFile, Unsupported
graph::Model load(const ModelArgument& argument);

// The same, and every layer has its weights.
//   throws  also UsageError if they are missing, saying how to get some
graph::Model load_with_weights(const ModelArgument& argument);

// The file that MODEL names; nothing for a built-in network or what does not exist.
std::optional<std::filesystem::path> model_file(const ModelArgument& argument);

bool has_weights(const graph::Model& model);

// Checks at once what would fail only after long work.
//   throws  UsageError if `path` does not end in .keras
void check_model_output(const std::filesystem::path& path);

}  // namespace nibble::cli
