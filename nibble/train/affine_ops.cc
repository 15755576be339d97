#include "nibble/train/affine_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <span>

#include "nibble/kernels/affine_quantizers.h"
#include "nibble/kernels/philox_vector.h"
#include "nibble/quant/affine/pact_dorefa.h"

namespace nibble::train {
namespace {

using torch::autograd::variable_list;

std::span<const float> values_of(const at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }
std::span<float> room_of(at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }

bool is_recorded(std::initializer_list<at::Tensor> inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor& input : inputs) {
    if (input.defined() && input.requires_grad()) return true;
  }
  return false;
}

// Hangs the node behind its inputs, in the order in which it gives their gradients.
template <class NodeType, class... Inputs>
at::Tensor record(at::Tensor result, std::shared_ptr<NodeType> node, const Inputs&... inputs) {
  node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
  torch::autograd::set_history(result, node);
  return result;
}

struct FakeQuantNode : torch::autograd::Node {
  at::Tensor x;
  affine::ChannelLayout layout;
  std::vector<affine::NudgedRange> ranges;

  variable_list apply(variable_list&& upstream_list) override {
    const at::Tensor upstream = upstream_list[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    if (ranges.size() == 1) {
      kernels::fake_quant_gradient(x.data_ptr<float>(), upstream.data_ptr<float>(), ranges[0], dx.data_ptr<float>(),
                                   static_cast<size_t>(x.numel()));
    } else {
      affine::fake_quant_gradient(values_of(x), values_of(upstream), layout, ranges, room_of(dx));
    }
    return {dx};
  }
  void release_variables() override { x.reset(); }
};

struct LearnedStepNode : torch::autograd::Node {
  at::Tensor x, step, offset;  // offset undefined: none
  affine::ChannelLayout layout;
  LearnedStepOptions options;

  variable_list apply(variable_list&& upstream_list) override {
    const at::Tensor upstream = upstream_list[0].contiguous();
    at::Tensor dx = at::empty_like(x), dstep = at::empty_like(step), doffset = at::empty_like(step);
    if (step.numel() == 1) {
      const kernels::StepSpec spec{step.data_ptr<float>()[0], offset.defined() ? offset.data_ptr<float>()[0] : 0.0f,
                                   options.limits};
      const kernels::StepSums sums = kernels::learned_step_gradient(
          x.data_ptr<float>(), upstream.data_ptr<float>(), spec, dx.data_ptr<float>(), static_cast<size_t>(x.numel()));
      dstep.fill_(sums.step);
      doffset.fill_(sums.offset);
    } else {
      const auto sums =
          affine::learned_step_gradient<float>(values_of(x), values_of(upstream), layout, learned(), room_of(dx));
      std::copy(sums.step.begin(), sums.step.end(), dstep.data_ptr<float>());
      std::copy(sums.offset.begin(), sums.offset.end(), doffset.data_ptr<float>());
    }
    dstep.mul_(options.gradient_scale);
    if (!offset.defined()) return {dx, dstep};
    return {dx, dstep, doffset.mul_(options.gradient_scale)};
  }
  void release_variables() override { x.reset(), step.reset(), offset.reset(); }

  affine::LearnedStep<float> learned() const {
    return {values_of(step), offset.defined() ? values_of(offset) : std::span<const float>{}, options.limits};
  }
};

struct PactNode : torch::autograd::Node {
  at::Tensor x, alpha;

  variable_list apply(variable_list&& upstream_list) override {
    const at::Tensor upstream = upstream_list[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    const float of_alpha =
        affine::pact_gradient<float>(values_of(x), values_of(upstream), alpha.data_ptr<float>()[0], room_of(dx));
    return {dx, at::full_like(alpha, of_alpha)};
  }
  void release_variables() override { x.reset(), alpha.reset(); }
};

at::Tensor quantized_gradient(const at::Tensor& dx, const GradientQuantization& gradient) {
  const auto count = static_cast<size_t>(dx.numel());
  std::vector<uint32_t> words(count);
  kernels::random_words(gradient.random, 0, count, words.data());
  std::vector<float> noise(count);
  for (size_t i = 0; i < count; ++i) noise[i] = to_uniform(words[i]) - 0.5f;
  at::Tensor q = at::empty_like(dx);
  affine::dorefa_quantize_gradient<float>(values_of(dx), noise, dx.size(0), gradient.bit_width, room_of(q));
  return q;
}

struct DorefaNode : torch::autograd::Node {
  at::Tensor x;
  int bit_width = 8;
  bool is_weight = false;
  GradientQuantization gradient;

  variable_list apply(variable_list&& upstream_list) override {
    const at::Tensor upstream = upstream_list[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    if (is_weight) {
      affine::dorefa_weight_gradient<float>(values_of(x), values_of(upstream), bit_width, room_of(dx));
    } else {
      affine::dorefa_activation_gradient<float>(values_of(x), values_of(upstream), room_of(dx));
      if (gradient.bit_width > 0) dx = quantized_gradient(dx, gradient);
    }
    return {dx};
  }
  void release_variables() override { x.reset(); }
};

struct StraightThroughNode : torch::autograd::Node {
  variable_list apply(variable_list&& upstream) override { return {upstream[0]}; }
};

at::Tensor dorefa_quant(const at::Tensor& x, int bit_width, bool is_weight, const GradientQuantization& gradient) {
  const at::Tensor input = x.contiguous();
  at::Tensor y = at::empty_like(input.detach());
  if (is_weight) {
    affine::dorefa_quantize_weights<float>(values_of(input), bit_width, room_of(y));
  } else {
    affine::dorefa_quantize_activations<float>(values_of(input), bit_width, room_of(y));
  }
  if (!is_recorded({input})) return y;
  auto node = std::make_shared<DorefaNode>();
  node->x = input.detach();
  node->bit_width = bit_width;
  node->is_weight = is_weight;
  node->gradient = gradient;
  return record(y, node, input);
}

}  // namespace

at::Tensor affine_fake_quant(const at::Tensor& x, const affine::ChannelLayout& layout,
                             std::vector<affine::NudgedRange> ranges, affine::StepRule rule) {
  const at::Tensor input = x.contiguous();
  at::Tensor y = at::empty_like(input.detach());
  if (ranges.size() == 1) {
    kernels::fake_quant(input.data_ptr<float>(), ranges[0], rule, y.data_ptr<float>(),
                        static_cast<size_t>(input.numel()));
  } else {
    affine::fake_quant(values_of(input), layout, ranges, rule, room_of(y));
  }
  if (!is_recorded({input})) return y;
  auto node = std::make_shared<FakeQuantNode>();
  node->x = input.detach();
  node->layout = layout;
  node->ranges = std::move(ranges);
  return record(y, node, input);
}

at::Tensor learned_step_quant(const at::Tensor& x, const affine::ChannelLayout& layout, const at::Tensor& step,
                              const at::Tensor& offset, const LearnedStepOptions& options) {
  const at::Tensor input = x.contiguous();
  auto node = std::make_shared<LearnedStepNode>();
  node->x = input.detach();
  // Copies: the optimizer changes the parameters in place.
  node->step = step.detach().clone();
  if (offset.defined()) node->offset = offset.detach().clone();
  node->layout = layout;
  node->options = options;
  at::Tensor y = at::empty_like(node->x);
  if (step.numel() == 1) {
    const kernels::StepSpec spec{node->step.data_ptr<float>()[0],
                                 offset.defined() ? node->offset.data_ptr<float>()[0] : 0.0f, options.limits};
    kernels::learned_step(input.data_ptr<float>(), spec, y.data_ptr<float>(), static_cast<size_t>(input.numel()));
  } else {
    affine::learned_step_quantize<float>(values_of(node->x), layout, node->learned(), room_of(y));
  }
  if (!is_recorded({input, step, offset})) return y;
  return offset.defined() ? record(y, node, input, step, offset) : record(y, node, input, step);
}

at::Tensor pact_quant(const at::Tensor& x, const at::Tensor& alpha, int bit_width) {
  const at::Tensor input = x.contiguous();
  at::Tensor y = at::empty_like(input.detach());
  affine::pact_quantize<float>(values_of(input), alpha.data_ptr<float>()[0], bit_width, room_of(y));
  if (!is_recorded({input, alpha})) return y;
  auto node = std::make_shared<PactNode>();
  node->x = input.detach();
  node->alpha = alpha.detach().clone();
  return record(y, node, input, alpha);
}

at::Tensor dorefa_quant_weights(const at::Tensor& w, int bit_width) { return dorefa_quant(w, bit_width, true, {}); }

at::Tensor dorefa_quant_activations(const at::Tensor& x, int bit_width, const GradientQuantization& gradient) {
  return dorefa_quant(x, bit_width, false, gradient);
}

at::Tensor straight_through(const at::Tensor& x, const at::Tensor& values) {
  at::Tensor y = values.detach().clone();
  if (!is_recorded({x})) return y;
  return record(y, std::make_shared<StraightThroughNode>(), x);
}

}  // namespace nibble::train
