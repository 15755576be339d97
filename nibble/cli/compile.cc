// nibble compile: a quantized model as an integer program.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/program_options.h"
#include "nibble/cli/table.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/program/program_file.h"
#include "nibble/program/rule_misses.h"
#include "nibble/quant/affine/sum_quantizer.h"

namespace nibble::cli {
namespace {

struct CompileOptions {
  ModelArgument model;
  std::filesystem::path output;
  ProgramOptions program;
  bool json = false;
};

// One operation for people and for --json.
struct Row {
  std::string layer, operation, shape;
  int bits = 0, weight_bits = 0, accumulator_bits = 0;
  int64_t weights = 0, thresholds = 0;
  bool exact_in_float = true;
  std::vector<int64_t> bias = {};  // in the accumulator's units
  std::optional<program::FixedPointRule> rule = std::nullopt;
  std::optional<program::RuleMisses> misses = std::nullopt;  // of the rule
};

Row row_of(const program::Operation& operation) {
  Row row{operation.layer, std::string(program::name_of(operation.action)), operation.result.shape.str()};
  row.bits = operation.result.bits();
  if (const auto* a = std::get_if<program::Accumulate>(&operation.action)) {
    row.weight_bits = a->weight_bits;
    row.weights = static_cast<int64_t>(a->weights.size());
    row.accumulator_bits = a->accumulator_bits();
    row.exact_in_float = a->is_exact_in_float;
    row.bias = a->bias;
  }
  if (const auto* c = std::get_if<program::Compare>(&operation.action)) {
    row.thresholds = static_cast<int64_t>(c->thresholds.size());
    row.rule = c->rule;
  }
  return row;
}

std::string or_blank(int64_t number) { return number == 0 ? "" : std::to_string(number); }

// "multiply, >> 38 ... 41", ">> 7"
std::string text(const program::FixedPointRule& rule) {
  // A power of two has the multiplier 2^30, which is part of its shift.
  const int of_multiplier = rule.only_shifts() ? 30 : 0;
  int least = 64, most = -64;  // places to the right
  for (const affine::FixedPointMultiplier& factor : rule.factors) {
    if (factor.multiplier == 0) continue;
    least = std::min(least, 31 - of_multiplier - factor.shift);
    most = std::max(most, 31 - of_multiplier - factor.shift);
  }
  if (least > most) return "0";
  const std::string range = least == most ? std::to_string(std::abs(least)) : fmt::format("{} ... {}", least, most);
  return fmt::format("{}{} {}", rule.only_shifts() ? "" : "multiply, ", most < 0 ? "<<" : ">>", range);
}

void print_rows(const std::vector<Row>& rows, std::ostream& out) {
  Table table{
      .headers = {"layer", "operation", "result", "bits", "weights", "weight bits", "accumulator bits", "thresholds"},
      .rows = {}};
  const bool has_rules = std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.rule.has_value(); });
  if (has_rules) table.headers.emplace_back("requantization");
  for (const Row& row : rows) {
    table.rows.push_back({row.layer, row.operation, row.shape, std::to_string(row.bits), or_blank(row.weights),
                          or_blank(row.weight_bits), or_blank(row.accumulator_bits), or_blank(row.thresholds)});
    if (has_rules) table.rows.back().push_back(row.rule ? text(*row.rule) : "");
  }
  print(table, out);
}

nlohmann::json to_json(const program::FixedPointRule& rule) {
  nlohmann::json multipliers = nlohmann::json::array(), shifts = nlohmann::json::array();
  for (const affine::FixedPointMultiplier& factor : rule.factors) {
    multipliers.push_back(factor.multiplier);
    shifts.push_back(factor.shift);
  }
  return {{"rounding", program::name_of(rule.rounding)},
          {"multipliers", multipliers},
          {"shifts", shifts},
          {"bias", rule.bias},
          {"lowest", rule.lowest},
          {"highest", rule.highest}};
}

nlohmann::json to_json(const std::vector<Row>& rows) {
  nlohmann::json out = nlohmann::json::array();
  for (const Row& row : rows) {
    out.push_back({{"layer", row.layer},
                   {"operation", row.operation},
                   {"shape", row.shape},
                   {"bits", row.bits},
                   {"weights", row.weights},
                   {"weight_bits", row.weight_bits},
                   {"accumulator_bits", row.accumulator_bits},
                   {"thresholds", row.thresholds},
                   {"exact_in_float", row.exact_in_float},
                   {"bias", row.bias}});
    if (!row.rule) continue;
    out.back()["requantization"] = to_json(*row.rule);
    if (!row.misses) continue;
    out.back()["requantization"]["sums"] = row.misses->sums;
    out.back()["requantization"]["missed_sums"] = row.misses->missed;
  }
  return out;
}

// Layers that were asked to multiply and compare.
void note_thresholds(const program::Program& program, Streams& streams) {
  for (const program::Operation& operation : program.operations) {
    const auto* compare = std::get_if<program::Compare>(&operation.action);
    if (compare == nullptr || compare->rule) continue;
    streams.err << fmt::format(
        "note: layer '{}' keeps its {} thresholds: with {} and what stands before it, no multiplier of 32 bits stays "
        "within a code of the trained network.\n",
        operation.layer, compare->thresholds.size(), compare->quantizer);
  }
}

// What the multipliers of each layer cost: lowers the model a second time, for the trained network's own steps.
void count_misses(const graph::Model& model, const program::Program& program, program::LoweringOptions options,
                  std::vector<Row>& rows) {
  if (!options.rounding) return;
  options.rounding = std::nullopt;
  for (program::RuleMisses& misses : program::find_rule_misses(program, program::lower(model, options))) {
    const auto row = static_cast<size_t>(misses.operation);
    rows.at(row).misses = std::move(misses);
  }
}

// Sums that the network, which rounds them by the same multiplier, has as float32 numbers that do not tell them apart.
std::string why_missed(const program::Program& program, const program::RuleMisses& misses) {
  const program::Operation& operation = program.operations.at(static_cast<size_t>(misses.operation));
  const auto& compare = std::get<program::Compare>(operation.action);
  const program::Interval sums = program.operations.at(static_cast<size_t>(operation.inputs.at(0))).result.hull();
  const bool is_single = compare.rule && compare.rule->rounding == affine::Rounding::kSingle;
  const bool is_exact = std::max(-sums.low, sums.high) <= affine::kMostExactSum;
  if (!is_single || is_exact || !compare.quantizer.starts_with("affine_")) return "";
  return fmt::format(
      " They lie in {} .. {}, and the network has them as float32, which is sure of them up to 2^22; thresholds have "
      "its "
      "codes everywhere.",
      sums.low, sums.high);
}

void note_misses(const std::vector<Row>& rows, const program::Program& program, Streams& streams) {
  int layers = 0, exact = 0;
  for (const Row& row : rows) {
    if (!row.misses) continue;
    ++layers;
    if (row.misses->missed == 0) {
      ++exact;
      continue;
    }
    streams.err << fmt::format("note: layer '{}': {} of {} sums round otherwise than in the trained network.{}\n",
                               row.layer, row.misses->missed, row.misses->sums, why_missed(program, *row.misses));
  }
  if (layers == 0) return;
  streams.err << fmt::format("note: in {} of {} layers that multiply, every sum rounds as in the trained network.\n",
                             exact, layers);
}

// Biases at the ends of the few bits that were asked for: training or calibration wanted more, most likely.
void note_clipped_biases(const std::vector<Row>& rows, const graph::Model& model, Streams& streams) {
  for (const Row& row : rows) {
    const graph::Layer* layer = model.find_layer(row.layer);
    const int bits = layer != nullptr && layer->quantization ? layer->quantization->bias_bits : 0;
    if (row.bias.empty() || bits == 0) continue;
    const int64_t high = (int64_t{1} << (bits - 1)) - 1;
    const auto count =
        std::count_if(row.bias.begin(), row.bias.end(), [&](int64_t code) { return code >= high || code < -high; });
    if (count == 0) continue;
    streams.err << fmt::format("note: layer '{}': {} of its {} biases are at the end of their {} bits.\n", row.layer,
                               count, row.bias.size(), bits);
  }
}

// Biases that were to have bits, but are no codes in the trained network.
void note_float_biases(const std::vector<Row>& rows, const graph::Model& model, Streams& streams) {
  std::string layers;
  for (const Row& row : rows) {
    const graph::Layer* layer = model.find_layer(row.layer);
    const bool has_bits = layer != nullptr && layer->quantization && layer->quantization->bias_bits != 0;
    if (row.weights == 0 || !row.bias.empty() || !has_bits || layer->find_weight("bias") == nullptr) continue;
    layers += fmt::format("{}'{}'", layers.empty() ? "" : ", ", row.layer);
  }
  if (layers.empty()) return;
  streams.err << fmt::format(
      "note: bias_bits has no effect on {}: the trained network adds such a bias as a real number, and so does the "
      "program. It is a code where a point quantizes what the layer reads, its weights are not DoReFa's of one bit, "
      "and 32 bits hold it.\n",
      layers);
}

// The model itself may be all that there is of a training.
void check_output(const std::filesystem::path& path) {
  if (path.extension() == ".nbl") return;
  throw UsageError("the output '{}' must end in .nbl, nibble's program file.", path.string());
}

int run(const CompileOptions& o, Streams& streams) {
  check_output(o.output);
  const graph::Model model = load_with_weights(o.model);
  const program::Program program = program::lower(model, lowering_options(o.program));
  std::vector<Row> rows;
  for (const program::Operation& operation : program.operations) rows.push_back(row_of(operation));
  program::save_program(program, o.output);
  count_misses(model, program, lowering_options(o.program), rows);
  note_rounded_input(program, model, o.program, streams);
  note_clipped_biases(rows, model, streams);
  note_float_biases(rows, model, streams);
  if (o.json) {
    print_json({{"operations", to_json(rows)}, {"bytes", std::filesystem::file_size(o.output)}}, streams.out);
  } else {
    print_rows(rows, streams.out);
  }
  for (const Row& row : rows) {
    if (row.exact_in_float) continue;
    streams.err << fmt::format(
        "note: layer '{}': sums of {} bits, or scales that are no powers of two: the float network rounds here, so a "
        "few "
        "of its values may differ from the program's.\n",
        row.layer, row.accumulator_bits);
  }
  if (o.program.softmax == "integer" && !program.softmax) {
    streams.err << "note: the network does not end in a softmax, so --softmax integer changes nothing.\n";
  }
  if (o.program.requantization != "thresholds") note_thresholds(program, streams);
  note_misses(rows, program, streams);
  streams.err << fmt::format("wrote {} ({} bytes)\n", o.output.string(), std::filesystem::file_size(o.output));
  return kOk;
}

}  // namespace

Run declare_compile(CLI::App& app) {
  auto o = std::make_shared<CompileOptions>();
  add_model(app, o->model);
  app.add_option("--output,-o", o->output, "The program")->required()->type_name("OUT.nbl");
  add_weights(app, o->model);
  add_program_options(app, o->program);
  app.add_flag("--json", o->json, "Print the operations as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
