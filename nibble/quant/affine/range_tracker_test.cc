// What the rows do not say: which elements share a range, what is refused, how trackers are saved.
#include "nibble/quant/affine/range_tracker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> ramp(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - static_cast<float>(count) / 2.0f;
  return x;
}

TEST(ChannelLayout, AnyAxisOfAnyRank) {
  EXPECT_EQ(per_axis({3, 3, 8, 32}), (ChannelLayout{72, 32, 1}));
  EXPECT_EQ(per_axis({3, 3, 8, 32}, 0), (ChannelLayout{1, 3, 768}));
  EXPECT_EQ(per_axis({5, 4, 7}, 1), (ChannelLayout{5, 4, 7}));
  EXPECT_EQ(per_axis({6}, -1), (ChannelLayout{1, 6, 1}));
  EXPECT_EQ(per_axis({2, 3, 4, 5, 6}, -1), (ChannelLayout{120, 6, 1}));
  EXPECT_EQ(per_depthwise_channel({3, 3, 16, 2}), (ChannelLayout{9, 32, 1}));
  EXPECT_EQ(per_axis({5, 4, 7}, 1).channel(7 * 3 + 2), 3);
}

TEST(ChannelLayout, RefusesAxesThatAreNotThere) {
  EXPECT_THROW(per_axis({3, 4}, 2), InvalidArgument);
  EXPECT_THROW(per_axis({3, 4}, -3), InvalidArgument);
  EXPECT_THROW(per_axis(Shape{}), InvalidArgument);
  EXPECT_THROW(per_axis({Shape::kFree, 4}), InvalidArgument);
  EXPECT_THROW(per_depthwise_channel({4}), InvalidArgument);
}

struct AxisCase {
  TrackerKind kind;
  TensorRole role;
  TrackerCompat compat;
  int64_t channels;
};

// The question of the users: AllValues with per_axis on a kernel of 32 filters has 32 ranges.
TEST(RangeTracker, PerAxisKeepsARangePerChannel) {
  const Shape kernel{3, 3, 4, 32};
  const AxisCase cases[] = {
      {TrackerKind::kAllValues, TensorRole::kKernel, TrackerCompat::kNone, 32},
      {TrackerKind::kMovingAverage, TensorRole::kKernel, TrackerCompat::kNone, 32},
      {TrackerKind::kLastValue, TensorRole::kKernel, TrackerCompat::kNone, 32},
      {TrackerKind::kLastValue, TensorRole::kActivation, TrackerCompat::kNone, 32},
      {TrackerKind::kLastValue, TensorRole::kDepthwiseKernel, TrackerCompat::kNone, 128},
      {TrackerKind::kLastValue, TensorRole::kDepthwiseKernel, TrackerCompat::kTfmot, 32},
      {TrackerKind::kAllValues, TensorRole::kKernel, TrackerCompat::kTfmot, 1},
      {TrackerKind::kFixed, TensorRole::kKernel, TrackerCompat::kNone, 1},
  };
  for (const AxisCase& c : cases) {
    TrackerConfig config{.kind = c.kind, .per_axis = true, .symmetric = true, .narrow_range = true};
    config.compat = c.compat;
    const ChannelLayout layout = tracker_layout(config, kernel, c.role);
    RangeTracker tracker(config, layout.channels);
    tracker.observe(ramp(kernel.elements()), layout);
    EXPECT_EQ(tracker.channels(), c.channels) << class_name(c.kind);
    EXPECT_EQ(tracker.nudged().size(), static_cast<size_t>(c.channels)) << class_name(c.kind);
  }
}

TEST(RangeTracker, FixedHonoursItsWidth) {
  TrackerConfig config{.kind = TrackerKind::kFixed, .num_bits = 4};
  config.fixed = {0.0f, 15.0f};
  EXPECT_EQ(RangeTracker(config).nudged()[0].scale, 1.0f);
  config.compat = TrackerCompat::kTfmot;
  EXPECT_EQ(RangeTracker(config).nudged()[0].scale, 15.0f / 255.0f);
}

TEST(RangeTracker, FirstBatchStartsTheAverageWhereAsked) {
  TrackerConfig config{.kind = TrackerKind::kMovingAverage};
  const std::vector<float> x = {-1.0f, 2.0f};
  RangeTracker faithful(config);
  faithful.observe(x, per_tensor({2}));
  EXPECT_GT(faithful.ranges()[0].max, 5.9f);
  config.start = AverageStart::kFirstBatch;
  RangeTracker tracker(config);
  tracker.observe(x, per_tensor({2}));
  EXPECT_EQ(tracker.ranges()[0], (Range{-1.0f, 2.0f}));
  const std::vector<float> wider = {-1.0f, 12.0f};
  tracker.observe(wider, per_tensor({2}));
  EXPECT_NEAR(tracker.ranges()[0].max, 2.01f, 1e-6f);  // one ulp of 2.01
}

TEST(RangeTracker, KnowsWhetherItSawData) {
  RangeTracker tracker(TrackerConfig{});
  EXPECT_FALSE(tracker.is_calibrated());
  EXPECT_EQ(tracker.ranges()[0], (Range{-6.0f, 6.0f}));
  tracker.restore({{-1.0f, 3.0f}});
  EXPECT_TRUE(tracker.is_calibrated());
  EXPECT_TRUE(RangeTracker({.kind = TrackerKind::kFixed}).is_calibrated());
}

TEST(RangeTracker, NoneLeavesValuesAndGradientsAlone) {
  const RangeTracker tracker({.kind = TrackerKind::kNone});
  const std::vector<float> x = {-70.0f, 0.3f}, g = {1.5f, -2.0f};
  std::vector<float> y(2), dx(2);
  tracker.quantize(x, per_tensor({2}), y);
  tracker.gradient(x, g, per_tensor({2}), dx);
  EXPECT_EQ(y, x);
  EXPECT_EQ(dx, g);
}

TEST(RangeTracker, ConstantAndZeroChannelsStayFinite) {
  TrackerConfig config{.kind = TrackerKind::kAllValues, .per_axis = true};
  RangeTracker tracker(config, 3);
  const std::vector<float> x = {0.0f, 5.0f, -1e-44f, 0.0f, 5.0f, -1e-44f};
  tracker.observe(x, per_axis({2, 3}));
  std::vector<float> y(6), dx(6);
  tracker.quantize(x, per_axis({2, 3}), y);
  EXPECT_EQ(y, (std::vector<float>{0.0f, 5.0f, 0.0f, 0.0f, 5.0f, 0.0f}));
  tracker.gradient(x, x, per_axis({2, 3}), dx);
  EXPECT_EQ(dx, x);
}

TEST(RangeTracker, RefusesWhatIsNoRange) {
  const TrackerConfig config{};
  EXPECT_THROW(RangeTracker({.num_bits = 1}), InvalidArgument);
  EXPECT_THROW(RangeTracker({.num_bits = 17}), InvalidArgument);
  EXPECT_THROW(RangeTracker({.decay = 1.0}), InvalidArgument);
  EXPECT_THROW(RangeTracker({.decay = std::nan("")}), InvalidArgument);
  EXPECT_THROW(RangeTracker({.kind = TrackerKind::kFixed, .fixed = {1.0f, 1.0f}}), InvalidArgument);
  EXPECT_THROW(RangeTracker({.kind = TrackerKind::kFixed, .fixed = {-kInfinity, 1.0f}}), InvalidArgument);
  EXPECT_THROW(RangeTracker(config, 0), InvalidArgument);
  RangeTracker tracker(config);
  EXPECT_THROW(tracker.restore({{0.0f, 1.0f}, {0.0f, 1.0f}}), InvalidArgument);
  EXPECT_THROW(tracker.restore({{2.0f, 1.0f}}), InvalidArgument);
  EXPECT_THROW(tracker.restore({{kNan, 1.0f}}), InvalidArgument);
}

TEST(RangeTracker, DataWithNanNamesTheElement) {
  for (const RangeRule rule : {RangeRule::kExtremes, RangeRule::kMse}) {
    RangeTracker tracker(TrackerConfig{.per_axis = true, .range = rule}, 2);
    const std::vector<float> x = {1.0f, 2.0f, 3.0f, kNan};
    try {
      tracker.observe(x, per_axis({2, 2}));
      FAIL() << "accepted";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("element 3 (channel 1)"), std::string::npos) << error.what();
    }
    EXPECT_FALSE(tracker.is_calibrated());
    EXPECT_THROW(tracker.observe(std::vector<float>{1.0f}, per_axis({2, 2})), InvalidArgument);
    EXPECT_THROW(tracker.observe(std::vector<float>{}, per_axis({0, 2})), InvalidArgument);
    EXPECT_THROW(tracker.observe(x, Range{1.0f, 3.0f}), InvalidArgument) << "two ends are of one range";
  }
}

// 8000 values between 0 and 1, and one far out.
std::vector<float> with_outlier(float outlier) {
  std::vector<float> x;
  for (int i = 0; i < 8000; ++i) x.push_back(static_cast<float>(i) / 8000.0f);
  x.push_back(outlier);
  return x;
}

double error_of(const RangeTracker& tracker, std::span<const float> x, const ChannelLayout& layout) {
  std::vector<float> y(x.size());
  tracker.quantize(x, layout, y);
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2.0);
  return sum;
}

// At 4 bits, codes 2/3 apart leave the values two or three; cut to about a quarter, six.
TEST(RangeTracker, LeastErrorCutsAnOutlierOff) {
  const std::vector<float> x = with_outlier(10.0f);
  const ChannelLayout layout = per_tensor({static_cast<int64_t>(x.size())});
  for (const TrackerKind kind : {TrackerKind::kLastValue, TrackerKind::kMovingAverage, TrackerKind::kAllValues}) {
    TrackerConfig config{.kind = kind, .num_bits = 4, .start = AverageStart::kFirstBatch};
    RangeTracker extremes(config);
    extremes.observe(x, layout);
    EXPECT_EQ(extremes.ranges()[0], (Range{0.0f, 10.0f})) << class_name(kind);
    config.range = RangeRule::kMse;
    RangeTracker tracker(config);
    tracker.observe(x, layout);
    EXPECT_TRUE(tracker.is_calibrated());
    EXPECT_EQ(tracker.ranges()[0].min, 0.0f);
    EXPECT_LT(tracker.ranges()[0].max, 5.0f) << class_name(kind);
    EXPECT_GE(tracker.ranges()[0].max, 2.0f) << class_name(kind);
    EXPECT_LT(error_of(tracker, x, layout), 0.5 * error_of(extremes, x, layout)) << class_name(kind);
    RangeTracker knows_ends(config);
    knows_ends.observe(x, Range{0.0f, 10.0f});
    EXPECT_EQ(knows_ends, tracker);
  }
}

// The others' ranges do not know of it, and the union keeps what it had.
TEST(RangeTracker, LeastErrorIsOfEachChannel) {
  const std::vector<float> far = with_outlier(10.0f), near = with_outlier(1.0f);
  std::vector<float> both;
  for (size_t i = 0; i < far.size(); ++i) both.insert(both.end(), {far[i], near[i]});
  const TrackerConfig config{
      .kind = TrackerKind::kAllValues, .num_bits = 4, .per_axis = true, .range = RangeRule::kMse};
  RangeTracker tracker(config, 2);
  tracker.observe(both, per_axis({static_cast<int64_t>(far.size()), 2}));
  RangeTracker alone(config);
  alone.observe(near, per_tensor({static_cast<int64_t>(near.size())}));
  EXPECT_EQ(tracker.ranges()[1], alone.ranges()[0]);
  EXPECT_GT(tracker.ranges()[1].max, 0.8f);
  const Range cut = tracker.ranges()[0];
  EXPECT_LT(cut.max, 5.0f);
  const std::vector<float> halves(4, 0.5f);
  tracker.observe(halves, per_axis({2, 2}));
  EXPECT_EQ(tracker.ranges()[0], cut);
}

TEST(RangeTracker, LeastErrorKeepsZeroTheMiddleCode) {
  std::vector<float> x = with_outlier(-10.0f);
  const ChannelLayout layout = per_tensor({static_cast<int64_t>(x.size())});
  for (const bool narrow : {false, true}) {
    RangeTracker tracker({.kind = TrackerKind::kLastValue,
                          .num_bits = 4,
                          .symmetric = true,
                          .narrow_range = narrow,
                          .range = RangeRule::kMse});
    tracker.observe(x, layout);
    const Range range = tracker.ranges()[0];
    EXPECT_LT(range.max, 8.0f);
    EXPECT_EQ(tracker.nudged()[0].zero_point, 8);
    if (narrow) {
      EXPECT_EQ(range.min, -range.max);
    } else {
      EXPECT_FLOAT_EQ(range.min, -range.max * 8.0f / 7.0f);
    }
  }
}

TEST(RangeTracker, LeastErrorOfConstantsAndZerosIsTheirs) {
  RangeTracker tracker({.kind = TrackerKind::kLastValue, .num_bits = 4, .per_axis = true, .range = RangeRule::kMse}, 3);
  const std::vector<float> x = {0.0f, 5.0f, -1e-44f, 0.0f, 5.0f, -1e-44f};
  tracker.observe(x, per_axis({2, 3}));
  EXPECT_EQ(tracker.ranges()[0], Range{});
  EXPECT_EQ(tracker.ranges()[1], (Range{0.0f, 5.0f}));
  std::vector<float> y(6);
  tracker.quantize(x, per_axis({2, 3}), y);
  EXPECT_EQ(y, (std::vector<float>{0.0f, 5.0f, 0.0f, 0.0f, 5.0f, 0.0f}));
}

TEST(RangeTracker, NamesReadBack) {
  for (int kind = 0; kind < 5; ++kind) {
    EXPECT_EQ(tracker_kind(class_name(static_cast<TrackerKind>(kind))), static_cast<TrackerKind>(kind));
  }
  EXPECT_THROW(tracker_kind("LastValuesQuantizer"), InvalidArgument);
}

}  // namespace
}  // namespace nibble::affine
