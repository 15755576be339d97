// nibble/program/channel_function.h
// What the float network does to an integer before a quantizer makes an integer of it again: a
// chain of float operations, one number at a time, the parameters chosen by the channel.
//
// The operations are those of the training path in the inference phase, rounding by rounding
// (IEEE float32, nothing fused), so that a decision found by evaluating the chain is the decision
// of the trained network; known sums it rounds as ThresholdSearch::sums says. Every operation is monotonic, and so is
// the chain: rounding keeps order. Only curves such as swish and slopes below 0 turn, once (turning_points.h).
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "nibble/quant/activation_curves.h"

namespace nibble::program {

// One value for all channels, or one a channel.
using PerChannel = std::vector<float>;
inline float at(const PerChannel& values, int64_t channel) {
  return values.size() == 1 ? values[0] : values[static_cast<size_t>(channel)];
}

// x * multiplier + offset, two roundings: a batch norm.
struct Affine {
  PerChannel multiplier, offset;
};
// x + value: a bias that is not on the accumulator's grid.
struct Offset {
  PerChannel value;
};
// x / by: an average.
struct Divide {
  float by = 1.0f;
};
// x * by: an average with a quantized factor.
struct Multiply {
  float by = 1.0f;
};
// Keras' ReLU: slope * (x - threshold) below the threshold, then at most `highest`.
struct Rectify {
  float slope = 0.0f, threshold = 0.0f, highest = 0.0f;
  bool has_highest = false;
};
// Keras' PReLU: x * below where x < 0. It turns at 0 where `below` is negative.
struct Slope {
  PerChannel below;
};
// Keras' ELU layer (quant::elu); alpha >= 0.
struct Elu {
  float alpha = 1.0f;
};

// A plain activation function.
struct Curve {
  const quant::ActivationCurve* curve = nullptr;
};

using Stage = std::variant<Affine, Offset, Divide, Multiply, Rectify, Curve, Slope, Elu>;

// It falls before 0 for some channel.
bool turns(const Slope& slope);

class ChannelFunction {
 public:
  void push(Stage stage) { stages_.push_back(std::move(stage)); }
  bool is_identity() const { return stages_.empty(); }
  const std::vector<Stage>& stages() const { return stages_; }

  float operator()(float x, int64_t channel) const { return after(stages_.size(), x, channel); }
  // What the first `stages` of them make of x.
  float after(size_t stages, float x, int64_t channel) const;

  bool is_monotonic() const;
  // Of a monotonic one: +1 where it rises (or is constant) with x, -1 where it falls.
  int direction(int64_t channel) const;

 private:
  std::vector<Stage> stages_;
};

}  // namespace nibble::program
