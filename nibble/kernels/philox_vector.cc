#include "nibble/kernels/philox_vector.h"

#include <cassert>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nibble/kernels/philox_vector.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef NIBBLE_KERNELS_PHILOX_VECTOR_PLAN_
#define NIBBLE_KERNELS_PHILOX_VECTOR_PLAN_
namespace nibble::kernels {
// What all blocks of a stream share.
struct PhiloxPlan {
  explicit PhiloxPlan(const RandomKey& key)
      : key(key), step(key.step), purpose_and_layer((static_cast<uint32_t>(key.purpose) << 24) | key.layer) {
    uint32_t key0 = static_cast<uint32_t>(key.seed), key1 = static_cast<uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      round_key0[round] = key0;
      round_key1[round] = key1;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
  }
  RandomKey key;
  uint32_t step;
  uint32_t purpose_and_layer;
  uint64_t round_key0[10];
  uint64_t round_key1[10];
};
}  // namespace nibble::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
// One lane cannot interleave blocks.
void DropoutKeepBits(const PhiloxPlan& plan, uint32_t first_block, size_t groups, uint32_t threshold, uint8_t* bits) {
  scalar::dropout_keep_bits(plan.key, uint64_t{first_block} * 8, groups * 128, threshold, bits);
}

void RandomWords(const PhiloxPlan& plan, uint32_t first_block, size_t count, uint32_t* words) {
  scalar::random_words(plan.key, uint64_t{first_block} * 4, count, words);
}
#else

// At most eight lanes, so that the blocks of two chains divide a group of 16.
using D64 = hn::CappedTag<uint64_t, 8>;
using D32 = hn::Repartition<uint32_t, D64>;
using D16 = hn::Repartition<uint16_t, D64>;
using V64 = hn::Vec<D64>;

// Two chains of counters at once: a round waits for its products, and the other chain's work fills the gap.
struct Chain {
  V64 c0, c1, c2, c3;
};

// Even lanes take blocks 0, 1, 2..., odd lanes half, half + 1...: Interleave then gives them in order.
HWY_INLINE Chain FirstCounters(const PhiloxPlan& plan, uint32_t first_block) {
  const D64 d64;
  const size_t half = hn::Lanes(d64) / 2;
  const auto lane = hn::Iota(d64, 0);
  const auto odd = hn::And(lane, hn::Set(d64, 1));
  const auto index = hn::Add(hn::ShiftRight<1>(lane), hn::And(hn::Sub(hn::Zero(d64), odd), hn::Set(d64, half)));
  return {hn::Add(index, hn::Set(d64, first_block)), hn::Set(d64, plan.step), hn::Set(d64, plan.purpose_and_layer),
          hn::Zero(d64)};
}

// The upper halves of c0 and c2 hold rubbish: MulEven reads the lower halves only, and the products are needed whole.
HWY_INLINE void Round(Chain& c, V64 key0, V64 key1) {
  const D32 d32;
  const auto product0 = hn::MulEven(hn::BitCast(d32, c.c0), hn::Set(d32, 0xD2511F53u));
  const auto product1 = hn::MulEven(hn::BitCast(d32, c.c2), hn::Set(d32, 0xCD9E8D57u));
  c.c0 = hn::Xor(hn::ShiftRight<32>(product1), hn::Xor(c.c1, key0));
  c.c2 = hn::Xor(hn::ShiftRight<32>(product0), hn::Xor(c.c3, key1));
  c.c1 = product1;
  c.c3 = product0;
}

HWY_INLINE void Interleave(const Chain& c, V64& low, V64& high) {
  const D64 d64;
  const auto lower_half = hn::Set(d64, 0xFFFFFFFFu);
  const auto words01 = hn::Or(hn::And(c.c0, lower_half), hn::ShiftLeft<32>(c.c1));
  const auto words23 = hn::Or(hn::And(c.c2, lower_half), hn::ShiftLeft<32>(c.c3));
  low = hn::InterleaveLower(d64, words01, words23);
  high = hn::InterleaveUpper(d64, words01, words23);
}

// Words of twice as many consecutive blocks as there are 64-bit lanes, in order.
struct FourVectors {
  V64 v0, v1, v2, v3;
};

HWY_INLINE FourVectors Blocks(const PhiloxPlan& plan, uint32_t first_block) {
  const D64 d64;
  Chain a = FirstCounters(plan, first_block);
  Chain b = FirstCounters(plan, first_block + static_cast<uint32_t>(hn::Lanes(d64)));
  for (int round = 0; round < 10; ++round) {
    const V64 key0 = hn::Set(d64, plan.round_key0[round]), key1 = hn::Set(d64, plan.round_key1[round]);
    Round(a, key0, key1);
    Round(b, key0, key1);
  }
  FourVectors words;
  Interleave(a, words.v0, words.v1);
  Interleave(b, words.v2, words.v3);
  return words;
}

// The compared bits of one vector of 16-bit numbers, written to whole bytes.
HWY_INLINE void StoreKept(const D16 d16, V64 words, hn::Vec<D16> threshold, uint8_t* bits) {
  const auto numbers = hn::BitCast(d16, words);
  // No unsigned >= in Highway: max(a, b) == a says it.
  const auto kept = hn::Eq(hn::Max(numbers, threshold), numbers);
  // StoreMaskBits may ask for 8 writable bytes; this vector has bits for fewer.
  alignas(8) uint8_t buffer[16];
  hn::StoreMaskBits(d16, kept, buffer);
  std::memcpy(bits, buffer, hn::MaxLanes(d16) / 8);
}

void DropoutKeepBits(const PhiloxPlan& plan, uint32_t first_block, size_t groups, uint32_t threshold, uint8_t* bits) {
  constexpr size_t kBlocksPerGroup = 16;  // 128 elements
  const D16 d16;
  const size_t blocks = 2 * hn::Lanes(D64());
  const size_t bytes = hn::Lanes(d16) / 8;
  const auto limit = hn::Set(d16, static_cast<uint16_t>(threshold));
  for (size_t block = 0; block < groups * kBlocksPerGroup; block += blocks) {
    const FourVectors words = Blocks(plan, first_block + static_cast<uint32_t>(block));
    StoreKept(d16, words.v0, limit, bits);
    StoreKept(d16, words.v1, limit, bits + bytes);
    StoreKept(d16, words.v2, limit, bits + 2 * bytes);
    StoreKept(d16, words.v3, limit, bits + 3 * bytes);
    bits += 4 * bytes;
  }
}

HWY_INLINE void StoreWords(const FourVectors& words, uint32_t* to) {
  const D32 d32;
  const size_t lanes = hn::Lanes(d32);
  hn::StoreU(hn::BitCast(d32, words.v0), d32, to);
  hn::StoreU(hn::BitCast(d32, words.v1), d32, to + lanes);
  hn::StoreU(hn::BitCast(d32, words.v2), d32, to + 2 * lanes);
  hn::StoreU(hn::BitCast(d32, words.v3), d32, to + 3 * lanes);
}

void RandomWords(const PhiloxPlan& plan, uint32_t first_block, size_t count, uint32_t* words) {
  const size_t step = 4 * hn::Lanes(D32());
  size_t i = 0;
  for (; i + step <= count; i += step) {
    StoreWords(Blocks(plan, first_block + static_cast<uint32_t>(i / 4)), words + i);
  }
  if (i < count) {
    alignas(64) uint32_t last[4 * hn::MaxLanes(D32())];
    StoreWords(Blocks(plan, first_block + static_cast<uint32_t>(i / 4)), last);
    std::memcpy(words + i, last, (count - i) * sizeof(uint32_t));
  }
}
#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::kernels {
namespace {

// 65536 drops everything and does not fit a 16-bit number.
constexpr uint32_t kDropAll = 65536;

}  // namespace

HWY_EXPORT(DropoutKeepBits);
HWY_EXPORT(RandomWords);

uint32_t dropout_threshold(float rate) {
  assert(rate >= 0.0f && rate < 1.0f && "a dropout rate is in [0, 1)");
  return static_cast<uint32_t>(std::lround(rate * 65536.0f));
}

void dropout_keep_bits(const RandomKey& key, uint64_t first_element, size_t elements, uint32_t threshold,
                       uint8_t* bits) {
  assert(first_element % 128 == 0 && "a slice of the dropout stream begins at a multiple of 128");
  const size_t groups = (elements + 127) / 128;
  if (threshold >= kDropAll) {
    std::memset(bits, 0, groups * 16);
    return;
  }
  const PhiloxPlan plan(key);
  HWY_DYNAMIC_DISPATCH(DropoutKeepBits)
  (plan, static_cast<uint32_t>(first_element / 8), groups, threshold, bits);
}

void random_words(const RandomKey& key, uint64_t first_word, size_t count, uint32_t* words) {
  assert(first_word % 4 == 0 && "a run of random words begins at a block");
  const PhiloxPlan plan(key);
  HWY_DYNAMIC_DISPATCH(RandomWords)(plan, static_cast<uint32_t>(first_word / 4), count, words);
}

namespace scalar {

void dropout_keep_bits(const RandomKey& key, uint64_t first_element, size_t elements, uint32_t threshold,
                       uint8_t* bits) {
  const size_t bytes = (elements + 127) / 128 * 16;
  for (size_t byte = 0; byte < bytes; ++byte) {
    uint8_t kept = 0;
    const auto block = random_block(key, static_cast<uint32_t>(first_element / 8 + byte));
    for (size_t e = 0; e < 8; ++e) {
      const uint32_t number = e % 2 == 0 ? block[e / 2] & 0xFFFF : block[e / 2] >> 16;
      if (number >= threshold) kept = static_cast<uint8_t>(kept | (1u << e));
    }
    bits[byte] = kept;
  }
}

void random_words(const RandomKey& key, uint64_t first_word, size_t count, uint32_t* words) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t word = first_word + i;
    words[i] = random_block(key, static_cast<uint32_t>(word / 4))[word % 4];
  }
}

}  // namespace scalar
}  // namespace nibble::kernels
#endif  // HWY_ONCE
