#include "nibble/experiment/cell.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/quant/affine/least_error.h"

namespace nibble::experiment {
namespace {

constexpr std::array<std::string_view, 5> kMethods = {"float", "fine-tuned", "ptq", "qat", "lsq"};

bool is_quantized_in_training(const Cell& cell) { return cell.method == Method::kQat || cell.method == Method::kLsq; }

std::vector<Variation> bias_widths() {
  std::vector<Variation> all;
  for (const bool own : {false, true}) {
    for (const int bits : {4, 8, 12, 16, 32}) {
      if (own && bits == 32) continue;
      Variation v{.name = fmt::format("bias{}{}", bits, own ? "own" : ""), .study = "bias-width", .bias_bits = bits};
      if (own) v.bias_scale = ptq::BiasScale::kOwn;
      all.push_back(v);
    }
  }
  return all;
}

// One mistake of the original at a time, then all of them (spec, section 2). D4 is one of training (master_weights()).
std::vector<Variation> ablations() {
  struct Mistake {
    const char* name;
    void (*make)(Variation&);
  };
  const Mistake mistakes[] = {{"D1-variance", [](Variation& v) { v.fold_divisor = ptq::FoldDivisor::kVariance; }},
                              {"D2-backwards", [](Variation& v) { v.statistics_momentum = 0.1; }},
                              {"D3-retrained", [](Variation& v) { v.statistics_momentum = 0.9; }},
                              {"D5-minmax", [](Variation& v) { v.calibration = affine::CalibrationMethod::kMinMax; }},
                              {"D6-relu-range", [](Variation& v) { v.range_before_activation = true; }},
                              {"D7-result-bits", [](Variation& v) { v.least_result_bits = 2; }},
                              {"D8-per-tensor", [](Variation& v) { v.per_axis = false; }}};
  std::vector<Variation> variations = {{.name = "right", .study = "ablation"}};
  Variation all{.name = "all", .study = "ablation"};
  for (const Mistake& mistake : mistakes) {
    variations.push_back({.name = mistake.name, .study = "ablation"});
    mistake.make(variations.back());
    mistake.make(all);
  }
  all.statistics_momentum = 0.1;  // D2 is D3 and more
  variations.push_back(all);
  return variations;
}

// Means nothing to a network without batch norms.
bool is_about_batch_norms(const Variation& v) {
  const Variation right;
  return v.name != "all" &&
         (v.fold_divisor != right.fold_divisor || v.statistics_momentum != right.statistics_momentum);
}

// As the original: in convolutions alone. (What was called D4-overwritten overwrote dense kernels too.)
std::vector<Variation> master_weights() {
  return {{.name = "kept", .study = "master-weights"},
          {.name = "D4-convolutions", .study = "master-weights", .overwrites_convolutions = true}};
}

// The original's blocks with batch norms keep their float weights.
bool is_about_plain_blocks(const Variation& v) { return v.overwrites_convolutions; }

std::vector<Variation> calibrations() {
  using affine::CalibrationMethod;
  std::vector<Variation> all;
  for (const auto& [word, method] :
       {std::pair("min-max", CalibrationMethod::kMinMax),
        std::pair("moving-average", CalibrationMethod::kMovingAverage),
        std::pair("percentile", CalibrationMethod::kPercentile), std::pair("mse", CalibrationMethod::kMse),
        std::pair("entropy", CalibrationMethod::kEntropy)}) {
    all.push_back({.name = word, .study = "calibration", .calibration = method});
  }
  return all;
}

// What helps weights of few bits, with one scale a kernel and with one a channel.
std::vector<Variation> weight_helps() {
  std::vector<Variation> all;
  for (const bool per_axis : {false, true}) {
    const Variation plain{.name = per_axis ? "per-channel" : "per-tensor", .study = "weights", .per_axis = per_axis};
    Variation equalized = plain, corrected = plain, rounded = plain;
    equalized.name += "-equalized", equalized.equalize = true;
    corrected.name += "-corrected", corrected.correct_bias = true;
    rounded.name += "-adaround", rounded.adaptive_rounding = true;
    for (const Variation& v : {plain, equalized, corrected, rounded}) all.push_back(v);
  }
  return all;
}

std::vector<Variation> learning_rates(const char* study, bool adam, std::initializer_list<double> rates) {
  std::vector<Variation> all;
  for (const double rate : rates) {
    Variation v{.name = fmt::format("{}{:g}", adam ? "adam" : "sgd", rate), .study = study};
    v.learning_rate = rate;
    v.adam = adam;
    v.on_validation = true;
    all.push_back(v);
  }
  return all;
}

struct Study {
  std::string name;
  Method method;
  std::vector<Variation> variations;
};

std::vector<Study> studies() {
  std::vector<Variation> optimizers = learning_rates("optimizer", true, {1e-4, 3e-4, 1e-3});
  for (const Variation& v : learning_rates("optimizer", false, {3e-3, 1e-2, 3e-2})) optimizers.push_back(v);
  return {{"bias-width", Method::kPtq, bias_widths()},
          {"learning-rate", Method::kQat, learning_rates("learning-rate", false, {1e-3, 3e-3, 1e-2, 3e-2, 1e-1})},
          {"optimizer", Method::kQat, std::move(optimizers)},
          {"ablation", Method::kPtq, ablations()},
          {"master-weights", Method::kQat, master_weights()},
          {"calibration", Method::kPtq, calibrations()},
          {"weights", Method::kPtq, weight_helps()}};
}

void require_known(const char* what, const std::vector<std::string>& given, const std::vector<std::string>& known) {
  if (given.empty()) throw InvalidArgument("[experiment] no {} is named. Known: {}.", what, fmt::join(known, ", "));
  for (const std::string& word : given) {
    if (std::find(known.begin(), known.end(), word) != known.end()) continue;
    throw InvalidArgument("[experiment] '{}' is no {} of this experiment. {}", word, what, suggest(word, known));
  }
}

constexpr int kFewBits = 6;  // with less, QAT has a recipe of its own

void require_freezing(const PtqQatOptions& o) {
  if (!o.freeze_batch_norm || *o.freeze_batch_norm >= 0) return;
  throw InvalidArgument(
      "[experiment] --qat-freeze-batch-norm is {}; give the epochs of QAT after which batch-norm statistics stay, 0 or "
      "more. As many as --qat-epochs: never.",
      *o.freeze_batch_norm);
}

void require_weight_decay(double decay) {
  // A step may not turn a weight's sign: learning rates are below 1.
  if (decay >= 0 && decay <= 1) return;
  throw InvalidArgument("[experiment] --qat-weight-decay is {}; it must lie between 0 and 1. 1e-4 and 1e-5 are usual.",
                        decay);
}

void require_teacher(const PtqQatOptions& o) {
  for (const auto& [dataset, teacher] : o.teachers) {
    if (std::find(o.datasets.begin(), o.datasets.end(), dataset) != o.datasets.end()) continue;
    throw InvalidArgument("[experiment] --teacher names the data set '{}'; --datasets has {}.", dataset,
                          fmt::join(o.datasets, ", "));
  }
  if (!(o.teacher_weight >= 0 && o.teacher_weight <= 1)) {
    throw InvalidArgument("[experiment] --teacher-weight is {}; it must lie between 0 and 1.", o.teacher_weight);
  }
  if (!(o.temperature > 0) || !std::isfinite(o.temperature)) {
    throw InvalidArgument("[experiment] --temperature is {}; it must be a number above 0.", o.temperature);
  }
}

void require_augmentation(const PtqQatOptions& o) {
  for (const std::string& dataset : o.datasets) {
    const Shape image = dataset == "cifar10" ? Shape{32, 32, 3} : Shape{28, 28, 1};
    data::check_augmentation(o.augmentation, image, dataset);
    data::check_augmentation(qat_augmentation_of(o, dataset), image, dataset);
  }
}

void require_at_least(const char* what, int64_t given, int64_t least) {
  if (given < least) throw InvalidArgument("[experiment] {} is {}; it must be at least {}.", what, given, least);
}

// A cell that is there twice would count as two seeds.
template <class Value>
void require_once(const char* option, const std::vector<Value>& given) {
  for (auto each = given.begin(); each != given.end(); ++each) {
    if (std::find(given.begin(), each, *each) == each) continue;
    throw InvalidArgument("[experiment] {} has {} twice; once is enough.", option, *each);
  }
}

// The cells of one network and seed.
void add_cells(const PtqQatOptions& o, const Cell& base, std::vector<Cell>& cells) {
  cells.push_back(base);
  for (const Method method : o.methods) {
    Cell cell = base;
    cell.method = method;
    if (method == Method::kFineTuned) cells.push_back(cell);
    if (method == Method::kFineTuned || method == Method::kFloat) continue;
    for (const int bits : o.bits) {
      cell.bits = bits;
      cells.push_back(cell);
    }
  }
  for (const Study& study : studies()) {
    if (std::find(o.studies.begin(), o.studies.end(), study.name) == o.studies.end()) continue;
    for (const int bits : o.bits) {
      for (const Variation& variation : study.variations) {
        if (!base.with_batch_norm && is_about_batch_norms(variation)) continue;
        if (base.with_batch_norm && is_about_plain_blocks(variation)) continue;
        Cell cell = base;
        cell.method = study.method;
        cell.bits = bits;
        cell.variation = variation;
        cells.push_back(std::move(cell));
      }
    }
  }
}

}  // namespace

std::string_view name(Method method) { return kMethods[static_cast<size_t>(method)]; }

Method method_of(std::string_view word) {
  const auto found = std::find(kMethods.begin(), kMethods.end(), word);
  if (found != kMethods.end()) return static_cast<Method>(found - kMethods.begin());
  const std::vector<std::string> known(kMethods.begin(), kMethods.end());
  throw InvalidArgument("[experiment] '{}' is no method. {}", word, suggest(word, known));
}

std::string Cell::key() const {
  std::string key = fmt::format("{}-{}-s{}-{}", dataset, network(), seed, name(method));
  if (bits > 0) key += fmt::format("-{}", bits);
  if (!variation.name.empty()) key += fmt::format("-{}-{}", variation.study, variation.name);
  return key;
}

Cell float_cell(const Cell& cell) {
  Cell base{.dataset = cell.dataset, .with_batch_norm = cell.with_batch_norm, .seed = cell.seed};
  if (!cell.variation.on_validation) return base;
  base.variation.study = "validation";
  base.variation.name = "split";
  base.variation.on_validation = true;
  return base;
}

const std::vector<std::string>& study_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Study& study : studies()) all.push_back(study.name);
    return all;
  }();
  return names;
}

std::vector<std::string> studies_named(std::vector<std::string> words) {
  if (std::find(words.begin(), words.end(), "all") == words.end()) return words;
  return study_names();
}

void check(const PtqQatOptions& o) {
  require_known("data set", o.datasets, {"fashion_mnist", "cifar10"});
  require_known("network", o.networks, {"cnn", "cnn_bn"});
  if (!o.studies.empty()) require_known("study", o.studies, study_names());
  std::vector<std::string_view> methods;
  for (const Method method : o.methods) methods.push_back(name(method));
  require_once("--datasets", o.datasets);
  require_once("--networks", o.networks);
  require_once("--methods", methods);
  require_once("--bits", o.bits);
  for (const int bits : o.bits) affine::check_bit_width("experiment", bits);
  require_at_least("--seeds", o.seeds, 1);
  require_at_least("--epochs", o.epochs, 1);
  require_at_least("--qat-epochs", o.qat_epochs, 1);
  require_at_least("--qat-batch-size", o.qat_batch_size, 1);
  require_weight_decay(o.qat_weight_decay.value_or(0));
  require_freezing(o);
  require_teacher(o);
  require_augmentation(o);
  require_at_least("--train-samples", o.train_samples, 0);
  require_at_least("--calibration-samples", o.calibration_samples, 1);
}

data::Augmentation usual_augmentation(std::string_view dataset) {
  return dataset == "cifar10" ? data::Augmentation{.flip = true, .shift = 2} : data::Augmentation{};
}

data::Augmentation qat_augmentation_of(const PtqQatOptions& o, std::string_view dataset) {
  return o.qat_augmentation.value_or(usual_augmentation(dataset));
}

std::vector<Cell> cells_of(const PtqQatOptions& o) {
  check(o);
  std::vector<Cell> cells;
  for (int seed = 1; seed <= o.seeds; ++seed) {  // one whole table first
    for (const std::string& dataset : o.datasets) {
      for (const std::string& network : o.networks) {
        add_cells(o, {.dataset = dataset, .with_batch_norm = network == "cnn_bn", .seed = static_cast<uint64_t>(seed)},
                  cells);
      }
    }
  }
  return cells;
}

double learning_rate_of(const Cell& cell, const PtqQatOptions& o) {
  if (cell.variation.learning_rate) return *cell.variation.learning_rate;
  if (cell.method == Method::kFloat) return o.learning_rate;
  return is_quantized_in_training(cell) && cell.bits < kFewBits ? o.few_bits_learning_rate : o.qat_learning_rate;
}

double weight_decay_of(const Cell& cell, const PtqQatOptions& o) {
  if (cell.method != Method::kFineTuned && !is_quantized_in_training(cell)) return 0;
  return o.qat_weight_decay.value_or(cell.with_batch_norm ? 1e-3 : 0);
}

bool folds_in_training(const Cell& cell) { return cell.with_batch_norm && is_quantized_in_training(cell); }

std::optional<double> batch_norms_freeze_at(const Cell& cell, const PtqQatOptions& o) {
  if (!folds_in_training(cell)) return {};
  const double epochs = o.freeze_batch_norm.value_or(cell.bits < kFewBits ? 0.5 * o.qat_epochs : o.qat_epochs);
  if (epochs >= o.qat_epochs) return {};
  return epochs;
}

bool corrects_biases(const Cell& cell, const PtqQatOptions& o) {
  if (cell.method != Method::kPtq) return false;
  return cell.variation.name.empty() ? o.corrects_biases : cell.variation.correct_bias;
}

nlohmann::json settings_of(const Cell& cell, const PtqQatOptions& o) {
  nlohmann::json settings = {
      {"epochs", o.epochs}, {"learning_rate", o.learning_rate}, {"train_samples", o.train_samples}};
  // Like the others of the recipe: only where it differs, for cells from before there was a choice.
  if (!o.augmentation.is_none()) settings["augment"] = data::to_string(o.augmentation);
  const bool is_trained_on = is_quantized_in_training(cell);
  if (is_trained_on || cell.method == Method::kFineTuned) {
    settings["qat_epochs"] = o.qat_epochs;
    settings["qat_learning_rate"] = learning_rate_of(cell, o);
    // Only where they differ: cells from before there was a choice stay good.
    if (o.qat_batch_size != kBatchSize) settings["qat_batch_size"] = o.qat_batch_size;
    if (const double decay = weight_decay_of(cell, o); decay != 0) settings["qat_weight_decay"] = decay;
    const data::Augmentation augmentation = qat_augmentation_of(o, cell.dataset);
    if (!augmentation.is_none()) settings["qat_augment"] = data::to_string(augmentation);
    if (const auto teacher = o.teachers.find(cell.dataset); teacher != o.teachers.end()) {
      settings["teacher"] = {{"weight", o.teacher_weight}, {"temperature", o.temperature}};
      if (!teacher->second.model.empty()) settings["teacher"]["sha256"] = teacher->second.sha256;
    }
  }
  if ((is_trained_on && !folds_in_training(cell)) || cell.method == Method::kPtq) {
    settings["calibration_samples"] = o.calibration_samples;
  }
  // They were merged before training once.
  if (folds_in_training(cell)) settings["batch_norm"] = "fold_batch";
  if (const auto epochs = batch_norms_freeze_at(cell, o)) settings["freeze_batch_norm"] = *epochs;
  // The table's, since it is there.
  if (cell.variation.name.empty() && corrects_biases(cell, o)) settings["bias_correction"] = "empirical";
  // Extremes, before there was a choice.
  const affine::RangeRule ranges = affine::usual_range_rule(cell.bits);
  if (cell.method == Method::kQat && ranges != affine::RangeRule::kExtremes) settings["ranges"] = affine::name(ranges);
  // What names of variations did not always mean.
  if (cell.variation.statistics_momentum < 1.0) settings["statistics_momentum"] = cell.variation.statistics_momentum;
  return settings;
}

std::optional<int> published(const Cell& cell) {
  if (!cell.variation.name.empty() || cell.method == Method::kFineTuned || cell.method == Method::kLsq) return {};
  const bool is_fashion = cell.dataset == "fashion_mnist";
  if (cell.method == Method::kFloat) return is_fashion ? 90 : (cell.with_batch_norm ? 73 : 69);
  if (cell.bits != 4 && cell.bits != 6 && cell.bits != 8) return {};
  // [data set][batch norm][QAT][4, 6, 8 bits]
  constexpr int kPercent[2][2][2][3] = {{{{71, 88, 90}, {81, 90, 91}}, {{52, 63, 59}, {62, 71, 84}}},
                                        {{{47, 67, 69}, {47, 67, 69}}, {{42, 45, 57}, {43, 53, 59}}}};
  return kPercent[is_fashion ? 0 : 1][cell.with_batch_norm ? 1 : 0][cell.method == Method::kQat ? 1 : 0]
                 [cell.bits / 2 - 2];
}

}  // namespace nibble::experiment
