#include "nibble/data/synthetic_regression.h"

#include <array>

#include "nibble/core/philox.h"

namespace nibble::data {
namespace {

constexpr int64_t kInputs = 8, kTrain = 1024, kTest = 256;  // streams 0 to 2 are those of synthetic_digits

Samples draw(int64_t count, uint32_t part) {
  RandomStream random({.seed = 0, .purpose = RandomPurpose::kSynthetic, .layer = part});
  std::vector<float> values;
  Tensor targets(Shape{count, 1});
  for (int64_t i = 0; i < count; ++i) {
    std::array<double, kInputs> x{};
    for (double& value : x) {
      const float drawn = 2.0f * random.uniform() - 1.0f;
      values.push_back(drawn);
      value = drawn;
    }
    targets[i] = static_cast<float>(x[0] * (2 - x[0] * x[0]) + x[1] * x[2] + x[3] * x[3] / 2 - x[4] / 2);
  }
  return Samples(Shape{kInputs}, std::move(values), std::move(targets));
}

}  // namespace

Dataset synthetic_regression() {
  return {.name = "synthetic_regression",
          .num_classes = 0,
          .train = draw(kTrain, 3),
          .test = draw(kTest, 4),
          .max_value = 1.0f,
          .source = "synthetic",
          .notice = ""};
}

}  // namespace nibble::data
