#include "nibble/cost/kernel_parts.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/cost/saturated.h"

namespace nibble::cost {
namespace {

using graph::Layer;

int64_t without_last(const Layer& layer, const Shape& kernel) { return elements_of(layer, kernel) / kernel[-1]; }

// Products of one output of a transposed convolution over `channels`: a kernel's tap meets an input every `stride`
// positions.
int64_t transposed_terms(const Layer& layer, const Shape& kernel, int64_t channels) {
  const auto& strides = layer.get_ints("strides");
  int64_t terms = channels;
  for (size_t i = 0; i < strides.size(); ++i) {
    const int64_t taps = kernel[static_cast<int>(i)];
    terms *= (taps + strides[i] - 1) / strides[i];
  }
  return terms;
}

int64_t depthwise_taps(const Layer& layer, const Shape& kernel) {
  return elements_of(layer, kernel) / (kernel[-1] * kernel[-2]);
}

int64_t terms_of(const Layer& layer, LayerKind kind, const Shape& kernel, Compat compat) {
  const bool is_exact = compat == Compat::kNone;
  if (kind == LayerKind::kDepthwise || kind == LayerKind::kSeparable) return depthwise_taps(layer, kernel);
  if (kind == LayerKind::kFoldedDepthwise && is_exact) return depthwise_taps(layer, kernel);
  if (kind == LayerKind::kTransposed && is_exact) return transposed_terms(layer, kernel, kernel[-1]);
  // Kernels (h, w, in, group) and (h, w, 1, in): an output sums over its group, or over one channel.
  if (kind == LayerKind::kTransposedDepthwise) return transposed_terms(layer, kernel, kernel[-1]);
  if (kind == LayerKind::kTransposedSeparable) return transposed_terms(layer, kernel, 1);
  if (kind == LayerKind::kScaling) return 1;
  return without_last(layer, kernel);
}

// Positions at which the whole kernel is applied.
int64_t positions_of(const Layer& layer, LayerKind kind, const LayerGeometry& geometry, Compat compat) {
  const bool scatters = (kind == LayerKind::kTransposed && compat == Compat::kNone) ||
                        kind == LayerKind::kTransposedDepthwise || kind == LayerKind::kTransposedSeparable;
  const Shape& grid = scatters ? geometry.inputs[0] : geometry.output;
  return without_last(layer, grid);
}

int64_t operations_of(const Layer& layer, LayerKind kind, const Shape& kernel, int64_t positions, Compat compat) {
  if (kind == LayerKind::kScaling) return positions;
  if (kind == LayerKind::kFoldedDepthwise && compat != Compat::kNone) return 0;  // the reference has no count for it
  // The reference forgets the depth multiplier.
  if (kind == LayerKind::kDepthwise && compat != Compat::kNone)
    return saturated_product(positions, without_last(layer, kernel));
  return saturated_product(positions, elements_of(layer, kernel));
}

std::string kernel_quantizer(LayerKind kind) {
  switch (kind) {
    case LayerKind::kDepthwise:
    case LayerKind::kFoldedDepthwise:
    case LayerKind::kSeparable:
      return "depthwise_quantizer";
    case LayerKind::kTransposedDepthwise:
    case LayerKind::kTransposedSeparable:
      return "depthwise_kernel_quantizer";
    case LayerKind::kScaling:
      return "weight_quantizer";
    default:
      return "kernel_quantizer";
  }
}

// The 1x1 half of a separable convolution. A transposed one has the kernel (1, 1, out, in).
KernelPart pointwise_part(const Layer& layer, LayerKind kind, const Shape& kernel, const LayerGeometry& geometry) {
  const bool is_transposed = kind == LayerKind::kTransposedSeparable;
  return {.weight = "pointwise_kernel",
          .prefix = "pointwise_",
          .quantizer = is_transposed ? "pointwise_kernel_quantizer" : "pointwise_quantizer",
          .shape = kernel,
          .terms = is_transposed ? kernel[-1] : without_last(layer, kernel),
          .operation_count = saturated_product(without_last(layer, geometry.output), elements_of(layer, kernel))};
}

}  // namespace

int64_t elements_of(const Layer& layer, const Shape& shape) {
  if (shape.is_fixed()) return shape.elements();
  throw InvalidArgument(
      "[cost] layer '{}' has the shape {}, whose size is not fixed. Give the model's input a fixed shape.", layer.name,
      shape.str());
}

std::vector<KernelPart> kernel_parts(const Layer& layer, LayerKind kind, const LayerGeometry& geometry, Compat compat) {
  const auto weights = graph::weight_shapes(layer, geometry.inputs);
  const auto& [name, kernel] = weights.at(0);
  const int64_t positions =
      kind == LayerKind::kScaling ? elements_of(layer, geometry.output) : positions_of(layer, kind, geometry, compat);
  if (kind == LayerKind::kDense && compat != Compat::kNone && positions != 1)
    throw Unsupported("[cost] QTools has no operation count for the dense layer '{}' with output {}; leave compat off.",
                      layer.name, geometry.output.str());
  std::vector<KernelPart> parts = {{.weight = name,
                                    .quantizer = kernel_quantizer(kind),
                                    .shape = kernel,
                                    .terms = terms_of(layer, kind, kernel, compat),
                                    .operation_count = operations_of(layer, kind, kernel, positions, compat)}};
  for (const auto& [weight, shape] : weights) {
    if (weight == "pointwise_kernel") parts.push_back(pointwise_part(layer, kind, shape, geometry));
    if (weight == "bias") parts.back().biases = elements_of(layer, shape);
  }
  return parts;
}

std::vector<KernelPart> recurrent_parts(const Layer& layer, const Shape& input) {
  const int64_t steps = elements_of(layer, input) / input[-1];
  std::vector<KernelPart> parts;
  for (const auto& [weight, shape] : graph::weight_shapes(layer, {input})) {
    if (weight == "bias") {
      parts[0].biases = elements_of(layer, shape);
      continue;
    }
    const bool is_recurrent = weight == "recurrent_kernel";
    parts.push_back({.weight = weight,
                     .prefix = is_recurrent ? "recurrent_" : "",
                     .quantizer = is_recurrent ? "recurrent_quantizer" : "kernel_quantizer",
                     .shape = shape,
                     .terms = shape[0],
                     .operation_count = saturated_product(steps, elements_of(layer, shape))});
  }
  return parts;
}

int64_t pool_area(const Layer& layer, LayerKind kind, const LayerGeometry& geometry) {
  if (kind == LayerKind::kGlobalAveragePooling) return without_last(layer, geometry.inputs[0]);
  int64_t area = 1;
  for (const int64_t extent : layer.get_ints("pool_size")) area *= extent;
  return area;
}

int64_t contracted_extent(const Layer& layer, const Shape& input) {
  const auto axis = static_cast<int>(layer.get_ints("axes").at(0));
  return input[axis < 0 ? axis : axis - 1];  // axis 0 is the batch, which a shape here has not
}

int64_t elementwise_count(const Layer& layer, LayerKind kind, const LayerGeometry& geometry, Compat compat) {
  int64_t input = 0;
  for (const Shape& shape : geometry.inputs) input = std::max(input, elements_of(layer, shape));
  switch (kind) {
    case LayerKind::kAveragePooling:
    case LayerKind::kGlobalAveragePooling: {
      const int64_t area = pool_area(layer, kind, geometry);
      if (compat == Compat::kNone) return area * elements_of(layer, geometry.output);
      // The reference counts one output position, and forgets one of its own pooling layers.
      return layer.class_name == "QAveragePooling2D" ? 0 : area * geometry.inputs[0][-1];
    }
    case LayerKind::kUpSampling:
      return elements_of(layer, geometry.output);
    case LayerKind::kOther:
      return 0;
    default:
      return input;
  }
}

}  // namespace nibble::cost
