#include "nibble/data/synthetic_digits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "nibble/core/error.h"

namespace nibble::data {
namespace {

// Fowler, Noll and Vo's hash.
uint64_t hash_of(std::span<const uint8_t> bytes) {
  uint64_t hash = 14695981039346656037u;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211u;
  return hash;
}

TEST(SyntheticDigits, EveryTenSamplesHoldEachDigitOnce) {
  const Dataset dataset = synthetic_digits({.train_count = 200, .test_count = 50});
  EXPECT_EQ(dataset.num_classes, 10);
  EXPECT_EQ(dataset.train.shape(), Shape({28, 28, 1}));
  for (const Samples* split : {&dataset.train, &dataset.test}) {
    for (size_t at = 0; at < split->labels().size(); at += 10) {
      std::vector<int32_t> ten(split->labels().begin() + static_cast<std::ptrdiff_t>(at),
                               split->labels().begin() + static_cast<std::ptrdiff_t>(at + 10));
      std::sort(ten.begin(), ten.end());
      EXPECT_EQ(ten, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    }
  }
}

TEST(SyntheticDigits, ASampleDependsOnSeedSplitAndIndexOnly) {
  const Dataset small = synthetic_digits({.train_count = 30, .test_count = 30});
  const Dataset large = synthetic_digits({.train_count = 60, .test_count = 30});
  EXPECT_TRUE(std::equal(small.train.bytes().begin(), small.train.bytes().end(), large.train.bytes().begin()));
  EXPECT_NE(hash_of(small.train.bytes()), hash_of(small.test.bytes()));
  const Dataset other = synthetic_digits({.train_count = 30, .test_count = 30, .seed = 1});
  EXPECT_NE(hash_of(small.train.bytes()), hash_of(other.train.bytes()));
}

TEST(SyntheticDigits, BytesAreTheSameOnEveryMachine) {
  const Dataset dataset = synthetic_digits({.train_count = 1000, .test_count = 0});
  EXPECT_EQ(hash_of(dataset.train.bytes()), 9585383057382023307u);
}

// Share of test samples whose nearest training sample (Euclid) has the same label.
double nearest_neighbour_accuracy(const Dataset& dataset) {
  int right = 0;
  const auto train = dataset.train.bytes(), test = dataset.test.bytes();
  for (int64_t i = 0; i < dataset.test.count(); ++i) {
    int64_t best = -1;
    int best_distance = std::numeric_limits<int>::max();
    for (int64_t j = 0; j < dataset.train.count(); ++j) {
      int distance = 0;
      for (int64_t k = 0; k < 784; ++k) {
        const int difference = test[static_cast<size_t>(i * 784 + k)] - train[static_cast<size_t>(j * 784 + k)];
        distance += difference * difference;
      }
      if (distance < best_distance) {
        best_distance = distance;
        best = j;
      }
    }
    right += dataset.test.labels()[static_cast<size_t>(i)] == dataset.train.labels()[static_cast<size_t>(best)];
  }
  return static_cast<double>(right) / static_cast<double>(dataset.test.count());
}

TEST(SyntheticDigits, AreLearnableButNotTrivial) {
  const double accuracy = nearest_neighbour_accuracy(synthetic_digits({.train_count = 3000, .test_count = 300}));
  EXPECT_GT(accuracy, 0.80);  // ten classes: chance is 0.1
  EXPECT_LT(accuracy, 0.99);
}

TEST(SyntheticDigits, NegativeCountsAreRefused) {
  EXPECT_THROW(synthetic_digits({.train_count = -1}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::data
