// nibble/train/loss_names.h
// What can be minimised, by Keras' names.
//
//   p  the outputs, t  what they should be, of as many elements; the mean is over all elements of the batch
//   mean_squared_error              (p - t)^2                                                        mse
//   mean_absolute_error             |p - t|                                                          mae
//   mean_absolute_percentage_error  100 |p - t| / max(|t|, e)                                        mape
//   mean_squared_logarithmic_error  (log(1 + max(p, e)) - log(1 + max(t, e)))^2                      msle
//   huber                           (p - t)^2 / 2 where |p - t| <= 1, else |p - t| - 1/2
//   log_cosh                        log cosh(p - t)                                                  logcosh
//   binary_crossentropy             -t log p - (1 - t) log(1 - p), p clipped to [e, 1 - e]           bce
//   poisson                         p - t log(p + e)
//   kl_divergence                   t log(t / p), both clipped to [e, 1]; the sum over the last axis, and the mean
//                                   of the sums                                                      kld
//   categorical_crossentropy        -log p of the class, or -sum t log p where t are probabilities   crossentropy
//   e = 1e-7, as in Keras
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nibble/train/trainer.h"

namespace nibble::train {

// By a name or one of its short forms above; sparse_categorical_crossentropy is categorical_crossentropy.
//   throws  InvalidArgument with the nearest names
LossKind loss_named(std::string_view name);
std::string_view loss_name(LossKind loss);  // "mean_squared_error"
std::vector<std::string> loss_names();      // all that loss_named() takes

// What is minimised unless something else is asked for: the mean squared error where the samples have targets, else
// cross-entropy.
LossKind natural_loss(const data::Samples& samples);

}  // namespace nibble::train
