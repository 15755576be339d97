// nibble/quant/scale.h
// Scales that are given, or fitted to data by least squares.
//
//   scale = mean(x q) / (mean(q q) + epsilon)       minimises sum (x - scale q)^2
// over the elements that share a scale; for "auto_po2" rounded to a power of two in the log domain
// [spec/qkeras.md section 1].
#pragma once

#include <optional>
#include <span>

#include "nibble/quant/alpha.h"
#include "nibble/quant/number.h"

namespace nibble::quant {

// How many scales there are and what bounds them.
struct ScaleRule {
  Alpha alpha = {};
  std::optional<IntegerOrList> scale_axis = {};          // None: one scale per index of the last axis
  std::optional<IntegerOrList> elements_per_scale = {};  // None: one; else that many neighbours share one
  std::optional<int> min_po2_exponent = {};              // bounds of an "auto_po2" scale
  std::optional<int> max_po2_exponent = {};
};

// The shape of the scales: x's rank with 1 on the axes they are shared over. elements_per_scale is not
// looked at.
//   throws  InvalidArgument if an axis is not x's
Shape scale_shape(const std::optional<IntegerOrList>& scale_axis, const Shape& x);

// Blocks over which maxima and deviations are taken: scale_shape, but a vector is one block.
Shape statistics_shape(const std::optional<IntegerOrList>& scale_axis, const Shape& x);

// As scale_shape, with elements_per_scale: the number of groups on every axis.
//   throws  InvalidArgument if it does not divide the axis, or does not go with scale_axis
Shape group_shape(const ScaleRule& rule, const Shape& x);

// A list has an axis.
//   throws  InvalidArgument
void check_scale_axis(std::string_view class_name, const std::optional<IntegerOrList>& scale_axis);

// What does not depend on the data: the above, and elements_per_scale needs scale_axis and the same form.
//   throws  InvalidArgument
void check_scale_rule(std::string_view class_name, const ScaleRule& rule);

// The scale for x and its quantized form q (unscaled). Fixed alphas give themselves. Rank 0 and 1
// are not reduced: every element gets its own scale, as in the reference.
//   q  x's elements in order
Tensor least_squares_scale(const ScaleRule& rule, const Tensor& x, std::span<const float> q);

// True if every value is a power of two.
bool are_powers_of_two(const Tensor& scale);

}  // namespace nibble::quant
