#include "nibble/program/fast/line_fit.h"

#include <algorithm>
#include <cmath>

namespace nibble::program {
namespace {

constexpr double kLargest = 0x1p22;  // beyond, the vector code cannot round

struct Real {
  double slope = 0, offset = 0;
};

// The values, turned round if they fall, against x. Part k has to lie within 1/2 of its value at both ends; the
// outermost parts are cut off, so their outer ends are free. For a slope that leaves offsets from lower() to upper().
class Corridor {
 public:
  Corridor(const ChannelSteps& steps, int direction) : steps_(steps), direction_(direction) {}

  double value(size_t k) const { return direction_ * static_cast<double>(steps_.values[k]); }
  double lower(double slope) const {
    double bound = -HUGE_VAL;
    for (size_t k = 1; k < steps_.parts(); ++k) bound = std::max(bound, value(k) - 0.5 - slope * steps_.part_low(k));
    return bound;
  }
  double upper(double slope) const {
    double bound = HUGE_VAL;
    for (size_t k = 0; k + 1 < steps_.parts(); ++k) {
      bound = std::min(bound, value(k) + 0.5 - slope * steps_.part_high(k));
    }
    return bound;
  }
  double width(double slope) const { return upper(slope) - lower(slope); }

  // The slope with the widest choice of offsets, and the middle of these. The width is a concave function.
  Real middle() const {
    auto [low, high] = slopes();
    for (int i = 0; i < 80; ++i) {
      const double a = low + (high - low) / 3, b = high - (high - low) / 3;
      (width(a) < width(b) ? low : high) = width(a) < width(b) ? a : b;
    }
    const double slope = (low + high) / 2;
    return {slope, (lower(slope) + upper(slope)) / 2};
  }

 private:
  // What the outermost steps allow.
  std::pair<double, double> slopes() const {
    const size_t n = steps_.parts() - 1;
    if (n == 1) return {value(1) - value(0), value(1) - value(0)};
    const double first = steps_.part_low(1), last = steps_.part_low(n);
    const double low = (value(n) - value(0) - 1) / (last - first + 1);
    const double high = last - 1 > first ? (value(n - 1) - value(1) + 1) / (last - 1 - first) : value(n) - value(0);
    return {std::max(0.0, std::min(low, high)), std::max(low, high)};
  }

  const ChannelSteps& steps_;
  int direction_;
};

// A short number near v: true multipliers are often powers of two, true offsets 0.
double shortened(double v, int bits) {
  if (v == 0 || bits == 0) return v;
  int exponent = 0;
  const double fraction = std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
}

double on_grid(double v, int bits) { return std::ldexp(std::nearbyint(std::ldexp(v, bits)), -bits); }

bool is_small(const ChannelSteps& steps) {
  const auto [low, high] = std::minmax_element(steps.values.begin(), steps.values.end());
  return std::abs(static_cast<double>(*low)) <= kLargest && std::abs(static_cast<double>(*high)) <= kLargest;
}

bool is_guess(const Line& line, const ChannelSteps& steps, int direction) {
  const auto fits = [&](int32_t x, int32_t value) {
    const int32_t guess = line(x);
    return guess == value || guess == value - 1;
  };
  for (size_t k = 0; k < steps.parts(); ++k) {
    const int32_t value = direction * steps.values[k];
    if (!fits(steps.part_low(k), value) || !fits(steps.part_high(k), value)) return false;
  }
  return true;
}

}  // namespace

int32_t Line::operator()(int32_t x) const {
  const float product = static_cast<float>(x) * multiplier;
  return static_cast<int32_t>(std::nearbyint(std::min(std::max(product + offset, low), high)));
}

bool is_exact(const Line& line, const ChannelSteps& steps) {
  for (size_t k = 0; k < steps.parts(); ++k) {
    if (line(steps.part_low(k)) != steps.values[k] || line(steps.part_high(k)) != steps.values[k]) return false;
  }
  return true;
}

std::optional<Line> fit_line(const ChannelSteps& steps) {
  const int direction = steps.direction();
  if (direction == 0 || !is_small(steps)) return std::nullopt;
  const auto [low, high] = std::minmax_element(steps.values.begin(), steps.values.end());
  Line line{0.0f, 0.0f, static_cast<float>(*low), static_cast<float>(*high)};
  if (steps.parts() == 1) return line;
  if (steps.has_line) {
    line.multiplier = steps.multiplier, line.offset = steps.offset;
    if (std::isfinite(line.multiplier) && std::isfinite(line.offset) && is_exact(line, steps)) return line;
  }
  const Corridor corridor(steps, direction);
  const Real middle = corridor.middle();
  // Exact ties leave a corridor of no width: only the true numbers fit, and they are short.
  for (const int bits : {0, 20, 16, 12, 8, 4, 1}) {
    const double slope = shortened(middle.slope, bits);
    const double offset = (corridor.lower(slope) + corridor.upper(slope)) / 2;
    for (const int fraction : {30, 24, 16, 10, 4, 1}) {
      line.multiplier = static_cast<float>(direction * slope);
      line.offset = static_cast<float>(direction * on_grid(offset, fraction));
      if (is_exact(line, steps)) return line;
    }
  }
  return std::nullopt;
}

std::optional<Line> fit_guess(const ChannelSteps& steps) {
  const int direction = steps.direction();
  if (direction == 0 || !is_small(steps)) return std::nullopt;
  const int32_t first = direction * steps.values.front(), last = direction * steps.values.back();
  Line line{0.0f, 0.0f, static_cast<float>(first), static_cast<float>(last)};
  if (steps.parts() > 1) {
    const Real middle = Corridor(steps, direction).middle();
    line.multiplier = static_cast<float>(middle.slope);
    line.offset = static_cast<float>(middle.offset - 0.5);  // as far from one too high as from two too low
  }
  if (!is_guess(line, steps, direction)) return std::nullopt;
  return line;
}

}  // namespace nibble::program
