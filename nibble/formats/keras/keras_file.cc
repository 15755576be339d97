#include "nibble/formats/keras/keras_file.h"

#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/keras2_config.h"
#include "nibble/formats/keras/keras_json.h"
#include "nibble/formats/keras/tfmot_config.h"
#include "nibble/formats/keras/tfmot_weights.h"
#include "nibble/formats/keras/weight_layout.h"
#include "nibble/formats/keras/zip_archive.h"

namespace nibble::formats::keras {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kLargestConfig = uint64_t{64} << 20;
constexpr uint64_t kLargestWeights = uint64_t{4} << 30;

enum class Kind { kArchive, kHdf5, kJson, kUnknown };

Kind kind_of(const std::string& bytes) {
  if (bytes.starts_with("PK\x03\x04")) return Kind::kArchive;
  if (bytes.starts_with("\x89HDF\r\n\x1a\n")) return Kind::kHdf5;
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && bytes[first] == '{') return Kind::kJson;
  return Kind::kUnknown;
}

// Paths of the weights count layers in the config's order, which the graph may have sorted.
std::map<std::string, std::string> paths_of(const json& config, const graph::Model& model) {
  const json& inner = config.at("config");
  const json& entries = inner.is_array() ? inner : inner.at("layers");
  std::vector<std::pair<std::string, std::string>> layers;
  for (const json& entry : entries) {
    const std::string name = entry.at("config").value("name", entry.value("name", ""));
    // The class as the graph has it, without its package.
    const graph::Layer* layer = model.find_layer(name);
    layers.emplace_back(name, layer ? layer->class_name : "");
  }
  std::map<std::string, std::string> paths = archive_paths(layers);
  // An input that a Sequential model left out.
  for (const graph::Layer& layer : model.layers) paths.emplace(layer.name, "input_layer");
  return paths;
}

// A model without its weights, and where its file keeps them.
struct Description {
  graph::Model model;
  json config;                         // as graph::from_config() read it
  std::vector<TfmotLayer> tfmot = {};  // of a file of TFMOT's; else empty
};

Description describe(json config) {
  std::vector<TfmotLayer> layers;
  if (is_tfmot(config)) config = from_tfmot(config, layers);
  return {graph::from_config(config), std::move(config), std::move(layers)};
}

void read_legacy_weights(Description& description, const Hdf5Reader& file, const std::string& root) {
  if (description.tfmot.empty()) return read_legacy(description.model, file, root);
  read_tfmot_legacy(description.model, description.tfmot, file, root);
}

void read_archive_weights(Description& description, const Hdf5Reader& file) {
  if (!description.tfmot.empty()) return read_tfmot_archive(description.model, description.tfmot, file);
  read_archive(description.model, file, paths_of(description.config, description.model));
}

graph::Model load_archive(const std::string& bytes, const std::string& name) {
  std::map<std::string, std::string> entries =
      read_zip(bytes, name, {{"config.json", kLargestConfig}, {"model.weights.h5", kLargestWeights}});
  Description description = describe(parse_json(entries["config.json"], name + "/config.json"));
  const Hdf5Reader weights(std::move(entries["model.weights.h5"]), name + "/model.weights.h5");
  read_archive_weights(description, weights);
  return std::move(description.model);
}

graph::Model load_hdf5(std::string bytes, const std::string& name) {
  const Hdf5Reader file(std::move(bytes), name);
  const auto config = file.text("/", "model_config");
  if (!config) {
    throw CorruptFile(
        "[keras] {}: it has no model_config. If it holds weights only, load the model from its JSON or "
        ".keras file and give this one as weights.",
        name);
  }
  Description description = describe(parse_json(*config, name + ", model_config"));
  read_legacy_weights(description, file, "/model_weights");
  return std::move(description.model);
}

// Weights of their own, in whichever layout; `description` has no config where only its model is known.
void read_weights(Description& description, std::string bytes, const std::string& name) {
  const Kind kind = kind_of(bytes);
  const auto read_numbered = [&](const Hdf5Reader& file) {
    if (!description.config.is_null()) return read_archive_weights(description, file);
    read_archive(description.model, file, archive_paths(description.model));
  };
  if (kind == Kind::kArchive) {
    std::map<std::string, std::string> entries = read_zip(bytes, name, {{"model.weights.h5", kLargestWeights}});
    return read_numbered(Hdf5Reader(std::move(entries["model.weights.h5"]), name + "/model.weights.h5"));
  }
  if (kind != Kind::kHdf5) throw CorruptFile("[load_weights] {} is neither an HDF5 file nor a .keras archive.", name);
  const Hdf5Reader file(std::move(bytes), name);
  if (is_legacy(file, "/model_weights")) return read_legacy_weights(description, file, "/model_weights");
  if (is_legacy(file, "/")) return read_legacy_weights(description, file, "/");
  read_numbered(file);  // Keras 3's model.weights.h5 on its own
}

void read_weights_file(Description& description, const fs::path& path) {
  try {
    read_weights(description, read_file(path, kLargestWeights), path.string());
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("[load_weights] {}: {}", path.string(), error.what());
  }
}

graph::Model load_json(const std::string& bytes, const fs::path& path) {
  Description description = describe(parse_json(bytes, path.string()));
  const fs::path weights = weights_beside(path);
  if (fs::exists(weights)) read_weights_file(description, weights);
  return std::move(description.model);
}

graph::Model load_any(std::string bytes, const fs::path& path) {
  switch (kind_of(bytes)) {
    case Kind::kArchive:
      return load_archive(bytes, path.string());
    case Kind::kHdf5:
      return load_hdf5(std::move(bytes), path.string());
    case Kind::kJson:
      return load_json(bytes, path);
    case Kind::kUnknown:
      break;
  }
  throw CorruptFile("[load_model] {} is neither a .keras archive, nor an HDF5 file, nor a JSON config.", path.string());
}

Flavour flavour_of_config(const json& document, std::string version) {
  if (version.empty() && document.is_object()) version = document.value("keras_version", "");
  if (!version.empty())
    return version.starts_with("2.") || version.starts_with("1.") ? Flavour::kKeras2 : Flavour::kKeras3;
  return document.contains("module") || document.contains("registered_name") ? Flavour::kKeras3 : Flavour::kKeras2;
}

Flavour flavour_of_bytes(std::string bytes, const fs::path& path) {
  switch (kind_of(bytes)) {
    case Kind::kArchive:
      return Flavour::kKeras3;
    case Kind::kHdf5: {
      const Hdf5Reader file(std::move(bytes), path.string());
      return flavour_of_config(parse_json(file.text("/", "model_config").value_or("{}"), path.string()),
                               file.text("/", "keras_version").value_or(""));
    }
    case Kind::kJson:
      return flavour_of_config(parse_json(bytes, path.string()), "");
    case Kind::kUnknown:
      break;
  }
  throw CorruptFile("[flavour_of] {} is neither a .keras archive, nor an HDF5 file, nor a JSON config.", path.string());
}

// What is wrong with the bytes is said of the file, whatever layer of the library found it.
template <class Work>
auto blaming_file(const fs::path& path, Work&& work) {
  try {
    return work();
  } catch (const InvalidArgument& error) {
    throw CorruptFile("[load_model] {}: {}", path.string(), error.what());
  } catch (const json::exception& error) {
    throw CorruptFile("[load_model] {}: the config is not as Keras writes it: {}", path.string(), error.what());
  } catch (const std::bad_alloc&) {
    throw CorruptFile("[load_model] {}: its numbers do not fit into memory.", path.string());
  }
}

}  // namespace

FileKind kind_by_name(const fs::path& path) {
  const std::string ending = path.extension().string();
  if (ending == ".keras") return FileKind::kArchive;
  if (ending == ".h5" || ending == ".hdf5") return FileKind::kHdf5;
  if (ending == ".json") return FileKind::kJson;
  throw InvalidArgument("[save_model] {}: the ending says what is written; known are .keras, .h5, .hdf5 and .json.",
                        path.string());
}

fs::path weights_beside(const fs::path& json) { return json.parent_path() / (json.stem().string() + "_weights.h5"); }

void save_model(const graph::Model& model, const fs::path& path, Flavour flavour) {
  const FileKind kind = kind_by_name(path);
  const bool is_keras2 = flavour == Flavour::kKeras2;
  if (is_keras2 && kind == FileKind::kArchive) {
    throw InvalidArgument("[save_model] {}: Keras 2 reads no .keras archive as Keras 3 writes it; write .h5 or .json.",
                          path.string());
  }
  const json document = graph::to_config(model);
  const std::string config = (is_keras2 ? to_keras2(document) : document).dump();
  switch (kind) {
    case FileKind::kArchive: {
      const std::string weights = write_archive(model);
      // Keras writes the date of saving; a fixed one keeps the bytes equal.
      const json metadata = {{"keras_version", "3.0.0"}, {"date_saved", "1980-01-01@00:00:00"}};
      write_file(
          path,
          write_zip({{"metadata.json", metadata.dump()}, {"config.json", config}, {"model.weights.h5", weights}}));
      return;
    }
    case FileKind::kHdf5:
      write_file(path, write_legacy(model, config, is_keras2 ? "2.4.0" : "3.0.0"));
      return;
    case FileKind::kJson: {
      const std::string weights = write_legacy(model);
      write_file(weights_beside(path), weights);
      write_file(path, config);
    }
  }
}

graph::Model load_model(const fs::path& path) {
  std::string bytes = read_file(path, kLargestWeights);
  return blaming_file(path, [&] { return load_any(std::move(bytes), path); });
}

Flavour flavour_of(const fs::path& path) {
  std::string bytes = read_file(path, kLargestWeights);
  return blaming_file(path, [&] { return flavour_of_bytes(std::move(bytes), path); });
}

void save_weights(const graph::Model& model, const fs::path& path) { write_file(path, write_legacy(model)); }

void load_weights(graph::Model& model, const fs::path& path) {
  Description description{.model = std::move(model), .config = nullptr};
  try {
    read_weights_file(description, path);
  } catch (...) {
    model = std::move(description.model);  // as it was
    throw;
  }
  model = std::move(description.model);
}

}  // namespace nibble::formats::keras
