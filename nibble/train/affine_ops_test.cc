// Affine quantizers as autograd functions: values and gradients are those of the scalar definitions.
#include "nibble/train/affine_ops.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/core/philox.h"
#include "nibble/quant/affine/pact_dorefa.h"

namespace nibble::train {
namespace {

at::Tensor random(at::IntArrayRef sizes, uint32_t number, float reach = 2.0f) {
  RandomStream stream({3, RandomPurpose::kTest, number, 0});
  at::Tensor t = at::empty(sizes, at::kFloat);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<float>()[i] = (2.0f * stream.uniform() - 1.0f) * reach;
  return t;
}

std::vector<float> values(const at::Tensor& t) {
  const at::Tensor flat = t.detach().contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5f * (1.0f + std::abs(b[i]))) << i;  // sums' order
}

// dL/dx for L = sum(upstream * y).
void backward(const at::Tensor& y, const at::Tensor& upstream) { (y * upstream).sum().backward(); }

TEST(AffineOps, FakeQuantIsTheScalarOne) {
  const at::Tensor upstream = random({4, 5, 3}, 2);
  for (const int64_t channels : {1, 3}) {
    at::Tensor x = random({4, 5, 3}, 1);
    x.set_requires_grad(true);
    const affine::ChannelLayout layout{60 / channels, channels, 1};
    std::vector<affine::NudgedRange> ranges;
    for (int64_t c = 0; c < channels; ++c) ranges.push_back(affine::nudge({-0.5f - c, 1.0f}, {.bit_width = 3}));
    const at::Tensor y = affine_fake_quant(x, layout, ranges, affine::StepRule::kDivide);
    backward(y, upstream);
    std::vector<float> expected(60), dx(60);
    affine::fake_quant(values(x), layout, ranges, affine::StepRule::kDivide, expected);
    affine::fake_quant_gradient(values(x), values(upstream), layout, ranges, dx);
    EXPECT_EQ(values(y), expected);
    EXPECT_EQ(values(x.grad()), dx);
  }
}

TEST(AffineOps, LearnedStepIsTheScalarOne) {
  const at::Tensor upstream = random({4, 5, 3}, 2);
  for (const int64_t channels : {1, 3}) {
    for (const bool has_offset : {false, true}) {
      at::Tensor x = random({4, 5, 3}, 1);
      at::Tensor step = at::full({channels}, 0.3f), offset = has_offset ? at::full({channels}, 0.1f) : at::Tensor();
      for (at::Tensor* t : {&x, &step, &offset}) {
        if (t->defined()) t->set_requires_grad(true);
      }
      const affine::ChannelLayout layout{60 / channels, channels, 1};
      const LearnedStepOptions options{.limits = {4, 3}, .gradient_scale = 0.25};
      const at::Tensor y = learned_step_quant(x, layout, step, offset, options);
      backward(y, upstream);
      std::vector<float> expected(60), dx(60);
      const auto steps = values(step), offsets = has_offset ? values(offset) : std::vector<float>{};
      const affine::LearnedStep<float> learned{steps, offsets, options.limits};
      affine::learned_step_quantize<float>(values(x), layout, learned, expected);
      auto gradient = affine::learned_step_gradient<float>(values(x), values(upstream), layout, learned, dx);
      for (float& g : gradient.step) g *= 0.25f;
      for (float& g : gradient.offset) g *= 0.25f;
      EXPECT_EQ(values(y), expected);
      EXPECT_EQ(values(x.grad()), dx);
      expect_near(values(step.grad()), gradient.step);
      if (has_offset) expect_near(values(offset.grad()), gradient.offset);
    }
  }
}

TEST(AffineOps, PactIsTheScalarOne) {
  const at::Tensor upstream = random({40}, 2);
  at::Tensor x = random({40}, 1), alpha = at::full({}, 0.8f);
  x.set_requires_grad(true), alpha.set_requires_grad(true);
  const at::Tensor y = pact_quant(x, alpha, 3);
  backward(y, upstream);
  std::vector<float> expected(40), dx(40);
  affine::pact_quantize<float>(values(x), 0.8f, 3, expected);
  const float of_alpha = affine::pact_gradient<float>(values(x), values(upstream), 0.8f, dx);
  EXPECT_EQ(values(y), expected);
  EXPECT_EQ(values(x.grad()), dx);
  expect_near(values(alpha.grad()), {of_alpha});
}

TEST(AffineOps, DorefaIsTheScalarOne) {
  const at::Tensor upstream = random({40}, 2);
  for (const int bits : {1, 3}) {
    at::Tensor w = random({40}, 1), x = random({40}, 4);
    w.set_requires_grad(true), x.set_requires_grad(true);
    const at::Tensor v = dorefa_quant_weights(w, bits), y = dorefa_quant_activations(x, bits);
    backward(v + y, upstream);
    std::vector<float> expected(40), gradient(40);
    affine::dorefa_quantize_weights<float>(values(w), bits, expected);
    affine::dorefa_weight_gradient<float>(values(w), values(upstream), bits, gradient);
    EXPECT_EQ(values(v), expected);
    EXPECT_EQ(values(w.grad()), gradient);
    affine::dorefa_quantize_activations<float>(values(x), bits, expected);
    affine::dorefa_activation_gradient<float>(values(x), values(upstream), gradient);
    EXPECT_EQ(values(y), expected);
    EXPECT_EQ(values(x.grad()), gradient);
  }
}

TEST(AffineOps, DorefaQuantizesGradientsSampleBySample) {
  const at::Tensor upstream = random({4, 10}, 2);
  const RandomKey key{7, RandomPurpose::kQuantizer, 3, 5}, next{7, RandomPurpose::kQuantizer, 3, 6};
  const auto gradient = [&](const RandomKey& random_key) {
    at::Tensor x = random({4, 10}, 4);
    x.set_requires_grad(true);
    backward(dorefa_quant_activations(x, 3, {2, random_key}), upstream);
    return values(x.grad());
  };
  std::vector<float> plain(40), noise(40), expected(40);
  affine::dorefa_activation_gradient<float>(values(random({4, 10}, 4)), values(upstream), plain);
  RandomStream stream(key);
  for (float& u : noise) u = stream.uniform() - 0.5f;
  affine::dorefa_quantize_gradient<float>(plain, noise, 4, 2, expected);
  EXPECT_EQ(gradient(key), expected);
  EXPECT_EQ(gradient(key), gradient(key));
  EXPECT_NE(gradient(key), gradient(next));
}

TEST(AffineOps, NothingIsRecordedWithoutNeed) {
  at::Tensor x = random({8}, 1);
  const std::vector<affine::NudgedRange> range = {affine::nudge({-1.0f, 1.0f}, {})};
  EXPECT_FALSE(affine_fake_quant(x, {1, 1, 8}, range, affine::StepRule::kDivide).requires_grad());
  x.set_requires_grad(true);
  EXPECT_TRUE(affine_fake_quant(x, {1, 1, 8}, range, affine::StepRule::kDivide).requires_grad());
  const at::NoGradGuard no_gradient;
  EXPECT_FALSE(affine_fake_quant(x, {1, 1, 8}, range, affine::StepRule::kDivide).requires_grad());
}

TEST(AffineOps, StraightThroughTakesValuesAndPassesGradients) {
  at::Tensor x = random({5}, 1);
  x.set_requires_grad(true);
  const at::Tensor rounded = x.detach().round(), upstream = random({5}, 2);
  const at::Tensor y = straight_through(x, rounded);
  backward(y, upstream);
  EXPECT_EQ(values(y), values(rounded));
  EXPECT_EQ(values(x.grad()), values(upstream));
}

}  // namespace
}  // namespace nibble::train
