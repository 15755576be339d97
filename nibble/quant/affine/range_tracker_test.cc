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
  RangeTracker tracker(TrackerConfig{.per_axis = true}, 2);
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
}

TEST(RangeTracker, NamesReadBack) {
  for (int kind = 0; kind < 5; ++kind) {
    EXPECT_EQ(tracker_kind(class_name(static_cast<TrackerKind>(kind))), static_cast<TrackerKind>(kind));
  }
  EXPECT_THROW(tracker_kind("LastValuesQuantizer"), InvalidArgument);
}

}  // namespace
}  // namespace nibble::affine
