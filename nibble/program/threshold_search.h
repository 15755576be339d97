// nibble/program/threshold_search.h
// Where a quantizer's result changes, as seen from an integer accumulator.
#pragma once

#include <optional>
#include <string>

#include "nibble/program/program.h"
#include "nibble/quant/affine/sum_quantizer.h"

namespace nibble::program {

struct ThresholdSearch {
  std::vector<Interval> intervals;  // of the accumulator; one a channel
  PerChannel scale;                 // real = integer * scale
  ChannelFunction function;         // from that to the quantizer's input
  quant::QuantizerPtr quantizer;
  std::string layer;  // for messages
  int64_t max_thresholds = 0;
  // The steps of a fixed-point rule instead, where the quantizer rounds a line. Null: the trained network's own.
  std::optional<affine::Rounding> rounding = std::nullopt;
  // How the network rounds here instead of by `quantizer`, whose codes these are; its factors are per channel of
  // `scale`.
  std::optional<affine::SumQuantizer> sums = std::nullopt;
};

struct Thresholds {
  Compare compare;
  float scale = 1.0f;               // of the new integers
  std::vector<Interval> intervals;  // of the new integers; one a channel
};

// Finds every step by bisection of the interval, all channels side by side; `compare.rule` says whether they are a
// rule's.
//   throws  Unsupported if the quantizer's grid depends on the data, if its values are no integers times a scale, or if
//           there are more than max_thresholds steps
Thresholds find_thresholds(const ThresholdSearch& search);

}  // namespace nibble::program
