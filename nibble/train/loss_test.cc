// Losses and their gradients against Keras' formulas, written once more in double.
#include "nibble/train/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/train/loss_names.h"

namespace nibble::train {
namespace {

using Values = std::vector<double>;
constexpr double kEps = 1e-7;
constexpr size_t kRows = 2, kColumns = 3;
constexpr int64_t kBatch = 5;  // of which the two rows are a share

double clip(double x, double low, double high) { return std::min(std::max(x, low), high); }

struct Case {
  const char* name;
  LossKind loss;
  Values outputs, targets;
  double (*of_element)(double p, double t);
  double columns = 1;  // the mean is over rows where this is their length
};

class ErrorLoss : public ::testing::TestWithParam<Case> {
 protected:
  // The sum over this share, divided as the mean over the batch is.
  double formula(const Values& p) const {
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) sum += GetParam().of_element(p[i], GetParam().targets[i]);
    return sum * GetParam().columns / static_cast<double>(kColumns * static_cast<size_t>(kBatch));
  }
};
at::Tensor to_tensor(const Values& values) {
  return at::tensor(values, at::kDouble).reshape({static_cast<int64_t>(kRows), static_cast<int64_t>(kColumns)});
}
TEST_P(ErrorLoss, AndItsGradientAreTheFormulas) {
  const Case& row = GetParam();
  at::Tensor p = to_tensor(row.outputs).requires_grad_(true);
  const at::Tensor loss = error_loss(row.loss, p, to_tensor(row.targets), kBatch);
  EXPECT_NEAR(loss.item<double>(), formula(row.outputs), 1e-10 * (1 + std::abs(formula(row.outputs))));
  loss.backward();
  const at::Tensor gradient = p.grad().contiguous();
  for (size_t i = 0; i < row.outputs.size(); ++i) {
    constexpr double kStep = 1e-6;
    Values up = row.outputs, down = row.outputs;
    up[i] += kStep, down[i] -= kStep;
    const double slope = (formula(up) - formula(down)) / (2 * kStep);
    EXPECT_NEAR(gradient.data_ptr<double>()[i], slope, 1e-6 * (1 + std::abs(slope))) << i;  // of central differences
  }
}

// None of these stands where a gradient jumps.
const Values kAny = {0.5, -1, 2, 0.25, 3, -0.5}, kOther = {1, 0.5, -1.5, 0.75, 2.5, -3};
const Values kPositive = {0.5, 1, 2, 0.25, 3, 0.1}, kCounts = {1, 0, 2, 4, 0, 1};
const Values kShares = {0.2, 0.3, 0.5, 0.9, 0.05, 0.05}, kOtherShares = {0.25, 0.5, 0.25, 0.6, 0.3, 0.1};
const Values kBinary = {0, 1, 1, 0, 0.25, 1};

INSTANTIATE_TEST_SUITE_P(
    Rows, ErrorLoss,
    ::testing::Values(Case{"MeanSquaredError", LossKind::kMeanSquaredError, kAny, kOther,
                           [](double p, double t) { return (p - t) * (p - t); }},
                      Case{"MeanAbsoluteError", LossKind::kMeanAbsoluteError, kAny, kOther,
                           [](double p, double t) { return std::abs(p - t); }},
                      Case{"MeanAbsolutePercentageError", LossKind::kMeanAbsolutePercentageError, kAny, kOther,
                           [](double p, double t) { return 100 * std::abs(p - t) / std::max(std::abs(t), kEps); }},
                      Case{"MeanSquaredLogarithmicError", LossKind::kMeanSquaredLogarithmicError, kAny, kCounts,
                           [](double p, double t) {
                             return std::pow(std::log(std::max(p, kEps) + 1) - std::log(std::max(t, kEps) + 1), 2);
                           }},
                      Case{"Huber", LossKind::kHuber, kAny, kOther,
                           [](double p, double t) {
                             const double size = std::abs(p - t);
                             return size <= 1 ? 0.5 * size * size : size - 0.5;
                           }},
                      Case{"LogCosh", LossKind::kLogCosh, kAny, kOther,
                           [](double p, double t) { return std::log(std::cosh(p - t)); }},
                      Case{"BinaryCrossEntropy", LossKind::kBinaryCrossEntropy, kShares, kBinary,
                           [](double p, double t) {
                             const double q = clip(p, kEps, 1 - kEps);
                             return -t * std::log(q) - (1 - t) * std::log(1 - q);
                           }},
                      Case{"Poisson", LossKind::kPoisson, kPositive, kCounts,
                           [](double p, double t) { return p - t * std::log(p + kEps); }},
                      Case{"KlDivergence", LossKind::kKlDivergence, kShares, kOtherShares,
                           [](double p, double t) {
                             return clip(t, kEps, 1) * std::log(clip(t, kEps, 1) / clip(p, kEps, 1));
                           },
                           static_cast<double>(kColumns)}),
    [](const auto& row) { return row.param.name; });

TEST(SoftCrossEntropy, OfAOneIsTheHardOne) {
  const at::Tensor logits = to_tensor(kAny);
  const at::Tensor labels = at::tensor({2, 0}, at::kLong);
  const at::Tensor ones = at::one_hot(labels, 3).to(at::kDouble);
  EXPECT_NEAR(soft_cross_entropy(logits, ones, true, kBatch).item<double>(),
              cross_entropy(logits, labels, true, kBatch).item<double>(), 1e-12);
}

TEST(SoftCrossEntropy, IsTheFormula) {
  double sum = 0;
  for (size_t i = 0; i < kShares.size(); ++i) sum -= kOtherShares[i] * std::log(kShares[i]);
  EXPECT_NEAR(soft_cross_entropy(to_tensor(kShares), to_tensor(kOtherShares), false, kBatch).item<double>(),
              sum / static_cast<double>(kBatch), 1e-12);
}

// At their ends formulas with a logarithm stay finite.
TEST(ErrorLossAtItsEnds, IsFinite) {
  const at::Tensor ends = at::tensor({0.0f, 1.0f}, at::kFloat).reshape({1, 2});
  const at::Tensor others = at::tensor({1.0f, 0.0f}, at::kFloat).reshape({1, 2});
  for (const LossKind loss : {LossKind::kMeanAbsolutePercentageError, LossKind::kMeanSquaredLogarithmicError,
                              LossKind::kBinaryCrossEntropy, LossKind::kPoisson, LossKind::kKlDivergence}) {
    EXPECT_TRUE(std::isfinite(error_loss(loss, ends, others, 1).item<float>())) << loss_name(loss);
  }
  const at::Tensor far = at::tensor({1000.0f, -1000.0f}, at::kFloat).reshape({1, 2});
  EXPECT_NEAR(error_loss(LossKind::kLogCosh, far, at::zeros_like(far), 1).item<float>(), 1000 - std::log(2.0), 1e-3);
}

TEST(SumOnRightSide, CountsTheParts) {
  const at::Tensor outputs = at::tensor({0.9f, 0.2f, 0.6f, 0.4f}, at::kFloat).reshape({2, 2});
  const at::Tensor targets = at::tensor({1.0f, 0.0f, 0.0f, 0.0f}, at::kFloat).reshape({2, 2});
  EXPECT_DOUBLE_EQ(sum_on_right_side(outputs, targets), 1.5);
}

TEST(LossNames, EachIsKnownAndItsFullNameComesBack) {
  for (const std::string& name : loss_names()) {
    EXPECT_EQ(loss_named(loss_name(loss_named(name))), loss_named(name)) << name;
  }
  for (const auto& [given, full] :
       {std::pair("mse", "mean_squared_error"), std::pair("mae", "mean_absolute_error"),
        std::pair("mape", "mean_absolute_percentage_error"), std::pair("msle", "mean_squared_logarithmic_error"),
        std::pair("logcosh", "log_cosh"), std::pair("bce", "binary_crossentropy")}) {
    EXPECT_EQ(loss_name(loss_named(given)), full);
  }
}

TEST(LossNames, AnUnknownOneGetsTheNearest) {
  try {
    loss_named("mean_sqared_error");
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("Did you mean 'mean_squared_error'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace nibble::train
