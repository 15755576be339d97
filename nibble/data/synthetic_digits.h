// nibble/data/synthetic_digits.h
// Digits drawn by pen strokes on 28x28 grey images: a stand-in for MNIST where no data can be had.
//
// A digit is a few smooth curves, chosen among several ways of writing it. Every sample bends the
// curves' control points, turns, slants, stretches and shifts the whole, varies the pen's width,
// pressure and softness, and adds a stray stroke and noise. A sample is a pure function of
// (seed, split, index), in arithmetic that rounds alike on every machine: the first n samples are
// the same whatever the size of the set, and the bytes never depend on threads.
#pragma once

#include <cstdint>

#include "nibble/data/dataset.h"

namespace nibble::data {

struct SyntheticDigitsOptions {
  int64_t train_count = 60000;  // MNIST's sizes
  int64_t test_count = 10000;
  uint64_t seed = 0;
};

// Every run of ten samples, counted from 0, holds each digit once.
//   throws  InvalidArgument if a count is negative
Dataset synthetic_digits(const SyntheticDigitsOptions& options = {});

}  // namespace nibble::data
