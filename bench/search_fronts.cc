// bench/search_fronts.cc
// How much of a true Pareto front samplers find. A small network for the UCI digits has four layers with five kernel
// quantizers each; all 625 networks are trained once (the table, kept in a file), so the front of accuracy against
// energy is known. Then each sampler tries 5 % of the space, with five seeds, and its share of the front's hypervolume
// is printed.
//
//   search_fronts [--table FILE.json] [--epochs 3] [--picture FILE.svg]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "nibble/autoq/guided_start.h"
#include "nibble/autoq/sampler.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/data/catalog.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/search/encoding.h"
#include "nibble/search/pareto.h"
#include "nibble/train/trainer.h"

namespace {

namespace fs = std::filesystem;
using namespace nibble;
using nlohmann::json;
using Table = std::map<search::Point, search::Metrics>;

constexpr int kSeeds = 5;
constexpr const char* kQuantizers =
    R"j(["binary", "ternary", "quantized_bits(2,1,1,alpha=1.0)", "quantized_bits(4,0,1)", "quantized_bits(8,0,1)"])j";

graph::Model digits_network() {
  using namespace graph::build;
  const Node in = Input({.shape = {8, 8, 1}, .name = "input"});
  Node x = Conv2D({.filters = 8, .kernel_size = {3, 3}, .padding = "same", .name = "conv_0"})(in);
  x = Activation({.activation = "relu", .name = "act_0"})(x);
  x = Conv2D({.filters = 8, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "conv_1"})(x);
  x = Activation({.activation = "relu", .name = "act_1"})(x);
  x = Dense({.units = 24, .name = "dense_0"})(Flatten({.name = "flatten"})(x));
  x = Activation({.activation = "relu", .name = "act_2"})(x);
  x = Dense({.units = 10, .name = "dense_1"})(x);
  return build_model({in}, {Activation({.activation = "softmax", .name = "softmax"})(x)}, "digits");
}

std::string config_text(const fs::path& model, int epochs, int trials, const std::string& more) {
  return fmt::format(R"j({{"model": "{}", "data": "digits", "preprocessing": "unit", "epochs": {}, "batch_size": 64,
    "learning_rate": 0.003, "early_stopping": false, "transfer_weights": true, "max_trials": {},
    "goal": {{"type": "energy", "params": {{"parameters_on_memory": ["sram", "sram"],
      "activations_on_memory": ["sram", "sram"], "rd_wr_on_io": [false, false], "source_quantizers": ["int8"],
      "reference_internal": "int8", "reference_accumulator": "int32"}}}},
    "quantization_config": {{"kernel": {{"binary": 1, "ternary": 2, "quantized_bits(2,1,1,alpha=1.0)": 2,
        "quantized_bits(4,0,1)": 4, "quantized_bits(8,0,1)": 8}},
      "bias": {{"quantized_bits(8,3,1)": 8}}, "activation": {{"quantized_relu(4,2)": 4}}}},
    "limit": {{"Conv2D": [{}, 8, 4], "Dense": [{}, 8, 4], "Activation": [4]}}{}}})j",
                     model.string(), epochs, trials, kQuantizers, kQuantizers, more);
}

// The float network, trained once beside the table.
fs::path trained_network(const fs::path& folder) {
  const fs::path file = folder / "digits_float.keras";
  if (fs::exists(file)) return file;
  data::Dataset dataset = data::load_dataset("digits");
  data::apply_preprocessing(dataset, data::Preprocessing::kUnit);
  train::Trainer trainer(digits_network(), {.learning_rate = 0.003});
  const train::History history = trainer.fit(dataset, {.epochs = 20, .batch_size = 64});
  std::fprintf(stderr, "float network: accuracy %.4f\n", *history.back().val_accuracy);
  formats::keras::save_model(trainer.model(), file);
  return file;
}

search::Metrics train_point(autoq::TrainingRunner& runner, const search::Assignment& values, const fs::path& scratch) {
  const std::atomic<bool> stop = false;
  const search::Storage::Claim claim{.number = 0, .attempt = 1, .values = values, .steps = {}};
  fs::remove_all(scratch);
  make_directories(scratch);
  const search::TrialResult result = runner.run(
      {.claim = claim, .directory = scratch, .stop = stop, .report = [](const search::Step&) { return true; }});
  search::Metrics metrics = result.metrics;
  metrics["score"] = result.score;
  return metrics;
}

// Every point of the space; goes on where an earlier run of the program was ended.
Table make_table(const autoq::RunConfig& config, const search::SearchSpace& space, const fs::path& file) {
  json rows = json::object();
  if (fs::exists(file)) rows = json::parse(read_file(file));
  autoq::TrainingRunner runner(config, autoq::load_search_model(config), autoq::load_search_data(config));
  Table table;
  std::vector<int> radix;
  for (const search::Parameter& parameter : space) radix.push_back(static_cast<int>(parameter.candidates.size()));
  const int64_t size = search::size_of(space);
  for (int64_t k = 0; k < size; ++k) {
    search::Point point(space.size());
    int64_t rest = k;
    for (size_t p = space.size(); p-- > 0; rest /= radix[p]) point[p] = static_cast<int>(rest % radix[p]);
    const std::string key = json(point).dump();
    if (!rows.contains(key)) {
      rows[key] = train_point(runner, search::decode(space, point), file.string() + ".scratch");
      if (k % 25 == 0)
        std::fprintf(stderr, "%lld of %lld networks\n", static_cast<long long>(k), static_cast<long long>(size));
      if (k % 25 == 24) write_file(file, rows.dump());
    }
    table[point] = rows[key].get<search::Metrics>();
  }
  write_file(file, rows.dump());
  fs::remove_all(file.string() + ".scratch");
  return table;
}

const std::vector<search::Objective> kObjectives = {{"accuracy", true}, {"cost", false}};

// What a sampler finds in `count` trials.
std::vector<search::Trial> run_sampler(const search::Sampler& sampler, const search::SearchSpace& space,
                                       const Table& table, int count) {
  std::vector<search::Trial> trials;
  while (static_cast<int>(trials.size()) < count) {
    const auto values = sampler.propose(space, trials);
    if (!values) break;
    search::Trial trial{.number = static_cast<int>(trials.size()), .state = search::TrialState::kCompleted};
    trial.values = *values;
    trial.metrics = table.at(*search::encode(space, *values));
    trial.score = trial.metrics.at("score");
    trials.push_back(std::move(trial));
  }
  return trials;
}

double volume_of(const std::vector<search::Trial>& trials, const search::Losses& reference) {
  std::vector<search::Losses> points;
  for (const search::Trial& trial : trials) points.push_back(search::losses_of(trial, kObjectives));
  return search::hypervolume(points, reference);
}

// One row of what is printed: the share of the front's hypervolume over the seeds.
struct Shares {
  std::string sampler;
  double mean = 0, least = HUGE_VAL, most = 0;
};

// A line from the least to the most of each sampler with a dot at the mean, as a file that needs nothing else.
std::string picture_of(const std::vector<Shares>& rows, const std::string& title) {
  constexpr double kWidth = 640, kLeft = 190, kRight = 30, kTop = 64, kRow = 34;
  double low = 1;
  for (const Shares& row : rows) low = std::min(low, row.least);
  low = std::max(0.0, std::floor(low * 20 - 0.2) / 20);  // on a grid of 0.05, off the frame
  const double bottom = kTop + kRow * static_cast<double>(rows.size());
  const auto x = [&](double share) { return kLeft + (share - low) / (1 - low) * (kWidth - kLeft - kRight); };
  const auto line = [](double x1, double y1, double x2, double y2, const char* style) {
    return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
  };
  const auto text = [](double at, double y, const char* anchor, const std::string& words) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", at, y, anchor, words);
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" "
      "font-size=\"13\" fill=\"#333\">\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#fff\"/>\n",
      kWidth, bottom + 44);
  svg += text(16, 24, "start", title);
  svg += text(16, 44, "start", "share of the front's hypervolume: least, mean and most of the seeds");
  const int ticks = static_cast<int>(std::lround((1 - low) * 20)), stride = (ticks + 7) / 8;
  for (int tick = 0; tick <= ticks; tick += std::max(1, stride)) {
    const double share = low + tick / 20.0;
    svg += line(x(share), kTop, x(share), bottom, "stroke=\"#e4e4e4\"");
    svg += text(x(share), bottom + 20, "middle", fmt::format("{:.2f}", share));
  }
  double y = kTop + kRow / 2;
  for (const Shares& row : rows) {
    svg += text(kLeft - 14, y + 4, "end", row.sampler);
    svg += line(x(row.least), y, x(row.most), y, "stroke=\"#1f5fbf\" stroke-width=\"3\" stroke-linecap=\"round\"");
    svg +=
        fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5.5\" fill=\"#d9730d\"><title>{:.4f}</title></circle>\n",
                    x(row.mean), y, row.mean);
    y += kRow;
  }
  return svg + "</svg>\n";
}

}  // namespace

int main(int argc, char** argv) {
  fs::path file = "search_fronts.json", picture;
  int epochs = 3;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = i + 1 < argc ? argv[i] : "";
    if (option == "--table") {
      file = argv[i + 1];
    } else if (option == "--epochs") {
      epochs = std::atoi(argv[i + 1]);
    } else if (option == "--picture") {
      picture = argv[i + 1];
    } else {
      std::cerr << "usage: search_fronts [--table FILE.json] [--epochs COUNT] [--picture FILE.svg]\n";
      return 2;
    }
  }
  const fs::path folder = file.parent_path().empty() ? fs::path(".") : file.parent_path();
  make_directories(folder);
  const fs::path model_file = trained_network(folder);
  const autoq::RunConfig base = autoq::parse_run_config(config_text(model_file, epochs, 10, ""));
  const graph::Model model = autoq::load_search_model(base);
  const search::SearchSpace space = autoq::build_space(model, base);
  const Table table = make_table(base, space, file);

  std::vector<search::Trial> all;
  for (const auto& [point, metrics] : table) {
    all.push_back(
        {.number = static_cast<int>(all.size()), .state = search::TrialState::kCompleted, .metrics = metrics});
    all.back().score = metrics.at("score");
  }
  const search::Losses reference = search::worst_losses(all, kObjectives);
  const double truth = volume_of(all, reference);
  const int count = static_cast<int>(table.size()) / 20;
  const std::string title = fmt::format("{} networks, {} on the front; {} trials (5 %), {} seeds", table.size(),
                                        search::pareto_front(all, kObjectives).size(), count, kSeeds);
  std::printf("%s\n\n", title.c_str());

  std::vector<Shares> rows;
  std::printf("| sampler | mean share of the front's hypervolume | least | most |\n|---|---|---|---|\n");
  const std::string guided = fmt::format(R"(, "guided_start": {{"trials": {}}})", count);
  for (const auto& [name, more] : std::vector<std::pair<std::string, std::string>>{
           {"random", R"(, "mode": "random")"},
           {"tpe", R"(, "mode": "tpe")"},
           {"bayesian", R"(, "mode": "bayesian")"},
           {"nsga2", R"(, "mode": "nsga2")"},
           {"guided start, then nsga2", R"(, "mode": "nsga2")" + guided}}) {
    autoq::RunConfig config = autoq::parse_run_config(config_text(model_file, epochs, count, more));
    if (config.guided_start) {
      const auto sensitivity = autoq::measure_sensitivity(config, model, autoq::load_search_data(config), space);
      config.first_trials = autoq::guided_trials(config, model, model, space, sensitivity);
    }
    Shares row{.sampler = name};
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const auto sampler = autoq::make_sampler(config, model, seed);
      const double share = volume_of(run_sampler(*sampler, space, table, count), reference) / truth;
      row.mean += share / kSeeds;
      row.least = std::min(row.least, share);
      row.most = std::max(row.most, share);
    }
    std::printf("| %s | %.4f | %.4f | %.4f |\n", name.c_str(), row.mean, row.least, row.most);
    rows.push_back(row);
  }
  if (!picture.empty()) write_file(picture, picture_of(rows, title));
  return 0;
}
