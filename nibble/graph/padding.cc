#include "nibble/graph/padding.h"

#include <algorithm>

namespace nibble::graph {

Window window(std::string_view padding, int64_t in, int64_t kernel, int64_t stride, int64_t dilation) {
  const int64_t reach = (kernel - 1) * dilation + 1;
  if (padding == "same") {
    const int64_t out = (in + stride - 1) / stride;
    const int64_t total = std::max<int64_t>(0, (out - 1) * stride + reach - in);
    return {.out = out, .before = total / 2, .after = total - total / 2};
  }
  const int64_t before = padding == "causal" ? reach - 1 : 0;
  const int64_t room = in + before - reach;
  return {.out = room < 0 ? 0 : room / stride + 1, .before = before, .after = 0};
}

int64_t transposed_extent(std::string_view padding, int64_t in, int64_t kernel, int64_t stride, int64_t output_padding,
                          int64_t dilation) {
  const int64_t reach = (kernel - 1) * dilation + 1;
  if (output_padding < 0) return in * stride + (padding == "same" ? 0 : std::max<int64_t>(reach - stride, 0));
  const int64_t cut = padding == "same" ? reach / 2 : 0;
  return (in - 1) * stride + reach - 2 * cut + output_padding;
}

}  // namespace nibble::graph
