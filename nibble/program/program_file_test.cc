// .nbl files: what is written reads back, and damage of any kind is an error or harmless.
#include "nibble/program/program_file.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/program/executor.h"
#include "nibble/program/sample_programs.h"
#include "support/golden.h"

namespace nibble::program {
namespace {

TEST(ProgramFile, ReadsBackAndRunsTheSame) {
  const auto path = testing::scratch_dir("nbl") / "p.nbl";
  for (const SoftmaxForm form : {SoftmaxForm::kFloat, SoftmaxForm::kInteger}) {
    const Program written = sample_program(form);
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
  Program curve = sample_program();
  curve.softmax = false;
  curve.to_real.push(Curve{quant::activation_curve("tanh")});
  save_program(curve, path);
  EXPECT_EQ(read_file(path)[7], 5);
  EXPECT_EQ(run(load_program(path), samples(5)), run(curve, samples(5)));
  save_program(sample_program(SoftmaxForm::kInteger, affine::Rounding::kSingle), path);
  EXPECT_EQ(read_file(path)[7], 4);
  save_program(sample_program(SoftmaxForm::kInteger), path);
  EXPECT_EQ(read_file(path)[7], 3);
  save_program(sample_program(), path);
  std::string bytes = read_file(path);
  EXPECT_EQ(bytes[7], 2);
  for (const char version : {0, 1, 8, -1}) {
    bytes[7] = version;
    write_file(path, bytes);
    EXPECT_THROW(load_program(path), CorruptFile) << static_cast<int>(version);
  }
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
  Program curve = sample_program();
  curve.softmax = false;
  curve.to_real.push(Slope{{0.5f, 0.25f, -1.0f}});
  curve.to_real.push(Curve{quant::activation_curve("tanh")});
  save_program(curve, path);
  EXPECT_EQ(read_file(path)[7], 6);
  EXPECT_EQ(run(load_program(path), samples(5)), run(curve, samples(5)));
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

// What such a program answers is NaN throughout. It is refused where it is written, and where a file holds it all the
// same.
TEST(ProgramFile, ScalesThatAreNotFiniteAreRefused) {
  const auto path = testing::scratch_dir("nbl_scales") / "p.nbl";
  constexpr float kMark = 1.2345678e-5f;  // bytes that nothing else in the file has
  const auto bytes_of = [](float value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  };
  Program marked = sample_program();
  marked.operations.back().result.scale[0] = kMark;
  save_program(marked, path);
  const std::string written = read_file(path);
  const size_t place = written.find(bytes_of(kMark));
  ASSERT_NE(place, written.npos);
  for (const float scale : {HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
    Program changed = marked;
    changed.operations.back().result.scale[0] = scale;
    EXPECT_THROW(save_program(changed, path), CorruptFile) << scale;
    std::string bytes = written;
    bytes.replace(place, sizeof scale, bytes_of(scale));
    write_file(path, with_checksum(bytes));
    EXPECT_THROW(load_program(path), CorruptFile) << scale;
  }
}

// Content that goes deeper than a stack does.
TEST(ProgramFile, DeepNestingIsRefused) {
  const auto path = testing::scratch_dir("nbl_deep") / "p.nbl";
  save_program(sample_program(), path);
  write_file(path, with_checksum(read_file(path).substr(0, 8) + std::string(1 << 21, '\x81') + "sum."));
  EXPECT_THROW(load_program(path), CorruptFile);
}

// To go through a million times a million cells for each would take hours.
TEST(ProgramFile, WindowsBeyondTheImageTakeNoTime) {
  Program program;
  program.input_shape = Shape{8, 8, 2};
  const auto value = [](const Shape& shape) { return Value{shape, {0.125f}, {{-8, 7}}}; };
  program.operations.push_back(
      {"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(4,0,1,alpha=1)")}, value(program.input_shape)});
  program.operations.push_back({"pool", {0}, MaxPool{Window{8, 8}, {0, 1}}, value(Shape{1, 1, 2})});
  program.output = 1;
  Program vast = program;
  std::get<MaxPool>(vast.operations[1].action).window = {1 << 20, 1 << 20};
  EXPECT_NO_THROW(validate(vast));
  EXPECT_EQ(run(vast, samples(3)), run(program, samples(3)));
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
  for (const Program& whole : {sample_program(SoftmaxForm::kInteger, affine::Rounding::kGemmlowpDouble),
                               turning_program(), wide_program(), moving_program(), transposed_program()}) {
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
