#include "nibble/formats/keras/keras_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/weight_layout.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layers_recurrent.h"
#include "support/golden.h"

namespace nibble::formats::keras {
namespace {

namespace fs = std::filesystem;
using graph::Model;

Model network() {
  using namespace graph::build;
  const Node in = Input({.shape = {8, 8, 2}, .name = "input"});
  Node x = QConv2D({.filters = 3,
                    .kernel_size = {3, 3},
                    .padding = "same",
                    .kernel_quantizer = "quantized_bits(4,0,1)",
                    .bias_quantizer = "quantized_bits(8,3)",
                    .name = "conv/first"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  x = QActivation({.activation = "quantized_relu(4,1)", .name = "act"})(x);
  x = QConv2D({.filters = 3, .kernel_size = {1, 1}, .kernel_quantizer = "ternary", .name = "a_second"})(x);
  x = MaxPooling2D({.name = "pool"})(x);
  x = QDense({.units = 4, .kernel_quantizer = "binary(alpha=1.0)", .name = "dense"})(Flatten()(x));
  Model model = build_model({in}, {Activation({.activation = "softmax", .name = "softmax"})(x)}, "small");
  graph::initialize_weights(model, 3);
  return model;
}

fs::path scratch() {
  static const fs::path path = testing::scratch_dir("keras_file");
  return path;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string whole_h5(const Model& model) { return write_legacy(model, graph::to_config(model).dump()); }

// Layers whose weights nest in an archive.
Model sequences() {
  using namespace graph::build;
  const Node in = Input({.shape = {5, 3}, .name = "input"});
  Node x = layer("QLSTM", "lstm", {{"units", int64_t{4}}, {"return_sequences", true}})(in);
  const auto inner = graph::make_layer("GRU", "gru", {{"units", int64_t{2}}});
  x = layer("Bidirectional", "both", {{"layer", graph::as_inner_layer(inner)}})(x);
  Model model = build_model({in}, {x}, "sequences");
  graph::initialize_weights(model, 3);
  return model;
}

TEST(KerasFiles, EveryKindRoundTrips) {
  for (const Model& model : {network(), sequences()}) {
    for (const char* name : {"kinds.keras", "kinds.h5", "kinds.hdf5", "kinds.json"}) {
      const fs::path path = scratch() / name;
      save_model(model, path);
      EXPECT_TRUE(load_model(path) == model) << model.name << " " << name;
    }
  }
  EXPECT_TRUE(fs::exists(scratch() / "kinds_weights.h5"));
  EXPECT_NE(message_of([] { save_model(network(), scratch() / "kinds.onnx"); }).find("known are .keras"),
            std::string::npos);
}

// No module, no registered name, no tensor object: what Keras 2 would not know what to do with.
TEST(KerasFiles, FlavourOfKeras2) {
  for (const Model& model : {network(), sequences()}) {
    for (const char* name : {"keras2.h5", "keras2.json"}) {
      save_model(model, scratch() / name, Flavour::kKeras2);
      const std::string bytes = read_file(scratch() / name);
      const Model loaded = load_model(scratch() / name);
      for (const graph::Layer& layer : model.layers) {
        EXPECT_EQ(loaded.layer(layer.name).weights, layer.weights) << layer.name;
      }
      save_model(loaded, scratch() / name, Flavour::kKeras2);
      EXPECT_EQ(read_file(scratch() / name), bytes) << model.name << " " << name;
    }
    const std::string text = read_file(scratch() / "keras2.json");
    for (const char* of_keras3 : {"\"module\"", "registered_name", "build_config", "__keras_tensor__", "DTypePolicy"}) {
      EXPECT_EQ(text.find(of_keras3), std::string::npos) << of_keras3;
    }
  }
  EXPECT_TRUE(load_model(scratch() / "keras2.json").layer("lstm") == sequences().layer("lstm"));
  const auto document = nlohmann::json::parse(read_file(scratch() / "keras2.json"));
  EXPECT_EQ(document.at("keras_version"), "2.4.0");
  const nlohmann::json& layers = document.at("config").at("layers");
  EXPECT_EQ(layers[0].at("config").at("batch_input_shape"), nlohmann::json({nullptr, 5, 3}));
  EXPECT_EQ(layers[1].at("inbound_nodes"), nlohmann::json::parse(R"([[["input", 0, 0, {}]]])"));
  EXPECT_NE(message_of([] { save_model(network(), scratch() / "two.keras", Flavour::kKeras2); }).find("write .h5"),
            std::string::npos);
}

TEST(KerasFiles, TellWhomTheyWereWrittenFor) {
  for (const char* name : {"whom.h5", "whom.json"}) {
    for (const Flavour flavour : {Flavour::kKeras2, Flavour::kKeras3}) {
      save_model(network(), scratch() / name, flavour);
      EXPECT_EQ(flavour_of(scratch() / name), flavour) << name;
    }
  }
  save_model(network(), scratch() / "whom.keras");
  EXPECT_EQ(flavour_of(scratch() / "whom.keras"), Flavour::kKeras3);
  // Without a version: Keras 3 names modules.
  auto document = nlohmann::json::parse(read_file(scratch() / "whom.json"));
  document.erase("keras_version");
  write_file(scratch() / "whom.json", document.dump());
  EXPECT_EQ(flavour_of(scratch() / "whom.json"), Flavour::kKeras3);
  write_file(scratch() / "whom.json", R"({"class_name": "Functional", "config": {}})");
  EXPECT_EQ(flavour_of(scratch() / "whom.json"), Flavour::kKeras2);
  write_file(scratch() / "whom.json", "neither");
  EXPECT_THROW(flavour_of(scratch() / "whom.json"), CorruptFile);
}

TEST(KerasArchive, RoundTripIsExact) {
  const Model model = network();
  save_model(model, scratch() / "a.keras");
  EXPECT_TRUE(load_model(scratch() / "a.keras") == model);
}

TEST(KerasArchive, SameModelGivesSameBytes) {
  const Model model = network();
  save_model(model, scratch() / "b.keras");
  save_model(load_model(scratch() / "b.keras"), scratch() / "c.keras");
  EXPECT_EQ(read_file(scratch() / "b.keras"), read_file(scratch() / "c.keras"));
}

TEST(KerasArchive, CountsLayersPerClass) {
  const auto paths = archive_paths(network());
  EXPECT_EQ(paths.at("conv/first"), "q_conv2d");
  EXPECT_EQ(paths.at("a_second"), "q_conv2d_1");
  EXPECT_EQ(paths.at("dense"), "q_dense");
  EXPECT_EQ(paths.at("bn"), "batch_normalization");
}

TEST(KerasArchive, ModelWithoutWeightsIsRefused) {
  Model model = network();
  model.layer("bn").weights.clear();
  EXPECT_NE(message_of([&] { save_model(model, scratch() / "d.keras"); }).find("'bn' (BatchNormalization)"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(scratch() / "d.keras"));
}

TEST(KerasArchive, UnwritableTargetLeavesNothing) {
  EXPECT_THROW(save_model(network(), scratch() / "missing" / "m.keras"), IoError);
}

TEST(WholeH5, Loads) {
  const Model model = network();
  write_file(scratch() / "whole.h5", whole_h5(model));
  EXPECT_TRUE(load_model(scratch() / "whole.h5") == model);
}

TEST(JsonConfig, LoadsWithWeightsBesideIt) {
  const Model model = network();
  write_file(scratch() / "pair.json", graph::to_config(model).dump());
  Model bare = load_model(scratch() / "pair.json");
  EXPECT_TRUE(bare.layer("bn").weights.empty());
  save_weights(model, scratch() / "pair_weights.h5");
  EXPECT_TRUE(load_model(scratch() / "pair.json") == model);
}

TEST(Weights, LegacyRoundTripIsExactAndRepeats) {
  const Model model = network();
  save_weights(model, scratch() / "w.h5");
  save_weights(model, scratch() / "w2.h5");
  EXPECT_EQ(read_file(scratch() / "w.h5"), read_file(scratch() / "w2.h5"));
  Model other = network();
  for (auto& layer : other.layers) {
    for (auto& weight : layer.weights) weight.value = Tensor(weight.value.shape(), 9.0f);
  }
  load_weights(other, scratch() / "w.h5");
  EXPECT_TRUE(other == model);
}

TEST(Weights, AlsoOutOfAnArchive) {
  const Model model = network();
  save_model(model, scratch() / "e.keras");
  Model other = network();
  other.layer("dense").weights.clear();
  load_weights(other, scratch() / "e.keras");
  EXPECT_TRUE(other == model);
}

TEST(Weights, MismatchesNameTheLayer) {
  const Model model = network();
  save_weights(model, scratch() / "f.h5");
  Model renamed = network();
  renamed.layer("dense").name = "classifier";
  renamed.layer("softmax").inputs = {"classifier"};
  EXPECT_NE(message_of([&] { load_weights(renamed, scratch() / "f.h5"); }).find("'dense'"), std::string::npos);
  Model wider = network();
  wider.layer("dense").attributes["units"] = int64_t{5};
  const Model before = wider;
  const std::string message = message_of([&] { load_weights(wider, scratch() / "f.h5"); });
  EXPECT_NE(message.find("(48, 5)"), std::string::npos) << message;
  EXPECT_TRUE(wider == before) << "a failed load changes nothing";
}

TEST(Weights, ListsAbove64KibAreSplit) {
  using namespace graph::build;
  const Node in = Input({.shape = {1}, .name = "in"});
  Node x = in;
  for (int i = 0; i < 700; ++i) x = Dense({.units = 1, .name = std::string(100, 'n') + std::to_string(i)})(x);
  Model model = build_model({in}, {x});
  graph::initialize_weights(model, 1);
  save_weights(model, scratch() / "many.h5");
  {
    const Hdf5Reader file(read_file(scratch() / "many.h5"), "many.h5");
    EXPECT_EQ(file.texts("/", "layer_names")->size(), 701u);
  }
  Model other = model;
  for (auto& layer : other.layers) layer.weights.clear();
  load_weights(other, scratch() / "many.h5");
  EXPECT_TRUE(other == model);
}

TEST(Bad, FilesAreNamed) {
  write_file(scratch() / "text.keras", "hello");
  EXPECT_THROW(load_model(scratch() / "text.keras"), CorruptFile);
  EXPECT_THROW(load_model(scratch() / "nowhere.keras"), IoError);
  write_file(scratch() / "deep.json", std::string(100000, '[') + std::string(100000, ']'));
  EXPECT_THROW(load_model(scratch() / "deep.json"), CorruptFile);
  std::string nested = "{\"a\":";
  for (int i = 0; i < 5000; ++i) nested += "[";
  write_file(scratch() / "deeper.json", nested);
  EXPECT_NE(message_of([&] { load_model(scratch() / "deeper.json"); }).find("nested"), std::string::npos);
  write_file(scratch() / "weights_only.h5", write_legacy(network()));
  EXPECT_NE(message_of([&] { load_model(scratch() / "weights_only.h5"); }).find("model_config"), std::string::npos);
}

TEST(Bad, InfinityInOpaquePartsIsCarried) {
  write_file(scratch() / "inf.json",
             R"({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "NaN", "units": 1,
                "batch_input_shape": [null, 2], "kernel_regularizer": {"class_name": "R", "config": {"x": -Infinity}}}}]})");
  EXPECT_EQ(load_model(scratch() / "inf.json").layers[1].name, "NaN");
}

// Loads, or throws one of nibble's errors: anything else fails the test or ends the process.
struct Outcome {
  int loaded = 0, refused = 0;
};
Outcome try_variants(const std::string& bytes, const std::string& name,
                     const std::function<void(const fs::path&)>& load) {
  Outcome outcome;
  const fs::path path = scratch() / name;
  RandomStream random({.seed = 11});
  const auto attempt = [&](const std::string& variant) {
    std::ofstream(path, std::ios::binary) << variant;  // write_file() would wait for the disk 1,600 times
    try {
      load(path);
      ++outcome.loaded;
    } catch (const Error&) {
      ++outcome.refused;
    }
  };
  for (int i = 0; i < 200; ++i) attempt(bytes.substr(0, bytes.size() * static_cast<size_t>(i) / 200));
  for (int i = 0; i < 200; ++i) {
    std::string flipped = bytes;
    flipped[random.below(static_cast<uint32_t>(bytes.size()))] ^= static_cast<char>(1u << random.below(8));
    attempt(flipped);
  }
  return outcome;
}

struct HostileRow {
  const char* name;
  std::string (*bytes)();
  bool weights_only;
};
class Hostile : public ::testing::TestWithParam<HostileRow> {};
TEST_P(Hostile, VariantsNeverCrash) {
  const Model model = network();
  const Outcome outcome = try_variants(GetParam().bytes(), GetParam().name, [&](const fs::path& path) {
    Model target = model;
    if (GetParam().weights_only) {
      load_weights(target, path);
    } else {
      load_model(path);
    }
  });
  EXPECT_EQ(outcome.loaded + outcome.refused, 400);
  EXPECT_GE(outcome.refused, 190) << "a truncated file is refused";
  std::printf("%s: %d loaded, %d refused\n", GetParam().name, outcome.loaded, outcome.refused);
}
INSTANTIATE_TEST_SUITE_P(Rows, Hostile,
                         ::testing::Values(HostileRow{"variant.keras",
                                                      [] {
                                                        save_model(network(), scratch() / "whole.keras");
                                                        return read_file(scratch() / "whole.keras");
                                                      },
                                                      false},
                                           HostileRow{"variant.h5", [] { return whole_h5(network()); }, false},
                                           HostileRow{"variant_w.h5", [] { return write_legacy(network()); }, true},
                                           HostileRow{"variant.json", [] { return graph::to_config(network()).dump(); },
                                                      false}));

}  // namespace
}  // namespace nibble::formats::keras
