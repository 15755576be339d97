#include "nibble/cli/affine_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/table.h"
#include "nibble/core/error.h"

namespace nibble::cli {
namespace {

struct PointRow {
  std::string layer, point, quantizer;
  int bits = 0;
  bool is_calibrated = false;
  std::vector<float> scales;
  std::vector<int32_t> zero_points;  // empty where real 0 has no code of its own
  // The lowest and the highest value, one each a scale.
  std::vector<double> lowest, highest;
};

// All of it, as whoever runs the model asks: a range where trackers start counts if others have moved.
bool is_calibrated(const graph::Model& model) {
  try {
    graph::require_calibrated(model, "inspect");
    return true;
  } catch (const InvalidArgument&) {
    return false;
  }
}

bool is_calibrated(const graph::Layer& layer, const graph::QuantizedPoint& point) {
  graph::Layer alone = layer;
  alone.quantization = graph::LayerQuantization{};
  if (point.is_weight) {
    alone.quantization->weights = {{point.name, point.quantizer}};
  } else if (point.name == graph::kPreActivation) {
    alone.quantization->pre_activation = point.quantizer;
  } else if (point.name == graph::kPostActivation) {
    alone.quantization->post_activation = point.quantizer;
  } else {
    alone.quantization->output = point.quantizer;
  }
  return graph::uncalibrated_point(alone).empty();
}

std::vector<PointRow> rows_of(const graph::Model& model) {
  std::vector<PointRow> rows;
  const bool all_calibrated = is_calibrated(model);
  for (const graph::Layer& layer : model.layers) {
    for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
      PointRow row{.layer = layer.name,
                   .point = point.name,
                   .quantizer = to_string(point.quantizer),
                   .bits = point.quantizer.num_bits,
                   .is_calibrated = all_calibrated || is_calibrated(layer, point),
                   .scales = {},
                   .zero_points = {},
                   .lowest = {},
                   .highest = {}};
      try {
        if (row.is_calibrated) {
          for (const affine::AffineParams& params : graph::point_params(layer, point.name)) {
            row.scales.push_back(params.scale);
            row.zero_points.push_back(params.zero_point);
            const auto value_of = [&](int32_t code) { return double{params.scale} * (code - params.zero_point); };
            row.lowest.push_back(value_of(params.lowest()));
            row.highest.push_back(value_of(params.highest()));
          }
        }
      } catch (const Unsupported&) {
        // Its levels are no codes with a scale and a zero point.
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string zero_points_text(const std::vector<int32_t>& zero_points) {
  if (zero_points.empty()) return "";
  const auto [low, high] = std::minmax_element(zero_points.begin(), zero_points.end());
  return *low == *high ? std::to_string(*low) : fmt::format("{} .. {}", *low, *high);
}

// Of all channels.
std::string range_text(const PointRow& row) {
  if (!row.is_calibrated) return "not yet";
  if (row.lowest.empty()) return "found";
  return fmt::format("{:.4g} .. {:.4g}", *std::min_element(row.lowest.begin(), row.lowest.end()),
                     *std::max_element(row.highest.begin(), row.highest.end()));
}

}  // namespace

bool has_affine_points(const graph::Model& model) {
  return std::any_of(model.layers.begin(), model.layers.end(),
                     [](const graph::Layer& layer) { return !graph::quantized_points(layer).empty(); });
}

bool print_affine_points(const graph::Model& model, std::ostream& out) {
  const std::vector<PointRow> rows = rows_of(model);
  if (rows.empty()) return false;
  Table table{.headers = {"layer", "point", "affine quantizer", "bits", "scale", "zero point", "range"}, .rows = {}};
  for (const PointRow& row : rows) {
    table.rows.push_back({row.layer, row.point, row.quantizer, std::to_string(row.bits),
                          row.scales.empty() ? "" : format_scales(row.scales), zero_points_text(row.zero_points),
                          range_text(row)});
  }
  print(table, out);
  return true;
}

nlohmann::json affine_points_json(const graph::Model& model) {
  nlohmann::json list = nlohmann::json::array();
  for (const PointRow& row : rows_of(model)) {
    list.push_back({{"layer", row.layer},
                    {"point", row.point},
                    {"quantizer", row.quantizer},
                    {"bits", row.bits},
                    {"calibrated", row.is_calibrated},
                    {"scale", row.scales},
                    {"zero_point", row.zero_points},
                    {"lowest", row.lowest},
                    {"highest", row.highest}});
  }
  return list;
}

}  // namespace nibble::cli
