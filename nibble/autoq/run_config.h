// nibble/autoq/run_config.h
// The file that describes a search: the run_config of the AutoQKeras tutorial as JSON, with
// what the tutorial gives to Python functions (model, data, epochs, batch size, optimizer) beside it.
//
//   {"model": "mnist", "data": "mnist", "epochs": 20, "batch_size": 1024, "learning_rate": 0.02,
//    "goal": {...}, "quantization_config": {...}, "limit": {...}, "mode": "random", "seed": 42,
//    "tune_filters": "layer", "tune_filters_exceptions": "^dense", "layer_indexes": {"range": [1, -1]}, "max_trials":
//    20}
// Every key: docs/search.md. Lines may hold // comments.
#pragma once

#include <filesystem>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nibble/autoq/goal.h"
#include "nibble/autoq/limit.h"
#include "nibble/autoq/quantization_config.h"
#include "nibble/cost/compat.h"
#include "nibble/data/augmentation.h"
#include "nibble/search/hyperband_sampler.h"
#include "nibble/search/pruner.h"

namespace nibble::autoq {

enum class TuneFilters { kNone, kLayer, kBlock };

// How trials are chosen: search/{random,bayesian,tpe,nsga2,hyperband}_sampler.h.
enum class Mode { kRandom, kBayesian, kTpe, kNsga2, kHyperband };

// Order of blocks: as listed, or the costliest first.
enum class ScheduleBlock { kSequential, kCost };

// Of costs, and here of AutoQKeras' own defects too.
using cost::Compat;

// Indexes into the model's layers: a list, or {"range": [begin, end]} meaning Python's
// range(begin, len(layers) + end) for a negative end. Absent: all layers.
struct LayerIndexes {
  enum class Kind { kAll, kList, kRange };
  Kind kind = Kind::kAll;
  std::vector<int> list;   // kList; negative ones count from the end
  int begin = 0, end = 0;  // kRange
  bool operator==(const LayerIndexes&) const = default;

  // One flag a layer: may it be changed?
  //   throws  InvalidArgument for an index outside of the model
  std::vector<bool> resolve(int layer_count) const;
};

// Bounds that every trial keeps; see budget.h.
struct Budget {
  std::optional<double> energy_nj;   // with an energy goal only
  std::optional<double> weight_kib;  // of all weights
  std::optional<double> ram_kib;     // of activations at the worst moment
  // Floor; known after training only, so it ranks trials (score.h) where the others forbid them.
  std::optional<double> accuracy;
  // Likewise the ceiling of the search's own metric, where that is to be low.
  std::optional<double> error = {};
  bool bounds_costs() const { return energy_nj || weight_kib || ram_kib; }
  bool bounds_metric() const { return accuracy || error; }
  bool operator==(const Budget&) const = default;
};

// Sensitivity of each choice, measured once, and a knapsack over them give the first trials; see guided_start.h.
struct GuidedStart {
  int trials = 8;     // at most
  int samples = 512;  // training samples that the loss is measured on
  bool operator==(const GuidedStart&) const = default;
};

// What an epoch is judged by; see score.h.
enum class Metric { kAccuracy, kLoss, kMse, kMae };

struct RunConfig {
  // ---- the tutorial's keys ----
  std::string output_dir;
  GoalConfig goal;
  QuantizationConfig quantization_config = default_quantization_config();
  Limit limit;
  TuneFilters tune_filters = TuneFilters::kNone;
  // What numbers of filters are multiplied by, as text ("0.5").
  std::vector<std::string> filter_multipliers = {"0.5", "0.75", "1.0", "1.5", "2.0"};
  // Layers whose filters are not tuned: found anywhere in the name. Absent: none.
  std::optional<std::regex> tune_filters_exceptions;
  LayerIndexes layer_indexes;
  int activation_bits = 4;        // of fused activations that are converted without a choice
  bool transfer_weights = false;  // trials start from the float model's weights; needs tune_filters "none"
  uint64_t seed = 0;
  int max_trials = 10;
  // Trainings of a trial, each from its own seed; scores and accuracies are averaged, the best one's weights kept.
  int executions_per_trial = 1;
  Mode mode = Mode::kRandom;
  search::HyperbandOptions hyperband;  // max_epochs is `epochs`
  bool runs_all_rounds = false;        // mode kHyperband without max_trials: that is the number of all rounds' trials
  // Ends trials that do worse than others did.
  std::optional<search::SuccessiveHalvingOptions> pruner;
  Budget budget;
  std::vector<search::Assignment> first_trials;  // tried before what the sampler proposes
  std::optional<GuidedStart> guided_start;
  Metric metric = Metric::kAccuracy;
  // True: the score is the metric alone, without the saving (score_metric "val_loss", ...).
  bool score_is_metric = false;
  // The learning rate is a choice too: 5 values from learning_rate * (1 + min(total factor, 0)) to 1.1 times it.
  bool learning_rate_optimizer = false;
  std::string head_name;  // output that is trained and scored; empty: the model has one
  // Patterns of layers' names: quantized one block after the other (block_schedule.h). Empty: all at once.
  std::vector<std::string> blocks;
  ScheduleBlock schedule_block = ScheduleBlock::kSequential;
  // Factor of the learning rate in a block that is done, one for all or one each in the order of `blocks`.
  std::vector<double> block_learning_rates;

  // ---- ours ----
  std::string model = "mnist";  // a built-in name or a file
  // What costs are compared with, where that is not `model`: a block's search starts from a network that is quantized
  // in part. Empty: model.
  std::string reference_model;
  // Trials start from the weights of `model`, layer by layer, where all shapes agree.
  bool inherit_weights = false;
  // Likewise from those of the nearest completed trial (transfer_weights "nearest"; search/nearest_sampler.h).
  bool inherit_from_nearest = false;
  // Of layers that are quantized later; a budget is to be kept with their cheapest choices.
  Limit later_limit;
  std::string data;  // name of a data set; empty: the model's own
  std::string preprocessing = "tutorial";
  std::string holdout;  // split to evaluate on instead of the test set
  int epochs = 10;
  int64_t batch_size = 32;
  std::string optimizer = "adam";  // "adam", "sgd"
  double learning_rate = 1e-3;
  // Pattern of layers' names -> factor of their learning rate; the first that matches counts. 0 (frozen_layers): the
  // weights stay as they are.
  std::vector<std::pair<std::string, double>> layer_learning_rates;
  std::string loss = "crossentropy";  // "mse", "mae", or Keras' name of another (train/loss_names.h)
  std::string target = "label";       // "input": an autoencoder
  // A trained network whose outputs trials learn besides the labels: a file, or a folder with model.keras. Empty: none.
  std::string teacher;
  double teacher_weight = 0.9, temperature = 2.0;  // train/distillation.h
  data::Augmentation augmentation = {};            // of the images that trials are trained on
  std::optional<double> dropout;                   // the rate of every layer that drops values; else the model's own
  // Trials are judged after every so many epochs, after their last, and where a pruner or a round of hyperband looks at
  // them (score_callback.h).
  int validation_freq = 1;
  double momentum = 0.0;
  std::string schedule = "constant";                  // "constant", "cosine"
  std::string batch_norm_statistics = "reestimated";  // "reestimated", "moving"
  // "tail", "none"; empty: tail with re-estimated statistics, none with moving ones.
  std::string weight_averaging;
  // Validated epochs without a better validation loss after which a trial ends; absent: it never ends early.
  // AutoQKeras' default: min(20, epochs / 5).
  std::optional<int> early_stopping;
  int workers = 0;  // processes; 0: one a core
  Compat compat = Compat::kNone;

  bool is_excepted_from_filter_tuning(const std::string& layer) const;
};

//   throws  InvalidArgument naming the key (nearest known one for an unknown key), the value and what is
//           allowed; Unsupported for values of AutoQKeras that are not available yet, saying what is
RunConfig parse_run_config(std::string_view json_text);

// The same from a file. throws IoError too
RunConfig load_run_config(const std::filesystem::path& path);

// True if two configurations describe the same trials: all is equal but max_trials, workers and output_dir, and
// first_trials where a guided start finds them.
bool same_search(std::string_view json_a, std::string_view json_b);

}  // namespace nibble::autoq
