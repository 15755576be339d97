// Files of models that went through TFMOT are read as nibble's own.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/formats/keras/tfmot_config.h"
#include "support/damaged_file.h"
#include "support/golden.h"
#include "support/tfmot_file.h"

namespace nibble::formats::keras {
namespace {

namespace fs = std::filesystem;
using graph::Model;
using nlohmann::json;
using testing::tfmot_archive;
using testing::tfmot_archive_variables;
using testing::tfmot_config;
using testing::tfmot_h5;
using testing::tfmot_twin;
using testing::tfmot_variables;
using testing::TfmotVariable;

fs::path scratch() {
  static const fs::path path = testing::scratch_dir("tfmot_file");
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

Model load_bytes(const char* name, const std::string& bytes) {
  testing::overwrite(scratch() / name, bytes);
  return load_model(scratch() / name);
}

void expect_equal(const Model& model, const Model& twin) {
  ASSERT_EQ(model.layers.size(), twin.layers.size());
  for (size_t i = 0; i < twin.layers.size(); ++i) {
    const graph::Layer &layer = model.layers[i], &same = twin.layers[i];
    EXPECT_EQ(layer.name, same.name);
    EXPECT_EQ(layer.class_name, same.class_name) << same.name;
    EXPECT_EQ(layer.inputs, same.inputs) << same.name;
    EXPECT_EQ(layer.quantization, same.quantization) << same.name;
    EXPECT_EQ(layer.weights, same.weights) << same.name;
    for (const char* attribute : {"strides", "padding", "activation", "units", "epsilon"}) {
      const bool has = same.attributes.contains(attribute);
      EXPECT_TRUE(!has || graph::equal(layer.attributes.at(attribute), same.attributes.at(attribute)))
          << same.name << " " << attribute;
    }
  }
  EXPECT_EQ(model.inputs, twin.inputs);
  EXPECT_EQ(model.outputs, twin.outputs);
}

// ---- whole files ----------------------------------------------------------------

TEST(TfmotFile, H5IsTheTwin) {
  const Model twin = tfmot_twin();
  expect_equal(load_bytes("whole.h5", tfmot_h5(twin, tfmot_config())), twin);
}

TEST(TfmotFile, ArchiveIsTheTwin) {
  const Model twin = tfmot_twin();
  expect_equal(load_bytes("whole.keras", tfmot_archive(twin, tfmot_config())), twin);
}

TEST(TfmotFile, JsonWithWeightsBesideItIsTheTwin) {
  const Model twin = tfmot_twin();
  testing::overwrite(scratch() / "pair_weights.h5", tfmot_h5(twin, nullptr));
  expect_equal(load_bytes("pair.json", tfmot_config().dump()), twin);
  fs::remove(scratch() / "pair_weights.h5");
  EXPECT_TRUE(load_model(scratch() / "pair.json").layer("conv").weights.empty());
}

// The names that Keras 3 and registered classes have.
TEST(TfmotFile, PackagesDoNotMatter) {
  const Model twin = tfmot_twin();
  json config = tfmot_config();
  for (json& entry : config["config"]["layers"]) {
    const std::string name = entry["class_name"];
    if (name.starts_with("Quantize")) entry["class_name"] = "TensorFlowModelOptimization>" + name;
    if (entry["config"].contains("quantize_config")) {
      json& class_name = entry["config"]["quantize_config"]["class_name"];
      class_name = "tfmot>" + class_name.get<std::string>();
    }
  }
  expect_equal(load_bytes("packages.keras", tfmot_archive(twin, config)), twin);
}

TEST(TfmotFile, BecomesNibblesOwn) {
  const Model loaded = load_bytes("there.h5", tfmot_h5(tfmot_twin(), tfmot_config()));
  EXPECT_EQ(flavour_of(scratch() / "there.h5"), Flavour::kKeras2);
  for (const char* name : {"back.keras", "back.h5", "back.json"}) {
    save_model(loaded, scratch() / name);
    EXPECT_TRUE(load_model(scratch() / name) == loaded) << name;
    if (fs::path(name).extension() != ".json") continue;
    const std::string text = read_file(scratch() / name);
    for (const char* word : {"QuantizeWrapper", "quant_conv", "QuantizeLayer", "Default8Bit", "QuantizeAware"}) {
      EXPECT_EQ(text.find(word), std::string::npos) << word;
    }
  }
}

// The first version of the wrapper leaves the bias to the layer inside; a model that was never called leaves it all.
TEST(TfmotFile, ArchivesOfOtherHistories) {
  const Model twin = tfmot_twin();
  std::vector<TfmotVariable> first = tfmot_archive_variables();
  std::erase_if(first, [](const TfmotVariable& v) {
    return v.group == "layers/quantize_wrapper_v2" && (v.path == "0" || v.path == "1");
  });
  for (TfmotVariable& v : first) {
    if (v.group == "layers/quantize_wrapper_v2") v.path = std::to_string(std::stoi(v.path) - 2);
  }
  expect_equal(load_bytes("first.keras", tfmot_archive(twin, tfmot_config(), first)), twin);

  std::vector<TfmotVariable> whole = tfmot_archive_variables();
  for (TfmotVariable& v : whole) {
    if (v.group == "layers/quantize_wrapper_v2/layer") v.path = "1";
  }
  whole.push_back({"layers/quantize_wrapper_v2/layer", "0", "conv", "kernel"});
  expect_equal(load_bytes("whole_inside.keras", tfmot_archive(twin, tfmot_config(), whole)), twin);
}

// ---- other graphs ---------------------------------------------------------------

json dense_wrapper(const std::string& name, const std::string& activation, const std::string& wrapper) {
  json entry = json::parse(R"({"config": {"layer": {"class_name": "Dense", "config": {"units": 2}},
    "quantize_config": {"class_name": "Default8BitQuantizeConfig", "config":
      {"weight_attrs": ["kernel"], "activation_attrs": ["activation"], "quantize_output": false}}}})");
  entry["class_name"] = wrapper;
  entry["config"]["name"] = (wrapper == "QuantizeAnnotate" ? "quantize_annotate_" : "quant_") + name;
  entry["config"]["layer"]["config"]["name"] = name;
  entry["config"]["layer"]["config"]["activation"] = activation;
  if (wrapper == "QuantizeAnnotate") entry["config"]["quantize_config"] = nullptr;
  return entry;
}

json quantize_layer(const std::string& name) {
  json entry = tfmot_config()["config"]["layers"][1];
  entry["name"] = entry["config"]["name"] = name;
  return entry;
}

json input_layer(const std::string& name) {
  return {{"class_name", "InputLayer"},
          {"name", name},
          {"config", {{"name", name}, {"batch_input_shape", {nullptr, 3}}, {"dtype", "float32"}}}};
}

json sequential(std::vector<json> layers) {
  return {{"class_name", "Sequential"}, {"config", {{"name", "s"}, {"layers", std::move(layers)}}}};
}

std::string points_of(const Model& model) {
  std::string text;
  for (const graph::Layer& layer : model.layers) {
    text += layer.name;
    for (const auto& point : graph::quantized_points(layer)) text += " " + point.name;
    text += "; ";
  }
  return text;
}

Model from_tfmot_config(const json& config) { return load_bytes("graph.json", config.dump()); }

TEST(TfmotConfig, SequentialModels) {
  const json dense = dense_wrapper("d", "relu", "QuantizeWrapper");
  EXPECT_EQ(points_of(from_tfmot_config(sequential({input_layer("in"), quantize_layer("q"), dense}))),
            "in output; d kernel post_activation; ");
  // Old ones have no InputLayer; the first layer tells the shape.
  json first = quantize_layer("q");
  first["config"]["batch_input_shape"] = {nullptr, 3};
  EXPECT_EQ(points_of(from_tfmot_config(sequential({first, dense}))), "q_input; q output; d kernel post_activation; ");
  json shaped = dense;
  shaped["config"]["batch_input_shape"] = {nullptr, 3};
  EXPECT_EQ(points_of(from_tfmot_config(sequential({shaped}))), "d_input; d kernel post_activation; ");
}

TEST(TfmotConfig, QuantizersElsewhereAreLayersOfTheirOwn) {
  const json dense = dense_wrapper("d", "linear", "QuantizeWrapperV2");
  EXPECT_EQ(points_of(from_tfmot_config(sequential({input_layer("in"), dense, quantize_layer("q")}))),
            "in; d kernel post_activation; q output; ");
  json none = quantize_layer("q");
  none["config"]["quantizer"] = nullptr;
  EXPECT_EQ(points_of(from_tfmot_config(sequential({input_layer("in"), none, dense}))),
            "in; d kernel post_activation; ");
}

// Another layer reads the input as it is.
TEST(TfmotConfig, InputsWithOtherReadersStayFloat) {
  json config = tfmot_config();
  json& layers = config["config"]["layers"];
  EXPECT_EQ(points_of(from_tfmot_config(config)).substr(0, 13), "input output;");
  layers.push_back({{"class_name", "Flatten"},
                    {"name", "raw"},
                    {"config", {{"name", "raw"}}},
                    {"inbound_nodes", json::parse(R"([[["input", 0, 0, {}]]])")}});
  config["config"]["output_layers"].push_back({"raw", 0, 0});
  const Model model = from_tfmot_config(config);
  EXPECT_EQ(points_of(model).substr(0, 29), "input; quantize_layer output;");
  EXPECT_EQ(model.layer("conv").inputs, std::vector<std::string>{"quantize_layer"});
  EXPECT_EQ(model.layer("quantize_layer").class_name, "Activation");
}

TEST(TfmotConfig, AnnotationsDoNothingYet) {
  const json config = sequential({input_layer("in"), dense_wrapper("d", "relu", "QuantizeAnnotate")});
  EXPECT_TRUE(is_tfmot(config));
  const Model model = from_tfmot_config(config);
  EXPECT_EQ(points_of(model), "in; d; ");
  EXPECT_EQ(model.layer("d").activation_function(), "relu");
  EXPECT_FALSE(is_tfmot(sequential({input_layer("in")})));
}

// ---- refusals -------------------------------------------------------------------

struct Change {
  const char* name;
  const char* pointer;  // into the configuration
  const char* value;
  const char* says;
};
class TfmotRefusals : public ::testing::TestWithParam<Change> {};
TEST_P(TfmotRefusals, NameTheLayerAndSayWhatToDo) {
  json config = tfmot_config();
  config[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  const std::string message = message_of([&] { load_bytes("refused.h5", tfmot_h5(tfmot_twin(), config)); });
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(
    Rows, TfmotRefusals,
    ::testing::Values(
        Change{"OwnConfig", "/config/layers/2/config/quantize_config/class_name", R"("ConvQuantizer")",
               "layer 'quant_conv' (QuantizeWrapperV2): its quantize_config is a 'ConvQuantizer'"},
        Change{"WhatToDo", "/config/layers/2/config/quantize_config/class_name", R"("ConvQuantizer")", "nibble qat"},
        Change{"NoConfig", "/config/layers/2/config/quantize_config", "null", "must be an object with class_name"},
        Change{"UnknownKey", "/config/layers/2/config/quantize_config/config/per_axis", "true", "the key 'per_axis'"},
        Change{"UnknownAttribute", "/config/layers/2/config/pruning", "0.5", "'pruning'"},
        Change{"OtherActivation", "/config/layers/6/config/layer/config/activation", R"("elu")", "has 'elu'"},
        Change{"OtherActivationLayer", "/config/layers/4/config/layer/config/activation", R"("selu")", "has 'selu'"},
        Change{"OtherAttribute", "/config/layers/6/config/quantize_config/config/activation_attrs/0",
               R"("recurrent_activation")", "'recurrent_activation'"},
        Change{"NoSuchWeight", "/config/layers/6/config/quantize_config/config/weight_attrs/0", R"("kernle")",
               "Did you mean 'kernel'?"},
        Change{"NoLayer", "/config/layers/6/config/layer", "null", "layer 'quant_dense'"},
        Change{"TwoWrappers", "/config/layers/6/config/layer/class_name", R"("QuantizeWrapperV2")", "one wrapper"},
        Change{"UnknownClassInside", "/config/layers/6/config/layer/class_name", R"("Dence")", "Dence"},
        Change{"Bits", "/config/layers/6/config/quantize_config/config/num_bits_weight", "1", "num_bits is 1"},
        Change{"UnknownQuantizer", "/config/layers/1/config/quantizer/class_name", R"("AllValueQuantizer")",
               "Did you mean 'AllValuesQuantizer'"},
        Change{"QuantizerOfTwo", "/config/layers/1/inbound_nodes/0/1", R"(["input", 0, 0, {}])", "has 2 inputs"}),
    [](const auto& row) { return row.param.name; });

std::string without(const std::string& path, bool archive) {
  auto variables = archive ? tfmot_archive_variables() : tfmot_variables();
  std::erase_if(variables, [&](const TfmotVariable& v) { return v.group + "/" + v.path == path; });
  return archive ? tfmot_archive(tfmot_twin(), tfmot_config(), variables)
                 : tfmot_h5(tfmot_twin(), tfmot_config(), variables);
}

TEST(TfmotFileRefusals, MissingAndForeignVariables) {
  const std::string missing =
      message_of([] { load_bytes("missing.h5", without("quant_act/quant_act/output_max:0", false)); });
  EXPECT_NE(missing.find("'quant_act'"), std::string::npos) << missing;
  EXPECT_NE(missing.find("no 'output_max'"), std::string::npos) << missing;
  auto more = tfmot_variables();
  more.push_back({"quant_dense", "quant_dense/threshold:0"});
  const std::string foreign =
      message_of([&] { load_bytes("foreign.h5", tfmot_h5(tfmot_twin(), tfmot_config(), more)); });
  EXPECT_NE(foreign.find("threshold"), std::string::npos) << foreign;
  more.back() = {"quant_other", "quant_other/kernel:0"};
  const std::string layer = message_of([&] { load_bytes("layer.h5", tfmot_h5(tfmot_twin(), tfmot_config(), more)); });
  EXPECT_NE(layer.find("'quant_other'"), std::string::npos) << layer;
}

// The order of an archive's numbers is known by its landmark alone.
TEST(TfmotFileRefusals, ArchivesWithoutTheLandmark) {
  for (const char* path : {"layers/quantize_layer/2", "layers/quantize_wrapper_v2/5",
                           "layers/quantize_wrapper_v2_1/layer/3", "layers/quantize_wrapper_v2_4/layer/0"}) {
    const std::string message = message_of([&] { load_bytes("short.keras", without(path, true)); });
    EXPECT_NE(message.find("quant"), std::string::npos) << path << ": " << message;
    EXPECT_NE(message, "nothing was thrown") << path;
  }
  auto swapped = tfmot_archive_variables();
  for (TfmotVariable& v : swapped) {
    if (v.group == "layers/quantize_wrapper_v2_2" && v.path != "2") v.path = v.path == "0" ? "1" : "0";
  }
  const std::string message =
      message_of([&] { load_bytes("swapped.keras", tfmot_archive(tfmot_twin(), tfmot_config(), swapped)); });
  EXPECT_NE(message.find("Save the model as .h5"), std::string::npos) << message;
}

// ---- damage ---------------------------------------------------------------------

TEST(TfmotFile, DamagedFilesAreReadOrRefused) {
  const Model twin = tfmot_twin();
  for (const auto& [name, bytes] : {std::pair(std::string("damaged.h5"), tfmot_h5(twin, tfmot_config())),
                                    std::pair(std::string("damaged.keras"), tfmot_archive(twin, tfmot_config()))}) {
    int refused = 0, accepted = 0;
    RandomStream random({.seed = 12});
    const auto attempt = [&, name = name](const std::string& variant) {
      try {
        load_bytes(name.c_str(), variant);
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    };
    for (size_t i = 0; i < 60; ++i) attempt(bytes.substr(0, bytes.size() * i / 60));
    EXPECT_GE(refused, 57) << "a truncated file is refused";
    for (int i = 0; i < 60; ++i) {
      std::string flipped = bytes;
      flipped[random.below(static_cast<uint32_t>(bytes.size()))] ^= static_cast<char>(1u << random.below(8));
      attempt(flipped);
    }
    EXPECT_EQ(refused + accepted, 120) << name;
  }
}

}  // namespace
}  // namespace nibble::formats::keras
