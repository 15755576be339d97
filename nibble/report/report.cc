#include "nibble/report/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/report/report_template.h"

namespace nibble::report {
namespace {

using Json = nlohmann::json;

constexpr int kSchema = 1;  // web/src/payload.ts accepts the same number
constexpr const char* kAccuracy = "accuracy";

// ---- checks ----------------------------------------------------------------

void check_accuracy(const std::optional<double>& accuracy, const std::string& where) {
  if (accuracy && std::isfinite(*accuracy) && (*accuracy < 0 || *accuracy > 1)) {
    throw InvalidArgument("[report] {}: accuracy is {}; it is a fraction from 0 to 1 (0.987 for 98.7 %).", where,
                          *accuracy);
  }
}

void check_energy(const std::optional<double>& energy_nj, const std::string& where) {
  if (energy_nj && std::isfinite(*energy_nj) && *energy_nj <= 0) {
    throw InvalidArgument("[report] {}: energy is {} nJ; it must be positive, or left empty if it is not known.", where,
                          *energy_nj);
  }
}

void check_trials(const ReportData& data) {
  std::set<int> numbers;
  for (const TrialRow& trial : data.trials) {
    const std::string where = fmt::format("trial {}", trial.number);
    if (!numbers.insert(trial.number).second) {
      throw InvalidArgument("[report] {} is listed twice; each trial is one row.", where);
    }
    check_accuracy(trial.accuracy, where);
    check_energy(trial.energy_nj, where);
  }
  if (data.outcome && data.outcome->trial && !data.trials.empty() && !numbers.contains(*data.outcome->trial)) {
    throw InvalidArgument("[report] the outcome is trial {}, which is not among the {} trials; add its row.",
                          *data.outcome->trial, data.trials.size());
  }
}

void check(const ReportData& data) {
  for (const Reference& reference : data.references) {
    check_energy(reference.energy_nj, fmt::format("reference '{}'", reference.name));
    check_accuracy(reference.accuracy, fmt::format("reference '{}'", reference.name));
  }
  if (data.outcome) {
    check_accuracy(data.outcome->accuracy, "outcome");
    check_energy(data.outcome->energy_nj, "outcome");
  }
  check_trials(data);
}

// ---- values to JSON --------------------------------------------------------

// Members that are not there stay away; numbers that are not finite are null.
template <class T>
void put(Json& object, const char* key, const std::optional<T>& value) {
  if (!value) return;
  if constexpr (std::is_floating_point_v<T>) {
    object[key] = std::isfinite(*value) ? Json(*value) : Json(nullptr);
  } else {
    object[key] = *value;
  }
}

void put(Json& object, const char* key, const std::string& text) {
  if (!text.empty()) object[key] = text;
}

Json pairs(const std::vector<std::pair<std::string, std::string>>& items) {
  Json list = Json::array();
  for (const auto& [name, value] : items) list.push_back({{"name", name}, {"value", value}});
  return list;
}

Json convert(const ModelInfo& model) {
  Json object = {{"name", model.name}};
  put(object, "parameters", model.parameters);
  put(object, "weight_bits", model.weight_bits);
  return object;
}

Json convert(const DatasetInfo& dataset) {
  Json object = {{"name", dataset.name}};
  put(object, "train_samples", dataset.train_samples);
  put(object, "test_samples", dataset.test_samples);
  put(object, "note", dataset.note);
  return object;
}

Json convert(const Reference& reference) {
  Json object = {{"name", reference.name}};
  put(object, "energy_nj", std::optional(reference.energy_nj));
  put(object, "accuracy", reference.accuracy);
  return object;
}

// Under the metric's own name.
void put_value(Json& object, const search::Objective& metric, const std::optional<double>& value) {
  if (metric.metric != kAccuracy) put(object, metric.metric.c_str(), value);
}

Json convert(const search::Objective& metric) {
  return {{"name", metric.metric}, {"direction", metric.maximise ? "maximise" : "minimise"}};
}

Json convert(const Outcome& outcome, const search::Objective& metric) {
  Json object = Json::object();
  put(object, "trial", outcome.trial);
  put(object, "accuracy", outcome.accuracy);
  put(object, "loss", outcome.loss);
  put(object, "energy_nj", outcome.energy_nj);
  put(object, "bits", outcome.bits);
  put(object, "score", outcome.score);
  put_value(object, metric, outcome.value);
  return object;
}

Json convert(const TrialRow& trial, const search::Objective& metric) {
  Json object = {{"number", trial.number}, {"state", search::to_string(trial.state)}};
  put(object, "score", trial.score);
  put(object, "accuracy", trial.accuracy);
  put_value(object, metric, trial.value);
  put(object, "energy_nj", trial.energy_nj);
  put(object, "bits", trial.bits);
  put(object, "weight_bits", trial.weight_bits);
  put(object, "reason", trial.reason);
  object["choices"] = pairs(trial.choices);
  return object;
}

Json convert(const EnergySplit& parts) {
  Json object = Json::object();
  put(object, "operations", std::optional(parts.operations_nj));
  put(object, "parameters", std::optional(parts.parameters_nj));
  put(object, "inputs", std::optional(parts.inputs_nj));
  put(object, "outputs", std::optional(parts.outputs_nj));
  return object;
}

Json convert(const LayerRow& layer) {
  Json object = {{"name", layer.name}, {"type", layer.type}};
  put(object, "kernel", layer.kernel);
  put(object, "bias", layer.bias);
  put(object, "activation", layer.activation);
  put(object, "filters", layer.filters);
  put(object, "reference_filters", layer.reference_filters);
  put(object, "parameters", layer.parameters);
  put(object, "reference_energy_nj", layer.reference_energy_nj);
  put(object, "energy_nj", layer.energy_nj);
  if (layer.energy_parts) object["energy_parts_nj"] = convert(*layer.energy_parts);
  return object;
}

Json convert(const WeightHistogram& histogram) {
  const CodeHistogram& codes = histogram.codes;
  const bool affine = codes.kind == quant::Encoded::Kind::kAffine;
  Json bins = Json::array();
  for (const CodeBin& bin : codes.bins) {
    Json object = {{"first", bin.first}, {"last", bin.last}, {"count", bin.count}};
    if (!affine) object["sign"] = bin.sign;
    bins.push_back(std::move(object));
  }
  Json object = {{"layer", histogram.layer},
                 {"tensor", histogram.tensor},
                 {"quantizer", histogram.quantizer},
                 {"kind", affine ? "affine" : "power_of_two"},
                 {"bit_width", codes.bit_width},
                 {"bins", std::move(bins)},
                 {"total", codes.total},
                 {"zeros", codes.zeros},
                 {"used_codes", codes.used_codes}};
  if (affine) object["zero_point"] = codes.zero_point;
  put(object, "scale_min", std::optional(codes.scale_min));
  put(object, "scale_max", std::optional(codes.scale_max));
  return object;
}

Json convert(const CurvePoint& point) {
  Json object = {{"epoch", point.epoch}};
  put(object, "loss", point.loss);
  put(object, "accuracy", point.accuracy);
  put(object, "val_loss", point.val_loss);
  put(object, "val_accuracy", point.val_accuracy);
  put(object, "learning_rate", point.learning_rate);
  put(object, "mse", point.mse);
  put(object, "mae", point.mae);
  put(object, "val_mse", point.val_mse);
  put(object, "val_mae", point.val_mae);
  return object;
}

// Of items that need no metric, or of those that do.
template <class T, class... Metric>
Json convert_all(const std::vector<T>& items, const Metric&... metric) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(convert(item, metric...));
  return list;
}

Json convert(const Curve& curve) {
  Json object = {{"name", curve.name}, {"points", convert_all(curve.points)}};
  put(object, "trial", curve.trial);
  return object;
}

Json convert(const HypervolumeGrowth& growth) {
  Json axes = Json::array(), steps = Json::array();
  for (const HypervolumeAxis& axis : growth.axes) {
    axes.push_back({{"metric", axis.metric}, {"maximise", axis.maximise}});
    put(axes.back(), "reference", std::optional(axis.reference));
  }
  for (const search::HypervolumeStep& step : growth.steps) {
    steps.push_back({{"trials", step.trials}, {"trial", step.number}});
    put(steps.back(), "hypervolume", std::optional(step.hypervolume));
  }
  return {{"axes", std::move(axes)}, {"trials", growth.trials}, {"steps", std::move(steps)}};
}

// JSON that may stand inside <script>: without '<' neither "</script" nor "<!--" can occur.
// Text that is not UTF-8 gets replacement characters.
std::string script_safe(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

}  // namespace

Json to_json(const ReportData& data) {
  check(data);
  Json object = {{"schema", kSchema},
                 {"title", data.title},
                 {"metric", convert(data.metric)},
                 {"model", convert(data.model)},
                 {"dataset", convert(data.dataset)},
                 {"references", convert_all(data.references)},
                 {"trials", convert_all(data.trials, data.metric)},
                 {"layers", convert_all(data.layers)},
                 {"histograms", convert_all(data.histograms)},
                 {"settings", pairs(data.settings)}};
  Json curves = Json::array();
  for (const Curve& curve : data.curves) curves.push_back(convert(curve));
  object["curves"] = std::move(curves);
  put(object, "goal", data.goal);
  if (data.outcome) object["outcome"] = convert(*data.outcome, data.metric);
  if (data.hypervolume) object["hypervolume"] = convert(*data.hypervolume);
  return object;
}

std::string render_report(const ReportData& data) {
  const std::string payload = script_safe(to_json(data));
  const std::string_view page = report_template();
  const size_t marker = page.find(kPayloadMarker);
  if (marker == std::string_view::npos) {
    throw Error("[report] the embedded page has no place for the data; build nibble again from a clean build folder.");
  }
  std::string html;
  html.reserve(page.size() + payload.size());
  html += page.substr(0, marker);
  html += payload;
  html += page.substr(marker + kPayloadMarker.size());
  return html;
}

void write_report(const ReportData& data, const std::filesystem::path& path) { write_file(path, render_report(data)); }

}  // namespace nibble::report
