#include "nibble/core/cbor.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"

namespace nibble {
namespace {

using nlohmann::json;

std::string_view view(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(Cbor, ReadsWhatWasWritten) {
  const json value = {{"a", {1, -2, 2.5, "text", nullptr, true}}, {"b", json::binary({1, 2, 3})}, {"c", {{"d", {}}}}};
  EXPECT_EQ(read_cbor(view(json::to_cbor(value))), value);
}

TEST(Cbor, DeepNestingIsRefused) {
  for (const uint8_t opening : {0x81, 0x9f}) {  // an array of one element, and one without a length
    const std::vector<uint8_t> deep(1 << 21, opening);
    EXPECT_THROW(read_cbor(view(deep)), CorruptFile);
  }
  std::vector<uint8_t> maps;
  for (int i = 0; i < 1 << 20; ++i) maps.insert(maps.end(), {0xa1, 0x61, 'k'});
  EXPECT_THROW(read_cbor(view(maps)), CorruptFile);
}

TEST(Cbor, WhatIsNoneIsAnException) {
  for (const std::vector<uint8_t>& bytes : {std::vector<uint8_t>{}, {0x82, 0x01}, {0x01, 0x02}, {0xff}}) {
    EXPECT_THROW(read_cbor(view(bytes)), json::exception);
  }
}

}  // namespace
}  // namespace nibble
