// nibble compile: a quantized model as an integer program.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/program_options.h"
#include "nibble/cli/table.h"
#include "nibble/program/program_file.h"

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
};

Row row_of(const program::Operation& operation) {
  Row row{operation.layer, std::string(program::name_of(operation.action)), operation.result.shape.str()};
  row.bits = operation.result.bits();
  if (const auto* a = std::get_if<program::Accumulate>(&operation.action)) {
    row.weight_bits = a->weight_bits;
    row.weights = static_cast<int64_t>(a->weights.size());
    row.accumulator_bits = a->accumulator_bits();
    row.exact_in_float = a->is_exact_in_float;
  }
  if (const auto* c = std::get_if<program::Compare>(&operation.action)) {
    row.thresholds = static_cast<int64_t>(c->thresholds.size());
  }
  return row;
}

std::string or_blank(int64_t number) { return number == 0 ? "" : std::to_string(number); }

void print_rows(const std::vector<Row>& rows, std::ostream& out) {
  Table table{
      .headers = {"layer", "operation", "result", "bits", "weights", "weight bits", "accumulator bits", "thresholds"},
      .rows = {}};
  for (const Row& row : rows) {
    table.rows.push_back({row.layer, row.operation, row.shape, std::to_string(row.bits), or_blank(row.weights),
                          or_blank(row.weight_bits), or_blank(row.accumulator_bits), or_blank(row.thresholds)});
  }
  print(table, out);
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
                   {"exact_in_float", row.exact_in_float}});
  }
  return out;
}

int run(const CompileOptions& o, Streams& streams) {
  const graph::Model model = load_with_weights(o.model);
  const program::Program program = program::lower(model, lowering_options(o.program));
  std::vector<Row> rows;
  for (const program::Operation& operation : program.operations) rows.push_back(row_of(operation));
  program::save_program(program, o.output);
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
