#include "nibble/data/synthetic_digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/data/digit_strokes.h"

namespace nibble::data {
namespace {

constexpr int kSide = 28;
constexpr size_t kPixels = size_t{kSide} * kSide;
constexpr int kClasses = 10;
constexpr float kBoxPixels = 20.0f;   // MNIST's digits fill 20x20 in the middle
constexpr int kSegmentsPerSpan = 6;   // straight pieces between two control points
constexpr float kReachPixels = 4.0f;  // beyond any pen's radius and softness

// How strong the distortions are. Chosen so that a float network of one hidden layer gets about
// as many samples right as of MNIST (docs/data.md has the figures).
constexpr float kJitter = 0.075f;  // of a control point, in box units, to either side
constexpr float kTurn = 0.12f;     // tangent of half the angle, 14 degrees to either side
constexpr float kSlant = 0.3f;     // horizontal shift per height
constexpr float kMinScale = 0.75f, kMaxScale = 1.1f;
constexpr float kShiftPixels = 2.0f;
constexpr float kMinRadius = 0.6f, kMaxRadius = 1.7f;      // of the pen, in pixels
constexpr float kMinSoftness = 0.5f, kMaxSoftness = 1.4f;  // width of its edge, in pixels
constexpr float kMinPressure = 0.6f;
constexpr float kStrayChance = 0.25f;  // of a short stroke that belongs to no digit
constexpr float kMaxNoise = 0.25f;     // of white, peak to peak

// Only +, -, *, / and sqrt are used on the way to a pixel: those round alike everywhere, while
// the mathematical library's sin or exp may differ by a bit between machines.
float between(RandomStream& random, float low, float high) { return low + (high - low) * random.uniform(); }
float around_zero(RandomStream& random, float reach) { return between(random, -reach, reach); }

// Box units to pixels.
struct Affine {
  float xx, xy, yx, yy, x0, y0;
  Point operator()(Point p) const {
    const float x = p.x - 0.5f, y = p.y - 0.5f;
    return {xx * x + xy * y + x0, yx * x + yy * y + y0};
  }
};

Affine random_affine(RandomStream& random) {
  const float turn = around_zero(random, kTurn);
  const float cosine = (1 - turn * turn) / (1 + turn * turn), sine = 2 * turn / (1 + turn * turn);
  const float slant = around_zero(random, kSlant);
  const float width = kBoxPixels * between(random, kMinScale, kMaxScale);
  const float height = kBoxPixels * between(random, kMinScale, kMaxScale);
  constexpr float kMiddle = (kSide - 1) / 2.0f;
  Affine map{};
  map.xx = cosine * width;
  map.xy = (-sine - slant * cosine) * height;
  map.yx = sine * width;
  map.yy = (cosine - slant * sine) * height;
  map.x0 = kMiddle + around_zero(random, kShiftPixels);
  map.y0 = kMiddle + around_zero(random, kShiftPixels);
  return map;
}

// Squared distance of every pixel to the nearest stroke.
class DistanceField {
 public:
  DistanceField() { squared_.fill(std::numeric_limits<float>::max()); }

  void add_segment(Point a, Point b) {
    const float dx = b.x - a.x, dy = b.y - a.y;
    const float length = dx * dx + dy * dy;
    const float inverse = length > 0 ? 1 / length : 0;
    const int left = first(std::min(a.x, b.x)), right = last(std::max(a.x, b.x));
    const int top = first(std::min(a.y, b.y)), bottom = last(std::max(a.y, b.y));
    for (int row = top; row <= bottom; ++row) {
      for (int column = left; column <= right; ++column) {
        const float px = static_cast<float>(column) - a.x, py = static_cast<float>(row) - a.y;
        const float along = std::clamp((px * dx + py * dy) * inverse, 0.0f, 1.0f);
        const float ex = px - along * dx, ey = py - along * dy;
        float& at = squared_[static_cast<size_t>(row * kSide + column)];
        at = std::min(at, ex * ex + ey * ey);
      }
    }
  }

  // The curve through the points (Catmull and Rom's spline, ends doubled).
  void add_stroke(const Stroke& stroke) {
    for (size_t i = 0; i + 1 < stroke.size(); ++i) {
      const Point a = stroke[i == 0 ? 0 : i - 1], b = stroke[i], c = stroke[i + 1];
      const Point d = stroke[std::min(i + 2, stroke.size() - 1)];
      Point from = b;
      for (int step = 1; step <= kSegmentsPerSpan; ++step) {
        const float t = static_cast<float>(step) / kSegmentsPerSpan;
        const Point to = {spline(a.x, b.x, c.x, d.x, t), spline(a.y, b.y, c.y, d.y, t)};
        add_segment(from, to);
        from = to;
      }
    }
  }

  float distance(size_t pixel) const { return std::sqrt(squared_[pixel]); }

 private:
  static float spline(float a, float b, float c, float d, float t) {
    return 0.5f * (2 * b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * b - a - 3 * c + d))));
  }
  static int first(float at) { return std::clamp(static_cast<int>(at - kReachPixels), 0, kSide - 1); }
  static int last(float at) { return std::clamp(static_cast<int>(at + kReachPixels), 0, kSide - 1); }

  std::array<float, kPixels> squared_;
};

void draw_digit(int digit, RandomStream& random, DistanceField& field) {
  const auto glyphs = glyphs_of(digit);
  const Glyph& glyph = glyphs[random.below(static_cast<uint32_t>(glyphs.size()))];
  const Affine map = random_affine(random);
  for (const Stroke& stroke : glyph) {
    Stroke bent;
    for (const Point& point : stroke) {
      bent.push_back(map({point.x + around_zero(random, kJitter), point.y + around_zero(random, kJitter)}));
    }
    field.add_stroke(bent);
  }
  if (random.uniform() < kStrayChance) {
    const Point from = {between(random, 2, kSide - 2), between(random, 2, kSide - 2)};
    field.add_segment(from, {from.x + around_zero(random, 5), from.y + around_zero(random, 5)});
  }
}

void draw_sample(int digit, RandomStream& random, std::span<uint8_t> pixels) {
  DistanceField field;
  draw_digit(digit, random, field);
  const float radius = between(random, kMinRadius, kMaxRadius);
  const float softness = between(random, kMinSoftness, kMaxSoftness);
  const float pressure = between(random, kMinPressure, 1.0f);
  const float noise = between(random, 0.0f, kMaxNoise);
  uint32_t word = 0;
  for (size_t i = 0; i < kPixels; ++i) {
    if (i % 4 == 0) word = random.bits();  // a byte per pixel is noise enough
    const float grain = static_cast<float>(word >> (8 * (i % 4)) & 0xff) / 255.0f - 0.5f;
    const float ink = std::clamp((radius - field.distance(i)) / softness + 0.5f, 0.0f, 1.0f) * pressure;
    pixels[i] = static_cast<uint8_t>(std::clamp(ink + noise * grain, 0.0f, 1.0f) * 255.0f + 0.5f);
  }
}

// Blocks of ten, each a permutation of the digits.
std::vector<int32_t> balanced_labels(int64_t count, uint64_t seed) {
  std::vector<int32_t> labels;
  std::array<int32_t, kClasses> block{};
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kSynthetic, .layer = 2});
  while (static_cast<int64_t>(labels.size()) < count) {
    std::iota(block.begin(), block.end(), 0);
    for (uint32_t i = kClasses; i > 1; --i) std::swap(block[i - 1], block[random.below(i)]);
    labels.insert(labels.end(), block.begin(), block.end());
  }
  labels.resize(static_cast<size_t>(count));
  return labels;
}

// split: 0 training, 1 test; part of the key of every sample.
Samples draw_split(int64_t count, uint64_t seed, uint32_t split) {
  if (count < 0 || count > (int64_t{1} << 31)) {
    throw InvalidArgument("[synthetic_digits] {} samples were asked for; 0 to 2^31 are allowed.", count);
  }
  std::vector<int32_t> labels = balanced_labels(count, seed + split);
  std::vector<uint8_t> pixels(static_cast<size_t>(count) * kPixels);
  for (size_t i = 0; i < labels.size(); ++i) {
    RandomStream random(
        {.seed = seed, .purpose = RandomPurpose::kSynthetic, .layer = split, .step = static_cast<uint32_t>(i)});
    draw_sample(labels[i], random, std::span(pixels).subspan(i * kPixels, kPixels));
  }
  return Samples(Shape{kSide, kSide, 1}, std::move(pixels), std::move(labels));
}

}  // namespace

Dataset synthetic_digits(const SyntheticDigitsOptions& options) {
  Dataset dataset;
  dataset.name = "synthetic_digits";
  dataset.num_classes = kClasses;
  dataset.train = draw_split(options.train_count, options.seed, 0);
  dataset.test = draw_split(options.test_count, options.seed, 1);
  dataset.source = "synthetic";
  return dataset;
}

}  // namespace nibble::data
