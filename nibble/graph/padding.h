// nibble/graph/padding.h
// Where a window of a convolution or a pool lies on its input.
//
//   "same"    out = ceil(in / stride), total = max(0, (out-1)*stride + (kernel-1)*dilation + 1 - in),
//             before = total / 2, after = total - before: not symmetric where total is odd
//   "valid"   out = ceil((in - (kernel-1)*dilation) / stride), no padding
//   "causal"  as "same", all of (kernel-1)*dilation before
// Source: spec/interop.md section 1 (TensorFlow's rule).
#pragma once

#include <cstdint>
#include <string_view>

namespace nibble::graph {

struct Window {
  int64_t out = 0;  // extent of the output; <= 0 where the window does not fit once
  int64_t before = 0, after = 0;
};

//   in        >= 0
//   kernel, stride, dilation  >= 1
Window window(std::string_view padding, int64_t in, int64_t kernel, int64_t stride, int64_t dilation = 1);

// Extent that comes out of a transposed convolution.
//   output_padding  >= 0, or -1 where none is given
int64_t transposed_extent(std::string_view padding, int64_t in, int64_t kernel, int64_t stride, int64_t output_padding,
                          int64_t dilation = 1);

}  // namespace nibble::graph
