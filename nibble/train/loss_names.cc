#include "nibble/train/loss_names.h"

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::train {
namespace {

struct Name {
  std::string_view name;
  LossKind loss;
};
// Of each loss its full name first.
constexpr Name kNames[] = {{"categorical_crossentropy", LossKind::kCrossEntropy},
                           {"sparse_categorical_crossentropy", LossKind::kCrossEntropy},
                           {"crossentropy", LossKind::kCrossEntropy},
                           {"mean_squared_error", LossKind::kMeanSquaredError},
                           {"mse", LossKind::kMeanSquaredError},
                           {"mean_absolute_error", LossKind::kMeanAbsoluteError},
                           {"mae", LossKind::kMeanAbsoluteError},
                           {"mean_absolute_percentage_error", LossKind::kMeanAbsolutePercentageError},
                           {"mape", LossKind::kMeanAbsolutePercentageError},
                           {"mean_squared_logarithmic_error", LossKind::kMeanSquaredLogarithmicError},
                           {"msle", LossKind::kMeanSquaredLogarithmicError},
                           {"huber", LossKind::kHuber},
                           {"log_cosh", LossKind::kLogCosh},
                           {"logcosh", LossKind::kLogCosh},
                           {"binary_crossentropy", LossKind::kBinaryCrossEntropy},
                           {"bce", LossKind::kBinaryCrossEntropy},
                           {"poisson", LossKind::kPoisson},
                           {"kl_divergence", LossKind::kKlDivergence},
                           {"kld", LossKind::kKlDivergence}};

}  // namespace

LossKind loss_named(std::string_view name) {
  for (const Name& row : kNames) {
    if (row.name == name) return row.loss;
  }
  throw InvalidArgument("[train] there is no loss '{}'. {}", name, suggest(name, loss_names()));
}

std::string_view loss_name(LossKind loss) {
  for (const Name& row : kNames) {
    if (row.loss == loss) return row.name;
  }
  return "loss";
}

std::vector<std::string> loss_names() {
  std::vector<std::string> names;
  for (const Name& row : kNames) names.emplace_back(row.name);
  return names;
}

LossKind natural_loss(const data::Samples& samples) {
  return samples.has_targets() ? LossKind::kMeanSquaredError : LossKind::kCrossEntropy;
}

}  // namespace nibble::train
