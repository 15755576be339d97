// nibble/formats/keras/keras_json.h
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace nibble::formats::keras {

// Reads JSON as Python writes it: NaN, Infinity and -Infinity (which JSON lacks) become texts of that name.
//   name    what errors call the text
//   throws  CorruptFile where it is no JSON, or nested beyond any real model
nlohmann::json parse_json(const std::string& text, const std::string& name);

}  // namespace nibble::formats::keras
