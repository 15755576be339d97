#include "nibble/cost/affine_type.h"

#include <algorithm>
#include <array>

#include "nibble/graph/layer_quantization.h"

namespace nibble::cost {
namespace {

using graph::AffineKind;

QuantizerType integer_type(int bit_width, bool is_signed) {
  return fixed_point_type(bit_width, bit_width - (is_signed ? 1 : 0), is_signed);
}

QuantizerType type_of(const graph::QuantizedPoint& point) {
  const graph::AffineQuantizer& q = point.quantizer;
  const bool is_dorefa = q.kind == AffineKind::kDorefa;
  if (point.is_weight && is_dorefa && q.num_bits == 1) return binary_type(/*use_01=*/false);
  if (point.is_weight) return integer_type(q.num_bits + (is_dorefa ? 1 : 0), /*is_signed=*/true);
  const bool is_step = q.kind == AffineKind::kLsq || q.kind == AffineKind::kLsqPlus;
  return integer_type(q.num_bits, is_step && q.symmetric);
}

}  // namespace

std::optional<QuantizerType> affine_type(const graph::Layer& layer, std::string_view name) {
  const auto point = graph::quantized_point(layer, name);
  return point ? std::optional(type_of(*point)) : std::nullopt;
}

std::optional<QuantizerType> affine_output_type(const graph::Layer& layer) {
  const auto points = graph::quantized_points(layer);
  if (points.empty() || points.back().is_weight) return std::nullopt;
  return type_of(points.back());
}

QuantizerType affine_bias_type(const graph::Layer& layer) {
  const int bits = layer.quantization ? layer.quantization->bias_bits : 0;
  return bits == 0 ? float_type(32) : integer_type(bits, /*is_signed=*/true);
}

bool is_affine_variable(const graph::Layer& layer, std::string_view weight) {
  static constexpr std::array<std::string_view, 5> kSuffixes = {"_min", "_max", "_step", "_offset", "_alpha"};
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    if (!weight.starts_with(point.name)) continue;
    const std::string_view rest = weight.substr(point.name.size());
    if (std::find(kSuffixes.begin(), kSuffixes.end(), rest) != kSuffixes.end()) return true;
  }
  return false;
}

}  // namespace nibble::cost
