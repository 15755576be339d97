// nibble/data/synthetic_regression.h
// A small data set whose answers are numbers, for tests and for trying things out without any file.
//
//   x  8 numbers, uniform in [-1, 1)
//   y  x0 (2 - x0^2) + x1 x2 + x3^2 / 2 - x4 / 2, one target; x5 to x7 say nothing
#pragma once

#include "nibble/data/dataset.h"

namespace nibble::data {

// 1024 training and 256 test samples, the same on every machine up to a last bit.
Dataset synthetic_regression();

}  // namespace nibble::data
