// Every recorded row of the range trackers: stored ranges and outputs, batch by batch.
#include "nibble/quant/affine/range_tracker.h"

#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::affine {
namespace {

using nlohmann::json;
using testing::first_difference;
using testing::floats;

TrackerConfig config_of(const json& row) {
  TrackerConfig config;
  config.kind = tracker_kind(row["quantizer"].get<std::string>() + "Quantizer");
  config.num_bits = row["num_bits"];
  config.per_axis = row["per_axis"];
  config.symmetric = row["symmetric"];
  config.narrow_range = row["narrow_range"];
  config.decay = row["ema_decay"];
  return config;
}

std::string stored(const RangeTracker& tracker, const json& step) {
  std::vector<float> low, high;
  for (const Range& range : tracker.ranges()) {
    low.push_back(range.min);
    high.push_back(range.max);
  }
  const std::string wrong = first_difference("min", low, floats(step["min"]));
  return wrong.empty() ? first_difference("max", high, floats(step["max"])) : wrong;
}

std::string step_result(RangeTracker& tracker, const ChannelLayout& layout, const json& step, bool is_training) {
  const std::vector<float> x = floats(step["x"]);
  std::vector<float> y(x.size());
  if (is_training) tracker.observe(x, layout);
  tracker.quantize(x, layout, y);
  const std::string wrong = stored(tracker, step);
  return wrong.empty() ? first_difference("y", y, floats(step["y"])) : wrong;
}

RangeTracker tracker_of(const json& row, ChannelLayout& layout) {
  const TrackerConfig config = config_of(row);
  layout = tracker_layout(config, Shape(row["shape"].get<std::vector<int64_t>>()), TensorRole::kActivation);
  RangeTracker tracker(config, layout.channels);
  const Range initial{floats(row["init_min"])[0], floats(row["init_max"])[0]};  // all channels start alike
  for (const Range& range : tracker.ranges()) EXPECT_EQ(range, initial) << row["id"];
  return tracker;
}

TEST(RangeTrackersGolden, Rows) {
  const json cases = testing::member(testing::golden_json("tflite/range_trackers"), "cases");
  testing::each_row("range_trackers", cases, [](const json& row) {
    ChannelLayout layout;
    RangeTracker tracker = tracker_of(row, layout);
    for (const json& step : row["steps"]) {
      const std::string wrong = step_result(tracker, layout, step, true);
      if (!wrong.empty()) return "training: " + wrong;
    }
    const json evaluated = row.value("eval", json());
    return evaluated.is_null() ? "" : step_result(tracker, layout, evaluated, false);
  });
}

TEST(RangeTrackersGolden, LongRun) {
  const json run = testing::member(testing::golden_json("tflite/range_trackers"), "long_run");
  if (run.is_null()) GTEST_SKIP() << "no long run";
  ChannelLayout layout;
  RangeTracker tracker = tracker_of(run, layout);
  const std::vector<float> batch = floats(run["batch"]);
  int step = 0;
  testing::each_row("range_trackers long_run", run["checkpoints"], [&](const json& row) {
    for (; step < row["step"].get<int>(); ++step) tracker.observe(batch, layout);
    return stored(tracker, row);
  });
}

}  // namespace
}  // namespace nibble::affine
