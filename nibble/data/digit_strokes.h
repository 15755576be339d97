// nibble/data/digit_strokes.h
// How the ten digits are written: control points of pen strokes, a table of data.
#pragma once

#include <span>
#include <vector>

namespace nibble::data {

struct Point {
  float x = 0, y = 0;  // in the digit's box: 0 left and top, 1 right and bottom
};

using Stroke = std::vector<Point>;  // a smooth curve passes through these points, in order
using Glyph = std::vector<Stroke>;  // one way to write a digit

// The ways to write `digit`, 0 .. 9; at least two each.
std::span<const Glyph> glyphs_of(int digit);

}  // namespace nibble::data
