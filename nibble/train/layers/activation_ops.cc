// Activations with parameters of their own.
#include <ATen/ATen.h>

#include <algorithm>

#include "nibble/quant/activation_curves.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

// Where no gradient is wanted: the numbers that an integer program has, too.
at::Tensor elu_values(const at::Tensor& x, float alpha) {
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const float* from = in.data_ptr<float>();
  std::transform(from, from + in.numel(), out.data_ptr<float>(), [&](float v) { return quant::elu(v, alpha); });
  return out;
}

at::Tensor elu(LayerContext& context, std::span<const at::Tensor> inputs) {
  const double alpha = context.layer().get_float("alpha");
  if (!at::GradMode::is_enabled()) return elu_values(inputs[0], static_cast<float>(alpha));
  return at::elu(inputs[0], alpha);
}

// x above 0, alpha * x below; alpha broadcasts over the shared axes.
at::Tensor prelu(LayerContext& context, std::span<const at::Tensor> inputs) {
  return at::relu(inputs[0]) - context.weight("alpha") * at::relu(-inputs[0]);
}

}  // namespace

std::vector<LayerOpRow> activation_ops() { return {{"ELU", elu}, {"PReLU", prelu}}; }

}  // namespace nibble::train::layers
