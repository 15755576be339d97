// nibble/formats/keras/qkeras_names.h
// Reading a model by the names that QKeras has for it. Every class and quantizer that nibble knows is found, and those
// of quant::register_quantizer(): there are no custom_objects to give.
#pragma once

#include <filesystem>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::formats::keras {

// A model out of the text that Keras' model.to_json() gives, without weights.
//   throws  CorruptFile where it is no JSON; InvalidArgument or Unsupported naming layer, class, attribute and value
graph::Model quantized_model_from_json(const std::string& json_text);

// load_model()
graph::Model load_qmodel(const std::filesystem::path& path);

}  // namespace nibble::formats::keras
