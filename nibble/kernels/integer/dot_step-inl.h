// nibble/kernels/integer/dot_step-inl.h
// One step of 16 sums: four bytes of codes, the same for all channels, times four bytes of weights a channel. Included
// once a target, see hwy/foreach_target.h.
#if defined(NIBBLE_KERNELS_INTEGER_DOT_STEP_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_KERNELS_INTEGER_DOT_STEP_INL_
#undef NIBBLE_KERNELS_INTEGER_DOT_STEP_INL_
#else
#define NIBBLE_KERNELS_INTEGER_DOT_STEP_INL_
#endif

#include "hwy/highway.h"
#include "nibble/kernels/integer/integer_sums.h"
#include "nibble/kernels/integer/requantization-inl.h"

// The sum of two neighbouring products of 16 bits is one instruction that keeps lanes in place.
#undef NIBBLE_HAS_WORD_PAIRS
#define NIBBLE_HAS_WORD_PAIRS (HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128)

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// AVX3_DL has VNNI. Highway 1.0.3 compiles that target without the compiler's flag for it, so intrinsics are refused.
//
// sum + low * low + high * high of the signed 16-bit halves, modulo 2^32
HWY_INLINE V32 AddWordProducts(V32 sum, V32 a, V32 b) {
#if HWY_TARGET == HWY_AVX3_DL
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#elif NIBBLE_HAS_WORD_PAIRS
  const D32 d;
  const hn::Repartition<int16_t, D32> d16;
  V32 unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, hn::BitCast(d16, a), hn::BitCast(d16, b), sum, unused);
#else
  const V32 low = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b)));
  return hn::Add(sum, hn::Add(low, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b))));
#endif
}

// Codes and weights as Dot() wants them: what is computed once for a vector and used in many products.
template <Terms kTerms>
struct Operand {
  V32 all;
  static HWY_INLINE Operand Codes(V32 v) { return {v}; }
  static HWY_INLINE Operand Weights(const int32_t* weights) { return {hn::Load(D32(), weights)}; }
};

template <>
struct Operand<Terms::kTernaryBits> {
  V32 all, is_set;
  static HWY_INLINE Operand Codes(V32 v) { return {v, v}; }
  static HWY_INLINE Operand Weights(const int32_t* weights) {
    return {hn::Load(D32(), weights), hn::Load(D32(), weights + kPanel)};
  }
};

#if HWY_TARGET != HWY_AVX3_DL && NIBBLE_HAS_WORD_PAIRS
// Without a dot product of bytes that does not saturate (pmaddubsw does), bytes are widened to 16 bits: even and odd
// ones.
template <>
struct Operand<Terms::kBytes> {
  V32 even, odd;
  static HWY_INLINE Operand Codes(V32 v) {
    const D32 d;
    const V32 mask = hn::Set(d, 0x00FF00FF);
    return {hn::And(v, mask), hn::And(hn::ShiftRight<8>(v), mask)};
  }
  static HWY_INLINE Operand Weights(const int32_t* weights) {
    const D32 d;
    const hn::Repartition<int16_t, D32> d16;
    const auto words = hn::BitCast(d16, hn::Load(d, weights));
    return {hn::BitCast(d, hn::ShiftRight<8>(hn::ShiftLeft<8>(words))), hn::BitCast(d, hn::ShiftRight<8>(words))};
  }
};
#elif HWY_TARGET != HWY_AVX3_DL
template <>
struct Operand<Terms::kBytes> {
  V32 bytes[4];
  static HWY_INLINE Operand Codes(V32 v) {
    const V32 mask = hn::Set(D32(), 0xFF);
    return {{hn::And(v, mask), hn::And(hn::ShiftRight<8>(v), mask), hn::And(hn::ShiftRight<16>(v), mask),
             hn::And(hn::ShiftRight<24>(v), mask)}};
  }
  static HWY_INLINE Operand Weights(const int32_t* weights) {
    const V32 v = hn::Load(D32(), weights);
    return {{hn::ShiftRight<24>(hn::ShiftLeft<24>(v)), hn::ShiftRight<24>(hn::ShiftLeft<16>(v)),
             hn::ShiftRight<24>(hn::ShiftLeft<8>(v)), hn::ShiftRight<24>(v)}};
  }
};
#endif

HWY_INLINE V32 CountBits(V32 v) {
#if HWY_TARGET == HWY_AVX3_DL
  V32 count = v;
  asm("vpopcntd %1, %0" : "=v"(count.raw) : "v"(v.raw));
  return count;
#else
  const hn::RebindToUnsigned<D32> du;
  return hn::BitCast(D32(), hn::PopulationCount(hn::BitCast(du, v)));
#endif
}

// For bits: the number of products that are -1.
template <Terms kTerms>
HWY_INLINE V32 Dot(V32 sum, const Operand<kTerms>& codes, const Operand<kTerms>& weights) {
  if constexpr (kTerms == Terms::kBytes) {
#if HWY_TARGET == HWY_AVX3_DL
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(codes.all.raw), "v"(weights.all.raw));
    return sum;
#elif NIBBLE_HAS_WORD_PAIRS
    return AddWordProducts(AddWordProducts(sum, codes.even, weights.even), codes.odd, weights.odd);
#else
    for (int i = 0; i < 4; ++i) sum = hn::Add(sum, hn::Mul(codes.bytes[i], weights.bytes[i]));
    return sum;
#endif
  } else if constexpr (kTerms == Terms::kBits) {
    return hn::Add(sum, CountBits(hn::Xor(codes.all, weights.all)));
  } else if constexpr (kTerms == Terms::kTernaryBits) {
    return hn::Add(sum, CountBits(hn::And(hn::Xor(codes.all, weights.all), weights.is_set)));
  } else if constexpr (kTerms == Terms::kWords) {
    return AddWordProducts(sum, codes.all, weights.all);
  } else {
    return hn::Add(sum, hn::Mul(codes.all, weights.all));
  }
}

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
