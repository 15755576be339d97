// nibble inspect: are the weights quantized, and what are their codes?
#include "nibble/transform/inspect.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/affine_table.h"
#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"

namespace nibble::cli {
namespace {

struct InspectOptions {
  ModelArgument model;
  bool json = false, histogram = false;
};

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

// "4", or "4 (3 used)" where the codes would fit in fewer.
std::string bits_of(const transform::WeightInspection& weight) {
  if (!weight.has_codes || weight.bits_used == weight.bit_width) return std::to_string(weight.bit_width);
  return fmt::format("{} ({} used)", weight.bit_width, weight.bits_used);
}

// A weight's own, told in the table of affine points, if it has one there.
std::optional<graph::QuantizedPoint> affine_point(const graph::Model& model,
                                                  const transform::WeightInspection& weight) {
  const graph::Layer* layer = model.find_layer(weight.layer);
  return layer == nullptr ? std::nullopt : graph::quantized_point(*layer, weight.name);
}

std::vector<std::string> row_of(const graph::Model& model, const transform::WeightInspection& weight) {
  if (const auto point = affine_point(model, weight)) {
    const std::string bits = std::to_string(point->quantizer.num_bits);
    return {weight.layer, weight.name, weight.shape.str(), "affine, see below", "float", bits, "", "", "", "", "",
            "",           ""};
  }
  if (weight.quantizer == nullptr) {
    return {weight.layer, weight.name, weight.shape.str(), "-", "float", "32", "", "", "", "", "", "", ""};
  }
  const std::string prefix = weight.is_power_of_two_code ? "2^" : "";
  return {weight.layer,
          weight.name,
          weight.shape.str(),
          weight.quantizer->str(),
          weight.is_folded ? "float" : (weight.is_on_grid ? "quantized" : "not yet"),
          bits_of(weight),
          weight.has_codes ? fmt::format("{}{} .. {}{}", prefix, weight.code_min, prefix, weight.code_max) : "",
          weight.has_codes ? std::to_string(weight.histogram.size()) : "",
          format_scales(weight.scales),
          std::string(transform::scale_cost(weight)),
          percent(weight.zero_share),
          weight.has_codes ? percent(weight.saturated_share) : "",
          weight.has_codes ? percent(weight.clipped_share) : ""};
}

void print_histogram(const transform::WeightInspection& weight, std::ostream& out) {
  if (weight.histogram.empty()) return;
  out << '\n' << weight.layer << " " << weight.name << '\n';
  int64_t most = 1;
  for (const auto& [code, count] : weight.histogram) most = std::max(most, count);
  for (const auto& [code, count] : weight.histogram) {
    const auto width = static_cast<size_t>(50.0 * static_cast<double>(count) / static_cast<double>(most) + 0.5);
    out << fmt::format("{:>8}  {:<50}  {}\n", code, std::string(width, '#'), count);
  }
}

int run(const InspectOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  const transform::Inspection result = transform::inspect(model);
  if (o.json) {
    nlohmann::json document = transform::to_json(result);
    document["affine"] = affine_points_json(model);
    print_json(document, streams.out);
    return kOk;
  }
  Table table{.headers = {"layer", "weight", "shape", "quantizer", "stored", "bits", "codes", "distinct", "scale",
                          "scaling", "zeros", "saturated", "clipped"},
              .rows = {}};
  for (const auto& weight : result.weights) table.rows.push_back(row_of(model, weight));
  if (!table.rows.empty()) print(table, streams.out);  // affine points may be all there is
  print_affine_points(model, streams.out);
  if (o.histogram) {
    for (const auto& weight : result.weights) print_histogram(weight, streams.out);
  }
  for (const std::string& warning : result.warnings) streams.err << "note: " << warning << "\n";
  return kOk;
}

}  // namespace

Run declare_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectOptions>();
  add_model(app, o->model);
  add_weights(app, o->model);
  app.add_flag("--histogram", o->histogram, "Show how often each code occurs");
  app.add_flag("--json", o->json, "Print everything as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
