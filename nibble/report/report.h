// nibble/report/report.h
// The report of a training run or a search: one HTML file that needs nothing else.
//
// The page (web/, TypeScript and ECharts) is bundled when nibble is built and embedded in the
// library; write_report() puts the data into it as JSON. The file opens offline from disk, and
// its own content policy forbids every network access.
//
// These are plain values that the caller fills. Whatever is left empty is left out of the page:
// a plain training run has no trials and no references, and its report has no such sections. (Every
// member has a default in braces, so that a struct can be filled by name without warnings.)
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nibble/report/code_histogram.h"
#include "nibble/search/pareto.h"
#include "nibble/search/study.h"

namespace nibble::report {

struct ModelInfo {
  std::string name{};                    // "mnist", or the file's name
  std::optional<int64_t> parameters{};   // weights of all layers, counted
  std::optional<int64_t> weight_bits{};  // bits that all weights need as integer codes
};

struct DatasetInfo {
  std::string name{};  // "mnist"
  std::optional<int64_t> train_samples{}, test_samples{};
  std::string note{};  // a sentence if the data is not what the name says: "synthetic digits stood in"
};

// A model without the chosen quantizers, to compare with. The first one is "the reference" of
// the page: reductions and the bars "before" refer to it.
struct Reference {
  std::string name{};                // "int8", "fp32"
  double energy_nj = 0;              // per inference; > 0
  std::optional<double> accuracy{};  // 0..1
};

// The model that the report is about: the winner of a search, or the trained model.
struct Outcome {
  std::optional<int> trial{};         // its number, if a search found it
  std::optional<double> accuracy{};   // on the evaluation split, 0..1
  std::optional<double> loss{};       // on the evaluation split
  std::optional<double> energy_nj{};  // per inference
  std::optional<double> bits{};       // of weights and activations, where the search counted those
  std::optional<double> score{};      // what the search maximised
  std::optional<double> value{};      // of ReportData::metric, where that is not the accuracy
};

struct TrialRow {
  int number = 0;
  search::TrialState state = search::TrialState::kCompleted;
  std::optional<double> score{};                               // maximised
  std::optional<double> accuracy{};                            // 0..1
  std::optional<double> value{};                               // of ReportData::metric, where that is not the accuracy
  std::optional<double> energy_nj{};                           // per inference
  std::optional<double> bits{};                                // of weights and activations, where those were counted
  std::optional<int64_t> weight_bits{};                        // bits of all weights
  std::string reason{};                                        // why it failed
  std::vector<std::pair<std::string, std::string>> choices{};  // hyperparameter, value; in the order to show
};

// Where the energy of a layer goes, per inference. Only what counts in the layer's energy: parts that neighbouring
// layers share are 0 in one of them.
struct EnergySplit {
  double operations_nj = 0;  // multiplications, additions, ...
  double parameters_nj = 0;  // reading weights
  double inputs_nj = 0;      // reading activations
  double outputs_nj = 0;     // writing activations
};

// One layer of the outcome's model, in the model's order. Texts may be empty.
struct LayerRow {
  std::string name{};                           // "conv2d_0"
  std::string type{};                           // "QConv2D"
  std::string kernel{}, bias{}, activation{};   // printed quantizers
  std::optional<int64_t> filters{};             // filters or units
  std::optional<int64_t> reference_filters{};   // of the original model, where the search may change them
  std::optional<int64_t> parameters{};          // weights, counted
  std::optional<double> reference_energy_nj{};  // of the first reference, per inference
  std::optional<double> energy_nj{};            // per inference
  std::optional<EnergySplit> energy_parts{};    // of energy_nj
};

// How often each code occurs in one weight tensor of the outcome's model.
struct WeightHistogram {
  std::string layer{};      // "conv2d_0"
  std::string tensor{};     // "kernel"
  std::string quantizer{};  // printed form
  CodeHistogram codes{};
};

struct CurvePoint {
  int epoch = 0;                                     // 1-based
  std::optional<double> loss{}, accuracy{};          // training
  std::optional<double> val_loss{}, val_accuracy{};  // evaluation split
  std::optional<double> learning_rate{};
  std::optional<double> mse{}, mae{}, val_mse{}, val_mae{};  // where the loss is an error
};

struct Curve {
  std::string name{};          // "trial 7", "retrained"; shown in the legend
  std::optional<int> trial{};  // the trial it belongs to: picked together with its row and point
  std::vector<CurvePoint> points{};
};

// One thing that the hypervolume is spanned by.
struct HypervolumeAxis {
  std::string metric{};  // "accuracy"
  bool maximise = true;
  double reference = 0;  // where the hypervolume ends
};

// How the hypervolume that the trials dominate grew (search/pareto.h), trial by trial in the order of their numbers:
// the order in which they ended depends on the machine.
struct HypervolumeGrowth {
  std::vector<HypervolumeAxis> axes{};
  int trials = 0;                                // completed
  std::vector<search::HypervolumeStep> steps{};  // those that made it larger
};

struct ReportData {
  std::string title{};  // "AutoQKeras search on mnist"
  // What trials are judged by, beside their cost; of a training, what it is told by. Values of another one than
  // "accuracy" stand in the payload under its name ("mse").
  search::Objective metric{.metric = "accuracy", .maximise = true};
  ModelInfo model{};
  DatasetInfo dataset{};
  std::string goal{};                   // what the score means, one sentence
  std::vector<Reference> references{};  // the one to compare with first
  std::optional<Outcome> outcome{};
  std::vector<TrialRow> trials{};
  std::optional<HypervolumeGrowth> hypervolume{};
  std::vector<LayerRow> layers{};
  std::vector<WeightHistogram> histograms{};
  std::vector<Curve> curves{};                                  // the outcome's first
  std::vector<std::pair<std::string, std::string>> settings{};  // "batch size", "1024"; in the order to show
};

// The payload of the page (schema 1; web/src/payload.ts is its other side). Numbers that are not
// finite become null.
//   throws  InvalidArgument if an accuracy is outside 0..1, an energy is not positive, a trial's
//           number appears twice or the outcome names a trial that is not in the list
nlohmann::json to_json(const ReportData& data);

// The whole page. The same data gives the same bytes.
//   throws  as to_json
std::string render_report(const ReportData& data);

// Writes the page atomically.
//   throws  as to_json; IoError if the path cannot be written
void write_report(const ReportData& data, const std::filesystem::path& path);

}  // namespace nibble::report
