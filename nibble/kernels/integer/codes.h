// nibble/kernels/integer/codes.h
// How integers of known range lie in memory.
//
//   integer = stored - zero_point
// Eight bits are stored unsigned whatever their sign, since the widest dot products multiply unsigned by signed bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::kernels {

enum class CodeType { kUint8, kInt16, kInt32 };

inline size_t size_of(CodeType type) { return type == CodeType::kUint8 ? 1 : (type == CodeType::kInt16 ? 2 : 4); }

struct CodeFormat {
  CodeType type = CodeType::kInt32;
  int32_t zero_point = 0;  // kUint8 only, 0..255
  bool operator==(const CodeFormat&) const = default;
};

// Vector loads may read this many bytes beyond the last element that is used; they write none.
inline constexpr size_t kReadAhead = 64;

inline int32_t load_code(const void* codes, CodeFormat format, int64_t i) {
  switch (format.type) {
    case CodeType::kUint8:
      return int32_t{static_cast<const uint8_t*>(codes)[i]} - format.zero_point;
    case CodeType::kInt16:
      return static_cast<const int16_t*>(codes)[i];
    case CodeType::kInt32:
      break;
  }
  return static_cast<const int32_t*>(codes)[i];
}

// `value` fits the format.
inline void store_code(int32_t value, void* codes, CodeFormat format, int64_t i) {
  switch (format.type) {
    case CodeType::kUint8:
      static_cast<uint8_t*>(codes)[i] = static_cast<uint8_t>(value + format.zero_point);
      return;
    case CodeType::kInt16:
      static_cast<int16_t*>(codes)[i] = static_cast<int16_t>(value);
      return;
    case CodeType::kInt32:
      static_cast<int32_t*>(codes)[i] = value;
  }
}

}  // namespace nibble::kernels
