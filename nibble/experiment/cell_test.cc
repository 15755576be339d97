#include "nibble/experiment/cell.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"

namespace nibble::experiment {
namespace {

TEST(Cells, TheTableHasEveryCombinationOnce) {
  const PtqQatOptions options;
  const std::vector<Cell> cells = cells_of(options);
  // 3 seeds, 2 data sets, 2 networks: float, fine-tuned, and three methods at three widths
  EXPECT_EQ(cells.size(), 3u * 2 * 2 * (2 + 3 * 3));
  std::set<std::string> keys;
  for (const Cell& cell : cells) keys.insert(cell.key());
  EXPECT_EQ(keys.size(), cells.size());
  EXPECT_EQ(cells.front().key(), "fashion_mnist-cnn-s1-float");
  EXPECT_TRUE(keys.contains("cifar10-cnn_bn-s3-qat-4"));
  EXPECT_TRUE(std::is_sorted(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) { return a.seed < b.seed; }));
}

TEST(Cells, StudiesAddTheirVariations) {
  PtqQatOptions options;
  options.seeds = 1, options.methods = {}, options.bits = {4}, options.studies = study_names();
  std::set<std::string> keys;
  for (const Cell& cell : cells_of(options)) EXPECT_TRUE(keys.insert(cell.key()).second) << cell.key();
  EXPECT_TRUE(keys.contains("fashion_mnist-cnn_bn-s1-ptq-4-ablation-D1-variance"));
  EXPECT_FALSE(keys.contains("fashion_mnist-cnn-s1-ptq-4-ablation-D1-variance"));  // nothing to fold
  EXPECT_TRUE(keys.contains("fashion_mnist-cnn_bn-s1-ptq-4-ablation-D3-retrained"));
  EXPECT_FALSE(keys.contains("fashion_mnist-cnn-s1-ptq-4-ablation-D2-backwards"));
  EXPECT_TRUE(keys.contains("fashion_mnist-cnn-s1-ptq-4-ablation-all"));
  EXPECT_TRUE(keys.contains("cifar10-cnn-s1-qat-4-master-weights-kept"));
  EXPECT_TRUE(keys.contains("cifar10-cnn-s1-qat-4-master-weights-D4-convolutions"));
  // The mistake is the plain block's.
  EXPECT_FALSE(keys.contains("cifar10-cnn_bn-s1-qat-4-master-weights-D4-convolutions"));
  EXPECT_TRUE(keys.contains("cifar10-cnn-s1-ptq-4-bias-width-bias4own"));
  EXPECT_TRUE(keys.contains("cifar10-cnn-s1-qat-4-learning-rate-sgd0.03"));
  EXPECT_TRUE(keys.contains("cifar10-cnn-s1-qat-4-optimizer-adam0.001"));
}

TEST(Cells, AllNamesEveryStudy) {
  EXPECT_EQ(studies_named({"all"}), study_names());
  EXPECT_EQ(studies_named({"weights", "all"}), study_names());
  EXPECT_EQ(studies_named({"weights", "ablation"}), (std::vector<std::string>{"weights", "ablation"}));
  EXPECT_TRUE(studies_named({}).empty());
}

TEST(Cells, AllMistakesTogetherAreEachOfThem) {
  PtqQatOptions options;
  options.studies = {"ablation"};
  const auto cells = cells_of(options);
  const auto all = std::find_if(cells.begin(), cells.end(), [](const Cell& c) { return c.variation.name == "all"; });
  ASSERT_NE(all, cells.end());
  EXPECT_EQ(all->variation.fold_divisor, ptq::FoldDivisor::kVariance);
  EXPECT_EQ(all->variation.calibration, affine::CalibrationMethod::kMinMax);
  EXPECT_TRUE(all->variation.range_before_activation);
  EXPECT_EQ(all->variation.least_result_bits, 2);
  EXPECT_FALSE(all->variation.per_axis);
  EXPECT_EQ(all->variation.statistics_momentum, 0.1);
}

struct Figure {
  Cell cell;
  std::optional<int> percent;
};
TEST(Cells, PublishedFiguresAreTheReadmes) {
  const auto cell = [](const char* dataset, bool bn, Method method, int bits) {
    return Cell{.dataset = dataset, .with_batch_norm = bn, .method = method, .bits = bits};
  };
  const Figure figures[] = {
      {cell("fashion_mnist", false, Method::kPtq, 4), 71},  {cell("fashion_mnist", true, Method::kPtq, 8), 59},
      {cell("fashion_mnist", true, Method::kQat, 6), 71},   {cell("cifar10", false, Method::kQat, 8), 69},
      {cell("cifar10", true, Method::kQat, 4), 43},         {cell("cifar10", true, Method::kFloat, 0), 73},
      {cell("fashion_mnist", true, Method::kFloat, 0), 90}, {cell("fashion_mnist", true, Method::kLsq, 4), {}},
      {cell("fashion_mnist", true, Method::kPtq, 5), {}}};
  for (const Figure& figure : figures) EXPECT_EQ(published(figure.cell), figure.percent) << figure.cell.key();
}

TEST(Cells, SettingsNameWhatTheResultDependsOn) {
  PtqQatOptions options;
  const Cell real{.dataset = "cifar10"}, ptq{.dataset = "cifar10", .method = Method::kPtq, .bits = 4};
  const auto before_real = settings_of(real, options), before_ptq = settings_of(ptq, options);
  options.calibration_samples = 7, options.seeds = 1, options.qat_epochs = 9;
  EXPECT_EQ(settings_of(real, options), before_real);
  EXPECT_NE(settings_of(ptq, options), before_ptq);
}

TEST(Cells, SettingsOfTheRecipeAreThoseOfTrainedOnCells) {
  const PtqQatOptions before;
  PtqQatOptions options;
  options.qat_batch_size = 128, options.qat_weight_decay = 1e-4, options.teachers["cifar10"] = {};
  for (const Method method : {Method::kFloat, Method::kPtq}) {
    const Cell cell{.dataset = "cifar10", .method = method, .bits = 4};
    EXPECT_EQ(settings_of(cell, options), settings_of(cell, before)) << name(method);
  }
  for (const Method method : {Method::kFineTuned, Method::kQat, Method::kLsq}) {
    const Cell cell{.dataset = "cifar10", .method = method, .bits = 4};
    EXPECT_EQ(settings_of(cell, options).at("qat_batch_size"), 128) << name(method);
    EXPECT_EQ(settings_of(cell, options).at("qat_weight_decay"), 1e-4) << name(method);
    EXPECT_EQ(settings_of(cell, options).at("teacher"), (nlohmann::json{{"weight", 0.9}, {"temperature", 2.0}}));
    // Cells of before there was a choice stay good.
    EXPECT_FALSE(settings_of(cell, before).contains("qat_batch_size"));
    EXPECT_FALSE(settings_of(cell, before).contains("qat_weight_decay"));
    EXPECT_FALSE(settings_of(cell, before).contains("teacher"));
  }
}

TEST(Cells, WeightsOfNetworksWithBatchNormsDecay) {
  PtqQatOptions options;
  for (const Method method : {Method::kFloat, Method::kPtq, Method::kFineTuned, Method::kQat, Method::kLsq}) {
    const Cell plain{.dataset = "cifar10", .method = method, .bits = 4};
    Cell cell = plain;
    cell.with_batch_norm = true;
    const bool is_trained_on = method != Method::kFloat && method != Method::kPtq;
    EXPECT_EQ(weight_decay_of(cell, options), is_trained_on ? 1e-3 : 0) << name(method);
    EXPECT_EQ(settings_of(cell, options).contains("qat_weight_decay"), is_trained_on) << name(method);
    EXPECT_EQ(weight_decay_of(plain, options), 0) << name(method);
  }
  options.qat_weight_decay = 0;
  EXPECT_EQ(weight_decay_of({.dataset = "cifar10", .with_batch_norm = true, .method = Method::kQat}, options), 0);
}

// Of networks with batch norms that are quantized in training to few bits, after half of the epochs.
TEST(Cells, BatchNormsFreezeInQat) {
  PtqQatOptions options;
  for (const Method method : {Method::kFloat, Method::kFineTuned, Method::kPtq, Method::kQat, Method::kLsq}) {
    for (const bool with_batch_norm : {false, true}) {
      for (const int bits : {4, 6}) {
        const Cell cell{.dataset = "cifar10", .with_batch_norm = with_batch_norm, .method = method, .bits = bits};
        const bool freezes = with_batch_norm && bits < 6 && (method == Method::kQat || method == Method::kLsq);
        EXPECT_EQ(batch_norms_freeze_at(cell, options), freezes ? std::optional(4.0) : std::nullopt) << cell.key();
        EXPECT_EQ(settings_of(cell, options).contains("freeze_batch_norm"), freezes) << cell.key();
      }
    }
  }
  const Cell cell{.dataset = "cifar10", .with_batch_norm = true, .method = Method::kQat, .bits = 8};
  options.qat_epochs = 3;
  for (const auto& [given, expected] : {std::pair(0.0, std::optional(0.0)), std::pair(2.5, std::optional(2.5)),
                                        std::pair(3.0, std::optional<double>())}) {
    options.freeze_batch_norm = given;
    EXPECT_EQ(batch_norms_freeze_at(cell, options), expected);
    EXPECT_EQ(settings_of(cell, options).contains("freeze_batch_norm"), expected.has_value());
  }
}

TEST(Cells, FewBitsHaveALearningRateOfTheirOwn) {
  const PtqQatOptions options;
  const auto rate = [&](Method method, int bits) {
    const Cell cell{.dataset = "cifar10", .method = method, .bits = bits};
    if (method != Method::kFloat) {
      EXPECT_EQ(settings_of(cell, options).at("qat_learning_rate"), learning_rate_of(cell, options)) << bits;
    }
    return learning_rate_of(cell, options);
  };
  for (const Method method : {Method::kQat, Method::kLsq}) {
    EXPECT_EQ(rate(method, 4), 0.01);
    EXPECT_EQ(rate(method, 5), 0.01);
    EXPECT_EQ(rate(method, 6), 0.02);
  }
  EXPECT_EQ(rate(Method::kFineTuned, 0), 0.02);
  EXPECT_EQ(rate(Method::kFloat, 0), 1e-3);
  Cell varied{.dataset = "cifar10", .method = Method::kQat, .bits = 4};
  varied.variation.learning_rate = 0.1;
  EXPECT_EQ(learning_rate_of(varied, options), 0.1);
}

TEST(Cells, BatchNormsAreMergedInEachStepOfQuantizedTraining) {
  for (const Method method : {Method::kFloat, Method::kFineTuned, Method::kPtq, Method::kQat, Method::kLsq}) {
    for (const bool with_batch_norm : {false, true}) {
      const Cell cell{.dataset = "cifar10", .with_batch_norm = with_batch_norm, .method = method, .bits = 4};
      const bool folds = with_batch_norm && (method == Method::kQat || method == Method::kLsq);
      EXPECT_EQ(folds_in_training(cell), folds) << name(method);
      EXPECT_EQ(settings_of(cell, {}).contains("batch_norm"), folds) << name(method);
    }
  }
}

TEST(Cells, TeachersAreKnownByTheirBytes) {
  PtqQatOptions options;
  options.teachers["cifar10"] = {.model = "a.keras", .sha256 = "0123"};
  const Cell taught{.dataset = "cifar10", .method = Method::kQat, .bits = 8};
  EXPECT_EQ(settings_of(taught, options).at("teacher"),
            (nlohmann::json{{"weight", 0.9}, {"temperature", 2.0}, {"sha256", "0123"}}));
  const Cell untaught{.dataset = "fashion_mnist", .method = Method::kQat, .bits = 8};
  EXPECT_FALSE(settings_of(untaught, options).contains("teacher"));
}

// They followed the extremes at any width once: cells of then are refused where that has changed.
TEST(Cells, RulesOfRangesAreASettingOfQatOfFewBits) {
  const PtqQatOptions options;
  for (const int bits : {2, 4, 5}) {
    const Cell cell{.dataset = "cifar10", .method = Method::kQat, .bits = bits};
    EXPECT_EQ(settings_of(cell, options).at("ranges"), "mse") << bits;
  }
  for (const int bits : {6, 8}) {
    const Cell cell{.dataset = "cifar10", .method = Method::kQat, .bits = bits};
    EXPECT_FALSE(settings_of(cell, options).contains("ranges")) << bits;
  }
  for (const Method method : {Method::kPtq, Method::kLsq}) {
    EXPECT_FALSE(settings_of({.dataset = "cifar10", .method = method, .bits = 4}, options).contains("ranges"));
  }
  EXPECT_FALSE(settings_of({.dataset = "cifar10"}, options).contains("ranges"));
}

TEST(Cells, BiasesAreCorrectedInTheTablesPtqAlone) {
  PtqQatOptions options;
  for (const Method method : {Method::kFloat, Method::kFineTuned, Method::kPtq, Method::kQat, Method::kLsq}) {
    const Cell cell{.dataset = "cifar10", .method = method, .bits = 4};
    EXPECT_EQ(corrects_biases(cell, options), method == Method::kPtq) << name(method);
    EXPECT_EQ(settings_of(cell, options).contains("bias_correction"), method == Method::kPtq) << name(method);
  }
  Cell ptq{.dataset = "cifar10", .method = Method::kPtq, .bits = 4};
  options.corrects_biases = false;
  EXPECT_FALSE(corrects_biases(ptq, options));
  EXPECT_FALSE(settings_of(ptq, options).contains("bias_correction"));
  options.corrects_biases = true;
  // A study says itself what it varies, so that no correction hides a mistake.
  ptq.variation = {.name = "right", .study = "ablation"};
  EXPECT_FALSE(corrects_biases(ptq, options));
  ptq.variation = {.name = "per-channel-corrected", .study = "weights", .correct_bias = true};
  EXPECT_TRUE(corrects_biases(ptq, options));
  EXPECT_FALSE(settings_of(ptq, options).contains("bias_correction"));  // its name says so
}

TEST(Cells, AugmentationOfFloatTrainingIsASettingOfEveryCellThatOfQatOfItsOwn) {
  const PtqQatOptions before;
  PtqQatOptions options;
  options.augmentation = {.shift = 2}, options.qat_augmentation = data::Augmentation{.flip = true};
  for (const Method method : {Method::kFloat, Method::kPtq, Method::kFineTuned, Method::kQat, Method::kLsq}) {
    const Cell cell{.dataset = "cifar10", .method = method, .bits = 4};
    EXPECT_EQ(settings_of(cell, options).at("augment"), "shift=2") << name(method);
    const bool goes_on = method != Method::kFloat && method != Method::kPtq;
    EXPECT_EQ(settings_of(cell, options).value("qat_augment", ""), goes_on ? "flip" : "") << name(method);
    // What is usual for photographs, and for clothes.
    EXPECT_EQ(settings_of(cell, before).value("qat_augment", ""), goes_on ? "flip,shift=2" : "") << name(method);
    const Cell clothes{.dataset = "fashion_mnist", .method = method, .bits = 4};
    EXPECT_FALSE(settings_of(clothes, before).contains("qat_augment")) << name(method);
    EXPECT_FALSE(settings_of(cell, before).contains("augment")) << name(method);
  }
}

struct Refusal {
  const char* name;
  void (*spoil)(PtqQatOptions& options);
  const char* part;
};
class Refusals : public ::testing::TestWithParam<Refusal> {};
TEST_P(Refusals, AreSentences) {
  PtqQatOptions options;
  GetParam().spoil(options);
  try {
    check(options);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam().part));
  }
}
using O = PtqQatOptions;
INSTANTIATE_TEST_SUITE_P(
    Rows, Refusals,
    ::testing::Values(Refusal{"DataSet", [](O& o) { o.datasets = {"cifar11"}; }, "Did you mean 'cifar10'"},
                      Refusal{"NoDataSet", [](O& o) { o.datasets = {}; }, "no data set"},
                      Refusal{"Network", [](O& o) { o.networks = {"resnet"}; }, "resnet"},
                      Refusal{"Study", [](O& o) { o.studies = {"bias"}; }, "bias-width"},
                      Refusal{"Bits", [](O& o) { o.bits = {1}; }, "16"},
                      Refusal{"SameBits",
                              [](O& o) {
                                o.bits = {4, 8, 4};
                              },
                              "--bits has 4 twice"},
                      Refusal{"SameNetwork",
                              [](O& o) {
                                o.networks = {"cnn", "cnn"};
                              },
                              "--networks has cnn twice"},
                      Refusal{"SameMethod",
                              [](O& o) {
                                o.methods = {Method::kQat, Method::kQat};
                              },
                              "--methods has qat twice"},
                      Refusal{"Seeds", [](O& o) { o.seeds = 0; }, "--seeds"},
                      Refusal{"Epochs", [](O& o) { o.epochs = 0; }, "--epochs"},
                      Refusal{"Batch", [](O& o) { o.qat_batch_size = 0; }, "--qat-batch-size"},
                      Refusal{"Decay", [](O& o) { o.qat_weight_decay = -1e-4; }, "1e-4 and 1e-5"},
                      Refusal{"Freezing", [](O& o) { o.freeze_batch_norm = -1; }, "--qat-freeze-batch-norm is -1"},
                      Refusal{"NeverFreezing", [](O& o) { o.freeze_batch_norm = std::nan(""); }, "nan"},
                      Refusal{"NoDecay", [](O& o) { o.qat_weight_decay = std::nan(""); }, "nan"},
                      Refusal{"Weight", [](O& o) { o.teacher_weight = 1.5; }, "--teacher-weight"},
                      Refusal{"NobodyToTeach", [](O& o) { o.teachers["mnist"] = {}; },
                              "--teacher names the data set 'mnist'; --datasets has fashion_mnist"},
                      Refusal{"Cold", [](O& o) { o.temperature = 0; }, "--temperature"},
                      Refusal{"Shift", [](O& o) { o.augmentation.shift = 15; }, "at most 14"},
                      Refusal{"Samples", [](O& o) { o.train_samples = -1; }, "--train-samples"}),
    [](const auto& row) { return row.param.name; });

TEST(Methods, HaveNames) {
  for (const Method method : {Method::kFloat, Method::kFineTuned, Method::kPtq, Method::kQat, Method::kLsq}) {
    EXPECT_EQ(method_of(name(method)), method);
  }
  EXPECT_THROW(method_of("qta"), InvalidArgument);
}

}  // namespace
}  // namespace nibble::experiment
