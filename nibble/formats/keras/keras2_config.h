// nibble/formats/keras/keras2_config.h
// The configuration as Keras 2 and QKeras read it, which know nothing of Keras 3's modules and registered names.
// Schema: spec/interop.md section 2.1; the flavour "qkeras-2" of section 2.3.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace nibble::formats::keras {

//   config   a model as graph::to_config() writes it
//   returns  {"class_name": "Functional", "config", "keras_version", "backend"}; graph::from_config() reads the same
//            model out of both
nlohmann::json to_keras2(const nlohmann::json& config);

}  // namespace nibble::formats::keras
