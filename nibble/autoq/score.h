// How an epoch of a trial is scored. A trial's score is that of its best epoch, and the highest wins.
//
//   val_score of a metric to be high   accuracy * (1 + delta)           delta: cost_meter.h
//   val_score of one to be low         -error / (1 + delta)             a delta of 0.5 forgives an error 1.5 times as
//                                                                       high
//   val_accuracy, val_loss, ...        the metric alone, times -1 where it is to be low
//
//   with a floor of accuracy           accuracy / floor - 1             below it: less than any trial above
//     and other bounds                 accuracy * (1 + delta)           above it
//     and no other bound               reference / (reference + cost)   above it: the cheaper, the higher
//   with a ceiling of an error         ceiling / error - 1              above it: less than any trial below
//     and other bounds                 ceiling / (ceiling + error / (1 + delta))  below it
//     and no other bound               reference / (reference + cost)   below it
#pragma once

#include <string>
#include <string_view>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"

namespace nibble::autoq {

std::string_view to_string(Metric metric);  // "accuracy", "loss", "mse", "mae"
bool is_maximised(Metric metric);
// True where the loss itself is one of classes: cross-entropy, and binary cross-entropy of anything but the input. With
// another, an accuracy is one of the data's labels, where they have any.
bool is_of_classes(const RunConfig& config);

//   value      the metric of the epoch
//   reference  CostMeter::reference()
double score_of(const RunConfig& config, double value, const TrialCost& cost, double reference);

// The formula in use, for people: "validation accuracy * (1 + delta)".
std::string score_formula(const RunConfig& config);

}  // namespace nibble::autoq
