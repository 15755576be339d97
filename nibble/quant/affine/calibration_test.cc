#include "nibble/quant/affine/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::affine {
namespace {

constexpr CalibrationMethod kAll[] = {CalibrationMethod::kMinMax, CalibrationMethod::kMovingAverage,
                                      CalibrationMethod::kPercentile, CalibrationMethod::kMse,
                                      CalibrationMethod::kEntropy};

std::vector<float> bell(size_t count, uint64_t seed = 1) {
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  std::vector<float> x(count);
  for (float& v : x) v = random.normal();
  return x;
}

Range range_of(CalibrationOptions options, const std::vector<float>& x) {
  Calibrator calibrator(options);
  calibrator.observe(x);
  return calibrator.range();
}

double error_of(const std::vector<float>& x, Range range, int bit_width) {
  const NudgedRange nudged = nudge(range, {bit_width, false});
  double error = 0.0;
  for (const float v : x) error += std::pow(v - fake_quant(v, nudged, StepRule::kDivide), 2.0);
  return error;
}

TEST(Calibration, MinMaxIsTheUnionWithZero) {
  Calibrator calibrator({.method = CalibrationMethod::kMinMax});
  calibrator.observe(std::vector<float>{1.0f, 2.0f});
  EXPECT_EQ(calibrator.range(), (Range{0.0f, 2.0f}));
  calibrator.observe(std::vector<float>{-3.0f, 1.0f});
  EXPECT_EQ(calibrator.range(), (Range{-3.0f, 2.0f}));
}

TEST(Calibration, AverageStartsWithTheFirstBatch) {
  Calibrator calibrator({.method = CalibrationMethod::kMovingAverage, .decay = 0.75});
  calibrator.observe(std::vector<float>{-1.0f, 2.0f});
  EXPECT_EQ(calibrator.range(), (Range{-1.0f, 2.0f}));
  calibrator.observe(std::vector<float>{-3.0f, 4.0f});
  EXPECT_EQ(calibrator.range(), (Range{-1.5f, 2.5f}));
}

TEST(Calibration, PercentileInterpolates) {
  std::vector<float> x;
  for (int i = 0; i <= 100; ++i) x.push_back(static_cast<float>(i - 50));
  const Range range = percentile_range(x, 99.5);
  EXPECT_NEAR(range.min, -49.5f, 1e-5);  // 1 - 0.995 is no binary fraction
  EXPECT_NEAR(range.max, 49.5f, 1e-5);
  EXPECT_EQ(percentile_range(x, 100.0), (Range{-50.0f, 50.0f}));
}

TEST(Calibration, MseIsNeverWorseThanMinMaxAndClipsAtFourBits) {
  const std::vector<float> x = bell(20000);
  for (const int bits : {2, 3, 4, 6, 8}) {
    const Range widest = range_of({.method = CalibrationMethod::kMinMax, .bit_width = bits}, x);
    const Range best = range_of({.method = CalibrationMethod::kMse, .bit_width = bits}, x);
    EXPECT_LE(error_of(x, best, bits), error_of(x, widest, bits)) << bits;
  }
  // A Gauss curve in 16 levels loses least when cut near 2.5 to 3 deviations.
  const Range best = range_of({.method = CalibrationMethod::kMse, .bit_width = 4}, x);
  EXPECT_GT(best.max, 2.0f);
  EXPECT_LT(best.max, 3.2f);
}

TEST(Calibration, EntropyCutsAFarOutlier) {
  std::vector<float> x = bell(100000);
  x.push_back(100.0f);
  const Range range = range_of({.method = CalibrationMethod::kEntropy}, x);
  EXPECT_LT(range.max, 50.0f);
  EXPECT_GT(range.max, 2.0f);
}

TEST(Calibration, EntropyIsNotDecidedByTheZerosOfARelu) {
  std::vector<float> x = bell(100000);
  for (float& v : x) v = std::max(v, 0.0f);
  EXPECT_GT(range_of({.method = CalibrationMethod::kEntropy}, x).max, 2.5f);
}

TEST(Calibration, EveryMethodLivesWithStrangeTensors) {
  for (const CalibrationMethod method : kAll) {
    EXPECT_EQ(range_of({.method = method}, std::vector<float>(10)), (Range{0.0f, 0.0f}));
    const Range constant = range_of({.method = method}, std::vector<float>(10, 5.0f));
    EXPECT_EQ(constant.min, 0.0f);
    EXPECT_NEAR(constant.max, 5.0f, 1e-5);
    const Range symmetric = range_of({.method = method, .symmetric = true}, bell(1000));
    EXPECT_EQ(symmetric.min, -symmetric.max);
  }
}

TEST(Calibration, SamplesStayWithinTheLimitAndRepeat) {
  CalibrationOptions options{.method = CalibrationMethod::kPercentile, .percentile = 99.0, .sample_limit = 1000};
  const std::vector<float> x = bell(50000);
  const Range few = range_of(options, x);
  EXPECT_EQ(few, range_of(options, x));
  options.sample_limit = 1'000'000;
  EXPECT_NEAR(few.max, range_of(options, x).max, 0.5f);  // some ten samples lie beyond a 99 % end of 500 .. 1000
}

// Channels-last values repeat their channels with a period, and no thinning may see a few of them only.
TEST(Calibration, ThinningSeesEveryChannel) {
  const std::vector<float> full = bell(64000);
  std::vector<float> x = full;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 8 == 0) x[i] = 0.0f;  // channels 0 and 8 of 16
  }
  for (const CalibrationMethod method :
       {CalibrationMethod::kPercentile, CalibrationMethod::kMse, CalibrationMethod::kEntropy}) {
    const CalibrationOptions options{.method = method, .bit_width = 8, .percentile = 99.0, .sample_limit = 4000};
    const Range with_dead = range_of(options, x), whole = range_of(options, full);
    EXPECT_NEAR(with_dead.max / whole.max, 1.0f, 0.25f);
    EXPECT_NEAR(with_dead.min / whole.min, 1.0f, 0.25f);
  }
}

TEST(Calibration, ARuleThatLeavesNothingGivesWhatWasSeen) {
  std::vector<float> x(100000, 0.0f);
  x[5] = 3.0f;
  EXPECT_EQ(range_of({.method = CalibrationMethod::kPercentile, .percentile = 99.0}, x), (Range{0.0f, 3.0f}));
}

TEST(Calibration, EveryChannelHasItsOwnRange) {
  const std::vector<float> x = bell(3000);
  const ChannelLayout layout{1000, 3, 1};
  for (const CalibrationMethod method : kAll) {
    ChannelCalibrator all({.method = method, .bit_width = 6}, 3);
    std::vector<float> scaled = x, single;
    for (size_t i = 0; i < x.size(); ++i) {
      scaled[i] = i % 3 == 0 ? 0.0f : x[i] * static_cast<float>(i % 3);  // channel 0 is constant
      if (i % 3 == 2) single.push_back(scaled[i]);
    }
    all.observe(scaled, layout);
    EXPECT_EQ(all.ranges()[0], (Range{0.0f, 0.0f}));
    EXPECT_EQ(all.ranges()[2], range_of({.method = method, .bit_width = 6}, single));
  }
  EXPECT_THROW(ChannelCalibrator({}, 0), InvalidArgument);
  ChannelCalibrator two({}, 2);
  EXPECT_THROW(two.observe(x, layout), InvalidArgument);
  EXPECT_THROW(two.observe(std::vector<float>{1.0f, std::nanf("")}, {1, 2, 1}), InvalidArgument);
}

TEST(Calibration, RefusesWithASentence) {
  EXPECT_THROW(Calibrator({.bit_width = 1}), InvalidArgument);
  EXPECT_THROW(Calibrator({.bit_width = 17}), InvalidArgument);
  EXPECT_THROW(Calibrator({.decay = 1.0}), InvalidArgument);
  EXPECT_THROW(Calibrator({.percentile = 50.0}), InvalidArgument);
  EXPECT_THROW(Calibrator({.percentile = std::nan("")}), InvalidArgument);
  EXPECT_THROW(Calibrator({.sample_limit = 0}), InvalidArgument);
  Calibrator calibrator(CalibrationOptions{});
  EXPECT_THROW(static_cast<void>(calibrator.range()), InvalidArgument);
  EXPECT_THROW(calibrator.observe(std::vector<float>{}), InvalidArgument);
  EXPECT_THROW(calibrator.observe(std::vector<float>{1.0f, std::nanf("")}), InvalidArgument);
  EXPECT_THROW(calibrator.observe(std::vector<float>{std::numeric_limits<float>::infinity()}), InvalidArgument);
  EXPECT_THROW(calibration_method("mes"), InvalidArgument);
  EXPECT_EQ(calibration_method("entropy"), CalibrationMethod::kEntropy);
}

}  // namespace
}  // namespace nibble::affine
