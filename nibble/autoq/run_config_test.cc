#include "nibble/autoq/run_config.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"

namespace nibble::autoq {
namespace {

const std::filesystem::path kExamples = std::filesystem::path(NIBBLE_SOURCE_DIR) / "examples";

TEST(RunConfig, TheTutorialsFileIsRead) {
  const RunConfig config = load_run_config(kExamples / "autoqkeras_mnist.json");
  EXPECT_EQ(config.model, "mnist");
  EXPECT_EQ(config.epochs, 20);
  EXPECT_EQ(config.batch_size, 1024);
  EXPECT_EQ(config.learning_rate, 0.02);
  EXPECT_EQ(config.max_trials, 20);
  EXPECT_EQ(config.seed, 19u);
  EXPECT_EQ(config.tune_filters, TuneFilters::kLayer);
  EXPECT_EQ(config.early_stopping, 4);  // min(20, 20 / 5)
  EXPECT_EQ(config.goal.kind, GoalKind::kEnergy);
  EXPECT_EQ(config.goal.energy.source_quantizers, std::vector<std::string>{"int8"});
  EXPECT_EQ(config.quantization_config.kernel.size(), 8u);
  EXPECT_EQ(config.quantization_config.kernel[7], (std::pair<std::string, int>{"quantized_po2(4,1)", 4}));
  EXPECT_TRUE(config.is_excepted_from_filter_tuning("dense"));
  EXPECT_FALSE(config.is_excepted_from_filter_tuning("conv2d_0"));
  const std::vector<bool> selected = config.layer_indexes.resolve(24);
  EXPECT_FALSE(selected[0]);
  EXPECT_TRUE(selected[1] && selected[22]);
  EXPECT_FALSE(selected[23]);
}

TEST(RunConfig, FilesOfBudgetsAreRead) {
  const RunConfig budget = load_run_config(kExamples / "autoqkeras_mnist_budget.json");
  EXPECT_EQ(budget.budget, (Budget{.energy_nj = 11, .weight_kib = 16, .ram_kib = 32, .accuracy = {}}));
  EXPECT_EQ(budget.mode, Mode::kTpe);
  ASSERT_TRUE(budget.pruner.has_value());
  EXPECT_EQ(budget.pruner->min_steps, 2);
  const RunConfig floor = load_run_config(kExamples / "autoqkeras_mnist_floor.json");
  EXPECT_FALSE(floor.budget.bounds_costs());
  EXPECT_EQ(floor.budget.accuracy, 0.985);
  EXPECT_EQ(floor.budget.error, std::nullopt);
  EXPECT_EQ(floor.hyperband.max_epochs, 27);
  EXPECT_EQ(floor.max_trials, search::hyperband_trials(floor.hyperband));
}

TEST(RunConfig, DefaultsAreAutoQKeras) {
  const RunConfig config = parse_run_config("{}");
  EXPECT_EQ(config.goal.kind, GoalKind::kBits);
  EXPECT_EQ(config.max_trials, 10);
  EXPECT_EQ(config.activation_bits, 4);
  EXPECT_EQ(config.tune_filters, TuneFilters::kNone);
  EXPECT_EQ(config.epochs, 10);
  EXPECT_EQ(config.early_stopping, 2);
  EXPECT_FALSE(config.tune_filters_exceptions.has_value());
  EXPECT_EQ(config.quantization_config, default_quantization_config());
  EXPECT_EQ(config.executions_per_trial, 1);
}

// Not multiplied into hyperband's count: each of its rounds is one trial, however often that is trained.
TEST(RunConfig, ExecutionsLeaveTheNumberOfTrials) {
  const RunConfig config = parse_run_config(R"({"mode": "hyperband", "epochs": 9, "executions_per_trial": 3})");
  EXPECT_EQ(config.executions_per_trial, 3);
  EXPECT_EQ(config.max_trials, 23);
}

// Those of AutoQKeras' recorded rows, and what its users write.
TEST(RunConfig, RatesAboveOneAreTaken) {
  for (const double rate : {1.25, 1.5, 2.0, 4.0, 10.0}) {
    const std::string text = fmt::format(R"({{"goal": {{"type": "energy", "params": {{"rate": {}}}}}}})", rate);
    EXPECT_EQ(parse_run_config(text).goal.factor.rate, rate);
  }
}

TEST(RunConfig, HyperbandCountsItsTrials) {
  const RunConfig config = parse_run_config(R"({"mode": "hyperband", "epochs": 9})");
  EXPECT_EQ(config.mode, Mode::kHyperband);
  EXPECT_EQ(config.hyperband.max_epochs, 9);
  EXPECT_EQ(config.epochs, 9);
  EXPECT_EQ(config.max_trials, 23);
  EXPECT_FALSE(config.early_stopping.has_value());
  EXPECT_EQ(parse_run_config(R"({"mode": "hyperband"})").epochs, 100);
  EXPECT_EQ(parse_run_config(R"({"mode": "hyperband", "max_epochs": 4, "factor": 2, "max_trials": 5})").max_trials, 5);
}

struct MetricCase {
  const char* json;
  Metric metric;
  bool alone;
};
TEST(RunConfig, WhatTrialsAreJudgedBy) {
  const MetricCase rows[] = {
      {"{}", Metric::kAccuracy, false},
      {R"({"metrics": ["acc"], "score_metric": "val_score"})", Metric::kAccuracy, false},
      {R"({"metrics": ["loss"]})", Metric::kLoss, false},
      {R"({"loss": "mse"})", Metric::kMse, false},
      {R"({"loss": "mean_absolute_error", "target": "input"})", Metric::kMae, false},
      {R"({"loss": "mse", "metrics": ["mae", "acc"]})", Metric::kMae, false},
      {R"({"loss": "mse", "score_metric": "val_mse"})", Metric::kMse, true},
      {R"({"loss": "mape"})", Metric::kLoss, false},
      {R"({"loss": "huber", "metrics": ["huber"]})", Metric::kLoss, false},
      {R"({"loss": "log_cosh", "metrics": ["mae"]})", Metric::kMae, false},
      {R"({"loss": "binary_crossentropy"})", Metric::kAccuracy, false},
      {R"({"loss": "binary_crossentropy", "target": "input"})", Metric::kLoss, false},
      {R"({"score_metric": "val_loss"})", Metric::kLoss, true},
      {R"({"head_name": "b", "loss": "mse", "metrics": {"a": "acc", "b": ["mae"]}})", Metric::kMae, false},
      {R"({"loss": "mse", "metrics": {"a": "acc", "b": "mae"}})", Metric::kAccuracy, false},
      {R"({"loss": "mape", "metrics": ["mape"]})", Metric::kLoss, false},
      {R"({"loss": "kld", "metrics": ["kl_divergence"], "score_metric": "val_kld"})", Metric::kLoss, true},
      {R"({"head_name": "b", "score_metric": "val_b_score"})", Metric::kAccuracy, false},
      {R"({"head_name": "b", "score_metric": "val_b_loss"})", Metric::kLoss, true},
      {R"({"head_name": "b", "loss": "mse", "score_metric": "val_b_mean_absolute_error"})", Metric::kMae, true},
      {R"({"head_name": "mean", "loss": "mse", "score_metric": "val_mean_squared_error"})", Metric::kMse, true}};
  for (const MetricCase& row : rows) {
    const RunConfig config = parse_run_config(row.json);
    EXPECT_EQ(config.metric, row.metric) << row.json;
    EXPECT_EQ(config.score_is_metric, row.alone) << row.json;
  }
}

struct IndexCase {
  const char* name;
  const char* json;
  std::vector<bool> selected;  // of 4 layers
};

class LayerIndexesTest : public ::testing::TestWithParam<IndexCase> {};
TEST_P(LayerIndexesTest, Resolve) {
  const RunConfig config = parse_run_config(fmt::format(R"({{"layer_indexes": {}}})", GetParam().json));
  EXPECT_EQ(config.layer_indexes.resolve(4), GetParam().selected);
}
INSTANTIATE_TEST_SUITE_P(Cases, LayerIndexesTest,
                         ::testing::ValuesIn(std::vector<IndexCase>{
                             {"AbsentMeansAll", "null", {true, true, true, true}},
                             {"List", "[0, 2]", {true, false, true, false}},
                             {"NegativeCountsFromTheEnd", "[-1]", {false, false, false, true}},
                             {"EmptyListMeansNone", "[]", {false, false, false, false}},
                             {"RangeToBeforeTheLast", R"({"range": [1, -1]})", {false, true, true, false}},
                             {"RangeWithoutSign", R"({"range": [0, 2]})", {true, true, false, false}},
                         }),
                         [](const auto& info) { return info.param.name; });

struct EarlyStoppingCase {
  const char* name;
  const char* json;
  std::optional<int> patience;
};
class EarlyStoppingTest : public ::testing::TestWithParam<EarlyStoppingCase> {};
TEST_P(EarlyStoppingTest, Patience) {
  const RunConfig config = parse_run_config(fmt::format(R"({{"epochs": 200, "early_stopping": {}}})", GetParam().json));
  EXPECT_EQ(config.early_stopping, GetParam().patience);
}
INSTANTIATE_TEST_SUITE_P(Cases, EarlyStoppingTest,
                         ::testing::ValuesIn(std::vector<EarlyStoppingCase>{{"Absent", "null", 20},
                                                                            {"True", "true", 20},
                                                                            {"False", "false", std::nullopt},
                                                                            {"Number", "3", 3},
                                                                            {"Object", R"({"patience": 7})", 7}}),
                         [](const auto& info) { return info.param.name; });

TEST(RunConfigAugmentation, IsNoneOrWhatTheTextSays) {
  EXPECT_TRUE(parse_run_config("{}").augmentation.is_none());
  EXPECT_TRUE(parse_run_config(R"({"augment": "none"})").augmentation.is_none());
  EXPECT_EQ(parse_run_config(R"({"augment": "shift=3,flip"})").augmentation,
            (data::Augmentation{.flip = true, .shift = 3}));
}

TEST(RunConfigPruner, IsNoneOrTheOneThereIs) {
  for (const char* none : {"{}", R"({"pruner": false})", R"({"pruner": "none"})", R"({"pruner": null})"}) {
    EXPECT_FALSE(parse_run_config(none).pruner.has_value()) << none;
  }
  for (const char* all_defaults : {"true", "{}", R"("successive_halving")"}) {
    const auto pruner = parse_run_config(fmt::format(R"({{"pruner": {}}})", all_defaults)).pruner;
    ASSERT_TRUE(pruner.has_value()) << all_defaults;
    EXPECT_EQ(pruner->min_steps, 1) << all_defaults;
    EXPECT_EQ(pruner->factor, 3) << all_defaults;
  }
}

TEST(RunConfigValidationFreq, IsAnyNumberOfEpochsFromOne) {
  EXPECT_EQ(parse_run_config("{}").validation_freq, 1);
  EXPECT_EQ(parse_run_config(R"({"epochs": 10, "validation_freq": 5})").validation_freq, 5);
  EXPECT_EQ(parse_run_config(R"({"epochs": 10, "validation_freq": 50})").validation_freq, 50);  // the last epoch alone
}

// ---- bad input: the sentence must hold these words ----

struct BadCase {
  const char* name;
  const char* json;
  std::vector<const char*> words;
};

const std::vector<BadCase> kBad = {
    {"NoJson", "{\"model\": ", {"no JSON"}},
    {"KeyTwice", R"({"limit": {"Dense": [4], "Conv2D": [4], "Dense": [8]}})", {"'limit.Dense' stands twice"}},
    {"NoObject", "[1, 2]", {"the file is [1,2]", "must be an object"}},
    {"UnknownKey", R"({"max_trial": 3})", {"max_trial", "max_trials"}},
    {"UnknownGoalKey", R"({"goal": {"type": "bits", "params": {"delta": 8}}})", {"goal.params.delta", "delta_p"}},
    {"UnknownGoal", R"({"goal": {"type": "latency"}})", {"goal.type is 'latency'", "energy, bits"}},
    {"RateOfOne", R"({"goal": {"type": "bits", "params": {"rate": 1.0}}})", {"rate is 1", "above 1", "e.g. 2.0"}},
    {"RateBelowOne",
     R"({"goal": {"type": "energy", "params": {"rate": 0.5}}})",
     {"goal.params.rate is 0.5", "above 1", "times cheaper"}},
    {"RateBelowOneWithCompat",
     R"({"compat": "qkeras", "goal": {"type": "bits", "params": {"rate": 0.25}}})",
     {"goal.params.rate is 0.25", "above 1"}},
    {"NegativeRate", R"({"goal": {"type": "bits", "params": {"rate": -2}}})", {"goal.params.rate is -2", "above 1"}},
    {"RateAsText", R"({"goal": {"type": "bits", "params": {"rate": "2"}}})", {"goal.params.rate is \"2\"", "above 1"}},
    {"NegativeDelta",
     R"({"goal": {"type": "bits", "params": {"delta_n": -8}}})",
     {"goal.params.delta_n is -8", "from 0"}},
    {"MemoryOfAnotherKind",
     R"({"goal": {"type": "energy", "params": {"parameters_on_memory": ["flash", "sram"]}}})",
     {"parameters_on_memory", "flash", "dram"}},
    {"UnknownTable", R"({"quantization_config": {"kernels": {}}})", {"quantization_config.kernels", "kernel"}},
    {"UnknownQuantizer",
     R"j({"quantization_config": {"kernel": {"quantised_bits(4)": 4}}})j",
     {"quantised_bits(4)", "quantized_bits"}},
    {"SizeOfZero", R"({"quantization_config": {"kernel": {"binary": 0}}})", {"size of 'binary' is 0"}},
    {"LimitNoList", R"({"limit": {"Dense": 8}})", {"limit['Dense'] is 8", "must be a list"}},
    {"LimitElement", R"({"limit": {"Dense": ["binary"]}})", {"limit['Dense'] holds \"binary\""}},
    {"LimitPattern", R"({"limit": {"^conv[": [4]}})", {"^conv[", "regular expression"}},
    {"ShortDefault", R"({"limit": {"Dense": [4], "default": [4, 4]}})", {"limit['default'] has 2 elements"}},
    {"LimitTooLong", R"({"limit": {"Dense": [4, 4, 4, 4]}})", {"limit['Dense'] has 4 elements", "[kernel, bias"}},
    {"ReluTooLong", R"({"limit": {"ReLU": [4, 4]}})", {"limit['ReLU'] has 2 elements", "a list is [activation]"}},
    {"NormTooLong", R"({"limit": {"BatchNormalization": [4, 8, 8, 4, 4]}})", {"has 5 elements", "[gamma, beta, mean"}},
    {"PatternTooLong", R"({"limit": {"^lstm": [4, 4, 4, 4, 4]}})", {"limit['^lstm'] has 5 elements"}},
    {"SourceQuantizer",
     R"({"goal": {"type": "energy", "params": {"source_quantizers": ["int9x"]}}})",
     {"goal.params.source_quantizers", "int9x", "int8"}},
    {"BitsOfUnknownClass",
     R"({"goal": {"type": "bits", "params": {"config": {"QDesne": ["parameters"]}}}})",
     {"goal.params.config", "QDesne", "'QDense'"}},
    {"LearningRateOfZero", R"({"learning_rate": 0})", {"learning_rate is 0", "above 0"}},
    {"MomentumOfAdam", R"({"momentum": 0.9})", {"momentum is 0.9", "sgd"}},
    {"RecurrentNeedsFour", R"({"limit": {"LSTM": [4]}})", {"limit['LSTM']", "4 elements"}},
    {"TuneFilters", R"({"tune_filters": "all"})", {"tune_filters is 'all'", "none, layer, block"}},
    {"TransferWithFilters", R"({"tune_filters": "layer", "transfer_weights": true})", {"transfer_weights", "shapes"}},
    {"TrainedModelWithoutWeights",
     R"({"goal": {"type": "energy", "params": {"trained_model": true}}})",
     {"goal.params.trained_model is true", "transfer_weights"}},
    {"TrainedModelWithFilters",
     R"({"goal": {"type": "energy", "params": {"trained_model": true}}, "transfer_weights": "nearest",
         "tune_filters": "layer"})",
     {"goal.params.trained_model is true", "tune_filters"}},
    {"TooFewTrials", R"({"max_trials": 0})", {"max_trials is 0", "from 1"}},
    {"NoExecution", R"({"executions_per_trial": 0})", {"executions_per_trial is 0", "from 1"}},
    {"HalfAnExecution", R"({"executions_per_trial": 1.5})", {"executions_per_trial is 1.5"}},
    {"TrialsAsText", R"({"max_trials": "20"})", {"max_trials is \"20\""}},
    {"SeedTooLarge", R"({"seed": 18446744073709551615})", {"seed is 18446744073709551615"}},
    {"LearningRateAsText", R"({"learning_rate": "fast"})", {"learning_rate is \"fast\"", "number"}},
    {"LayerIndexesText", R"({"layer_indexes": "all"})", {"layer_indexes is \"all\"", "range"}},
    {"BudgetOfNothing", R"({"goal": {"type": "energy"}, "budget": {"energy_nj": 0}})", {"energy_nj is 0", "above 0"}},
    {"BudgetWithoutEnergy", R"({"budget": {"energy_nj": 11}})", {"budget.energy_nj", "goal of type"}},
    {"BudgetKey", R"({"budget": {"energy": 11}})", {"budget", "energy_nj"}},
    {"BudgetOfNoRam", R"({"budget": {"ram_kib": -1}})", {"budget.ram_kib is -1", "above 0"}},
    {"FloorAboveOne", R"({"budget": {"accuracy": 98.5}})", {"budget.accuracy is 98.5", "to 1"}},
    {"FloorOfAnError",
     R"({"budget": {"accuracy": 0.9}, "metrics": ["mse"], "loss": "mse"})",
     {"budget.accuracy", "minimises the metric 'mse'", "\"error\""}},
    {"FloorOfALoss", R"({"budget": {"accuracy": 0.9}, "metrics": ["loss"]})", {"minimises the metric 'loss'"}},
    {"FloorOfAMetricAlone",
     R"({"budget": {"accuracy": 0.9}, "score_metric": "val_accuracy"})",
     {"budget.accuracy", "val_score", "score_metric"}},
    {"CeilingOfAnAccuracy",
     R"({"budget": {"error": 0.1}})",
     {"budget.error", "maximises the metric 'accuracy'", "\"accuracy\""}},
    {"CeilingOfAMetricAlone",
     R"({"budget": {"error": 0.1}, "loss": "mse", "score_metric": "val_mse"})",
     {"budget.error", "val_score", "'mse'"}},
    {"CeilingOfNothing", R"({"budget": {"error": 0}, "loss": "mse"})", {"budget.error is 0", "above 0"}},
    {"CeilingAndFloor",
     R"({"budget": {"error": 0.1, "accuracy": 0.9}, "loss": "mse"})",
     {"minimises the metric 'mse'"}},
    {"Multipliers",
     R"({"tune_filters": "layer", "filter_multipliers": [0.5, 0]})",
     {"filter_multipliers holds 0", "above 0"}},
    {"NoMultipliers", R"({"tune_filters": "layer", "filter_multipliers": []})", {"filter_multipliers is []", "0.625"}},
    {"MultipliersOfNone", R"({"filter_multipliers": [0.5]})", {"filter_multipliers is given", "tune_filters is"}},
    {"BlockRateWithoutBlocks", R"({"block_learning_rates": 0.1})", {"block_learning_rates is 0.1", "no blocks"}},
    {"MetricsOfAnotherHead",
     R"({"head_name": "cls", "metrics": {"clss": "loss"}})",
     {"metrics has no entry for head_name 'cls'", "clss"}},
    {"UnknownMode", R"({"mode": "grid"})", {"mode is 'grid'", "hyperband"}},
    {"HyperbandKeyElsewhere", R"({"mode": "tpe", "max_epochs": 10})", {"max_epochs", "hyperband"}},
    {"HyperbandTwoEpochs",
     R"({"mode": "hyperband", "epochs": 9, "max_epochs": 10})",
     {"max_epochs is 10 and epochs 9"}},
    {"HyperbandFactor", R"({"mode": "hyperband", "factor": 1})", {"factor is 1", "from 2"}},
    {"HyperbandStops", R"({"mode": "hyperband", "early_stopping": 3})", {"early_stopping is 3", "rounds"}},
    {"HyperbandPruned", R"({"mode": "hyperband", "pruner": "successive_halving"})", {"pruner", "remove one of them"}},
    {"UnknownPruner", R"({"pruner": "median"})", {"pruner is 'median'", "successive_halving"}},
    {"PrunerNumber", R"({"pruner": 3})", {"pruner is 3"}},
    {"PrunerKey", R"({"pruner": {"steps": 3}})", {"pruner.steps", "min_epochs"}},
    {"FirstTrialsNoList", R"({"first_trials": {"a": "b"}})", {"first_trials is {", "a list"}},
    {"FirstTrialsNumber", R"({"first_trials": [{"a": 4}]})", {"first_trials is [{", "study best"}},
    {"FirstTrialsWithBlocks", R"({"first_trials": [{}], "blocks": ["a"]})", {"first_trials", "blocks"}},
    {"GuidedStartKey", R"({"guided_start": {"count": 3}})", {"guided_start.count", "trials"}},
    {"UnknownMetric", R"({"metrics": ["f1"]})", {"metrics holds \"f1\"", "mse"}},
    {"MetricOfAnotherLoss", R"({"metrics": ["mse"]})", {"metrics", "loss is \"crossentropy\""}},
    {"UnknownScore", R"({"score_metric": "val_f1"})", {"score_metric is 'val_f1'", "val_loss"}},
    {"AccuracyOfAnAutoencoder",
     R"({"loss": "mse", "target": "input", "metrics": ["acc"]})",
     {"metrics", "autoencoder"}},
    {"EntropyOfInputs", R"({"target": "input"})", {"target", "\"mse\""}},
    {"UnknownLoss", R"({"loss": "hinge"})", {"loss is 'hinge'", "mse"}},
    {"MisspeltLoss", R"({"loss": "mean_squared_eror"})", {"Did you mean 'mean_squared_error'"}},
    {"MetricNoLoss", R"({"loss": "mse", "metrics": ["huber"]})", {"metrics holds \"huber\"", "the name of the loss"}},
    {"TeacherOfNumbers", R"({"teacher": "net.keras", "loss": "mse"})", {"teacher is 'net.keras'", "loss is \"mse\""}},
    {"TeacherWeight", R"({"teacher": "net.keras", "teacher_weight": 1.5})", {"teacher_weight is 1.5", "from 0 to 1"}},
    {"Temperature", R"({"teacher": "net.keras", "temperature": 0})", {"temperature is 0", "above 0"}},
    {"UnknownAugmentation", R"({"augment": "shfit=2"})", {"augment: ", "Did you mean 'shift'?"}},
    {"AugmentationNoText", R"({"augment": 2})", {"augment is 2"}},
    {"AugmentationOfNoPixels", R"({"augment": "flip,shift=0"})", {"augment: ", "shift=0", "whole one from 1"}},
    {"DropsAll", R"({"dropout": 1})", {"dropout is 1", "0.999"}},
    {"DropoutNoNumber", R"({"dropout": "none"})", {"dropout is \"none\""}},
    {"ValidatedNever", R"({"validation_freq": 0})", {"validation_freq is 0", "from 1"}},
    {"ValidatedAtEpochs", R"({"validation_freq": [1, 3]})", {"validation_freq is [1,3]"}},
    {"TemperatureOfNothing", R"({"temperature": 3})", {"temperature is 3", "there is no teacher"}},
    {"LayerRates", R"({"layer_learning_rates": ["a"]})", {"layer_learning_rates is [", "an object"}},
    {"LayerRateBelowZero", R"({"layer_learning_rates": {"a": -1}})", {"layer_learning_rates['a'] is -1"}},
    {"FrozenPattern", R"({"frozen_layers": ["("]})", {"frozen_layers holds '('"}},
    {"BlockRates",
     R"({"blocks": ["a", "b", "c"], "block_learning_rates": [1, 2]})",
     {"block_learning_rates", "3 blocks"}},
    {"TransferWhat", R"({"transfer_weights": "all"})", {"transfer_weights is \"all\""}},
    {"BlockPattern", R"({"blocks": ["("]})", {"blocks holds '('", "regular expression"}},
    {"BlockOrder", R"({"blocks": ["a"], "schedule_block": "size"})", {"schedule_block", "sequential, cost"}},
    {"OrderWithoutBlocks", R"({"schedule_block": "cost"})", {"schedule_block", "no blocks"}},
    {"ExceptionsPattern", R"({"tune_filters_exceptions": "("})", {"tune_filters_exceptions", "regular expression"}},
};

const std::vector<BadCase> kNotYet = {
    {"Strategy", R"({"distribution_strategy": "mirrored"})", {"distribution_strategy", "workers"}},
};

template <class Kind>
void expect_sentence(const BadCase& row) {
  try {
    parse_run_config(row.json);
    ADD_FAILURE() << row.name << ": no error";
  } catch (const Kind& error) {
    for (const char* word : row.words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << row.name << ": " << error.what();
    }
  } catch (const std::exception& error) {
    ADD_FAILURE() << row.name << ": another kind of error: " << error.what();
  }
}

class BadRunConfig : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadRunConfig, IsRefused) { expect_sentence<InvalidArgument>(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, BadRunConfig, ::testing::ValuesIn(kBad),
                         [](const auto& info) { return info.param.name; });

class NotYetRunConfig : public ::testing::TestWithParam<BadCase> {};
TEST_P(NotYetRunConfig, SaysWhatIsAvailable) { expect_sentence<Unsupported>(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, NotYetRunConfig, ::testing::ValuesIn(kNotYet),
                         [](const auto& info) { return info.param.name; });

TEST(LayerIndexesErrors, OutsideOfTheModel) {
  const RunConfig config = parse_run_config(R"({"layer_indexes": [7]})");
  EXPECT_THROW(config.layer_indexes.resolve(4), InvalidArgument);
}

TEST(RunConfig, TruncatedAndFlippedFilesNeverCrash) {
  const std::string text = R"({"model": "mnist", "goal": {"type": "energy", "params": {"rate": 2.0}}, "limit":
    {"Dense": [8, 8, 4], "^conv2d_[12]$": [["binary"], 8, 4], "default": 8}, "layer_indexes": {"range": [1, -1]},
    "quantization_config": {"kernel": {"binary": 1}}, "early_stopping": {"patience": 3}, "seed": 42})";
  for (size_t i = 0; i < 200; ++i) {
    std::string damaged = text.substr(0, text.size() * i / 200);
    std::string flipped = text;
    flipped[(i * 7919) % text.size()] ^= static_cast<char>(1u << (i % 8));
    for (const std::string& candidate : {damaged, flipped}) {
      try {
        parse_run_config(candidate);
      } catch (const Error&) {
      }
    }
  }
}

TEST(SameSearch, LooksAtAllThatChangesTrials) {
  EXPECT_TRUE(same_search(R"({"seed": 1, "max_trials": 3})", R"({"seed": 1, "max_trials": 30, "workers": 2})"));
  EXPECT_TRUE(same_search(R"({"seed": 1})", "{\n// a comment\n\"seed\": 1}"));
  EXPECT_FALSE(same_search(R"({"seed": 1})", R"({"seed": 2})"));
  // What a guided start found belongs to the study, what a person gave to the search.
  EXPECT_TRUE(same_search(R"({"guided_start": true, "first_trials": [{"a": "b"}]})", R"({"guided_start": true})"));
  EXPECT_FALSE(same_search(R"({"first_trials": [{"a": "b"}]})", "{}"));
}

}  // namespace
}  // namespace nibble::autoq
