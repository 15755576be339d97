// .nbl files: what is written reads back, and damage of any kind is an error or harmless.
#include "nibble/program/program_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/executor.h"
#include "nibble/program/lowering.h"
#include "support/golden.h"

namespace nibble::program {
namespace {

namespace b = graph::build;

// One of each action, but for softmax where it is not asked for.
Program program(SoftmaxForm form = SoftmaxForm::kFloat, std::optional<affine::Rounding> rounding = std::nullopt) {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QConv2D(
      {.filters = 4, .kernel_size = {3, 3}, .padding = "same", .kernel_quantizer = "ternary", .name = "conv"})(in);
  x = b::MaxPooling2D({.name = "pool"})(b::BatchNormalization({.name = "bn"})(x));
  auto relu = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  auto bits = b::QActivation({.activation = "quantized_bits(4,1,1,alpha=1)", .name = "bits"})(x);
  auto sum = b::layer("Add", "add")(std::vector<b::Node>{relu, bits});
  auto both = b::layer("Concatenate", "join")(std::vector<b::Node>{sum, bits});
  both = b::layer("ZeroPadding2D", "pad")(both);
  auto y = b::QActivation({.activation = "quantized_relu(4,2)", .name = "mean_relu"})(
      b::layer("GlobalAveragePooling2D", "mean")(both));
  y = b::layer("Reshape", "reshape", {{"target_shape", std::vector<int64_t>{8}}})(y);
  y = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(y);
  y = b::Activation({.activation = "softmax", .name = "softmax"})(y);
  graph::Model model = b::build_model({in}, {y}, "all");
  graph::initialize_weights(model, 2);
  return lower(model, {.softmax = form, .rounding = rounding});
}

// Comparisons that fall and rise, one for all channels and one each, and an average that overlaps the border.
Program turning_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QActivation({.activation = "quantized_hswish(6,1,1)", .name = "first"})(in);
  x = b::QConv2D({.filters = 4, .kernel_size = {3, 3}, .kernel_quantizer = "ternary(alpha=1)", .name = "conv"})(x);
  x = b::QActivation({.activation = "quantized_bits(8,2,1,alpha=1)", .name = "wide"})(x);
  x = b::QActivation({.activation = "quantized_hswish(6,2,1)", .name = "shared"})(x);
  x = b::AveragePooling2D(
      {.pool_size = {3, 3}, .strides = std::vector<int64_t>{1, 1}, .padding = "same", .name = "mean"})(x);
  x = b::QActivation({.activation = "quantized_bits(8,1,1,alpha=1)", .name = "bits"})(x);
  x = b::BatchNormalization({.name = "bn"})(x);
  x = b::QActivation({.activation = "quantized_hswish(5,1,1)", .name = "own"})(x);
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "turning");
  graph::initialize_weights(model, 2);
  for (float& gamma : model.layer("bn").find_weight("gamma")->value.data()) gamma = -3.0f;
  return lower(model);
}

template <class Action>
Operation& operation_of(Program& program, const std::string& layer) {
  for (Operation& operation : program.operations) {
    if (operation.layer == layer && std::holds_alternative<Action>(operation.action)) return operation;
  }
  throw std::runtime_error("no such operation of " + layer);
}

Tensor samples(int64_t count) {
  Tensor x(Shape{count, 8, 8, 2});
  RandomStream random({1, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = random.uniform() * 2 - 1;
  return x;
}

TEST(ProgramFile, ReadsBackAndRunsTheSame) {
  const auto path = testing::scratch_dir("nbl") / "p.nbl";
  for (const SoftmaxForm form : {SoftmaxForm::kFloat, SoftmaxForm::kInteger}) {
    const Program written = program(form);
    save_program(written, path);
    const Program read = load_program(path);
    ASSERT_EQ(read.operations.size(), written.operations.size());
    EXPECT_EQ(run(read, samples(5)), run(written, samples(5)));
  }
}

// Older readers take what has no multipliers, no softmax of integers and no curves that turn.
TEST(ProgramFile, HasTheLowestVersionThatHoldsIt) {
  const auto path = testing::scratch_dir("nbl_version") / "p.nbl";
  const Program turning = turning_program();
  save_program(turning, path);
  EXPECT_EQ(read_file(path)[7], 5);
  EXPECT_EQ(run(load_program(path), samples(5)), run(turning, samples(5)));
  Program curve = program();
  curve.softmax = false;
  curve.to_real.push(Curve{quant::activation_curve("tanh")});
  save_program(curve, path);
  EXPECT_EQ(read_file(path)[7], 5);
  EXPECT_EQ(run(load_program(path), samples(5)), run(curve, samples(5)));
  save_program(program(SoftmaxForm::kInteger, affine::Rounding::kSingle), path);
  EXPECT_EQ(read_file(path)[7], 4);
  save_program(program(SoftmaxForm::kInteger), path);
  EXPECT_EQ(read_file(path)[7], 3);
  save_program(program(), path);
  std::string bytes = read_file(path);
  EXPECT_EQ(bytes[7], 2);
  for (const char version : {0, 1, 8, -1}) {
    bytes[7] = version;
    write_file(path, bytes);
    EXPECT_THROW(load_program(path), CorruptFile) << static_cast<int>(version);
  }
}

// Sums of 37 bits or so, and a maximum of them.
Program wide_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QActivation({.activation = "quantized_bits(16,0,1,alpha=1)", .name = "first"})(in);
  x = b::QConv2D({.filters = 3,
                  .kernel_size = {5, 5},
                  .use_bias = false,
                  .kernel_quantizer = "quantized_bits(20,0,1,alpha=1)",
                  .name = "conv"})(x);
  x = b::QActivation({.activation = "quantized_bits(6,2,1,alpha=1)", .name = "act"})(
      b::MaxPooling2D({.name = "pool"})(x));
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "wide");
  graph::initialize_weights(model, 2);
  return lower(model);
}

// Cropped, repeated, turned round and compared; a slope at the end.
Program moving_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::Cropping2D({.cropping = {1, 2, 0, 1}, .name = "crop"})(in);
  x = b::Permute({.dims = {2, 1, 3}, .name = "turn"})(b::UpSampling2D({.size = {2, 1}, .name = "up"})(x));
  x = b::QConv2D({.filters = 4, .kernel_size = {3, 3}, .kernel_quantizer = "ternary", .name = "conv"})(x);
  auto relu = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  auto bits = b::QActivation({.activation = "quantized_bits(4,1,1,alpha=1)", .name = "bits"})(x);
  x = b::layer("Maximum", "largest")(std::vector<b::Node>{relu, bits});
  x = b::Permute({.dims = {3, 1, 2}, .name = "channels"})(
      b::layer("Minimum", "smallest")(std::vector<b::Node>{x, relu}));
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  x = b::ELU({.alpha = 0.5, .name = "elu"})(b::PReLU({.alpha_initializer = "ones", .name = "prelu"})(x));
  graph::Model model = b::build_model({in}, {x}, "moving");
  graph::initialize_weights(model, 2);
  model.layer("prelu").find_weight("alpha")->value = Tensor(Shape{3}, {0.5f, -0.25f, 0.0f});
  return lower(model);
}

// A transposed convolution whose strides spread its input.
Program transposed_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QConv2DTranspose({.filters = 3,
                                .kernel_size = {3, 2},
                                .strides = {2, 3},
                                .padding = "same",
                                .kernel_quantizer = "quantized_bits(4,0,1,alpha=1)",
                                .name = "up"})(in);
  x = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "transposed");
  graph::initialize_weights(model, 2);
  return lower(model);
}

TEST(ProgramFile, SpreadSumsHaveAVersionOfTheirOwn) {
  const auto path = testing::scratch_dir("nbl_spread") / "p.nbl";
  const Program written = transposed_program();
  save_program(written, path);
  EXPECT_EQ(read_file(path)[7], 7);
  EXPECT_EQ(run(load_program(path), samples(5)), run(written, samples(5)));
  for (const int64_t spread : {int64_t{0}, int64_t{-2}, int64_t{1} << 21, INT64_MAX, INT64_MIN}) {
    for (int64_t Accumulate::*const member : {&Accumulate::spread_height, &Accumulate::spread_width}) {
      Program changed = transposed_program();
      std::get<Accumulate>(operation_of<Accumulate>(changed, "up").action).*member = spread;
      EXPECT_THROW(validate(changed), CorruptFile) << spread;
    }
  }
  // Taps that then meet: the sums are larger than what was proven.
  Program changed = transposed_program();
  std::get<Accumulate>(operation_of<Accumulate>(changed, "up").action).spread_height = 1;
  EXPECT_THROW(validate(changed), CorruptFile);
}

TEST(ProgramFile, MovesAndExtremaHaveTheVersionOfWideSums) {
  const auto path = testing::scratch_dir("nbl_moves") / "p.nbl";
  const Program written = moving_program();
  save_program(written, path);
  EXPECT_EQ(read_file(path)[7], 6);
  EXPECT_EQ(run(load_program(path), samples(5)), run(written, samples(5)));
  Program curve = program();
  curve.softmax = false;
  curve.to_real.push(Slope{{0.5f, 0.25f, -1.0f}});
  curve.to_real.push(Curve{quant::activation_curve("tanh")});
  save_program(curve, path);
  EXPECT_EQ(read_file(path)[7], 6);
  EXPECT_EQ(run(load_program(path), samples(5)), run(curve, samples(5)));
}

TEST(ProgramFile, MovesThatDoNotFitAreRefused) {
  const auto refused = [](const auto& change) {
    Program changed = moving_program();
    change(changed);
    EXPECT_THROW(validate(changed), CorruptFile);
  };
  const auto crop = [](Program& p) -> Crop& { return std::get<Crop>(operation_of<Crop>(p, "crop").action); };
  const auto order = [](Program& p) -> std::vector<int64_t>& {
    return std::get<Permute>(operation_of<Permute>(p, "turn").action).order;
  };
  refused([&](Program& p) { crop(p).top = -1; });
  refused([&](Program& p) { crop(p).top = 2; });
  refused([&](Program& p) { crop(p).bottom = INT64_MAX; });
  refused([&](Program& p) { std::get<Repeat>(operation_of<Repeat>(p, "up").action).height = 0; });
  refused([&](Program& p) { std::get<Repeat>(operation_of<Repeat>(p, "up").action).width = INT64_MAX; });
  refused([&](Program& p) { order(p) = {1, 0}; });
  refused([&](Program& p) { order(p) = {1, 0, 3}; });
  refused([&](Program& p) { order(p) = {1, 1, 2}; });
  refused([&](Program& p) { order(p) = {-1, 0, 2}; });
  refused([&](Program& p) { operation_of<Extremum>(p, "largest").inputs = {0, 0}; });
  for (const char* layer : {"largest", "smallest"}) {
    refused([&](Program& p) { ++operation_of<Extremum>(p, layer).result.intervals[0].low; });
    refused([&](Program& p) { --operation_of<Extremum>(p, layer).result.intervals[0].high; });
  }
}

TEST(ProgramFile, WideSumsHaveAVersionOfTheirOwn) {
  const auto path = testing::scratch_dir("nbl_wide") / "p.nbl";
  Program written = wide_program();
  EXPECT_GT(operation_of<Accumulate>(written, "conv").result.bits(), 32);
  EXPECT_GT(operation_of<MaxPool>(written, "pool").result.bits(), 32);
  save_program(written, path);
  EXPECT_EQ(read_file(path)[7], 6);
  Program read = load_program(path);
  EXPECT_EQ(run(read, samples(5)), run(written, samples(5)));
  EXPECT_EQ(std::get<Compare>(operation_of<Compare>(read, "act").action).thresholds,
            std::get<Compare>(operation_of<Compare>(written, "act").action).thresholds);
}

std::string complaint(const Program& program) {
  try {
    validate(program);
  } catch (const CorruptFile& error) {
    return error.what();
  }
  return "(none)";
}

// What is summed or multiplied fits 32 bits, and no sum is beyond 63: files cannot make either overflow.
TEST(ProgramFile, WideValuesStandOnlyWhereTheyMay) {
  constexpr int64_t kEnd = int64_t{1} << 62;
  for (const Interval& interval :
       {Interval{-kEnd - 1, kEnd - 1}, Interval{-kEnd, kEnd}, Interval{INT64_MIN, INT64_MAX}}) {
    Program changed = wide_program();
    operation_of<MaxPool>(changed, "pool").result.intervals = {interval};
    EXPECT_NE(complaint(changed).find("gives integers of more bits"), std::string::npos) << complaint(changed);
  }
  Program changed = wide_program();
  operation_of<MaxPool>(changed, "pool").result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NO_THROW(validate(changed));
  operation_of<Compare>(changed, "act").result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NE(complaint(changed).find("(compare, layer 'act') gives integers of more bits"), std::string::npos)
      << complaint(changed);
  changed = wide_program();
  Operation& flatten = changed.operations.at(4);
  flatten.inputs = {2};  // the pool
  flatten.result.intervals = {{-kEnd, kEnd - 1}};
  EXPECT_NE(complaint(changed).find("(accumulate, layer 'dense') reads integers of more bits"), std::string::npos)
      << complaint(changed);
}

TEST(ProgramFile, OthersAreRefused) {
  const auto path = testing::scratch_dir("nbl_others") / "p.nbl";
  write_file(path, "PK\3\4 something else altogether");
  EXPECT_THROW(load_program(path), CorruptFile);
}

// A mutant whose checksum is right, so that the reader has to look at the content.
std::string with_checksum(std::string bytes) {
  bytes.resize(bytes.size() - 4);
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(sum >> (8 * i)));
  return bytes;
}

// Content that goes deeper than a stack does.
TEST(ProgramFile, DeepNestingIsRefused) {
  const auto path = testing::scratch_dir("nbl_deep") / "p.nbl";
  save_program(program(), path);
  write_file(path, with_checksum(read_file(path).substr(0, 8) + std::string(1 << 21, '\x81') + "sum."));
  EXPECT_THROW(load_program(path), CorruptFile);
}

// What a program says of one channel holds for that channel, not only for some.
TEST(ProgramFile, AChannelThatGivesMoreThanItSaysIsRefused) {
  const Program whole = program(SoftmaxForm::kInteger);
  int tried = 0;
  for (size_t i = 0; i < whole.operations.size(); ++i) {
    Program lying = whole;
    std::vector<Interval>& intervals = lying.operations[i].result.intervals;
    const Interval first = intervals[0];
    if (intervals.size() < 2 || first.low == first.high) continue;
    ++tried;
    // The others still cover it all together.
    intervals[1] = {std::min(first.low, intervals[1].low), std::max(first.high, intervals[1].high)};
    intervals[0] = {first.high, first.high};
    EXPECT_THROW(validate(lying), CorruptFile) << name_of(lying.operations[i].action);
  }
  EXPECT_GE(tried, 4);
}

// Where values fall and rise, those in between count, not only those at the ends.
TEST(ProgramFile, AComparisonThatGivesMoreThanItSaysIsRefused) {
  for (const char* layer : {"shared", "own"}) {
    Program lying = turning_program();
    Operation& operation = operation_of<Compare>(lying, layer);
    const auto& compare = std::get<Compare>(operation.action);
    EXPECT_EQ(compare.first.size(), layer == std::string("shared") ? 2u : 5u);
    const auto lowest = std::min_element(compare.values.begin(), compare.values.end());
    EXPECT_NE(lowest, compare.values.begin());
    EXPECT_NE(lowest, compare.values.end() - 1);
    const std::vector<Interval> said = operation.result.intervals;
    for (const size_t count : {size_t{1}, size_t{4}}) {
      Interval hull{INT32_MAX, INT32_MIN};
      for (const Interval& in : said) hull = {std::min(hull.low, in.low), std::max(hull.high, in.high)};
      operation.result.intervals.assign(count, hull);
      EXPECT_NO_THROW(validate(lying)) << layer;
      operation.result.intervals.back().low = hull.low + 1;
      EXPECT_THROW(validate(lying), CorruptFile) << layer << ", " << count << " intervals";
    }
  }
}

TEST(ProgramFile, AveragesAtBordersHaveTheOneFactorThatFits) {
  const Program whole = turning_program();
  Program changed = whole;
  Operation& operation = operation_of<SumPool>(changed, "mean");
  auto& pool = std::get<SumPool>(operation.action);
  EXPECT_EQ(pool.common, 36);  // 4, 6 and 9 cells
  for (const int64_t common : {int64_t{0}, int64_t{35}, int64_t{37}, int64_t{72}, int64_t{-36}, INT64_MAX}) {
    pool.common = common;
    EXPECT_THROW(validate(changed), CorruptFile) << common;
  }
  changed = whole;
  for (Interval& interval : operation_of<SumPool>(changed, "mean").result.intervals) --interval.high;
  EXPECT_THROW(validate(changed), CorruptFile);
}

// An input and so many sums of it, each with a billion of channels' worth of integers or fewer; few bytes in a file.
Program vast_program(int64_t channels, int sums) {
  Program vast;
  vast.name = "vast";
  vast.input_shape = Shape{1, 1, channels};
  const auto value = [&] { return Value{vast.input_shape, {1.0f}, {{0, 1}}}; };
  vast.operations.push_back({"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(1,1,0)")}, value()});
  for (int i = 0; i < sums; ++i) {
    vast.operations.push_back({"add", {i}, Add{}, value()});
  }
  vast.output = sums;
  return vast;
}

// A few numbers say that there are two billion channels; to look at each would take as long as an attacker likes. What
// is refused in the end is the memory, when all operations have been looked at.
TEST(ProgramFile, WhatIsCheckedIsNoMoreThanTheFileHolds) {
  const std::string text = complaint(vast_program(int64_t{1} << 30, 2000));
  EXPECT_NE(text.find("its 2001 operations hold 2148557389824 integers"), std::string::npos) << text;
}

TEST(ProgramFile, TheMemoryOfAllOperationsTogetherIsBounded) {
  EXPECT_EQ(complaint(vast_program(int64_t{1} << 28, 3)), "(none)");  // 2^30 integers
  const std::string text = complaint(vast_program(int64_t{1} << 28, 4));
  EXPECT_NE(text.find("its 5 operations hold 1342177280 integers for a sample, which would take 10240 MiB"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("1073741824 integers are allowed"), std::string::npos) << text;
  EXPECT_NE(text.find("operation 0 (quantize, layer 'in')"), std::string::npos) << text;
  const auto path = testing::scratch_dir("nbl_vast") / "p.nbl";
  EXPECT_THROW(save_program(vast_program(int64_t{1} << 28, 4), path), CorruptFile);
}

std::string mutant(std::string bytes, uint32_t number) {
  RandomStream random({7, RandomPurpose::kTest, number, 0});
  switch (random.below(4)) {
    case 0:
      bytes.resize(12 + random.below(static_cast<uint32_t>(bytes.size()) - 12));
      break;
    case 1:
      for (int i = 0; i < 8; ++i)
        bytes.insert(8 + random.below(static_cast<uint32_t>(bytes.size()) - 8), 1,
                     static_cast<char>(random.below(256)));
      break;
    default: {
      const uint32_t count = 1 + random.below(4);
      for (uint32_t i = 0; i < count; ++i) {
        char& byte = bytes[8 + random.below(static_cast<uint32_t>(bytes.size()) - 8)];
        byte = static_cast<char>(static_cast<uint8_t>(byte) ^ (1u << random.below(8)));
      }
    }
  }
  return with_checksum(std::move(bytes));
}

TEST(ProgramFile, TenThousandMutantsAreRefusedOrRun) {
  const auto path = testing::scratch_dir("nbl_mutants") / "p.nbl";
  std::vector<std::string> wholes;
  for (const Program& whole : {program(SoftmaxForm::kInteger, affine::Rounding::kGemmlowpDouble), turning_program(),
                               wide_program(), moving_program(), transposed_program()}) {
    save_program(whole, path);
    wholes.push_back(read_file(path));
  }
  const Tensor x = samples(1);
  int refused = 0;
  for (uint32_t number = 0; number < 10000; ++number) {
    write_file(path, mutant(wholes[number % wholes.size()], number));
    try {
      const Program read = load_program(path);
      if (read.input_shape == Shape({8, 8, 2})) run(read, x);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace nibble::program
