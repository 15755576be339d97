// nibble/quant/affine/channel_layout.h
// Which elements of a tensor share one scale.
//
// A row-major tensor is seen as [outer, channels, inner]: element i belongs to channel (i / inner) % channels.
//
//   per tensor           [1, 1, elements]
//   per axis a           [product before a, extent of a, product after a]
//   per output channel   of a depthwise kernel (h, w, in, multiplier): [h * w, in * multiplier, 1], channel
//                        c * multiplier + m, since a filter of one input channel is an output channel of its own
//                        (spec/tfmot-tflite.md, A2.1 and B1)
#pragma once

#include <cstdint>

#include "nibble/core/shape.h"

namespace nibble::affine {

struct ChannelLayout {
  int64_t outer = 1, channels = 1, inner = 1;

  int64_t elements() const { return outer * channels * inner; }
  int64_t channel(int64_t element) const { return element / inner % channels; }
  bool operator==(const ChannelLayout&) const = default;
};

// All of these ask for fixed extents (InvalidArgument otherwise).
ChannelLayout per_tensor(const Shape& shape);

//   axis    negative counts from the last
//   throws  InvalidArgument if the tensor has no such axis
ChannelLayout per_axis(const Shape& shape, int axis = -1);

//   shape   (h, w, in, multiplier) or any rank >= 2 with those two last
ChannelLayout per_depthwise_channel(const Shape& shape);

// Calls visit(element, channel) for every element in order.
template <class Visit>
void for_each_element(const ChannelLayout& layout, Visit visit) {
  int64_t element = 0;
  for (int64_t o = 0; o < layout.outer; ++o) {
    for (int64_t c = 0; c < layout.channels; ++c) {
      for (int64_t i = 0; i < layout.inner; ++i, ++element) visit(static_cast<size_t>(element), static_cast<size_t>(c));
    }
  }
}

}  // namespace nibble::affine
