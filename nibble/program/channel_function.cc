#include "nibble/program/channel_function.h"

#include <algorithm>
#include <cmath>

namespace nibble::program {
namespace {

struct Apply {
  float x;
  int64_t channel;

  float operator()(const Affine& s) const {
    const float product = x * at(s.multiplier, channel);
    return product + at(s.offset, channel);
  }
  float operator()(const Offset& s) const { return x + at(s.value, channel); }
  float operator()(const Divide& s) const { return x / s.by; }
  float operator()(const Multiply& s) const { return x * s.by; }
  float operator()(const Rectify& s) const {
    const float y = x >= s.threshold ? x : (x - s.threshold) * s.slope;
    return s.has_highest ? std::min(y, s.highest) : y;
  }
  float operator()(const Curve& s) const { return s.curve->value(x); }
  float operator()(const Slope& s) const { return x >= 0.0f ? x : x * at(s.below, channel); }
  float operator()(const Elu& s) const { return quant::elu(x, s.alpha); }
};

struct Direction {
  int64_t channel;

  int operator()(const Affine& s) const { return std::signbit(at(s.multiplier, channel)) ? -1 : 1; }
  int operator()(const Offset&) const { return 1; }
  int operator()(const Divide&) const { return 1; }
  int operator()(const Multiply& s) const { return std::signbit(s.by) ? -1 : 1; }
  int operator()(const Rectify&) const { return 1; }
  int operator()(const Curve&) const { return 1; }
  int operator()(const Slope&) const { return 1; }
  int operator()(const Elu&) const { return 1; }
};

}  // namespace

bool turns(const Slope& slope) {
  return std::any_of(slope.below.begin(), slope.below.end(), [](float below) { return below < 0.0f; });
}

float ChannelFunction::after(size_t stages, float x, int64_t channel) const {
  for (size_t i = 0; i < stages; ++i) x = std::visit(Apply{x, channel}, stages_[i]);
  return x;
}

bool ChannelFunction::is_monotonic() const {
  return std::none_of(stages_.begin(), stages_.end(), [](const Stage& stage) {
    const auto* slope = std::get_if<Slope>(&stage);
    if (slope != nullptr && turns(*slope)) return true;
    const auto* curve = std::get_if<Curve>(&stage);
    return curve != nullptr && curve->curve->lowest_at.has_value();
  });
}

int ChannelFunction::direction(int64_t channel) const {
  int direction = 1;
  for (const Stage& stage : stages_) direction *= std::visit(Direction{channel}, stage);
  return direction;
}

}  // namespace nibble::program
