#include "nibble/experiment/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace nibble::experiment {
namespace {

Cell cell(Method method, int bits, uint64_t seed = 1, bool with_batch_norm = false) {
  return {.dataset = "fashion_mnist", .with_batch_norm = with_batch_norm, .method = method, .bits = bits, .seed = seed};
}

PtqQatOptions fashion() {
  PtqQatOptions options;
  options.datasets = {"fashion_mnist"};
  options.bits = {8, 4};
  options.seeds = 3;
  return options;
}

TEST(Accuracy, IsTheMedianOverSeeds) {
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

const Claim* find(const std::vector<Claim>& claims, const std::string& text) {
  const auto found =
      std::find_if(claims.begin(), claims.end(), [&](const Claim& c) { return c.text.starts_with(text); });
  return found == claims.end() ? nullptr : &*found;
}

struct Row {
  const char* text;
  double margin;
  bool holds;
};

TEST(Claims, SayByHowMuchTheyHold) {
  const std::vector<FinishedCell> finished = {
      {cell(Method::kFloat, 0), {.accuracy = 90}},       {cell(Method::kPtq, 8), {.accuracy = 89.8}},
      {cell(Method::kPtq, 4), {.accuracy = 86}},         {cell(Method::kQat, 8), {.accuracy = 90.6}},
      {cell(Method::kQat, 4), {.accuracy = 89.5}},       {cell(Method::kLsq, 4), {.accuracy = 89}},
      {cell(Method::kPtq, 4, 1, true), {.accuracy = 87}}};
  const auto claims = claims_of(fashion(), finished);
  const Row rows[] = {
      {"8-bit PTQ within 0.5 of float", 0.3, true},
      {"4-bit PTQ within 3 of float", -1.0, false},
      {"8-bit QAT within 0.3 of float", 0.9, true},
      {"4-bit QAT within 1 of float", 0.5, true},
      {"4-bit QAT not below PTQ", 3.5, true},
      {"4-bit LSQ not below QAT", -0.5, false},
      {"4-bit ptq: batch norms not below the plain network", 1.0, true},
      {"4-bit ptq above the published 71", 15.0, true},
      // 90.6 is 91 to who tells whole percents, and yet below 91.
      {"8-bit qat above the published 91", -0.4, false},
      {"8-bit qat in whole percents not below the published 91", 0.0, true},
      {"float above the published 90", 0.0, false},
      {"float in whole percents not below the published 90", 0.0, true},
  };
  for (const Row& row : rows) {
    const Claim* claim = find(claims, row.text);
    ASSERT_NE(claim, nullptr) << row.text;
    EXPECT_NEAR(claim->margin, row.margin, 1e-9) << row.text;
    EXPECT_EQ(claim->holds, row.holds) << row.text;
  }
  EXPECT_EQ(find(claims, "4-bit QAT within 1 of float: fashion_mnist cnn_bn"), nullptr)
      << "nothing is claimed about what was not computed";
}

TEST(Claims, ExactlyAtTheBoundHolds) {
  const std::vector<FinishedCell> finished = {{cell(Method::kFloat, 0), {.accuracy = 90.1}},
                                              {cell(Method::kQat, 8), {.accuracy = 89.8}}};
  const auto claims = claims_of(fashion(), finished);
  const Claim* claim = find(claims, "8-bit QAT within 0.3 of float");
  ASSERT_NE(claim, nullptr);
  EXPECT_TRUE(claim->holds);
  EXPECT_EQ(claim->margin, 0.0);
}

TEST(Claims, CompareTheSeedsThatBothHave) {
  const std::vector<FinishedCell> finished = {{cell(Method::kPtq, 4, 1), {.accuracy = 80}},
                                              {cell(Method::kQat, 4, 1), {.accuracy = 82}},
                                              {cell(Method::kPtq, 4, 2), {.accuracy = 84}},
                                              {cell(Method::kQat, 4, 2), {.accuracy = 83}},
                                              {cell(Method::kPtq, 4, 3), {.accuracy = 95}}};
  const auto claims = claims_of(fashion(), finished);
  const Claim* claim = find(claims, "4-bit QAT not below PTQ");
  ASSERT_NE(claim, nullptr);
  EXPECT_EQ(claim->seeds, 2);
  EXPECT_EQ(claim->margin, 0.5);  // 82.5 - 82
  EXPECT_EQ(claim->lowest, -1.0);
  EXPECT_EQ(claim->highest, 2.0);
}

// Every line of what is asked for, with all four networks computed.
TEST(Claims, CoverEveryLineOnEveryNetwork) {
  const PtqQatOptions options;
  std::vector<FinishedCell> finished;
  for (const Cell& each : cells_of(options)) finished.push_back({each, {.accuracy = 95}});
  const auto claims = claims_of(options, finished);
  const auto lines = lines_of(claims);
  const std::pair<const char*, int> wanted[] = {{"8-bit PTQ within 0.5 of float", 4},
                                                {"6-bit PTQ within 1 of float", 4},
                                                {"4-bit PTQ within 3 of float", 2},
                                                {"4-bit PTQ within 6 of float", 2},
                                                {"8-bit QAT within 0.3 of float", 4},
                                                {"6-bit QAT within 0.3 of float", 4},
                                                {"4-bit QAT within 1 of float", 2},
                                                {"4-bit QAT within 3 of float", 2},
                                                {"QAT not below PTQ", 12},
                                                {"4-bit LSQ not below QAT", 4},
                                                {"batch norms not below the plain network", 12},
                                                {"above the published figure", 28},
                                                {"in whole percents not below the published figure", 28}};
  EXPECT_EQ(lines.size(), std::size(wanted));
  for (const auto& [line, count] : wanted) {
    const auto found = std::find_if(lines.begin(), lines.end(), [&](const ClaimLine& l) { return l.line == line; });
    ASSERT_NE(found, lines.end()) << line;
    EXPECT_EQ(found->claims, count) << line;
    EXPECT_EQ(found->holding, count) << line;
  }
}

TEST(Claims, ALineShowsItsSmallestMargin) {
  const std::vector<Claim> claims = {{.line = "a", .text = "a: 1", .margin = 2, .holds = true},
                                     {.line = "b", .text = "b: 1", .margin = 0, .holds = true},
                                     {.line = "a", .text = "a: 2", .margin = -1, .holds = false},
                                     {.line = "b", .text = "b: 2", .margin = 0, .holds = false}};
  const auto lines = lines_of(claims);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].closest.text, "a: 2");
  EXPECT_EQ(lines[0].holding, 1);
  EXPECT_EQ(lines[1].closest.text, "b: 2");
}

}  // namespace
}  // namespace nibble::experiment
