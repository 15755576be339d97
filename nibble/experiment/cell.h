// nibble/experiment/cell.h
// One figure of the PTQ and QAT experiment: which network, quantized how, trained from which seed.
//
// The table is that of raywan-110/Quantization-DNNs: two data sets, a plain network and one with batch norms for each,
// post-training quantization and quantization-aware training at 4, 6 and 8 bits. Studies are the same cells with one
// thing changed. Source: spec/ptq-qat-experiments.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/data/augmentation.h"
#include "nibble/transform/ptq/post_training.h"

namespace nibble::experiment {

enum class Method {
  kFloat,      // trained in float
  kFineTuned,  // and trained on in float as long as the QAT networks are: what they must be compared with
  kPtq,        // quantized after training
  kQat,        // and trained on, with ranges that follow the data, by affine::usual_range_rule()
  kLsq,        // likewise, with learned steps
};
std::string_view name(Method method);  // "float", "fine-tuned", "ptq", "qat", "lsq"
//   throws  InvalidArgument with the nearest name
Method method_of(std::string_view name);

// What a study changes.
struct Variation {
  std::string name;  // "" for a cell of the table; part of the cell's key
  std::string study;
  int bias_bits = 32;
  ptq::BiasScale bias_scale = ptq::BiasScale::kAccumulator;
  affine::CalibrationMethod calibration = affine::CalibrationMethod::kMse;
  bool per_axis = true, equalize = false, correct_bias = false, adaptive_rounding = false;
  int least_result_bits = 8;
  ptq::FoldDivisor fold_divisor = ptq::FoldDivisor::kStandardDeviation;
  bool range_before_activation = false;
  // Below 1: the calibration samples move the batch norms' statistics, which keep so much of the old.
  double statistics_momentum = 1.0;
  bool overwrites_convolutions = false;      // QAT, of their kernels
  std::optional<double> learning_rate = {};  // of QAT; else the experiment's
  bool adam = false;
  // Trained without the last tenth of the training part, the float network too, and measured on it.
  bool on_validation = false;
};

struct Cell {
  std::string dataset;  // "fashion_mnist", "cifar10"
  bool with_batch_norm = false;
  Method method = Method::kFloat;
  int bits = 0;  // 0 in float
  uint64_t seed = 1;
  Variation variation = {};

  std::string network() const { return with_batch_norm ? "cnn_bn" : "cnn"; }
  std::string key() const;  // "fashion_mnist-cnn-s1-ptq-4", a file's name
};

struct CellResult {
  double accuracy = 0;  // percent
  double seconds = 0;
  double saturated_biases = 0;  // share; post-training quantization only
  int64_t samples = 0;          // measured on
};

inline constexpr int64_t kBatchSize = 64;  // the original's

// What QAT, LSQ and fine-tuning learn from besides the labels, as train::Distillation says.
struct Teacher {
  std::filesystem::path model = {};  // a trained one's file; empty: the float network that they start from
  std::string sha256 = {};           // of that file
};

struct PtqQatOptions {
  std::vector<std::string> datasets = {"fashion_mnist", "cifar10"};
  std::vector<std::string> networks = {"cnn", "cnn_bn"};
  std::vector<Method> methods = {Method::kFineTuned, Method::kPtq, Method::kQat, Method::kLsq};  // beside float
  std::vector<int> bits = {4, 6, 8};
  std::vector<std::string> studies = {};
  int seeds = 3;  // 1 .. seeds
  int epochs = 8, qat_epochs = 8;
  double learning_rate = 1e-3, qat_learning_rate = 0.02;  // Adam; SGD with momentum 0.9
  double few_bits_learning_rate = 0.01;                   // of QAT and LSQ with less than 6 bits
  int64_t qat_batch_size = kBatchSize;
  // From so many epochs of QAT on, networks with batch norms run with their stored statistics, which are those that
  // they are deployed with. Nothing: from half of them on with less than 6 bits, else never.
  std::optional<double> freeze_batch_norm = {};
  // Times a kernel's weights is added to their gradient. Nothing: 0.001 for networks with batch norms, which learn the
  // training set by heart without it, 0 for the others, which lose by it.
  std::optional<double> qat_weight_decay = {};
  std::map<std::string, Teacher> teachers = {};  // by data set; the others have none
  double teacher_weight = 0.9, temperature = 2.0;
  // Of post-training quantization in the table; studies vary one thing from the plain method, without it.
  bool corrects_biases = true;
  // Of the images of float training, and of those of QAT, LSQ and fine-tuning (nothing: usual_augmentation()). Ranges
  // of post-training quantization and statistics are measured on images as they are.
  data::Augmentation augmentation = {};
  std::optional<data::Augmentation> qat_augmentation = {};
  int64_t train_samples = 0;  // 0: all
  int64_t calibration_samples = 512;
  int threads = 1;
};

// "bias-width", "learning-rate", "optimizer", "ablation", "master-weights", "calibration", "weights"
const std::vector<std::string>& study_names();

// What helps networks of this size to go on: photographs of cifar10 mirrored and moved by up to 2 pixels. Clothes stand
// in the middle and face one way, so fashion_mnist's stay as they are.
data::Augmentation usual_augmentation(std::string_view dataset);
// Of QAT, LSQ and fine-tuning.
data::Augmentation qat_augmentation_of(const PtqQatOptions& options, std::string_view dataset);

// Every study for "all"; else the words themselves.
std::vector<std::string> studies_named(std::vector<std::string> words);

//   throws  InvalidArgument naming an unknown data set, network or study, or a number that is not possible
void check(const PtqQatOptions& options);

// The cell of the float network that a cell starts from. One that is measured on validation samples must not have seen
// them.
Cell float_cell(const Cell& cell);

// Every cell, in the order in which they are computed: each after the float network that it starts from.
std::vector<Cell> cells_of(const PtqQatOptions& options);

// Of the training that the cell does, if any.
double learning_rate_of(const Cell& cell, const PtqQatOptions& options);
double weight_decay_of(const Cell& cell, const PtqQatOptions& options);

// Whether batch norms are merged into the kernels in each step, with the batch's statistics, and not before.
bool folds_in_training(const Cell& cell);
// Epochs of QAT after which its statistics stay as they are; nothing: they never do.
std::optional<double> batch_norms_freeze_at(const Cell& cell, const PtqQatOptions& options);

// Whether post-training quantization moves the biases of this cell. Training moves them by itself.
bool corrects_biases(const Cell& cell, const PtqQatOptions& options);

// What the result of a cell depends on, beside the key. Cells of other settings are not mixed.
nlohmann::json settings_of(const Cell& cell, const PtqQatOptions& options);

// The percentage of Quantization-DNNs' README; nothing where it has none.
std::optional<int> published(const Cell& cell);

}  // namespace nibble::experiment
