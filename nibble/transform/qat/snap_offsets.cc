#include "nibble/transform/qat/snap_offsets.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "nibble/graph/layer_quantization.h"
#include "nibble/quant/affine/learned_step.h"

namespace nibble::qat {
namespace {

using graph::AffineKind;
using graph::AffineQuantizer;

std::optional<SnappedOffset> snapped(const graph::Layer& layer, const std::string& point, const AffineQuantizer& q) {
  if (q.kind != AffineKind::kLsqPlus || q.per_axis) return std::nullopt;
  const graph::Weight* step = layer.find_weight(point + "_step");
  const graph::Weight* offset = layer.find_weight(point + "_offset");
  if (step == nullptr || offset == nullptr || !(step->value[0] > 0.0f)) return std::nullopt;
  if (offset->value[0] == 0.0f || !std::isfinite(offset->value[0])) return std::nullopt;
  const affine::StepLimits limits = affine::step_limits(q.num_bits, q.symmetric, q.narrow_range);
  SnappedOffset result{layer.name, point, offset->value[0], step->value[0]};
  const double steps = std::nearbyint(static_cast<double>(result.offset) / result.step);
  result.steps = static_cast<int32_t>(std::clamp<double>(steps, -limits.qp, limits.qn));  // keeps real 0 in reach
  return result;
}

AffineQuantizer fixed(const AffineQuantizer& q, const SnappedOffset& offset) {
  const affine::StepLimits limits = affine::step_limits(q.num_bits, q.symmetric, q.narrow_range);
  const auto real = [&](int64_t code) { return static_cast<float>(code) * offset.step; };
  return {.kind = AffineKind::kFixed,
          .num_bits = q.num_bits,
          .narrow_range = q.symmetric && q.narrow_range,
          .fixed = {real(offset.steps - limits.qn), real(offset.steps + limits.qp)}};
}

}  // namespace

std::vector<SnappedOffset> snap_offsets(graph::Model& model) {
  std::vector<SnappedOffset> all;
  for (const graph::Layer& layer : graph::Model(model).layers) {
    if (!layer.quantization) continue;
    graph::LayerQuantization quantization = *layer.quantization;
    const size_t before = all.size();
    for (const auto& [name, quantizer] : {std::pair(graph::kPreActivation, &quantization.pre_activation),
                                          std::pair(graph::kPostActivation, &quantization.post_activation),
                                          std::pair(graph::kOutput, &quantization.output)}) {
      const auto offset = snapped(layer, std::string(name), *quantizer);
      if (!offset) continue;
      *quantizer = fixed(*quantizer, *offset);
      all.push_back(*offset);
    }
    if (all.size() > before) graph::set_quantization(model, layer.name, quantization);
  }
  return all;
}

}  // namespace nibble::qat
