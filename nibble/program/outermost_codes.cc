#include "nibble/program/outermost_codes.h"

#include <algorithm>

#include "nibble/program/affine_grid.h"
#include "nibble/program/turning_points.h"

namespace nibble::program {

std::optional<affine::CodeGrid> outermost_codes(const quant::Quantizer& quantizer) {
  if (const auto grid = code_grid(quantizer)) return grid;
  // Not float32's largest, which some quantizers multiply on the way.
  constexpr float kBeyond = 1e30f, kLargestScale = 1e20f;
  const float turn = turn_of(quantizer).value_or(0.0f);
  const quant::Encoded encoded = quantizer.encode(Tensor(Shape{4}, {-kBeyond, 0.0f, turn, kBeyond}));
  const bool is_grid = encoded.kind == quant::Encoded::Kind::kAffine && encoded.scale.size() == 1;
  if (!is_grid || encoded.scale[0] > kLargestScale) return std::nullopt;
  const auto [low, high] = std::minmax_element(encoded.codes.begin(), encoded.codes.end());
  return affine::CodeGrid{encoded.scale[0], *low - encoded.zero_point, *high - encoded.zero_point};
}

}  // namespace nibble::program
