// nibble/program/packed_integers.h
// Arrays of integers in a program file, with as few bits as they need. What is read comes from outside: sizes and
// values are checked.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/program/program.h"

namespace nibble::program {

// Integers of `bits` bits each, two's complement, lowest bit first.
template <class T>
nlohmann::json pack(const std::vector<T>& values, int bits) {
  std::vector<uint8_t> bytes((values.size() * static_cast<size_t>(bits) + 7) / 8);
  size_t position = 0;
  for (const T value : values) {
    for (int b = 0; b < bits; ++b, ++position) {
      const auto bit = static_cast<uint8_t>((static_cast<uint64_t>(value) >> b) & 1u);
      bytes[position / 8] = static_cast<uint8_t>(bytes[position / 8] | (bit << (position % 8)));
    }
  }
  return {{"bits", bits}, {"count", values.size()}, {"data", nlohmann::json::binary(std::move(bytes))}};
}

// With as many bits as the widest needs.
template <class T>
nlohmann::json pack(const std::vector<T>& values) {
  Interval range{-1, 0};
  for (const T value : values) {
    range = {std::min<int64_t>(range.low, value), std::max<int64_t>(range.high, value)};
  }
  return pack(values, bits_of(range));
}

//   throws  CorruptFile where bytes and count do not fit, or a value does not fit T
template <class T>
std::vector<T> unpack(const nlohmann::json& packed) {
  const int bits = packed.at("bits").get<int>();
  const auto count = packed.at("count").get<uint64_t>();
  const auto& bytes = packed.at("data").get_binary();
  const bool fits = bits >= 1 && bits <= 64 && count <= bytes.size() * 8 &&
                    bytes.size() == (count * static_cast<uint64_t>(bits) + 7) / 8;
  if (!fits) throw CorruptFile("[program] an array of {} integers of {} bits has {} bytes.", count, bits, bytes.size());
  std::vector<T> values(count);
  size_t position = 0;
  for (T& value : values) {
    uint64_t pattern = 0;
    for (int b = 0; b < bits; ++b, ++position) {
      pattern |= static_cast<uint64_t>((bytes[position / 8] >> (position % 8)) & 1u) << b;
    }
    if (bits < 64 && ((pattern >> (bits - 1)) & 1u) != 0) pattern |= ~uint64_t{0} << bits;
    value = static_cast<T>(static_cast<int64_t>(pattern));
    if (static_cast<int64_t>(value) != static_cast<int64_t>(pattern)) {
      throw CorruptFile("[program] the integer {} does not fit its array.", static_cast<int64_t>(pattern));
    }
  }
  return values;
}

// Weights, as wide as the layer's widest; -1 and 1 take one bit.
nlohmann::json pack_weights(const std::vector<int32_t>& weights, int bits);
struct PackedWeights {
  std::vector<int32_t> values;
  int bits = 0;  // of the widest
};
PackedWeights unpack_weights(const nlohmann::json& packed);

// Sequences that are nearly straight lines, such as the thresholds of a channel: what their second differences take,
// which is two bits or so instead of the twenty of a threshold.
//   first  [sequences + 1]: where each begins, from 0 to values.size()
nlohmann::json pack_lines(const std::vector<int64_t>& values, const std::vector<int64_t>& first);
std::vector<int64_t> unpack_lines(const nlohmann::json& packed, const std::vector<int64_t>& first);

}  // namespace nibble::program
