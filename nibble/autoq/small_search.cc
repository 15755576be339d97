#include "nibble/autoq/small_search.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "support/golden.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

std::atomic<bool> terminated = false;

graph::Model small_model() {
  graph::Model model;
  const auto add = [&](std::string class_name, std::string name, std::map<std::string, graph::Attribute> attributes) {
    graph::Layer layer = graph::make_layer(std::move(class_name), std::move(name), std::move(attributes));
    if (!model.layers.empty()) layer.inputs = {model.layers.back().name};
    model.layers.push_back(std::move(layer));
  };
  add("InputLayer", "input", {{"shape", std::vector<int64_t>{28, 28, 1}}});
  add("Conv2D", "conv",
      {{"filters", int64_t{2}}, {"kernel_size", std::vector<int64_t>{5, 5}}, {"strides", std::vector<int64_t>{5, 5}}});
  add("BatchNormalization", "bn", {});
  add("Activation", "act", {{"activation", std::string("relu")}});
  add("Flatten", "flatten", {});
  add("Dense", "dense", {{"units", int64_t{10}}});
  add("Activation", "softmax", {{"activation", std::string("softmax")}});
  model.inputs = {"input"};
  model.outputs = {"softmax"};
  graph::initialize_weights(model, 1);
  return model;
}

std::string idx_file(std::vector<uint32_t> extents, const std::string& bytes) {
  std::string file = {0, 0, 8, static_cast<char>(extents.size())};
  for (const uint32_t extent : extents) {
    for (const int shift : {24, 16, 8, 0}) file.push_back(static_cast<char>(extent >> shift));
  }
  return file + bytes;
}

// Noise with one bright row per class, as the files of MNIST in $NIBBLE_DATA_DIR, where workers look too.
void make_data() {
  const fs::path root = testing::scratch_dir("autoq_data");
  make_directories(root / "mnist");
  RandomStream random({.seed = 3});
  for (const auto& [name, count] : std::map<std::string, uint32_t>{{"train", 3000}, {"t10k", 500}}) {
    std::string images, labels;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t label = random.below(10);
      labels.push_back(static_cast<char>(label));
      for (uint32_t pixel = 0; pixel < 28 * 28; ++pixel) {
        const bool bright = pixel / 28 == 2 * label + 4;
        images.push_back(static_cast<char>(random.below(160) + (bright ? 80 : 0)));
      }
    }
    write_file(root / "mnist" / (name + "-images-idx3-ubyte"), idx_file({count, 28, 28}, images));
    write_file(root / "mnist" / (name + "-labels-idx1-ubyte"), idx_file({count}, labels));
  }
  setenv("NIBBLE_DATA_DIR", root.c_str(), 1);
}

}  // namespace

fs::path small_model_file() {
  static const fs::path path = [] {
    const fs::path file = testing::scratch_dir("autoq_model") / "small.keras";
    formats::keras::save_model(small_model(), file);
    return file;
  }();
  return path;
}

graph::Model autoencoder() {
  using namespace graph::build;
  const Node in = Input({.shape = {28, 28, 1}, .name = "input"});
  const Node hidden = Dense({.units = 8, .name = "hidden"})(Flatten({.name = "flatten"})(in));
  const Node act = Activation({.activation = "relu", .name = "act"})(hidden);
  const Node last = Dense({.units = 28 * 28, .name = "last"})(act);
  graph::Model model =
      build_model({in}, {layer("Reshape", "image", {{"target_shape", std::vector<int64_t>{28, 28, 1}}})(last)});
  graph::initialize_weights(model, 1);
  return model;
}

graph::Model two_heads() {
  graph::Model model = small_model();
  graph::Layer flat = graph::make_layer("Flatten", "other_flat");
  flat.inputs = {"act"};
  graph::Layer other = graph::make_layer("Dense", "other", {{"units", int64_t{2}}});
  other.inputs = {"other_flat"};
  model.layers.push_back(std::move(flat));
  model.layers.push_back(std::move(other));
  model.outputs.emplace_back("other");
  graph::initialize_weights(model, 1);
  return model;
}

std::string small_config(const std::string& more) {
  return fmt::format(R"j({{"model": "{}", "data": "mnist", "batch_size": 100, "learning_rate": 0.01, "seed": 7,
    "goal": {{"type": "energy", "params": {{"parameters_on_memory": ["sram", "sram"]}}}},
    "limit": {{"Conv2D": [4, 8, 4], "Dense": [4, 8, 4], "Activation": [4], "BatchNormalization": []}}, {}}})j",
                     small_model_file().string(), more);
}

std::string searched_config(const std::string& more) {
  return fmt::format(R"j({{"model": "{}", "data": "mnist", "epochs": 3, "batch_size": 100,
    "learning_rate": 0.01, "seed": 7, "max_trials": 4, "early_stopping": false,
    "goal": {{"type": "energy", "params": {{"parameters_on_memory": ["sram", "sram"]}}}},
    "limit": {{"Conv2D": [4, 8, 4], "Dense": [4, 8, 4], "Activation": [4], "BatchNormalization": []}},
    "tune_filters": "layer", "tune_filters_exceptions": "^dense"{}}})j",
                     small_model_file().string(), more);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

Outcome outcome_of(const SearchResult& result, const fs::path& directory) {
  Outcome outcome;
  for (const search::Trial& trial : result.trials) {
    outcome.values.push_back(trial.values);
    outcome.scores.push_back(trial.score);
    outcome.metrics.push_back(trial.metrics);
    outcome.models.push_back(trial.artifact.empty() ? "" : read_file(directory / trial.artifact));
  }
  if (result.best) outcome.best = result.best->number;
  return outcome;
}

int run_as_worker_or_tests(int argc, char** argv) {
  if (argc >= 4 && std::string(argv[1]) == "worker") {
    signal(SIGTERM, [](int) { terminated = true; });
    try {
      run_worker(argv[3], {.stop = &terminated});
      return 0;
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      return 1;
    }
  }
  ::testing::InitGoogleTest(&argc, argv);
  make_data();
  return RUN_ALL_TESTS();
}

}  // namespace nibble::autoq
