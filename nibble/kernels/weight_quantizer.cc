#include "nibble/kernels/weight_quantizer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "nibble/kernels/activation_spec.h"
#include "nibble/kernels/affine_activation.h"
#include "nibble/kernels/weight_kernels.h"
#include "nibble/quant/binary.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/quant/quantized_linear.h"
#include "nibble/quant/quantized_po2.h"
#include "nibble/quant/stochastic_binary.h"
#include "nibble/quant/stochastic_ternary.h"
#include "nibble/quant/ternary.h"

namespace nibble::kernels {
namespace {

using quant::Phase;

// What a quantizer does in one phase.
struct PhasePlan {
  std::optional<FittedPlan> fitted;            // one scale per channel
  std::optional<ActivationSpec> elementwise;   // quantized_bits or _linear with a fixed alpha
  std::optional<ActivationSpec> power_of_two;  // the exponents of quantized_po2
  bool has_unit_gradient = false;

  bool is_vectorized() const { return fitted || elementwise || power_of_two; }
};

// 2^exponent in the range in which steps and their reciprocals are exact; nothing beyond.
std::optional<float> bound(const std::optional<int>& exponent, float otherwise) {
  if (!exponent) return otherwise;
  if (std::abs(*exponent) > 120) return std::nullopt;
  return std::ldexp(1.0f, *exponent);
}

std::optional<FittedPlan> fitted_bits(const quant::QuantizedBitsParams& p) {
  const auto low = bound(p.min_po2_exponent, 0.0f), high = bound(p.max_po2_exponent, 0.0f);
  const bool is_general = !p.alpha.is_auto() || p.scale_axis || p.elements_per_scale || p.post_training_scale ||
                          p.qnoise_factor != quant::Number(1) || !p.use_ste || p.bits > 24 || p.bits < 1 ||
                          std::abs(p.integer) > 60 || !low || !high;
  if (is_general) return std::nullopt;
  const bool is_power_of_two = p.alpha.kind() == quant::Alpha::Kind::kAutoPo2;
  constexpr int kIterations = 5;
  FittedPlan plan{.code = WeightCode::kRounded,
                  .is_power_of_two = is_power_of_two,
                  .unit_range = std::ldexp(1.0f, p.integer),
                  .codes_per_range = std::ldexp(1.0f, p.bits - (p.keep_negative ? 1 : 0)),
                  .largest_code = std::ldexp(1.0f, p.bits - 1) - 1.0f,
                  .refits = is_power_of_two ? kIterations : 0,
                  .min_step = *low,
                  .max_step = *high};
  plan.first_step_denominator = 2.0f * plan.largest_code;
  if (p.bits == 1) {  // two codes and no step to search
    plan.code = WeightCode::kSign;
    plan.first_step_denominator = 1.0f;
    plan.refits = 1;
  }
  return plan;
}

std::optional<FittedPlan> fitted_binary(const quant::BinaryParams& p) {
  const auto low = bound(p.min_po2_exponent, 0.0f), high = bound(p.max_po2_exponent, 0.0f);
  if (!p.alpha.is_auto() || p.scale_axis || p.elements_per_scale || !low || !high) return std::nullopt;
  const bool is_power_of_two = p.alpha.kind() == quant::Alpha::Kind::kAutoPo2;
  return FittedPlan{.code = p.use_01 ? WeightCode::kSignZeroOne : WeightCode::kSign,
                    .is_power_of_two = is_power_of_two,
                    .refits = 1,
                    .min_step = is_power_of_two ? *low : 0.0f,
                    .max_step = is_power_of_two ? *high : 0.0f};
}

std::optional<FittedPlan> fitted_ternary(const quant::Alpha& alpha, int unrolls) {
  if (!alpha.is_auto()) return std::nullopt;
  return FittedPlan{.code = WeightCode::kTernary,
                    .is_power_of_two = alpha.kind() == quant::Alpha::Kind::kAutoPo2,
                    .first_step_denominator = 3.0f,
                    .refits = unrolls,
                    .recode_after_fit = false};
}

PhasePlan plan_of(const quant::QuantizedBits& quantizer, Phase phase) {
  const quant::QuantizedBitsParams& p = quantizer.params();
  PhasePlan plan{.fitted = fitted_bits(p), .elementwise = activation_spec(quantizer), .has_unit_gradient = p.use_ste};
  return plan;
}

PhasePlan plan_of(const quant::QuantizedLinear& quantizer, Phase) {
  return {.elementwise = activation_spec(quantizer)};
}

PhasePlan plan_of(const quant::Binary& quantizer, Phase phase) {
  const quant::BinaryParams& p = quantizer.params();
  PhasePlan plan{.has_unit_gradient = !p.alpha.is_none()};
  if (phase == Phase::kInference || !p.use_stochastic_rounding) plan.fitted = fitted_binary(p);
  return plan;
}

PhasePlan plan_of(const quant::Ternary& quantizer, Phase phase) {
  const quant::TernaryParams& p = quantizer.params();
  PhasePlan plan{.has_unit_gradient = !p.alpha.is_none()};
  if (phase == Phase::kInference || !p.use_stochastic_rounding) {
    plan.fitted = fitted_ternary(p.alpha, p.number_of_unrolls);
  }
  return plan;
}

PhasePlan plan_of(const quant::StochasticBinary& quantizer, Phase phase) {
  const quant::StochasticBinaryParams& p = quantizer.params();
  const bool draws = phase == Phase::kTraining;
  PhasePlan plan{.has_unit_gradient = draws || !p.alpha.is_none()};
  if (draws && !p.use_real_sigmoid) return plan;
  plan.fitted = fitted_binary({.alpha = p.alpha});
  if (plan.fitted && draws) {
    plan.fitted->draw = FittedPlan::Draw::kBinary;
    plan.fitted->temperature = p.temperature.real();
  }
  return plan;
}

PhasePlan plan_of(const quant::StochasticTernary& quantizer, Phase phase) {
  const quant::StochasticTernaryParams& p = quantizer.params();
  const bool draws = phase == Phase::kTraining;
  PhasePlan plan{.has_unit_gradient = draws || !p.alpha.is_none()};
  if (draws && !p.use_real_sigmoid) return plan;
  plan.fitted = fitted_ternary(p.alpha, p.number_of_unrolls);
  // Inference throws for a threshold beside a fitted alpha: leave that to the quantizer.
  if (p.threshold && !draws) plan.fitted.reset();
  if (plan.fitted && draws) {
    plan.fitted->code = WeightCode::kThreshold;
    plan.fitted->draw = FittedPlan::Draw::kTernary;
    plan.fitted->temperature = p.temperature.real();
  }
  return plan;
}

PhasePlan plan_of(const quant::QuantizedPo2& quantizer, Phase phase) {
  const quant::QuantizedPo2Params& p = quantizer.params();
  PhasePlan plan{.has_unit_gradient = p.use_ste};
  const quant::ExponentRule& rule = quantizer.exponents();
  const bool is_general = (p.use_stochastic_rounding && phase == Phase::kTraining) || p.quadratic_approximation ||
                          p.log2_rounding != "rnd" || p.qnoise_factor != quant::Number(1) || !p.use_ste ||
                          rule.lowest != std::floor(rule.lowest) || (rule.max_value && *rule.max_value < 1e-6f);
  if (is_general) return plan;
  constexpr float kMostNegative = -200.0f, kMostPositive = 200.0f;  // beyond: 0 or infinity in float
  const float lowest = std::max(rule.lowest, kMostNegative);
  const float highest = rule.max_value ? rule.exponent(*rule.max_value, false) : rule.highest;
  plan.power_of_two = ActivationSpec{.kind = ActivationKind::kQuantizedReluPo2,
                                     .exponent_min = lowest,
                                     .exponent_max = std::clamp(highest, lowest, kMostPositive)};
  return plan;
}

template <class... Classes>
PhasePlan plan_of_any(const quant::Quantizer& quantizer, Phase phase) {
  PhasePlan plan;
  const auto try_class = [&]<class Class>(const Class* q) {
    if (q) plan = plan_of(*q, phase);
  };
  (try_class(dynamic_cast<const Classes*>(&quantizer)), ...);
  return plan;
}

PhasePlan make_plan(const quant::Quantizer& quantizer, Phase phase) {
  return plan_of_any<quant::QuantizedBits, quant::QuantizedLinear, quant::Binary, quant::Ternary,
                     quant::StochasticBinary, quant::StochasticTernary, quant::QuantizedPo2>(quantizer, phase);
}

}  // namespace

struct WeightQuantizer::Impl {
  explicit Impl(quant::QuantizerPtr q)
      : quantizer(std::move(q)),
        inference(make_plan(*quantizer, Phase::kInference)),
        training(make_plan(*quantizer, Phase::kTraining)) {}

  const PhasePlan& plan(Phase phase) const { return phase == Phase::kTraining ? training : inference; }
  bool quantize_fast(const float* weights, const Shape& shape, const quant::QuantizeOptions& options,
                     float* real) const;

  quant::QuantizerPtr quantizer;
  PhasePlan inference, training;
};

// False where the quantizer's own code has to run.
bool WeightQuantizer::Impl::quantize_fast(const float* weights, const Shape& shape,
                                          const quant::QuantizeOptions& options, float* real) const {
  const PhasePlan& chosen = plan(options.phase);
  if (options.reference_arithmetic) return false;
  const int64_t elements = shape.elements();
  if (chosen.fitted) {
    // A vector's elements each have their own scale.
    if (shape.rank() < 2 || elements == 0) return false;
    FittedPlan plan = *chosen.fitted;
    plan.random = options.random;
    return quantize_fitted(plan, weights, elements / shape[-1], shape[-1], real);
  }
  if (chosen.elementwise) {
    const float multiplier = 1.0f, offset = 0.0f;
    affine_activation_forward(weights, real, nullptr, elements, 1, &multiplier, &offset, *chosen.elementwise, {});
    return true;
  }
  if (chosen.power_of_two) {
    quantize_power_of_two(weights, elements, *chosen.power_of_two, real);
    return true;
  }
  return false;
}

WeightQuantizer::WeightQuantizer(quant::QuantizerPtr quantizer) : impl_(std::make_unique<Impl>(std::move(quantizer))) {}
WeightQuantizer::~WeightQuantizer() = default;
WeightQuantizer::WeightQuantizer(WeightQuantizer&&) noexcept = default;

void WeightQuantizer::quantize(const float* weights, const Shape& shape, const quant::QuantizeOptions& options,
                               float* real) const {
  if (impl_->quantize_fast(weights, shape, options, real)) return;
  const auto elements = static_cast<size_t>(shape.elements());
  const Tensor x(shape, std::vector<float>(weights, weights + elements));
  const Tensor result = impl_->quantizer->quantize(x, options).real;
  std::copy_n(result.data().data(), elements, real);
}

bool WeightQuantizer::has_unit_gradient(quant::Phase phase) const { return impl_->plan(phase).has_unit_gradient; }

void WeightQuantizer::gradient(const float* weights, const float* upstream, const Shape& shape,
                               const quant::QuantizeOptions& options, float* dweights) const {
  const auto elements = static_cast<size_t>(shape.elements());
  const PhasePlan& plan = impl_->plan(options.phase);
  if (plan.has_unit_gradient) {
    std::copy_n(upstream, elements, dweights);
    return;
  }
  if (plan.elementwise) {
    const ActivationSpec& spec = *plan.elementwise;
    for (size_t i = 0; i < elements; ++i) {
      dweights[i] = weights[i] >= spec.lower_bound && weights[i] <= spec.upper_bound ? upstream[i] : 0.0f;
    }
    return;
  }
  const Tensor x(shape, std::vector<float>(weights, weights + elements));
  const Tensor g(shape, std::vector<float>(upstream, upstream + elements));
  const Tensor result = impl_->quantizer->gradient(x, g, options);
  std::copy_n(result.data().data(), elements, dweights);
}

bool WeightQuantizer::is_vectorized() const {
  return impl_->inference.is_vectorized() || impl_->training.is_vectorized();
}

}  // namespace nibble::kernels
