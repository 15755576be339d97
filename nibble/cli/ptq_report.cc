#include "nibble/cli/ptq_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/table.h"

namespace nibble::cli {
namespace {

constexpr size_t kMarked = 3;

std::string range_text(affine::Range range) { return fmt::format("{:.4g} .. {:.4g}", range.min, range.max); }
std::string share_text(double share) { return share == 0 ? "0" : fmt::format("{:.3g}", 100.0 * share); }

std::string db_text(double db) { return db >= ptq::kLosslessDb ? "exact" : fmt::format("{:.1f}", db); }

// Indices of the layers that lose most, worst first.
std::vector<size_t> worst(const std::vector<ptq::QuantizedLayer>& layers) {
  std::vector<size_t> order;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (own_sqnr_db(layers[i]) < ptq::kLosslessDb) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return own_sqnr_db(layers[a]) < own_sqnr_db(layers[b]); });
  order.resize(std::min(order.size(), kMarked));
  return order;
}

std::vector<std::string> cells_of(const ptq::QuantizedLayer& layer, const std::string& mark) {
  const bool has_weights = layer.weight_bits > 0, has_output = layer.output_bits > 0;
  const auto if_weights = [&](const std::string& text) { return has_weights ? text : std::string("-"); };
  const auto if_output = [&](const std::string& text) { return has_output ? text : std::string("-"); };
  return {mark,
          layer.layer,
          if_weights(std::to_string(layer.weight_bits)),
          if_weights(range_text(layer.weight_range)),
          if_weights(share_text(layer.weights_clipped)),
          if_weights(db_text(layer.weight_sqnr_db)),
          if_output(std::to_string(layer.output_bits)),
          if_output(range_text(layer.output_range)),
          if_output(range_text(layer.output_seen)),
          if_output(share_text(layer.output_clipped)),
          if_output(db_text(layer.range_sqnr_db)),
          if_output(db_text(layer.output_sqnr_db))};
}

void print_notes(const ptq::PostTrainingResult& result, std::ostream& out) {
  if (!result.folded.empty()) out << fmt::format("batch norms folded into: {}\n", fmt::join(result.folded, ", "));
  if (!result.left_batch_norms.empty()) {
    out << fmt::format("batch norms that stay in float: {}\n", fmt::join(result.left_batch_norms, ", "));
  }
  if (result.equalized_pairs > 0) {
    out << fmt::format("equalized {} pairs of layers; the largest factor of a channel was {:.3g}\n",
                       result.equalized_pairs, result.largest_equalization);
  }
  if (std::none_of(result.layers.begin(), result.layers.end(), [](const auto& l) { return l.weight_bits > 0; })) {
    out << "note: no layer has weights of a class that is quantized; only activations have codes\n";
  }
  for (const ptq::QuantizedLayer& layer : result.layers) {
    if (!layer.note.empty()) out << fmt::format("note: layer '{}': {}\n", layer.layer, layer.note);
    if (layer.saturated_biases > 0) {
      out << fmt::format(
          "warning: layer '{}': {} biases do not fit their bits and are clipped; give more --bias-bits\n", layer.layer,
          layer.saturated_biases);
    }
  }
}

nlohmann::json range_json(affine::Range range) { return {range.min, range.max}; }

nlohmann::json layer_json(const ptq::QuantizedLayer& layer) {
  nlohmann::json row = {{"layer", layer.layer}, {"class", layer.class_name}};
  if (layer.weight_bits > 0) {
    row["weights"] = {{"bits", layer.weight_bits},
                      {"range", range_json(layer.weight_range)},
                      {"clipped", layer.weights_clipped},
                      {"sqnr_db", layer.weight_sqnr_db},
                      {"rounded_otherwise", layer.rounded_otherwise},
                      {"saturated_biases", layer.saturated_biases},
                      {"bias_correction", layer.bias_correction}};
  }
  if (layer.output_bits > 0) {
    row["output"] = {{"bits", layer.output_bits},
                     {"range", range_json(layer.output_range)},
                     {"seen", range_json(layer.output_seen)},
                     {"clipped", layer.output_clipped},
                     {"range_sqnr_db", layer.range_sqnr_db},
                     {"sqnr_db", layer.output_sqnr_db}};
  }
  if (!layer.note.empty()) row["note"] = layer.note;
  return row;
}

}  // namespace

double own_sqnr_db(const ptq::QuantizedLayer& layer) {
  double db = ptq::kLosslessDb;
  if (layer.weight_bits > 0) db = std::min(db, layer.weight_sqnr_db);
  if (layer.output_bits > 0) db = std::min(db, layer.range_sqnr_db);
  return db;
}

void print_ptq(const ptq::PostTrainingResult& result, const PtqAccuracy& accuracy, std::ostream& out) {
  Table table{.headers = {"worst", "layer", "bits", "weights", "clipped %", "dB", "bits", "output", "seen", "clipped %",
                          "dB", "dB in all"},
              .rows = {}};
  const std::vector<size_t> order = worst(result.layers);
  for (size_t i = 0; i < result.layers.size(); ++i) {
    const auto rank = std::find(order.begin(), order.end(), i) - order.begin();
    const bool is_marked = rank < static_cast<std::ptrdiff_t>(order.size());
    table.rows.push_back(cells_of(result.layers[i], is_marked ? std::to_string(rank + 1) : ""));
  }
  print(table, out);
  print_notes(result, out);
  if (accuracy.samples == 0) return;
  out << fmt::format("{} {:.4f} in float, {:.4f} quantized, on {} samples\n", accuracy.measure, accuracy.real,
                     accuracy.quantized, accuracy.samples);
}

nlohmann::json ptq_json(const ptq::PostTrainingResult& result, const PtqAccuracy& accuracy) {
  nlohmann::json layers = nlohmann::json::array(), worst_names = nlohmann::json::array();
  for (const ptq::QuantizedLayer& layer : result.layers) layers.push_back(layer_json(layer));
  for (const size_t i : worst(result.layers)) worst_names.push_back(result.layers[i].layer);
  nlohmann::json json = {{"layers", layers},
                         {"worst", worst_names},
                         {"folded", result.folded},
                         {"left_batch_norms", result.left_batch_norms},
                         {"equalized_pairs", result.equalized_pairs}};
  if (accuracy.samples > 0) {
    json[accuracy.measure] = {
        {"float", accuracy.real}, {"quantized", accuracy.quantized}, {"samples", accuracy.samples}};
  }
  return json;
}

}  // namespace nibble::cli
