#include "nibble/quant/affine/channel_layout.h"

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

int64_t product(const Shape& shape, int from, int to) {
  int64_t result = 1;
  for (int axis = from; axis < to; ++axis) result *= shape[axis];
  return result;
}

}  // namespace

ChannelLayout per_tensor(const Shape& shape) { return {1, 1, shape.elements()}; }

ChannelLayout per_axis(const Shape& shape, int axis) {
  const int rank = shape.rank();
  if (rank == 0) throw InvalidArgument("[per_axis] a scalar has no axis; use one scale for the whole tensor.");
  if (axis < -rank || axis >= rank) {
    throw InvalidArgument("[per_axis] axis {} does not exist in a tensor of shape {}. Pick one of {} .. {}.", axis,
                          shape.str(), -rank, rank - 1);
  }
  shape.elements();  // refuses free extents
  const int a = axis < 0 ? axis + rank : axis;
  return {product(shape, 0, a), shape[a], product(shape, a + 1, rank)};
}

ChannelLayout per_depthwise_channel(const Shape& shape) {
  const int rank = shape.rank();
  if (rank < 2) {
    throw InvalidArgument(
        "[per_depthwise_channel] a depthwise kernel ends in (input channels, multiplier), but the shape is {}.",
        shape.str());
  }
  shape.elements();
  return {product(shape, 0, rank - 2), shape[-2] * shape[-1], 1};
}

}  // namespace nibble::affine
