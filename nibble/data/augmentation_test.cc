// Images that move and are mirrored: what text asks for, which pixels come out, and what the numbers depend on.
#include "nibble/data/augmentation.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::data {
namespace {

// ---- text ----------------------------------------------------------------------------

struct TextCase {
  const char* text;
  bool flip;
  int64_t shift;
  const char* canonical;
};
class AugmentationText : public ::testing::TestWithParam<TextCase> {};
TEST_P(AugmentationText, IsReadAndWritten) {
  const auto& [text, flip, shift, canonical] = GetParam();
  const Augmentation augmentation = parse_augmentation(text);
  EXPECT_EQ(augmentation, (Augmentation{flip, shift})) << text;
  EXPECT_EQ(to_string(augmentation), canonical);
  EXPECT_EQ(parse_augmentation(to_string(augmentation)), augmentation);
}
INSTANTIATE_TEST_SUITE_P(Rows, AugmentationText,
                         ::testing::Values(TextCase{"none", false, 0, "none"}, TextCase{"flip", true, 0, "flip"},
                                           TextCase{"shift", false, 2, "shift=2"},
                                           TextCase{"shift=5", false, 5, "shift=5"},
                                           TextCase{"flip,shift=3", true, 3, "flip,shift=3"},
                                           TextCase{"shift,flip", true, 2, "flip,shift=2"}));

struct BadText {
  const char* name;
  const char* text;
  const char* words;
};
class AugmentationRefusal : public ::testing::TestWithParam<BadText> {};
TEST_P(AugmentationRefusal, IsASentence) {
  try {
    parse_augmentation(GetParam().text);
    ADD_FAILURE() << "was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().words), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, AugmentationRefusal,
    ::testing::Values(BadText{"Unknown", "flop", "Did you mean 'flip'?"}, BadText{"Strange", "zzzzz", "flip, shift"},
                      BadText{"Empty", "", "no list of changes"}, BadText{"EndsWithComma", "flip,", "no list"},
                      BadText{"NoneAndMore", "flip,none", "none alone"}, BadText{"Twice", "flip,flip", "flip twice"},
                      BadText{"ShiftTwice", "shift,shift=3", "shift twice"},
                      BadText{"FlipNumber", "flip=2", "flip takes no number"},
                      BadText{"NoNumber", "shift=", "shift= is no number"},
                      BadText{"Zero", "shift=0", "shift=0 is no number of pixels"},
                      BadText{"Negative", "shift=-1", "shift=-1"}, BadText{"Fraction", "shift=1.5", "shift=1.5"},
                      BadText{"Blank", "flip, shift", "' shift' is unknown"},
                      BadText{"Huge", "shift=99999999999999999999", "whole one"}),
    [](const auto& row) { return row.param.name; });

// ---- which samples -------------------------------------------------------------------

struct BadShape {
  const char* name;
  Shape shape;
  Augmentation augmentation;
  const char* words;
};
class AugmentationShape : public ::testing::TestWithParam<BadShape> {};
TEST_P(AugmentationShape, ThatIsNoImageIsRefused) {
  const auto& [name, shape, augmentation, words] = GetParam();
  try {
    check_augmentation(augmentation, shape, "pixels");
    ADD_FAILURE() << "was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'pixels'"), std::string::npos) << error.what();
  }
}
INSTANTIATE_TEST_SUITE_P(Rows, AugmentationShape,
                         ::testing::Values(BadShape{"Flat", Shape{784}, {.flip = true}, "(784"},
                                           BadShape{"Sequence", Shape{28, 28}, {.shift = 1}, "(28, 28)"},
                                           BadShape{"Video", Shape{4, 8, 8, 3}, {.flip = true}, "(4, 8, 8, 3)"},
                                           BadShape{"TooFar", Shape{8, 6, 3}, {.shift = 4}, "at most 3"},
                                           BadShape{"Negative", Shape{8, 6, 3}, {.shift = -1}, "shift is -1"}),
                         [](const auto& row) { return row.param.name; });

TEST(AugmentationShapes, ThatFitAreAccepted) {
  EXPECT_NO_THROW(check_augmentation({.flip = true, .shift = 3}, Shape{8, 6, 3}, "pixels"));
  EXPECT_NO_THROW(check_augmentation({}, Shape{784}, "pixels"));
  std::vector<float> values(7);
  const std::vector<int64_t> index = {0};
  EXPECT_THROW(augment({.flip = true}, Shape{2, 2, 2}, 0, 0, index, values), InvalidArgument);
}

// ---- pixels --------------------------------------------------------------------------

constexpr int64_t kHeight = 4, kWidth = 5, kChannels = 2, kSize = kHeight * kWidth * kChannels;
const Shape kImage{kHeight, kWidth, kChannels};

// Every value is another, and none is 0.
std::vector<float> image() {
  std::vector<float> values(kSize);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

// The definition, pixel by pixel.
std::vector<float> changed(bool is_mirrored, int64_t down, int64_t right) {
  const std::vector<float> before = image();
  std::vector<float> after(kSize, 0.0f);
  for (int64_t y = 0; y < kHeight; ++y) {
    for (int64_t x = 0; x < kWidth; ++x) {
      const int64_t from_y = y - down, moved = x - right;
      if (from_y < 0 || from_y >= kHeight || moved < 0 || moved >= kWidth) continue;
      const int64_t from_x = is_mirrored ? kWidth - 1 - moved : moved;
      for (int64_t c = 0; c < kChannels; ++c) {
        after[static_cast<size_t>((y * kWidth + x) * kChannels + c)] =
            before[static_cast<size_t>((from_y * kWidth + from_x) * kChannels + c)];
      }
    }
  }
  return after;
}

// What becomes of one image as sample `index`.
std::vector<float> augmented(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t index) {
  std::vector<float> values = image();
  augment(augmentation, kImage, seed, epoch, std::span(&index, 1), values);
  return values;
}

// Each image becomes one of those that are possible, and each of those about as often as another.
void expect_uniform(const Augmentation& augmentation, const std::vector<std::vector<float>>& possible) {
  constexpr int64_t kEach = 200;  // on average; its deviation is at most sqrt(200) = 14
  std::map<std::vector<float>, int64_t> counts;
  for (const auto& values : possible) counts[values] = 0;
  ASSERT_EQ(counts.size(), possible.size());
  for (int64_t i = 0; i < kEach * std::ssize(possible); ++i) {
    const auto found = counts.find(augmented(augmentation, 1, 0, i));
    ASSERT_NE(found, counts.end()) << "sample " << i << " became what it cannot be";
    ++found->second;
  }
  for (const auto& [values, count] : counts) EXPECT_NEAR(static_cast<double>(count), kEach, 70);
}

TEST(Augment, MirrorsHalfOfTheImages) { expect_uniform({.flip = true}, {image(), changed(true, 0, 0)}); }

TEST(Augment, OneRowIsMirroredByPixelsNotByValues) {
  const std::vector<float> there = {1, 2, 3, 4, 5, 6}, back = {5, 6, 3, 4, 1, 2};
  bool was_mirrored = false;
  for (int64_t i = 0; i < 20; ++i) {
    std::vector<float> values = there;
    augment({.flip = true}, Shape{1, 3, 2}, 1, 0, std::span(&i, 1), values);
    EXPECT_TRUE(values == there || values == back);
    was_mirrored = was_mirrored || values == back;
  }
  EXPECT_TRUE(was_mirrored);
}

TEST(Augment, MovesEachAxisByWholePixelsAndFillsWithZeros) {
  std::vector<std::vector<float>> possible;
  for (int64_t down = -2; down <= 2; ++down) {
    for (int64_t right = -2; right <= 2; ++right) possible.push_back(changed(false, down, right));
  }
  expect_uniform({.shift = 2}, possible);
}

TEST(Augment, MirrorsBeforeItMoves) {
  std::vector<std::vector<float>> possible;
  for (const bool is_mirrored : {false, true}) {
    for (int64_t down = -1; down <= 1; ++down) {
      for (int64_t right = -1; right <= 1; ++right) possible.push_back(changed(is_mirrored, down, right));
    }
  }
  expect_uniform({.flip = true, .shift = 1}, possible);
}

TEST(Augment, WithoutChangesLeavesTheBatch) { EXPECT_EQ(augmented({}, 1, 2, 3), image()); }

// ---- random numbers ------------------------------------------------------------------

std::vector<float> batch_of(uint64_t seed, int64_t epoch, const std::vector<int64_t>& indices) {
  std::vector<float> values;
  for (size_t i = 0; i < indices.size(); ++i) {
    const std::vector<float> one = image();
    values.insert(values.end(), one.begin(), one.end());
  }
  augment({.flip = true, .shift = 2}, kImage, seed, epoch, indices, values);
  return values;
}

TEST(AugmentNumbers, ComeFromSeedEpochAndSample) {
  std::vector<int64_t> indices(64);
  std::iota(indices.begin(), indices.end(), int64_t{100});
  const std::vector<float> once = batch_of(3, 5, indices);
  EXPECT_EQ(batch_of(3, 5, indices), once);
  EXPECT_NE(batch_of(4, 5, indices), once);
  EXPECT_NE(batch_of(3, 6, indices), once);
  std::vector<int64_t> others = indices;
  for (int64_t& index : others) index += 64;
  EXPECT_NE(batch_of(3, 5, others), once);
}

// As processes share a batch, and as a shuffle orders it.
TEST(AugmentNumbers, DoNotDependOnTheRestOfTheBatch) {
  const std::vector<int64_t> indices = {7, 70000, 3, 12, 4000000000};
  const std::vector<float> together = batch_of(3, 5, indices);
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto begin = together.begin() + static_cast<std::ptrdiff_t>(i * kSize);
    EXPECT_EQ(batch_of(3, 5, {indices[i]}), std::vector<float>(begin, begin + kSize)) << indices[i];
  }
}

}  // namespace
}  // namespace nibble::data
