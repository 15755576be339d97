// Damaged files whose damage a reader cannot see: a digit, a letter, one bit. Rooms test that their readers survive
// (nibble/*/*_test.cc); here what was read is used, as a command would use it. Whatever comes, it is a result or a
// nibble::Error.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "nibble/autoq/cost_meter.h"
#include "nibble/autoq/run_config.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/cli/search_report.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/cost/energy.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/search/random_sampler.h"
#include "nibble/search/storage.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/finalize.h"
#include "nibble/transform/inspect.h"
#include "nibble/transform/model_quantize.h"
#include "support/damaged_file.h"
#include "support/golden.h"

namespace nibble::testing {
namespace {

namespace fs = std::filesystem;

// Every kind of layer that the built-in networks are made of, small.
graph::Model network() {
  using namespace graph::build;
  auto in = Input({.shape = {10, 10, 2}, .name = "input"});
  auto x = QConv2D({.filters = 4,
                    .kernel_size = {3, 3},
                    .padding = "same",
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha='auto_po2')",
                    .bias_quantizer = "quantized_bits(8,3,1)",
                    .name = "conv"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  x = QActivation({.activation = "quantized_relu(4,2)", .name = "act"})(x);
  x = MaxPooling2D({.pool_size = {2, 2}, .name = "pool"})(x);
  x = QDepthwiseConv2D({.kernel_size = {3, 3}, .depthwise_quantizer = "ternary(alpha='auto')", .name = "depthwise"})(x);
  x = Activation({.activation = "relu", .name = "act_1"})(x);
  x = Conv2D({.filters = 3, .kernel_size = {2, 2}, .strides = {2, 2}, .name = "conv_1"})(x);
  x = Dropout({.rate = 0.25, .name = "dropout"})(x);
  x = QDense({.units = 5, .kernel_quantizer = "quantized_po2(4,1)", .name = "dense"})(Flatten({.name = "flatten"})(x));
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  graph::Model model = build_model({in}, {x}, "small");
  graph::initialize_weights(model, 3);
  return model;
}

const char* const kRunConfig = R"json({"model": "mnist", "data": "mnist", "epochs": 3, "batch_size": 100,
  "goal": {"type": "energy", "params": {"delta_p": 8.0, "delta_n": 8.0, "rate": 2.0, "stress": 1.0,
    "process": "horowitz", "parameters_on_memory": ["sram", "dram"], "activations_on_memory": ["sram", "sram"],
    "rd_wr_on_io": [false, true], "min_sram_size": [0, 64], "source_quantizers": ["int8"],
    "reference_internal": "int8", "reference_accumulator": "int32"}},
  "quantization_config": {"kernel": {"binary": 1, "quantized_bits(4,0,1,alpha=1.0)": 4},
    "bias": {"quantized_bits(4,0,1)": 4}, "activation": {"quantized_relu(3,1)": 3}, "linear": {"binary": 1}},
  "limit": {"Dense": [8, 8, 4], "Conv2D": [4, 8, 4], "Activation": [4], "^conv2d_[12]$": [["binary"], 8, 4]},
  "tune_filters": "layer", "tune_filters_exceptions": "^dense", "layer_indexes": {"range": [1, -1]}, "seed": 42})json";

const char* const kQuantizeConfig = R"json({
  "conv": {"kernel_quantizer": "quantized_bits(4,0,1,alpha='auto_po2')", "bias_quantizer": "quantized_bits(8,3,1)"},
  "QConv2D": {"kernel_quantizer": "stochastic_ternary(alpha=1.0,threshold=0.5)", "activation_quantizer": "quantized_relu(3)"},
  "QActivation": {"relu": "quantized_relu_po2(4,4)"}, "QBatchNormalization": {"gamma_quantizer": "quantized_bits(6,2)"}})json";

// 200 copies cut, 200 with a bit flipped, 200 with a digit changed. `use` reads the file and does with it what users
// do.
DamageCounts use_damaged(const std::string& name, const std::string& bytes,
                         const std::function<void(const fs::path&)>& use) {
  const fs::path path = scratch_dir("hostile") / name;
  overwrite(path, bytes);
  EXPECT_NO_THROW(use(path)) << "the file that nobody damaged";
  DamageCounts counts;
  // Other damage: --gtest_random_seed=N.
  RandomStream random({.seed = static_cast<uint64_t>(GTEST_FLAG_GET(random_seed)), .purpose = RandomPurpose::kTest});
  const auto attempt = [&](const std::string& variant, const std::string& what) {
    overwrite(path, variant);
    try {
      use(path);
      ++counts.accepted;
    } catch (const Error& error) {
      ++counts.refused;
      EXPECT_FALSE(std::string(error.what()).empty());
    } catch (const std::exception& error) {
      ADD_FAILURE() << name << ", " << what << ": not a nibble::Error: " << error.what();
    }
  };
  std::vector<size_t> digits;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] >= '0' && bytes[i] <= '9') digits.push_back(i);
  }
  constexpr std::string_view kInstead = "0123456789-.";
  for (size_t i = 0; i < 200; ++i) {
    attempt(bytes.substr(0, bytes.size() * i / 200), fmt::format("cut to {}/200", i));
    std::string flipped = bytes;
    const uint32_t at = random.below(static_cast<uint32_t>(bytes.size()));
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random.below(8)));
    attempt(flipped, fmt::format("bit flipped in byte {}", at));
    if (digits.empty()) continue;
    std::string changed = bytes;
    const size_t digit = digits[random.below(static_cast<uint32_t>(digits.size()))];
    changed[digit] = kInstead[random.below(static_cast<uint32_t>(kInstead.size()))];
    attempt(changed,
            fmt::format("byte {} is '{}': {}", digit, changed[digit], changed.substr(digit < 40 ? 0 : digit - 40, 60)));
  }
  fmt::print("{}: {} used, {} refused\n", name, counts.accepted, counts.refused);
  return counts;
}

// What `energy`, `models`, `inspect`, `finalize`, `quantize` and `predict` do with a model.
void use_model(graph::Model model) {
  graph::validate(model);
  EXPECT_FALSE(graph::summary(model).empty());
  cost::estimate(model, cost::energy_query(cost::Reference::kNone));
  cost::estimate(model, cost::energy_query(cost::Reference::kInt8));
  graph::initialize_weights(model, 1);
  transform::to_json(transform::inspect(model)).dump();
  transform::finalize(model);
  transform::model_quantize(model, {{"QConv2D", {{"kernel_quantizer", "binary"}}}});
  train::Trainer trainer(model, {});
  const std::map<std::string, Shape> shapes = graph::infer_shapes(model);
  std::vector<int64_t> extents = {2};
  for (const int64_t extent : shapes.at(model.inputs.at(0))) extents.push_back(extent);
  trainer.predict(Tensor(Shape(extents), 0.5f));
}

std::string json_of(const graph::Model& model) { return graph::to_config(model).dump(); }

TEST(HostileFiles, ModelsAsJson) {
  const DamageCounts counts = use_damaged("model.json", json_of(network()),
                                          [](const auto& path) { use_model(formats::keras::load_model(path)); });
  EXPECT_GE(counts.refused, 200);
  EXPECT_GE(counts.accepted, 20) << "otherwise nothing was tried";
}

TEST(HostileFiles, ModelArchives) {
  const fs::path whole = scratch_dir("hostile_archive") / "whole.keras";
  formats::keras::save_model(network(), whole);
  use_damaged("model.keras", read_file(whole), [](const auto& path) { use_model(formats::keras::load_model(path)); });
}

TEST(HostileFiles, Weights) {
  const fs::path whole = scratch_dir("hostile_weights") / "whole.h5";
  const graph::Model model = network();
  formats::keras::save_weights(model, whole);
  use_damaged("weights.h5", read_file(whole), [&](const auto& path) {
    graph::Model target = model;
    formats::keras::load_weights(target, path);
    use_model(std::move(target));
  });
}

TEST(HostileFiles, RunConfigs) {
  const autoq::RunConfig given = autoq::parse_run_config(kRunConfig);
  const graph::Model model = autoq::load_search_model(given);
  const DamageCounts counts = use_damaged("run.json", kRunConfig, [&](const auto& path) {
    const autoq::RunConfig config = autoq::load_run_config(path);
    const search::SearchSpace space = autoq::build_space(model, config);
    const autoq::CostMeter meter(config.goal, model, config.compat);
    const search::RandomSampler sampler(config.seed);
    if (space.empty()) return;  // nothing to choose
    meter.measure(autoq::build_trial(model, config, sampler.propose(space, {}).value()));
  });
  EXPECT_GE(counts.refused, 200);
  EXPECT_GE(counts.accepted, 20);
}

// A study with a finished trial, a failed one and a running one.
std::string study_bytes() {
  const fs::path path = scratch_dir("hostile_study") / "study.db";
  const autoq::RunConfig config = autoq::parse_run_config(kRunConfig);
  const search::SearchSpace space = autoq::build_space(autoq::load_search_model(config), config);
  {
    search::Storage storage = search::Storage::create(
        path.string(),
        {.name = "mnist", .run_config = kRunConfig, .space = search::to_json(space), .seed = 42, .max_trials = 5});
    const search::RandomSampler sampler(42);
    for (int i = 0; i < 3; ++i) {
      const auto claim = storage.claim("worker", space, sampler).value();
      storage.report(claim, {1, {{"score", 0.9}, {"val_accuracy", 0.8}, {"val_loss", 1.5}}});
      if (i == 0) storage.complete(claim, 0.9, {{"accuracy", 0.8}, {"energy_nj", 50}, {"total_factor", -0.9}}, "m");
      if (i == 1) storage.fail(claim, "the loss became nan");
    }
  }
  return read_file(path);
}

// As `study` and `report` do.
TEST(HostileFiles, Studies) {
  use_damaged("study.db", study_bytes(), [](const auto& path) {
    // What the copy before this one left.
    for (const char* rest : {"-wal", "-shm", "-journal"}) fs::remove(path.string() + rest);
    const search::Storage storage = search::Storage::open(path.string());
    report::render_report(cli::search_report(storage, path.parent_path() / "none.keras"));
  });
}

TEST(HostileFiles, QuantizerConfigs) {
  const graph::Model model = network();
  use_damaged("quantizers.json", kQuantizeConfig, [&](const auto& path) {
    nlohmann::json config;
    try {
      config = nlohmann::json::parse(read_file(path));
    } catch (const nlohmann::json::parse_error& error) {
      throw CorruptFile("{}", error.what());
    }
    use_model(transform::model_quantize(model, config));
  });
}

TEST(HostileFiles, ProcessTables) {
  const graph::Model model = network();
  use_damaged("table.json", std::string(cost::kHorowitz45nmJson), [&](const auto& path) {
    cost::EnergyQuery query = cost::energy_query(cost::Reference::kNone);
    query.energy.process = cost::load_process_table(path);
    cost::report_of(cost::estimate(model, query)).dump();
  });
}

}  // namespace
}  // namespace nibble::testing
