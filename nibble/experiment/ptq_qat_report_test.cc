#include "nibble/experiment/ptq_qat_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace nibble::experiment {
namespace {

using ::testing::HasSubstr;

Cell cell(Method method, int bits, uint64_t seed = 1, bool with_batch_norm = false) {
  return {.dataset = "fashion_mnist", .with_batch_norm = with_batch_norm, .method = method, .bits = bits, .seed = seed};
}

PtqQatOptions small() {
  PtqQatOptions options;
  options.datasets = {"fashion_mnist"};
  options.bits = {8, 4};
  options.seeds = 3;
  return options;
}

TEST(Report, AccuracyIsTheMedianOverSeeds) {
  const std::vector<FinishedCell> finished = {{cell(Method::kPtq, 4, 1), {.accuracy = 80}},
                                              {cell(Method::kPtq, 4, 2), {.accuracy = 90}},
                                              {cell(Method::kPtq, 4, 3), {.accuracy = 83}},
                                              {cell(Method::kPtq, 8, 3), {.accuracy = 99}}};
  const auto accuracy = accuracy_of(finished, cell(Method::kPtq, 4));
  ASSERT_TRUE(accuracy);
  EXPECT_EQ(accuracy->median, 83);
  EXPECT_EQ(accuracy->lowest, 80);
  EXPECT_EQ(accuracy->highest, 90);
  EXPECT_EQ(accuracy->seeds, 3);
  EXPECT_EQ(accuracy_of({finished.data(), 2}, cell(Method::kPtq, 4))->median, 85);
  EXPECT_FALSE(accuracy_of(finished, cell(Method::kQat, 4)));
}

double margin(const std::vector<Claim>& claims, const std::string& text) {
  const auto found =
      std::find_if(claims.begin(), claims.end(), [&](const Claim& c) { return c.text.starts_with(text); });
  return found == claims.end() ? -1000 : found->margin;
}

TEST(Report, ClaimsSayByHowMuchTheyHold) {
  const std::vector<FinishedCell> finished = {
      {cell(Method::kFloat, 0), {.accuracy = 90}}, {cell(Method::kPtq, 8), {.accuracy = 89.8}},
      {cell(Method::kPtq, 4), {.accuracy = 86}},   {cell(Method::kQat, 4), {.accuracy = 89.5}},
      {cell(Method::kLsq, 4), {.accuracy = 89}},   {cell(Method::kPtq, 4, 1, true), {.accuracy = 87}}};
  const auto claims = claims_of(small(), finished);
  EXPECT_NEAR(margin(claims, "8-bit PTQ within 0.5 of float"), 0.3, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit PTQ within 3 of float"), -1.0, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit QAT within 1 of float"), 0.5, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit QAT not below PTQ"), 3.5, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit LSQ not below QAT"), -0.5, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit ptq not below the published 71"), 15.0, 1e-9);
  EXPECT_NEAR(margin(claims, "4-bit ptq: batch norms not below"), 1.0, 1e-9);
  EXPECT_EQ(margin(claims, "8-bit QAT"), -1000);  // nothing is claimed about what was not computed
}

TEST(Report, ShowsFiguresBesideThePublishedOnes) {
  const std::vector<FinishedCell> finished = {{cell(Method::kFloat, 0), {.accuracy = 90.125}},
                                              {cell(Method::kPtq, 4), {.accuracy = 86.5}}};
  const std::string text = to_markdown(ptq_qat_document(small(), finished));
  EXPECT_THAT(text, HasSubstr("| cnn float | 90.12 | 90 | 90.12 | 90 |"));
  EXPECT_THAT(text, HasSubstr("| cnn ptq | 86.50 | 71 | - | 90 |"));
  EXPECT_THAT(text, HasSubstr("| NO | -0.62 |"));
}

TEST(Report, StudiesNameTheBestLearningRate) {
  PtqQatOptions options = small();
  options.networks = {"cnn"};
  options.studies = {"learning-rate", "bias-width"};
  std::vector<FinishedCell> finished;
  for (const Cell& c : cells_of(options)) {
    if (c.variation.study == "learning-rate")
      finished.push_back({c, {.accuracy = c.variation.name == "sgd0.01" ? 80.0 : 70.0}});
  }
  const std::string text = to_markdown(ptq_qat_document(options, finished));
  EXPECT_THAT(text, HasSubstr("Study: learning-rate"));
  EXPECT_THAT(text, HasSubstr("| best | sgd0.01 | sgd0.01 |"));
}

}  // namespace
}  // namespace nibble::experiment
