#include "nibble/cli/training_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <sstream>

#include "nibble/cli/json_file.h"
#include "nibble/cli/model_report.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/report/report.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line);
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

std::optional<double> number(const std::map<std::string, std::string>& row, const std::string& column) {
  const auto found = row.find(column);
  if (found == row.end() || found->second.empty()) return std::nullopt;
  double value = 0;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw CorruptFile("history.csv: '{}' in the column {} is not a number.", text, column);
  }
  return value;
}

int epoch(const std::map<std::string, std::string>& row) {
  constexpr double kMost = 1e9;
  const double value = number(row, "epoch").value_or(0);
  if (!(value >= 1 && value <= kMost && value == std::floor(value))) {
    throw CorruptFile("history.csv: '{}' in the column epoch is no whole number above 0.",
                      row.contains("epoch") ? row.at("epoch") : "");
  }
  return static_cast<int>(value);
}

// What `nibble train` measured with the weights in model.keras. A training that was stopped has no such file.
report::Outcome read_outcome(const fs::path& path) {
  report::Outcome outcome;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return outcome;
  const nlohmann::json result = read_json(path);
  const auto figure = [&](const char* key) {
    const auto found = result.find(key);
    return found != result.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
  };
  if (!result.is_object()) throw CorruptFile("'{}' is not a result of 'nibble train'.", path.string());
  outcome.accuracy = figure("val_accuracy");
  outcome.loss = figure("val_loss");
  return outcome;
}

// The lines of csv_logger().
std::vector<report::CurvePoint> read_history(const fs::path& path) {
  std::istringstream lines(read_file(path, uint64_t{64} << 20));
  std::string line;
  std::getline(lines, line);
  const auto columns = split(line);
  std::vector<report::CurvePoint> points;
  while (std::getline(lines, line)) {
    if (line.empty()) continue;
    const auto cells = split(line);
    std::map<std::string, std::string> row;
    for (size_t c = 0; c < std::min(columns.size(), cells.size()); ++c) row[columns[c]] = cells[c];
    points.push_back({.epoch = epoch(row),
                      .loss = number(row, "loss"),
                      .accuracy = number(row, "accuracy"),
                      .val_loss = number(row, "val_loss"),
                      .val_accuracy = number(row, "val_accuracy"),
                      .learning_rate = number(row, "learning_rate"),
                      .mse = number(row, "mse"),
                      .mae = number(row, "mae"),
                      .val_mse = number(row, "val_mse"),
                      .val_mae = number(row, "val_mae")});
  }
  return points;
}

// What the result is told by: the accuracy or, where there is none, the loss, by its name where it is one of the
// errors. Both come out of the same sums, so they are equal to the last bit unless regularizers add to the loss.
std::string metric_of(const std::vector<report::CurvePoint>& points) {
  const auto all = [&](auto holds) { return std::all_of(points.begin(), points.end(), holds); };
  if (all([](const auto& p) { return !p.mse && !p.val_mse; })) return "accuracy";
  if (!all([](const auto& p) { return !p.accuracy && !p.val_accuracy; })) return "accuracy";
  if (all([](const auto& p) { return !p.val_loss; })) return "loss";
  if (all([](const auto& p) { return p.val_loss == p.val_mse; })) return "mse";
  return all([](const auto& p) { return p.val_loss == p.val_mae; }) ? "mae" : "loss";
}

double total_nj(const cost::EnergyEstimate& estimate) { return static_cast<double>(estimate.total_pj) / kPicoPerNano; }

bool has_quantizers(const graph::Model& model) {
  for (const graph::Layer& layer : model.layers) {
    for (const auto& [name, value] : layer.attributes) {
      const auto* quantizer = std::get_if<quant::QuantizerPtr>(&value);
      if (quantizer != nullptr && *quantizer != nullptr) return true;
    }
  }
  return false;
}

}  // namespace

void write_training_report(const fs::path& directory, const fs::path& page) {
  const graph::Model model = formats::keras::load_model(directory / "model.keras");
  const auto points = read_history(directory / "history.csv");
  const auto int8 = cost::estimate(model, cost::energy_query(cost::Reference::kInt8));
  const auto fp32 = cost::estimate(model, cost::energy_query(cost::Reference::kFp32));
  const bool quantized = has_quantizers(model);
  const auto own = quantized ? cost::estimate(model, cost::energy_query(cost::Reference::kNone)) : fp32;

  report::ReportData data;
  data.title = fmt::format("Training of {}", model.name);
  data.model.name = model.name;
  data.model.parameters = count_parameters(model);
  data.references = {{.name = "int8", .energy_nj = total_nj(int8), .accuracy = {}}};
  if (quantized) data.references.push_back({.name = "fp32", .energy_nj = total_nj(fp32), .accuracy = {}});
  data.metric = {.metric = metric_of(points), .maximise = false};
  data.metric.maximise = data.metric.metric == "accuracy";
  report::Outcome outcome = read_outcome(directory / kResultFile);
  if (!data.metric.maximise) outcome.value = outcome.loss;
  outcome.energy_nj = total_nj(own);
  data.outcome = outcome;
  data.curves = {{.name = "training", .trial = {}, .points = points}};
  add_model(data, model, model, int8, own);
  if (!quantized) data.model.weight_bits.reset();  // it has no integer codes
  report::write_report(data, page);
}

}  // namespace nibble::cli
