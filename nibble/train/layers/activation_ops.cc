// Activations with parameters of their own.
#include <ATen/ATen.h>

#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

at::Tensor elu(LayerContext& context, std::span<const at::Tensor> inputs) {
  return at::elu(inputs[0], context.layer().get_float("alpha"));
}

// x above 0, alpha * x below; alpha broadcasts over the shared axes.
at::Tensor prelu(LayerContext& context, std::span<const at::Tensor> inputs) {
  return at::relu(inputs[0]) - context.weight("alpha") * at::relu(-inputs[0]);
}

}  // namespace

std::vector<LayerOpRow> activation_ops() { return {{"ELU", elu}, {"PReLU", prelu}}; }

}  // namespace nibble::train::layers
