#include "nibble/quant/scale.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {
namespace {

// An axis counted from the front.
int checked_axis(int axis, const Shape& x) {
  const int from_front = axis < 0 ? axis + x.rank() : axis;
  if (from_front < 0 || from_front >= x.rank()) {
    throw InvalidArgument("[quantizer] scale_axis {} is not an axis of a tensor of shape {}; allowed are {} to {}.",
                          axis, x.str(), -x.rank(), x.rank() - 1);
  }
  return from_front;
}

float fitted(float xq, float qq, const ScaleRule& rule) {
  const float scale = xq / (qq + kEpsilon);
  if (rule.alpha.kind() == Alpha::Kind::kAuto) return scale;
  const float low = rule.min_po2_exponent ? std::exp2(static_cast<float>(*rule.min_po2_exponent)) : 0.0f;
  const float high = rule.max_po2_exponent ? std::exp2(static_cast<float>(*rule.max_po2_exponent)) : INFINITY;
  return clip(nearest_power_of_two(scale), low, high);
}

}  // namespace

Shape scale_shape(const std::optional<IntegerOrList>& scale_axis, const Shape& x) {
  Shape shape(std::vector<int64_t>(static_cast<size_t>(x.rank()), 1));
  if (!scale_axis) {
    if (x.rank() > 0) shape[-1] = x[-1];
    return shape;
  }
  for (int axis : scale_axis->values) {
    const int from_front = checked_axis(axis, x);
    shape[from_front] = x[from_front];
  }
  return shape;
}

Shape statistics_shape(const std::optional<IntegerOrList>& scale_axis, const Shape& x) {
  if (x.rank() > 1) return scale_shape(scale_axis, x);
  return Shape(std::vector<int64_t>(static_cast<size_t>(x.rank()), 1));
}

Shape group_shape(const ScaleRule& rule, const Shape& x) {
  Shape shape = scale_shape(rule.scale_axis, x);
  if (!rule.elements_per_scale) return shape;
  const std::vector<int>& axes = rule.scale_axis->values;
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = checked_axis(axes[i], x);
    const int group = rule.elements_per_scale->values[rule.elements_per_scale->is_list ? i : 0];
    if (x[axis] % group != 0) {
      throw InvalidArgument("[quantizer] elements_per_scale {} does not divide axis {} of a tensor of shape {}.", group,
                            axis, x.str());
    }
    shape[axis] = x[axis] / group;
  }
  return shape;
}

void check_scale_axis(std::string_view class_name, const std::optional<IntegerOrList>& scale_axis) {
  if (!scale_axis || !scale_axis->values.empty()) return;
  throw InvalidArgument(
      "[{}] scale_axis is an empty list; name the axes that have scales of their own, e.g. scale_axis=0, or leave it "
      "out "
      "for one scale a channel.",
      class_name);
}

void check_scale_rule(std::string_view class_name, const ScaleRule& rule) {
  check_scale_axis(class_name, rule.scale_axis);
  if (rule.min_po2_exponent && rule.max_po2_exponent && *rule.min_po2_exponent > *rule.max_po2_exponent) {
    throw InvalidArgument("[{}] min_po2_exponent {} is above max_po2_exponent {}; exchange them.", class_name,
                          *rule.min_po2_exponent, *rule.max_po2_exponent);
  }
  if (!rule.elements_per_scale) return;
  const IntegerOrList& groups = *rule.elements_per_scale;
  if (!rule.scale_axis) {
    throw InvalidArgument("[{}] elements_per_scale needs scale_axis: say along which axis elements share a scale.",
                          class_name);
  }
  if (groups.is_list && (!rule.scale_axis->is_list || groups.values.size() != rule.scale_axis->values.size())) {
    throw InvalidArgument(
        "[{}] elements_per_scale has {} entries for {} axes of scale_axis; give one number, or a list for a list of "
        "the same length.",
        class_name, groups.values.size(), rule.scale_axis->values.size());
  }
  for (int group : groups.values) {
    if (group < 1) throw InvalidArgument("[{}] elements_per_scale is {}; it must be at least 1.", class_name, group);
  }
}

Tensor least_squares_scale(const ScaleRule& rule, const Tensor& x, std::span<const float> q) {
  if (rule.alpha.kind() == Alpha::Kind::kNumber) return Tensor::scalar(rule.alpha.number().real());
  if (rule.alpha.kind() == Alpha::Kind::kArray) return rule.alpha.array();
  if (rule.alpha.is_none()) return Tensor::scalar(1.0f);
  std::vector<float> xq(q.size()), qq(q.size());
  for (size_t i = 0; i < q.size(); ++i) {
    xq[i] = x.data()[i] * q[i];
    qq[i] = q[i] * q[i];
  }
  const bool is_vector = x.shape().rank() < 2;
  const Shape blocks = is_vector ? x.shape() : group_shape(rule, x.shape());
  const Tensor mean_xq = block_mean(xq, x.shape(), blocks), mean_qq = block_mean(qq, x.shape(), blocks);
  Tensor scale(blocks);
  for (int64_t b = 0; b < scale.size(); ++b) scale[b] = fitted(mean_xq[b], mean_qq[b], rule);
  return is_vector ? scale : repeat_blocks(scale, scale_shape(rule.scale_axis, x.shape()));
}

bool are_powers_of_two(const Tensor& scale) {
  return std::all_of(scale.data().begin(), scale.data().end(), [](float value) {
    int exponent = 0;
    return value > 0.0f && std::isfinite(value) && std::frexp(value, &exponent) == 0.5f;
  });
}

}  // namespace nibble::quant
