#include "nibble/program/window_cells.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace nibble::program {
namespace {

// How many of `size` neighbours from a position lie inside, for all positions. Only those near either end differ from
// the others, so that the time does not depend on `count`.
std::set<int64_t> counts_inside(int64_t size, int64_t stride, int64_t pad, int64_t extent, int64_t count) {
  std::set<int64_t> counts;
  const int64_t near = std::min(count, kLargestBorderWindow + 1);
  for (int64_t k = 0; k < near; ++k) {
    for (const int64_t position : {k, count - 1 - k}) {
      const int64_t begin = position * stride - pad;
      counts.insert(std::min(begin + size, extent) - std::max<int64_t>(begin, 0));
    }
  }
  return counts;
}

}  // namespace

int64_t common_cells(const Window& w, int64_t in_rows, int64_t in_columns, int64_t rows, int64_t columns) {
  if (std::max(w.height, w.width) > kLargestBorderWindow || w.dilation_height * w.dilation_width != 1) return 0;
  if (w.pad_top >= w.height || w.pad_left >= w.width) return 0;
  int64_t common = 1;
  for (const int64_t height : counts_inside(w.height, w.stride_height, w.pad_top, in_rows, rows)) {
    for (const int64_t width : counts_inside(w.width, w.stride_width, w.pad_left, in_columns, columns)) {
      if (height < 1 || width < 1) return 0;
      common = std::lcm(common, height * width);
      if (common > INT32_MAX) return 0;
    }
  }
  return common;
}

}  // namespace nibble::program
