#include "nibble/transform/ptq/adaptive_rounding.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/quant/affine/rounding_and_scales.h"

namespace nibble::ptq {
namespace {

float rectified(float v, bool is_rectified) { return is_rectified ? std::max(v, 0.0f) : v; }

class AdamState {
 public:
  AdamState(size_t size, double learning_rate) : rate_(learning_rate), mean_(size), square_(size) {}

  void step(std::span<double> v, std::span<const double> gradient) {
    ++steps_;
    const double a = 1.0 - std::pow(kBeta1, steps_), b = 1.0 - std::pow(kBeta2, steps_);
    for (size_t i = 0; i < v.size(); ++i) {
      mean_[i] += (1.0 - kBeta1) * (gradient[i] - mean_[i]);
      square_[i] += (1.0 - kBeta2) * (gradient[i] * gradient[i] - square_[i]);
      v[i] -= rate_ * (mean_[i] / a) / (std::sqrt(square_[i] / b) + 1e-8);
    }
  }

 private:
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
  double rate_;
  int steps_ = 0;
  std::vector<double> mean_, square_;
};

class Rounding {
 public:
  Rounding(const RoundingProblem& problem, const AdaptiveRoundingOptions& options)
      : p_(problem),
        o_(options),
        limit_(std::ldexp(1.0f, problem.bit_width - 1) - 1.0f),
        v_(p_.kernel.size()),
        floor_(p_.kernel.size()),
        targets_(multiply(*p_.float_inputs, p_.kernel, p_.bias)) {
    for (float& target : targets_) target = rectified(target, p_.is_rectified);
    for (size_t i = 0; i < v_.size(); ++i) {
      const float steps = p_.kernel[i] / scale_of(i);
      floor_[i] = std::floor(steps);
      v_[i] = rule_.start(std::min(static_cast<double>(steps - floor_[i]), kLargestFraction));
    }
  }

  RoundedKernel run() {
    std::vector<float> nearest(v_.size());
    for (size_t i = 0; i < v_.size(); ++i) nearest[i] = on_grid(i, std::round(p_.kernel[i] / scale_of(i)));
    learn();
    std::vector<float> learned(v_.size());
    for (size_t i = 0; i < v_.size(); ++i) {
      learned[i] = on_grid(i, floor_[i] + (rule_.share(v_[i]) >= 0.5 ? 1.0f : 0.0f));
    }
    RoundedKernel result{.kernel = {}, .nearest_error = error_of(nearest), .error = error_of(learned)};
    size_t changed = 0;
    for (size_t i = 0; i < v_.size(); ++i) changed += learned[i] != nearest[i] ? 1 : 0;
    result.changed = static_cast<double>(changed) / static_cast<double>(v_.size());
    result.kernel = std::move(learned);
    if (result.error <= result.nearest_error) return result;
    return {.kernel = std::move(nearest), .nearest_error = result.nearest_error, .error = result.nearest_error};
  }

 private:
  // The rule's start() needs a fraction below 1, which a float quotient just under a code may reach.
  static constexpr double kLargestFraction = 1.0 - 1e-6;

  float scale_of(size_t i) const { return p_.scale[i % p_.scale.size()]; }
  float on_grid(size_t i, float code) const { return std::clamp(code, -limit_, limit_) * scale_of(i); }

  double error_of(std::span<const float> kernel) const {
    const std::vector<float> y = multiply(*p_.quantized_inputs, kernel, p_.bias);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      sum += std::pow(static_cast<double>(rectified(y[i], p_.is_rectified)) - static_cast<double>(targets_[i]), 2.0);
    }
    return sum / static_cast<double>(y.size());
  }

  void learn() {
    RandomStream random({.seed = o_.seed, .purpose = RandomPurpose::kQuantizer});
    AdamState adam(v_.size(), o_.learning_rate);
    std::vector<float> kernel(v_.size()), kernel_gradient(v_.size());
    std::vector<double> gradient(v_.size());
    for (int step = 0; step < o_.steps; ++step) {
      for (size_t i = 0; i < v_.size(); ++i) kernel[i] = on_grid(i, floor_[i] + static_cast<float>(rule_.share(v_[i])));
      std::fill(kernel_gradient.begin(), kernel_gradient.end(), 0.0f);
      for (int row = 0; row < o_.batch_rows; ++row) {
        add_gradient(random.below(static_cast<uint32_t>(p_.quantized_inputs->rows)), kernel, kernel_gradient);
      }
      for (size_t i = 0; i < v_.size(); ++i) {
        const bool is_clipped = floor_[i] >= limit_ || floor_[i] < -limit_;
        const double slope = is_clipped ? 0.0 : static_cast<double>(scale_of(i)) * rule_.share_gradient(v_[i]);
        gradient[i] = static_cast<double>(kernel_gradient[i]) * slope / o_.batch_rows;
      }
      add_regularizer(step, gradient);
      adam.step(v_, gradient);
    }
  }

  // d |f(W_q x_q + b) - target|^2 / d W_q of one row.
  void add_gradient(int64_t row, std::span<const float> kernel, std::span<float> gradient) const {
    const KernelMatrix& m = p_.quantized_inputs->matrix;
    const int64_t per_group = m.outputs_per_group();
    const float* patch_row = p_.quantized_inputs->values.data() + row * m.row_length();
    std::vector<float> y(static_cast<size_t>(m.outputs));
    if (!p_.bias.empty()) std::copy(p_.bias.begin(), p_.bias.end(), y.begin());
    const auto each_weight_row = [&](auto visit) {
      for (int64_t g = 0; g < m.groups; ++g) {
        for (int64_t k = 0; k < m.fan_in; ++k) {
          const float x = patch_row[g * m.fan_in + k];
          if (x != 0.0f) visit(x, k * m.outputs + g * per_group, g * per_group);
        }
      }
    };
    each_weight_row([&](float x, int64_t weight, int64_t out) {
      for (int64_t o = 0; o < per_group; ++o)
        y[static_cast<size_t>(out + o)] += x * kernel[static_cast<size_t>(weight + o)];
    });
    for (int64_t o = 0; o < m.outputs; ++o) {
      float& value = y[static_cast<size_t>(o)];
      const bool is_off = p_.is_rectified && value <= 0.0f;
      value = is_off ? 0.0f : 2.0f * (value - targets_[static_cast<size_t>(row * m.outputs + o)]);
    }
    each_weight_row([&](float x, int64_t weight, int64_t out) {
      for (int64_t o = 0; o < per_group; ++o)
        gradient[static_cast<size_t>(weight + o)] += x * y[static_cast<size_t>(out + o)];
    });
  }

  void add_regularizer(int step, std::span<double> gradient) const {
    const double progress = static_cast<double>(step) / o_.steps;
    if (progress < o_.warm_up) return;
    const double beta = o_.first_beta + (o_.last_beta - o_.first_beta) * (progress - o_.warm_up) / (1.0 - o_.warm_up);
    for (size_t i = 0; i < v_.size(); ++i) {
      const double lean = 2.0 * rule_.share(v_[i]) - 1.0;
      const double slope = -2.0 * beta * std::pow(std::abs(lean), beta - 1.0) * (lean < 0.0 ? -1.0 : 1.0);
      gradient[i] += o_.lambda * slope * rule_.share_gradient(v_[i]);
    }
  }

  const RoundingProblem& p_;
  const AdaptiveRoundingOptions& o_;
  affine::AdaRound rule_;
  float limit_;
  std::vector<double> v_;
  std::vector<float> floor_, targets_;
};

void check(const RoundingProblem& p, const AdaptiveRoundingOptions& o) {
  const KernelMatrix& m = p.quantized_inputs->matrix;
  const auto outputs = static_cast<size_t>(m.outputs);
  if (p.kernel.size() != static_cast<size_t>(m.fan_in * m.outputs) || p.scale.size() != outputs ||
      (!p.bias.empty() && p.bias.size() != outputs) || p.float_inputs->rows != p.quantized_inputs->rows) {
    throw InvalidArgument("[adaround] {} weights, {} scales, {} biases and {} and {} rows do not fit {} outputs.",
                          p.kernel.size(), p.scale.size(), p.bias.size(), p.float_inputs->rows,
                          p.quantized_inputs->rows, outputs);
  }
  if (p.quantized_inputs->rows < 1) throw InvalidArgument("[adaround] there are no inputs to learn the rounding from.");
  if (o.steps < 1 || o.batch_rows < 1) {
    throw InvalidArgument("[adaround] {} steps of {} rows; both must be at least 1.", o.steps, o.batch_rows);
  }
}

}  // namespace

RoundedKernel round_adaptively(const RoundingProblem& problem, const AdaptiveRoundingOptions& options) {
  check(problem, options);
  return Rounding(problem, options).run();
}

}  // namespace nibble::ptq
