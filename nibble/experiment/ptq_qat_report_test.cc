#include "nibble/experiment/ptq_qat_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace nibble::experiment {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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

TEST(Report, ShowsFiguresBesideThePublishedOnes) {
  const std::vector<FinishedCell> finished = {{cell(Method::kFloat, 0), {.accuracy = 90.125}},
                                              {cell(Method::kPtq, 4), {.accuracy = 86.5}}};
  const std::string text = to_markdown(ptq_qat_document(small(), finished));
  EXPECT_THAT(text, HasSubstr("| cnn float | 90.12 | 90 | 90.12 | 90 |"));
  EXPECT_THAT(text, HasSubstr("| cnn ptq | 86.50 | 71 | - | 90 |"));
  EXPECT_THAT(text, HasSubstr("| NO | -0.62 |"));
}

TEST(Report, TellsTheRecipe) {
  PtqQatOptions options = small();
  options.networks = {"cnn"};
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})),
              HasSubstr("learning rate 0.02 (0.01 for QAT with less than 6 bits) falling to 0."));
  options.networks = {"cnn", "cnn_bn"};
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})),
              HasSubstr("falling to 0, weight decay 0.001 of networks with batch norms."));
  options.networks = {"cnn"};
  options.few_bits_learning_rate = 0.02;
  options.qat_weight_decay = 1e-4, options.teachers["fashion_mnist"] = {}, options.teacher_weight = 0.5;
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})),
              HasSubstr("falling to 0, weight decay 0.0001, with a teacher (weight 0.5, temperature 2): the float "
                        "network for fashion_mnist."));
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})), ::testing::Not(HasSubstr("at random")));
  options.augmentation = {.flip = true}, options.qat_augmentation = data::Augmentation{.flip = true, .shift = 2};
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})),
              HasSubstr("temperature 2): the float network for fashion_mnist, images of fashion_mnist changed at "
                        "random (flip,shift=2). Float training "
                        "changes its images at "
                        "random too: flip."));
}

TEST(Report, TellsTheRangesOfFewBits) {
  PtqQatOptions options = small();
  const char* sentence = "below 6 bits those of least squared error";
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})), HasSubstr(sentence));
  options.bits = {6, 8};
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})), ::testing::Not(HasSubstr(sentence)));
  options.bits = {4}, options.methods = {Method::kPtq};
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {})), ::testing::Not(HasSubstr(sentence)));
}

TEST(Report, CountsTheClaimsThatHoldAndShowsTheSpreadOfSeeds) {
  const std::vector<FinishedCell> finished = {
      {cell(Method::kFloat, 0, 1), {.accuracy = 91}}, {cell(Method::kPtq, 4, 1), {.accuracy = 87.5}},
      {cell(Method::kFloat, 0, 2), {.accuracy = 91}}, {cell(Method::kPtq, 4, 2), {.accuracy = 89}},
      {cell(Method::kFloat, 0, 3), {.accuracy = 91}}, {cell(Method::kPtq, 4, 3), {.accuracy = 88}}};
  const std::string text = to_markdown(ptq_qat_document(small(), finished));
  // Both figures above and in whole percents not below the published ones, and 88 within 3 of 91.
  EXPECT_THAT(text, HasSubstr("5 of 5 claims hold, of medians over the seeds that have all cells of a claim (3 asked"));
  EXPECT_THAT(text, HasSubstr("| 4-bit PTQ within 3 of float | 1 of 1 | +0.00 | 4-bit PTQ within 3 of float: "
                              "fashion_mnist cnn |"));
  EXPECT_THAT(text, HasSubstr("| 4-bit PTQ within 3 of float: fashion_mnist cnn | yes | +0.00 (-0.50 .. +1.00) | 3 |"));
  EXPECT_THAT(text, HasSubstr("| cnn ptq | 88.00 (87.50 .. 89.00) | 71 |"));
}

TEST(Report, TellsWhichStudiesWereLeftOutAndHowTheyAreComputed) {
  PtqQatOptions options = small();
  options.studies = {"ablation", "weights"};
  const std::string text = to_markdown(ptq_qat_document(options, {}, "nibble experiment x --studies all"));
  EXPECT_THAT(text, HasSubstr("Of bias-width, learning-rate, optimizer, master-weights, calibration."));
  EXPECT_THAT(text, HasSubstr("They are computed by: nibble experiment x --studies all"));
  options.studies = study_names();
  EXPECT_THAT(to_markdown(ptq_qat_document(options, {}, "nibble")), Not(HasSubstr("not computed")));
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
