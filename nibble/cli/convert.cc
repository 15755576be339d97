// nibble convert: a model from one of Keras' files into another.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/model_argument.h"
#include "nibble/cli/table.h"
#include "nibble/formats/keras/keras_file.h"

namespace nibble::cli {
namespace {

struct ConvertOptions {
  ModelArgument model;
  std::filesystem::path output;
  int keras = 0;  // 0: not given
  bool json = false;
};

using formats::keras::Flavour;

// As it was asked for, else as the model was read; an archive is Keras 3's.
Flavour flavour_of(const ConvertOptions& o, formats::keras::FileKind kind) {
  if (o.keras != 0) return o.keras == 2 ? Flavour::kKeras2 : Flavour::kKeras3;
  const auto file = model_file(o.model);
  if (!file || kind == formats::keras::FileKind::kArchive) return Flavour::kKeras3;
  return formats::keras::flavour_of(*file);
}

int run(const ConvertOptions& o, Streams& streams) {
  std::vector<std::string> written = {o.output.string()};
  try {
    const formats::keras::FileKind kind = formats::keras::kind_by_name(o.output);
    if (kind == formats::keras::FileKind::kJson) {
      written.push_back(formats::keras::weights_beside(o.output).string());
    }
    if (kind == formats::keras::FileKind::kArchive && o.keras == 2) {
      throw UsageError("--keras 2 needs an OUT that Keras 2 reads: .h5 or .json");
    }
  } catch (const InvalidArgument& error) {
    throw UsageError("{}", error.what());
  }
  const graph::Model model = load_with_weights(o.model);
  const Flavour flavour = flavour_of(o, formats::keras::kind_by_name(o.output));
  formats::keras::save_model(model, o.output, flavour);
  int64_t parameters = 0;
  for (const graph::LayerSummary& row : graph::summarize(model)) parameters += row.parameters;
  if (o.json) {
    print_json({{"files", written},
                {"keras", flavour == Flavour::kKeras2 ? 2 : 3},
                {"layers", model.layers.size()},
                {"parameters", parameters}},
               streams.out);
  } else {
    streams.out << fmt::format("{} layers, {} parameters\n", model.layers.size(), parameters);
  }
  streams.err << fmt::format("wrote {}\n", fmt::join(written, " and "));
  return kOk;
}

}  // namespace

Run declare_convert(CLI::App& app) {
  auto o = std::make_shared<ConvertOptions>();
  add_model(app, o->model);
  app.add_option("OUT", o->output, "Ends in .keras, .h5, or .json (weights beside it in NAME_weights.h5)")
      ->required()
      ->type_name("OUT");
  add_weights(app, o->model);
  app.add_option("--keras", o->keras,
                 "Write for Keras 3 and qkerasV3, or for Keras 2 and QKeras. Default: whom MODEL was written for; a "
                 ".keras is always for Keras 3")
      ->type_name("3|2")
      ->check(CLI::IsMember({2, 3}).description(""));
  app.add_flag("--json", o->json, "Print {\"files\", \"keras\", \"layers\", \"parameters\"}");
  return [o](Streams& streams) { return run(*o, streams); };
}

}  // namespace nibble::cli
