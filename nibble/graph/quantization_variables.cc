// The variables of quantized points: ranges that were seen, whether there are any, and the grids that follow from them.
#include "nibble/graph/quantization_variables.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/model.h"

namespace nibble::graph {
namespace {

QuantizedPoint require_point(const Layer& layer, std::string_view name) {
  if (const auto point = quantized_point(layer, name)) return *point;
  std::vector<std::string> names;
  for (const QuantizedPoint& point : quantized_points(layer)) names.push_back(point.name);
  throw InvalidArgument("[quantize] {} does not quantize '{}'. {}", graph::described(layer), name,
                        names.empty() ? "It has no quantizers." : suggest(name, names));
}

const Weight& variable(const Layer& layer, const QuantizedPoint& point, const char* suffix) {
  const std::string name = fmt::format("{}_{}", point.name, suffix);
  if (const Weight* found = layer.find_weight(name)) return *found;
  throw InvalidArgument("[quantize] {} has no variable '{}' yet. Initialize the model's weights first.",
                        described(layer, point), name);
}

bool stands_at(const Layer& layer, const QuantizedPoint& point, const char* suffix, float start) {
  const Weight* found = layer.find_weight(fmt::format("{}_{}", point.name, suffix));
  if (found == nullptr) return true;
  const auto values = found->value.data();
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == start; });
}

// The mark of as_seen().
bool saw_zeros(const Layer& layer, const QuantizedPoint& point) {
  const Weight* min = point.quantizer.kind == AffineKind::kAllValues ? layer.find_weight(point.name + "_min") : nullptr;
  if (min == nullptr) return false;
  const auto values = min->value.data();
  return std::any_of(values.begin(), values.end(), [](float v) { return v == 0.0f && std::signbit(v); });
}

bool stands_at_start(const Layer& layer, const QuantizedPoint& point) {
  const AffineKind kind = point.quantizer.kind;
  if (is_learned(kind)) return stands_at(layer, point, kind == AffineKind::kPact ? "alpha" : "step", 0.0f);
  if (!has_minmax(kind)) return false;
  const affine::Range start = initial_range(kind);
  return stands_at(layer, point, "min", start.min) && stands_at(layer, point, "max", start.max) &&
         !saw_zeros(layer, point);
}

// A tracker that stands at [-6, 6] may have come there again: symmetric codes behind a ReLU6 have that range. Of a
// model that was calibrated or trained, other points have moved, weights and activations each; where none has, nothing
// was seen. Other starts, [0, 0] and steps of 0, are no range that anything has.
bool may_have_been_seen(const Model& model, const Layer& layer, const QuantizedPoint& point) {
  const AffineKind kind = point.quantizer.kind;
  if (!has_minmax(kind) || kind == AffineKind::kAllValues) return false;
  if (layer.find_weight(point.name + "_min") == nullptr) return false;
  const auto has_moved = [&](const Layer& other) {
    const std::vector<QuantizedPoint> points = quantized_points(other);
    return std::any_of(points.begin(), points.end(), [&](const QuantizedPoint& p) {
      const bool has_start = has_minmax(p.quantizer.kind) || is_learned(p.quantizer.kind);
      return has_start && p.is_weight == point.is_weight && !stands_at_start(other, p);
    });
  };
  return std::any_of(model.layers.begin(), model.layers.end(), has_moved);
}

affine::AffineParams params_of_step(const AffineQuantizer& q, float step, float offset, const std::string& where) {
  const float zero = -offset / step;
  if (zero != std::nearbyint(zero)) {
    throw Unsupported(
        "[quantize] {}: the offset {} is no multiple of the step {}, so that real 0 has no code. Snap the offset to a "
        "multiple first.",
        where, offset, step);
  }
  return {.scale = step,
          .zero_point = static_cast<int32_t>(zero),
          .bit_width = q.num_bits,
          .is_signed = q.symmetric,
          .narrow_range = q.symmetric && q.narrow_range};
}

}  // namespace

affine::Range as_seen(AffineKind kind, affine::Range range) {
  const bool is_start = kind == AffineKind::kAllValues && range == initial_range(kind);
  return is_start ? affine::Range{-0.0f, 0.0f} : range;
}

std::vector<affine::Range> stored_ranges(const Layer& layer, std::string_view name) {
  const QuantizedPoint point = require_point(layer, name);
  if (point.quantizer.kind == AffineKind::kFixed) return {point.quantizer.fixed};
  if (!has_minmax(point.quantizer.kind)) {
    throw InvalidArgument("[quantize] {} keeps no range.", described(layer, point));
  }
  const auto min = variable(layer, point, "min").value.data(), max = variable(layer, point, "max").value.data();
  std::vector<affine::Range> ranges;
  for (size_t i = 0; i < min.size() && i < max.size(); ++i) {
    ranges.push_back({min[i] + 0.0f, max[i]});  // the mark is no part of the range
  }
  return ranges;
}

void store_ranges(Layer& layer, std::string_view name, std::span<const affine::Range> ranges) {
  const QuantizedPoint point = require_point(layer, name);
  const size_t wanted = stored_ranges(layer, name).size();
  if (point.quantizer.kind == AffineKind::kFixed) {
    throw InvalidArgument("[quantize] {} has a range that is part of its configuration.", described(layer, point));
  }
  if (ranges.size() != wanted) {
    throw InvalidArgument("[quantize] {} keeps {} ranges, but {} are given.", described(layer, point), wanted,
                          ranges.size());
  }
  for (const affine::Range& range : ranges) affine::nudge(range, tracker_config(point.quantizer).format());
  Tensor& min = layer.find_weight(point.name + "_min")->value;
  Tensor& max = layer.find_weight(point.name + "_max")->value;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const affine::Range seen = as_seen(point.quantizer.kind, ranges[i]);
    min[static_cast<int64_t>(i)] = seen.min;
    max[static_cast<int64_t>(i)] = seen.max;
  }
}

std::string uncalibrated_point(const Layer& layer) {
  for (const QuantizedPoint& point : quantized_points(layer)) {
    if (stands_at_start(layer, point)) return point.name;
  }
  return "";
}

namespace {

// What a damaged file or a training that diverged leaves.
void require_ranges(const Layer& layer, const QuantizedPoint& point, std::string_view who) {
  if (!has_minmax(point.quantizer.kind)) return;
  for (const affine::Range& range : stored_ranges(layer, point.name)) {
    if (std::isfinite(range.min) && std::isfinite(range.max) && range.min <= range.max) continue;
    throw InvalidArgument(
        "[{}] {}: the range of '{}' is [{}, {}]; its ends must be finite numbers, the lower one first. Calibrate or "
        "train the quantized model anew.",
        who, graph::described(layer), point.name, range.min, range.max);
  }
}

}  // namespace

void require_calibrated(const Model& model, std::string_view who) {
  for (const Layer& layer : model.layers) {
    for (const QuantizedPoint& point : quantized_points(layer)) {
      require_ranges(layer, point, who);
      if (!stands_at_start(layer, point) || may_have_been_seen(model, layer, point)) continue;
      throw InvalidArgument(
          "[{}] {}: the range of '{}' is still the one it started with, which fits nothing. Calibrate or train the "
          "quantized model first.",
          who, graph::described(layer), point.name);
    }
  }
}

std::vector<affine::AffineParams> point_params(const Layer& layer, std::string_view name) {
  const QuantizedPoint point = require_point(layer, name);
  const AffineQuantizer& q = point.quantizer;
  std::vector<affine::AffineParams> params;
  if (is_tracker(q.kind)) {
    const affine::CodeFormat format = tracker_config(q).format();
    for (const affine::Range& range : stored_ranges(layer, name)) {
      params.push_back(affine::params_of_nudged(affine::nudge(range, format), format, /*is_signed=*/true));
    }
    return params;
  }
  if (q.kind == AffineKind::kDorefa && point.is_weight) {
    throw Unsupported("[quantize] {}: its levels lie between the codes; it has no scale and zero point.",
                      described(layer, point));
  }
  if (q.kind == AffineKind::kDorefa || q.kind == AffineKind::kPact) {
    const float reach = q.kind == AffineKind::kDorefa ? 1.0f : variable(layer, point, "alpha").value[0];
    const auto steps = static_cast<float>((int32_t{1} << q.num_bits) - 1);
    return {{.scale = reach / steps, .bit_width = q.num_bits, .is_signed = false}};
  }
  const auto step = variable(layer, point, "step").value.data();
  const bool has_offset = q.kind == AffineKind::kLsqPlus && !point.is_weight;
  for (size_t i = 0; i < step.size(); ++i) {
    const float offset = has_offset ? variable(layer, point, "offset").value.data()[i] : 0.0f;
    params.push_back(params_of_step(q, step[i], offset, described(layer, point)));
  }
  return params;
}

}  // namespace nibble::graph
