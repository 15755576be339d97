#include "nibble/formats/keras/qkeras_names.h"

#include <nlohmann/json.hpp>

#include "nibble/formats/keras/keras_file.h"
#include "nibble/formats/keras/keras_json.h"

namespace nibble::formats::keras {

graph::Model quantized_model_from_json(const std::string& json_text) {
  return graph::from_config(parse_json(json_text, "quantized_model_from_json"));
}

graph::Model load_qmodel(const std::filesystem::path& path) { return load_model(path); }

}  // namespace nibble::formats::keras
