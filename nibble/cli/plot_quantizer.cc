// nibble plot-quantizer: value and gradient of a quantizer, as a picture or a table.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/table.h"
#include "nibble/core/atomic_file.h"
#include "nibble/report/quantizer_plot.h"

namespace nibble::cli {
namespace {

struct PlotOptions {
  std::string text;
  std::filesystem::path output;
  float low = -2, high = 2;
  std::vector<float> points;
  bool table = false, json = false;
};

std::vector<report::QuantizerSample> samples_of(const std::string& text, const std::vector<float>& x) {
  if (const auto function = quant::plain_function(text)) return report::sample(*function, x);
  return report::sample(*quant::get_quantizer(text), x);
}

int run(const PlotOptions& o, Streams& streams) {
  if (!(o.low < o.high)) throw UsageError("--from {} must lie below --to {}.", o.low, o.high);
  if (o.output.empty() && !o.table && !o.json) throw UsageError("give --output FILE.svg, --table or --json.");
  constexpr int kPicturePoints = 1601, kTablePoints = 9;
  if (!o.output.empty()) {
    write_file(o.output, report::plot_svg(o.text, samples_of(o.text, report::evenly(o.low, o.high, kPicturePoints))));
    streams.err << fmt::format("wrote {}\n", o.output.string());
  }
  const auto x = o.points.empty() ? report::evenly(o.low, o.high, kTablePoints) : o.points;
  if (o.table) streams.out << report::markdown_table(samples_of(o.text, x));
  if (o.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const report::QuantizerSample& s : samples_of(o.text, x)) {
      rows.push_back({{"x", s.x}, {"value", s.value}, {"gradient", s.gradient}});
    }
    print_json({{"quantizer", o.text}, {"samples", rows}}, streams.out);
  }
  return kOk;
}

}  // namespace

Run declare_plot_quantizer(CLI::App& app) {
  auto o = std::make_shared<PlotOptions>();
  app.add_option("QUANTIZER", o->text, "Its text, or the name of a plain function such as hard_tanh")
      ->required()
      ->type_name("TEXT");
  app.add_option("--output,-o", o->output, "The picture")->type_name("FILE.svg");
  app.add_option("--from", o->low, "Lowest x")->capture_default_str();
  app.add_option("--to", o->high, "Highest x")->capture_default_str();
  app.add_option("--at", o->points, "The x of the table, instead of nine evenly spaced ones")->delimiter(',');
  app.add_flag("--table", o->table, "Print x, value and gradient as a Markdown table");
  app.add_flag("--json", o->json, "Print them as JSON");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
