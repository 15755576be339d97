#include "nibble/core/philox.h"

#include <cassert>
#include <cmath>
#include <numbers>

namespace nibble {

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

std::array<uint32_t, 4> random_block(const RandomKey& key, uint32_t index) {
  assert(key.layer < (1u << 24) && "a layer number has 24 bits");
  const uint32_t purpose_and_layer = (static_cast<uint32_t>(key.purpose) << 24) | key.layer;
  return philox4x32_10({index, key.step, purpose_and_layer, 0},
                       {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
}

uint32_t RandomStream::bits() {
  if (used_ == 4) {
    block_ = random_block(key_, next_block_++);
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

float RandomStream::uniform() { return to_uniform(bits()); }

double RandomStream::uniform_double() {
  const uint64_t high = bits() >> 6, low = bits() >> 5;  // 26 and 27 bits
  return static_cast<double>((high << 27) | low) * 0x1p-53;
}

uint32_t RandomStream::below(uint32_t limit) {
  assert(limit >= 1 && "there is no number below 0");
  // Lemire 2019: the high half of a product, with the few biased words drawn again.
  const uint32_t threshold = (0u - limit) % limit;
  for (;;) {
    const uint64_t product = uint64_t{bits()} * limit;
    if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
  }
}

float RandomStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-static_cast<double>(uniform())));
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniform());
  return static_cast<float>(radius * std::cos(angle));
}

uint64_t derive_seed(uint64_t seed, RandomPurpose purpose, uint32_t index) {
  const auto block = random_block({.seed = seed, .purpose = purpose, .layer = 0, .step = index}, 0);
  return (uint64_t{block[1]} << 32) | block[0];
}

}  // namespace nibble
