// nibble/core/philox.h
// Philox4x32-10, a counter-based random number generator.
//   J. K. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
//
// A number is a pure function of a key and a counter, so nothing has to be saved
// to go on where a run stopped, and the order of evaluation does not matter.
#pragma once

#include <array>
#include <cstdint>

namespace nibble {

// One block of the generator: four 32-bit words.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// What a stream of random numbers is for. Part of the key: two purposes never
// share numbers. Append only, since saved runs depend on the values.
enum class RandomPurpose : uint8_t {
  kTest = 0,
  kInitializer = 1,
  kShuffle = 2,
  kDropout = 3,
  kQuantizer = 4,  // stochastic quantizers and stochastic rounding
  kSampler = 5,    // proposals of a search
  kSynthetic = 6,  // synthetic data
  kAugmentation = 7,
  kTrial = 8,  // seed of a trial, from the study's seed
};

// Names one stream: (seed, purpose, layer, step) as DESIGN.md section 3 asks.
struct RandomKey {
  uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::kTest;
  uint32_t layer = 0;  // 0 .. 2^24 - 1
  uint32_t step = 0;
  bool operator==(const RandomKey&) const = default;
};

// The four words at `index` of a stream. Word i of the stream is
// random_block(key, i / 4)[i % 4].
std::array<uint32_t, 4> random_block(const RandomKey& key, uint32_t index);

// Reads a stream word by word.
class RandomStream {
 public:
  explicit RandomStream(const RandomKey& key) : key_(key) {}

  uint32_t bits();                 // uniform over all 32-bit words
  float uniform();                 // in [0, 1), a multiple of 2^-24
  double uniform_double();         // in [0, 1), a multiple of 2^-53; takes two words
  uint32_t below(uint32_t limit);  // uniform over 0 .. limit-1, without bias; limit >= 1
  float normal();                  // mean 0, variance 1 (Box-Muller); takes two words

 private:
  RandomKey key_;
  uint32_t next_block_ = 0;
  int used_ = 4;
  std::array<uint32_t, 4> block_{};
};

// A seed for something subordinate (trial 7 of a study): mixes seed and index.
uint64_t derive_seed(uint64_t seed, RandomPurpose purpose, uint32_t index);

// Word to float in [0, 1): the top 24 bits.
constexpr float to_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace nibble
