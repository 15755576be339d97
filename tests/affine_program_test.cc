// Affine networks (nibble qat, nibble ptq) as integer programs: every layer's codes are the network's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "affine_networks.h"
#include "network_codes.h"
#include "nibble/program/lowering.h"
#include "nibble/program/program_file.h"
#include "nibble/program/verification.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/qat/snap_offsets.h"

namespace nibble {
namespace {

using namespace graph::build;

struct Case {
  std::string name;
  std::function<graph::Model()> build;
  std::string scheme, quantizer;
  bool per_axis = true;
  qat::BatchNormMode batch_norm = qat::BatchNormMode::kFloat;
  size_t least_compared = 2;  // layers with codes of their own
};

class AffineProgram : public testing::TestWithParam<Case> {};

TEST_P(AffineProgram, HasTheNetworksCodes) {
  const Case& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, c.quantizer);
  scheme.per_axis = c.per_axis;
  scheme.batch_norm = c.batch_norm;
  const graph::Model trained = calibrated(c.build(), scheme);
  graph::Model model = qat::unfold_batch_norms(trained);
  const Tensor x = samples(200, 2);
  const Tensor before = train::Trainer(trained, {}).predict(x), after = train::Trainer(model, {}).predict(x);
  int64_t moved = 0;
  for (int64_t i = 0; i < after.size(); ++i) moved += std::abs(after[i] - before[i]) > 0.1f ? 1 : 0;
  EXPECT_LE(moved, after.size() / 20) << "unfolding changes a bias by half a step of its grid at most";
  const bool has_offsets = !qat::snap_offsets(model).empty();
  EXPECT_EQ(has_offsets, c.quantizer == "lsq_plus");
  const auto path = std::filesystem::path(testing::TempDir()) / fmt::format("affine_{}_{}.nbl", c.name, getpid());
  program::save_program(program::lower(model), path);
  const program::Program program = program::load_program(path);
  std::filesystem::remove(path);
  EXPECT_EQ(program::input_quantizer(program, model), nullptr) << "the model has its own";
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    EXPECT_TRUE(sum == nullptr || sum->is_exact_in_float) << operation.layer << ": the network sums codes too";
  }

  expect_the_networks_codes(program, model, x, c.least_compared);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, AffineProgram,
    testing::Values(
        Case{"Eight", plain, "int8", "moving_average"}, Case{"Four", plain, "int4", "moving_average"},
        Case{"EightOnly", only, "int8", "moving_average", true, qat::BatchNormMode::kFloat, 1},
        Case{"FourOnlyLsq", only, "int4", "lsq", true, qat::BatchNormMode::kFloat, 1},
        Case{"FourPerTensor", plain, "int4", "all_values", false}, Case{"FourLsq", plain, "int4", "lsq"},
        Case{"TwoLsq", plain, "int2", "lsq"}, Case{"Tfmot", batch_norms, "tfmot8", "moving_average"},
        Case{"TfmotDepthwise", depthwise, "tfmot8", "moving_average"},
        Case{"EightBatchNorms", batch_norms, "int8", "moving_average"},
        Case{"FourBatchNorms", batch_norms, "int4", "lsq"},
        Case{"FourFoldedBatchNorms", batch_norms, "int4", "moving_average", true, qat::BatchNormMode::kFoldRunning},
        Case{"EightAverages", averages, "int8", "moving_average"}, Case{"FourAverages", averages, "int4", "last_value"},
        Case{"EightAveragesAtBorders", averages_at_borders, "int8", "moving_average"},
        Case{"FourAveragesAtBorders", averages_at_borders, "int4", "lsq"},
        Case{"EightResidual", residual, "int8", "moving_average"}, Case{"FourResidual", residual, "int4", "lsq"},
        Case{"TfmotResidual", residual, "tfmot8", "moving_average"}, Case{"TwoPactResidual", residual, "int2", "pact"},
        Case{"EightBranches", branches, "int8", "moving_average"}, Case{"EightPact", plain, "int8", "pact"},
        Case{"EightJoined", joined, "int8", "moving_average"}, Case{"FourJoined", joined, "int4", "lsq"},
        Case{"EightLsqPlusJoined", joined, "int8", "lsq_plus"}, Case{"FourPactBatchNorms", batch_norms, "int4", "pact"},
        Case{"TwoPactBranches", branches, "int2", "pact"}, Case{"EightCurves", curves, "int8", "moving_average"},
        Case{"FourCurves", curves, "int4", "lsq"}, Case{"EightLsqPlusCurves", curves, "int8", "lsq_plus"},
        Case{"FourLsqPlusAverages", averages, "int4", "lsq_plus"}, Case{"EightDorefa", plain, "int8", "dorefa"},
        Case{"FourDorefaBatchNorms", batch_norms, "int4", "dorefa"},
        Case{"TwoDorefaAverages", averages, "int2", "dorefa"},
        Case{"SixteenWide", wide, "int16", "moving_average", true, qat::BatchNormMode::kFloat, 1},
        Case{"EightSlopes", slopes, "int8", "moving_average"}, Case{"FourSlopes", slopes, "int4", "lsq"},
        Case{"EightMoves", moves, "int8", "moving_average"}, Case{"FourMoves", moves, "int4", "lsq"},
        Case{"EightMaxima", maxima, "int8", "moving_average"}, Case{"FourMaxima", maxima, "int4", "lsq"},
        Case{"EightExtremes", extremes, "int8", "moving_average"}, Case{"FourExtremes", extremes, "int4", "lsq"},
        Case{"EightTransposed", transposed, "int8", "moving_average", true, qat::BatchNormMode::kFloat, 4},
        Case{"FourTransposed", transposed, "int4", "lsq", true, qat::BatchNormMode::kFloat, 4},
        Case{"EightTransposedPerTensor", transposed, "int8", "moving_average", false, qat::BatchNormMode::kFloat, 4}),
    [](const auto& row) { return row.param.name; });

// Steps of 2^k, so that every other sum or so lies in the middle between two codes: halves go up where the network
// knows its sums, to the even code where it has real numbers, and the program does likewise.
void make_ties(graph::Model& model) {
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      if (!weight.name.ends_with("_step")) continue;
      for (float& step : weight.value.data()) step = std::exp2(std::round(std::log2(step)));
    }
  }
}

// Biases of 0 that are no codes: the network adds them as real numbers.
graph::Model without_biases() {
  const Node in = image();
  return build_model({in}, {classifier(conv(conv(in, 8, "conv0", "relu"), 6, "conv1", "relu6"))}, "without_biases");
}

struct TieCase {
  std::string name;
  std::function<graph::Model()> build;
  std::string scheme;
  bool has_biases = true;
};

class Ties : public testing::TestWithParam<TieCase> {};

TEST_P(Ties, FallToTheSameSide) {
  const TieCase& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, "lsq");
  if (!c.has_biases) scheme.bias_bits = 0;
  graph::Model model = qat::unfold_batch_norms(calibrated(c.build(), scheme));
  for (graph::Layer& layer : model.layers) {
    graph::Weight* bias = c.has_biases ? nullptr : layer.find_weight("bias");
    if (bias != nullptr) bias->value = Tensor(bias->value.shape());
  }
  make_ties(model);
  expect_the_networks_codes(program::lower(model), model, samples(100, 3), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Ties,
    testing::Values(TieCase{"Plain", plain, "int4"}, TieCase{"FloatBiases", without_biases, "int4", false},
                    TieCase{"Transposed", transposed, "int4"}, TieCase{"PlainEight", plain, "int8"},
                    TieCase{"BatchNorms", batch_norms, "int4"}, TieCase{"Averages", averages, "int4"},
                    TieCase{"AveragesAtBorders", averages_at_borders, "int4"}, TieCase{"Residual", residual, "int4"},
                    TieCase{"Branches", branches, "int4"}, TieCase{"Joined", joined, "int4"},
                    TieCase{"Slopes", slopes, "int4"}, TieCase{"Moves", moves, "int4"},
                    TieCase{"Maxima", maxima, "int4"}, TieCase{"Extremes", extremes, "int4"}),
    [](const auto& row) { return row.param.name; });

// Multiplier and shift instead of thresholds: where sums are on grids and ReLUs alone stand before the quantizers, the
// network rounds by them itself.
class Single : public testing::TestWithParam<Case> {};

TEST_P(Single, IsWhatTheNetworkDoes) {
  const Case& c = GetParam();
  qat::Scheme scheme = qat::scheme_named(c.scheme);
  qat::set_quantizer(scheme, c.quantizer);
  scheme.per_axis = c.per_axis;
  const graph::Model model = qat::unfold_batch_norms(calibrated(c.build(), scheme));
  program::LoweringOptions options;
  options.rounding = affine::Rounding::kSingle;
  const program::Program program = program::lower(model, options);
  size_t rules = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* compare = std::get_if<program::Compare>(&operation.action);
    if (compare == nullptr) continue;
    EXPECT_TRUE(compare->rule) << operation.layer << " keeps its thresholds";
    rules += compare->rule ? 1 : 0;
  }
  EXPECT_GE(rules, c.least_compared);
  expect_the_networks_codes(program, model, samples(500, 4), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Single,
    testing::Values(Case{"Eight", plain, "int8", "moving_average"}, Case{"Four", plain, "int4", "moving_average"},
                    Case{"EightPerTensor", plain, "int8", "all_values", false}, Case{"EightLsq", plain, "int8", "lsq"},
                    Case{"EightPact", plain, "int8", "pact"}, Case{"EightResidual", residual, "int8", "moving_average"},
                    Case{"EightBranches", branches, "int8", "moving_average"},
                    Case{"EightAveragesAtBorders", averages_at_borders, "int8", "moving_average"},
                    Case{"EightMoves", moves, "int8", "moving_average"},
                    Case{"EightMaxima", maxima, "int8", "moving_average"}),
    [](const auto& row) { return row.param.name; });

// Beyond what other quantizers are asked for at the most (outermost_codes.h).
TEST(AffineProgram, HasAllCodesOfRangesBeyond1e30) {
  constexpr float kLargest = 4e31f;
  const graph::Model model = qat::unfold_batch_norms(calibrated(wide(), qat::scheme_named("int8"), kLargest));
  for (const auto rounding : {std::optional<affine::Rounding>(), std::optional(affine::Rounding::kSingle)}) {
    program::LoweringOptions options;
    options.rounding = rounding;
    const program::Program program = program::lower(model, options);
    const program::Interval input = program.operations.at(0).result.hull();
    EXPECT_EQ(input.high - input.low, 255);
    expect_the_networks_codes(program, model, samples(200, 5, kLargest), 2);
  }
}

// The network sums 16-bit codes in double, the program in 64 bits.
TEST(AffineProgram, SumsBeyond32Bits) {
  qat::Scheme scheme = qat::scheme_named("int16");
  const program::Program program = program::lower(qat::unfold_batch_norms(calibrated(wide(), scheme)));
  int widest = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    if (sum != nullptr) widest = std::max(widest, sum->accumulator_bits());
  }
  EXPECT_GT(widest, 32);
}

// A wrong code of the last layer is told, though the classes stay.
TEST(AffineProgram, TheLastLayerIsComparedBeforeItsSoftmax) {
  const graph::Model model = calibrated(only(), qat::scheme_named("int8"));
  program::Program program = program::lower(model);
  EXPECT_EQ(program::Verifier(program).layers(), std::vector<std::string>{"dense"});
  auto& compare = std::get<program::Compare>(program.operations.back().action);
  for (int32_t& value : compare.values) ++value;
  program::Verifier verifier(program);
  train::Trainer whole(model, {}), dense(program::network_up_to(model, "dense"), {});
  const Tensor x = samples(50, 6);
  verifier.add(x, [&](const std::string& layer, const Tensor& batch) {
    return layer.empty() ? whole.predict(batch) : dense.predict(batch);
  });
  EXPECT_EQ(verifier.result().differing(), 250);
  EXPECT_EQ(verifier.result().same_class, 50);
  EXPECT_FALSE(verifier.result().is_equal());
}

// Weights of one bit are -1 and 1 times their mean magnitude.
TEST(AffineProgram, TakesDorefaWeightsOfOneBit) {
  qat::Scheme scheme = qat::scheme_named("int2");
  qat::set_quantizer(scheme, "dorefa");
  graph::Model model = calibrated(plain(), scheme);
  for (const char* name : {"conv0", "dense"}) {
    graph::LayerQuantization quantization = *model.layer(name).quantization;
    quantization.weights.at(0).quantizer.num_bits = 1;
    graph::set_quantization(model, name, quantization);
  }
  const program::Program program = program::lower(model);
  int found = 0;
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    if (sum == nullptr || operation.layer == "depthwise") continue;
    ++found;
    const Tensor& kernel = model.layer(operation.layer).find_weight("kernel")->value;
    for (size_t i = 0; i < sum->weights.size(); ++i) {
      EXPECT_EQ(sum->weights[i], kernel[static_cast<int64_t>(i)] >= 0.0f ? 1 : -1);
    }
  }
  EXPECT_EQ(found, 2);
}

}  // namespace
}  // namespace nibble
