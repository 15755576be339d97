// [batch-norm apply -> activation -> dropout] on its own, and batch moments of any value.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "nibble/train/fused_ops.h"
#include "nibble/train/process_sums.h"
#include "nibble/train/prologue_node.h"

namespace nibble::train {
namespace {

std::vector<float> to_floats(const at::Tensor& t) {
  const at::Tensor converted = t.detach().to(at::kFloat).contiguous();
  const auto* data = converted.data_ptr<float>();
  return {data, data + converted.numel()};
}

struct FusedPrologueNode : torch::autograd::Node {
  at::Tensor x;
  std::shared_ptr<const BoundPrologue> prologue;
  std::shared_ptr<std::vector<uint8_t>> mask;
  bool producer_finishes = false;
  ProcessGroup* processes = nullptr;  // that share the batch; it outlives the step

  torch::autograd::variable_list apply(torch::autograd::variable_list&& upstream_list) override {
    const int64_t batch = x.size(0), channels = prologue->channels();
    at::Tensor upstream = upstream_list[0].contiguous();
    at::Tensor sum_h = at::zeros({channels}, at::kDouble), sum_hx = at::zeros({channels}, at::kDouble);
    const auto* g = upstream.data_ptr<float>();
    prologue->gradient_sums(g, x.data_ptr<float>(), mask->data(), 0, batch, sum_h.data_ptr<double>(),
                            sum_hx.data_ptr<double>());
    if (processes != nullptr) sum_into_first(*processes, {sum_hx, sum_h});
    at::Tensor dx = upstream;
    if (!producer_finishes) {
      dx = at::empty_like(x);
      const std::vector<float> zeros(static_cast<size_t>(channels), 0.0f);
      prologue->gradient(g, x.data_ptr<float>(), mask->data(), dx.data_ptr<float>(), 0, batch, zeros.data(),
                         zeros.data());
    }
    return {dx.view(x.sizes()), sum_hx, sum_h};
  }

  void release_variables() override {
    x.reset();
    mask.reset();
  }
};

struct ChannelSumsNode : torch::autograd::Node {
  at::Tensor x;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& upstream) override {
    at::Tensor dx = at::zeros_like(x);
    if (upstream[0].defined()) dx.add_(upstream[0].to(at::kFloat));
    if (upstream[1].defined()) dx.add_(x * upstream[1].to(at::kFloat) * 2);
    return {dx};
  }

  void release_variables() override { x.reset(); }
};

}  // namespace

std::shared_ptr<const BoundPrologue> bind_prologue(const PrologueInputs& inputs, int64_t sample_elements) {
  return std::make_shared<const BoundPrologue>(to_floats(inputs.multiplier), to_floats(inputs.offset),
                                               inputs.activation, inputs.dropout_rate, inputs.dropout_key,
                                               sample_elements, inputs.first_unit);
}

at::Tensor fused_prologue(const Flow& x, const PrologueInputs& inputs) {
  const at::Tensor input = x.value.contiguous();
  const int64_t batch = input.size(0);
  auto node = std::make_shared<FusedPrologueNode>();
  node->x = input.detach();
  node->processes = inputs.processes;
  node->prologue = bind_prologue(inputs, batch == 0 ? inputs.multiplier.numel() : input.numel() / batch);
  at::Tensor result = at::empty_like(node->x);
  const bool needs_gradient = at::GradMode::is_enabled();
  if (needs_gradient) node->mask = std::make_shared<std::vector<uint8_t>>(node->prologue->mask_size(batch));
  node->prologue->forward(node->x.data_ptr<float>(), result.data_ptr<float>(),
                          needs_gradient ? node->mask->data() : nullptr, 0, batch);
  if (!needs_gradient) return result;

  if (x.junction != nullptr) {
    x.junction->prologue = node->prologue;
    x.junction->mask = node->mask;
    node->producer_finishes = true;
  }
  node->set_next_edges(torch::autograd::collect_next_edges(input, inputs.multiplier, inputs.offset));
  torch::autograd::set_history(result, node);
  return result;
}

ChannelSums channel_sums(const at::Tensor& value) {
  const at::Tensor input = value.contiguous();
  const int64_t channels = input.size(-1);
  ChannelSums sums{at::zeros({channels}, at::kDouble), at::zeros({channels}, at::kDouble)};
  kernels::channel_moments(input.data_ptr<float>(), input.numel() / channels, channels, sums.sum.data_ptr<double>(),
                           sums.sum_of_squares.data_ptr<double>());
  if (!at::GradMode::is_enabled() || !input.requires_grad()) return sums;
  auto node = std::make_shared<ChannelSumsNode>();
  node->x = input.detach();
  node->set_next_edges(torch::autograd::collect_next_edges(input));
  torch::autograd::set_history(sums.sum, node);
  torch::autograd::set_history(sums.sum_of_squares, node);
  return sums;
}

}  // namespace nibble::train
