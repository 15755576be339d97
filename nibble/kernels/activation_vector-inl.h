// nibble/kernels/activation_vector-inl.h
// Value and gradient of one vector of elements, one struct for each ActivationKind. Only for
// sources that Highway compiles once per target.
//
// Every struct keeps plain floats: vectors cannot be members on targets with sizeless types, and
// the compiler keeps the Set()s of a loop in registers.
#if defined(NIBBLE_KERNELS_ACTIVATION_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_KERNELS_ACTIVATION_VECTOR_INL_H_
#undef NIBBLE_KERNELS_ACTIVATION_VECTOR_INL_H_
#else
#define NIBBLE_KERNELS_ACTIVATION_VECTOR_INL_H_
#endif

#include <cmath>

#include "hwy/highway.h"
#include "nibble/kernels/activation_spec.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// clip that lets a NaN pass. On x86 min and max return their second operand if either is a NaN, on NEON a NaN;
// elsewhere it is put back by hand.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ClipKeepingNaN(D d, V value, float low, float high) {
  const V clipped = hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), value));
#if (HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR) || HWY_ARCH_ARM
  return clipped;
#else
  return hn::IfThenElse(hn::IsNaN(value), value, clipped);
#endif
}

// 2^t for t in [-126, 0], to about 2e-7: 2^round(t) times Taylor's polynomial of the rest, whose next
// term is (ln 2 / 2)^7 / 7! = 1.2e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpTwo(D d, V t) {
  const hn::RebindToSigned<D> di;
  const V whole = hn::Round(t);
  const V f = hn::Sub(t, whole);
  V p = hn::Set(d, 1.5403530e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.3333558e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.6181291e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.5504109e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.9314718e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, whole), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, exponent));
}

// 1 - tanh(z)^2 = 4 e / (1 + e)^2 with e = exp(-2 |z|): no cancellation where tanh nears 1, so this is closer to the
// real number than the definition is. Differs from it by at most 5e-7 (absolute). Unspecified for a NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V TanhGradient(D d, V z) {
  constexpr float kTwoOverLn2 = 2.8853901f;
  const V t = hn::Max(hn::Mul(hn::Abs(z), hn::Set(d, -kTwoOverLn2)), hn::Set(d, -126.0f));
  const V e = ExpTwo(d, t);
  const V one_plus_e = hn::Add(hn::Set(d, 1.0f), e);
  return hn::Div(hn::Mul(hn::Set(d, 4.0f), e), hn::Mul(one_plus_e, one_plus_e));
}

// value(): of the quantizer. passes(): lanes whose gradient is 1. kBinaryGradient: 0 or 1 says it all.
template <ActivationKind kKind>
struct Activation;

template <>
struct Activation<ActivationKind::kLinear> {
  static constexpr bool kBinaryGradient = true;
  explicit Activation(const ActivationSpec&) {}
  template <class D, class V>
  HWY_INLINE V value(D, V z) const {
    return z;
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V) const {
    return hn::Eq(hn::Zero(d), hn::Zero(d));
  }
};

template <>
struct Activation<ActivationKind::kRelu> {
  static constexpr bool kBinaryGradient = true;
  explicit Activation(const ActivationSpec&) {}
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    return hn::IfThenZeroElse(hn::Le(z, hn::Zero(d)), z);
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V z) const {
    return hn::Gt(z, hn::Zero(d));
  }
};

template <>
struct Activation<ActivationKind::kQuantizedRelu> {
  static constexpr bool kBinaryGradient = true;
  explicit Activation(const ActivationSpec& spec)
      : inverse_scale(1.0f / spec.scale),
        scale(spec.scale),
        code_min(spec.code_min),
        code_max(spec.code_max),
        upper(spec.upper) {}
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    const V code = hn::Round(hn::Mul(z, hn::Set(d, inverse_scale)));
    return hn::Mul(ClipKeepingNaN(d, code, code_min, code_max), hn::Set(d, scale));
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V z) const {
    return hn::And(hn::Gt(z, hn::Zero(d)), hn::Le(z, hn::Set(d, upper)));
  }
  float inverse_scale, scale, code_min, code_max, upper;
};

template <>
struct Activation<ActivationKind::kQuantizedBits> {
  static constexpr bool kBinaryGradient = true;
  explicit Activation(const ActivationSpec& spec)
      : inverse_scale(1.0f / spec.scale),
        scale(spec.scale),
        alpha(spec.alpha),
        code_min(spec.code_min),
        code_max(spec.code_max),
        lower_bound(spec.lower_bound),
        upper_bound(spec.upper_bound) {}
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    const V code = hn::Round(hn::Mul(z, hn::Set(d, inverse_scale)));
    // Two products as in the definition: scale * alpha may not be exact.
    return hn::Mul(hn::Mul(ClipKeepingNaN(d, code, code_min, code_max), hn::Set(d, scale)), hn::Set(d, alpha));
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V z) const {
    return hn::And(hn::Ge(z, hn::Set(d, lower_bound)), hn::Le(z, hn::Set(d, upper_bound)));
  }
  float inverse_scale, scale, alpha, code_min, code_max, lower_bound, upper_bound;
};

template <>
struct Activation<ActivationKind::kQuantizedReluPo2> {
  static constexpr bool kBinaryGradient = true;
  explicit Activation(const ActivationSpec& spec)
      : lowest(std::ldexp(1.0f, static_cast<int>(spec.exponent_min))),
        highest(std::ldexp(1.0f, static_cast<int>(spec.exponent_max))),
        upper(spec.upper) {}
  // rne(log2 z) goes up where the significand passes sqrt(2), so adding what lacks from there to 2 carries into
  // the exponent. The definition divides two rounded logarithms; it differs within a few units in the last
  // place of 2^(k + 1/2), where its error, up to half a unit of k, decides.
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    constexpr uint32_t kFirstAboveSqrt2 = 0x3FB504F4, kTwo = 0x40000000, kExponentBits = 0xFF800000;
    const hn::RebindToUnsigned<D> du;
    const auto carried = hn::Add(hn::BitCast(du, z), hn::Set(du, kTwo - kFirstAboveSqrt2));
    const V power = hn::BitCast(d, hn::And(carried, hn::Set(du, kExponentBits)));
    const V clipped = hn::Min(hn::Max(power, hn::Set(d, lowest)), hn::Set(d, highest));
    // Below the reference's epsilon the power is the lowest; for negative z the bits above mean nothing.
    const V value = hn::IfThenElse(hn::Lt(z, hn::Set(d, 1e-7f)), hn::Set(d, lowest), clipped);
    return hn::IfThenElse(hn::IsNaN(z), z, value);
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V z) const {
    return hn::And(hn::Gt(z, hn::Zero(d)), hn::Le(z, hn::Set(d, upper)));
  }
  float lowest, highest, upper;
};

template <>
struct Activation<ActivationKind::kBinary> {
  static constexpr bool kBinaryGradient = false;
  explicit Activation(const ActivationSpec&) {}
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    const V sign = hn::IfThenElse(hn::Ge(z, hn::Zero(d)), hn::Set(d, 1.0f), hn::Set(d, -1.0f));
    return hn::IfThenElse(hn::IsNaN(z), z, sign);
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V) const {
    return hn::Eq(hn::Zero(d), hn::Zero(d));
  }
};

template <>
struct Activation<ActivationKind::kTernary> {
  static constexpr bool kBinaryGradient = false;
  explicit Activation(const ActivationSpec& spec) : threshold(spec.threshold) {}
  template <class D, class V>
  HWY_INLINE V value(D d, V z) const {
    const V sign = hn::CopySignToAbs(hn::Set(d, 1.0f), z);
    const V zero_or_nan = hn::IfThenElseZero(hn::IsNaN(z), z);
    const auto is_nonzero = hn::And(hn::Ge(hn::Abs(z), hn::Set(d, threshold)), hn::Ne(z, hn::Zero(d)));
    return hn::IfThenElse(is_nonzero, sign, zero_or_nan);
  }
  template <class D, class V>
  HWY_INLINE hn::Mask<D> passes(D d, V) const {
    return hn::Eq(hn::Zero(d), hn::Zero(d));
  }
  float threshold;
};

}  // namespace nibble::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
