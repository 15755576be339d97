// nibble/core/cbor.h
// CBOR from files: what anyone may have written.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace nibble {

//   throws  CorruptFile if it is nested deeper than nibble's own files are (a parser that calls itself for each level
//           would run out of stack), nlohmann::json::exception if it is no CBOR
nlohmann::json read_cbor(std::string_view bytes);

}  // namespace nibble
