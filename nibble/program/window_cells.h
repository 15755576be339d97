// nibble/program/window_cells.h
// Averages over windows that overlap the border: fewer cells are inside, and what they sum to is divided by fewer.
#pragma once

#include <cstdint>

#include "nibble/program/program.h"

namespace nibble::program {

// Windows of more rows or columns than this are averaged only where they lie inside.
inline constexpr int64_t kLargestBorderWindow = 64;

// The least common multiple of the numbers of cells that windows at [rows, columns] positions have inside
// [in_rows, in_columns]: a sum times common / cells has the same unit for all of them. 0: some window has no cell
// inside, or is too large, or the multiple does not fit 31 bits.
int64_t common_cells(const Window& window, int64_t in_rows, int64_t in_columns, int64_t rows, int64_t columns);

}  // namespace nibble::program
