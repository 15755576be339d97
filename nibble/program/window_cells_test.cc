#include "nibble/program/window_cells.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace nibble::program {
namespace {

struct Case {
  const char* name;
  Window window;
  int64_t in_rows, in_columns, rows, columns;
};

// By looking at every window.
int64_t counted(const Case& c) {
  const Window& w = c.window;
  int64_t common = 1;
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t column = 0; column < c.columns; ++column) {
      int64_t inside = 0;
      for (int64_t y = 0; y < w.height; ++y) {
        for (int64_t x = 0; x < w.width; ++x) {
          const int64_t iy = row * w.stride_height - w.pad_top + y, ix = column * w.stride_width - w.pad_left + x;
          inside += iy >= 0 && iy < c.in_rows && ix >= 0 && ix < c.in_columns ? 1 : 0;
        }
      }
      if (inside == 0) return 0;
      common = std::lcm(common, inside);
    }
  }
  return common;
}

class CommonCells : public ::testing::TestWithParam<Case> {};

TEST_P(CommonCells, IsTheMultipleOfEveryWindowsCells) {
  const Case& c = GetParam();
  EXPECT_EQ(common_cells(c.window, c.in_rows, c.in_columns, c.rows, c.columns), counted(c));
}

Window window(int64_t height, int64_t width, int64_t stride, int64_t top, int64_t left) {
  Window w{height, width, stride, stride};
  w.pad_top = top, w.pad_left = left;
  return w;
}

INSTANTIATE_TEST_SUITE_P(Table, CommonCells,
                         ::testing::Values(Case{"Inside", window(2, 2, 2, 0, 0), 8, 8, 4, 4},
                                           Case{"Three", window(3, 3, 1, 1, 1), 7, 6, 7, 6},
                                           Case{"Odd", window(2, 2, 2, 0, 0), 7, 5, 4, 3},
                                           Case{"LargerThanTheImage", window(9, 7, 1, 4, 3), 3, 4, 3, 4},
                                           Case{"Flat", window(1, 5, 1, 0, 2), 1, 30, 1, 30},
                                           Case{"Strided", window(5, 4, 3, 2, 1), 20, 21, 7, 7},
                                           Case{"OutsideAltogether", window(2, 2, 2, 0, 0), 4, 4, 4, 2}),
                         [](const auto& row) { return row.param.name; });

// A file may say anything; nothing of this takes long.
TEST(CommonCells, RefusesWhatIsNotPlausible) {
  const int64_t most = int64_t{1} << 31;
  EXPECT_EQ(common_cells(window(1 << 20, 1 << 20, 1, 0, 0), most, most, most, most), 0);
  EXPECT_EQ(common_cells(window(3, 3, 1, 3, 0), 9, 9, 9, 9), 0) << "a first window that has nothing inside";
  EXPECT_EQ(common_cells(window(64, 64, 1, 32, 32), 1000, 1000, 1000, 1000), 0) << "more than 31 bits";
  EXPECT_EQ(common_cells(window(3, 3, 1, 1, 1), most, most, most, most), 36);
}

}  // namespace
}  // namespace nibble::program
