// A quantizer as an autograd function.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "nibble/train/fused_ops.h"

namespace nibble::train {
namespace {

Shape shape_of(const at::Tensor& t) { return Shape(t.sizes().vec()); }

Tensor to_host(const at::Tensor& t) {
  const auto* data = t.data_ptr<float>();
  return Tensor(shape_of(t), std::vector<float>(data, data + t.numel()));
}

at::Tensor from_host(const Tensor& t) {
  at::Tensor result = at::empty(t.shape().extents(), at::kFloat);
  std::copy(t.data().begin(), t.data().end(), result.data_ptr<float>());
  return result;
}

struct QuantizeNode : torch::autograd::Node {
  at::Tensor x;
  quant::QuantizerPtr quantizer;
  quant::QuantizeOptions options;
  const kernels::WeightQuantizer* fast = nullptr;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& upstream_list) override {
    if (fast != nullptr && fast->has_unit_gradient(options.phase)) return {upstream_list[0]};
    const at::Tensor upstream = upstream_list[0].contiguous();
    if (fast == nullptr) return {from_host(quantizer->gradient(to_host(x), to_host(upstream), options))};
    at::Tensor dx = at::empty_like(x);
    fast->gradient(x.data_ptr<float>(), upstream.data_ptr<float>(), shape_of(x), options, dx.data_ptr<float>());
    return {dx};
  }

  void release_variables() override { x.reset(); }
};

}  // namespace

at::Tensor quantize(const at::Tensor& x, const quant::QuantizerPtr& quantizer, const quant::QuantizeOptions& options,
                    const kernels::WeightQuantizer* fast) {
  const at::Tensor input = x.contiguous();
  auto node = std::make_shared<QuantizeNode>();
  node->x = input.detach();
  at::Tensor result;
  if (fast != nullptr) {
    result = at::empty_like(node->x);
    fast->quantize(node->x.data_ptr<float>(), shape_of(input), options, result.data_ptr<float>());
  } else {
    result = from_host(quantizer->quantize(to_host(node->x), options).real);
  }
  if (!at::GradMode::is_enabled() || !input.requires_grad()) return result;
  node->quantizer = quantizer;
  node->options = options;
  node->fast = fast;
  node->set_next_edges(torch::autograd::collect_next_edges(input));
  torch::autograd::set_history(result, node);
  return result;
}

}  // namespace nibble::train
