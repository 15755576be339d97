#include "nibble/formats/keras/qkeras_names.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/formats/keras/keras2_config.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "support/golden.h"

namespace nibble::formats::keras {
namespace {

using namespace graph::build;

graph::Model network() {
  const Node in = Input({.shape = {8, 8, 1}, .name = "in"});
  // quantized_linear and quantized_hswish, which QKeras' own function does not find.
  Node x = QConv2D({.filters = 2, .kernel_size = {3, 3}, .kernel_quantizer = "quantized_linear(4,0)", .name = "c"})(in);
  x = QActivation({.activation = "quantized_hswish(6,2)", .name = "a"})(x);
  return build_model({in}, {x}, "small");
}

TEST(QKerasNames, ModelsComeOutOfTheirJson) {
  const nlohmann::json config = graph::to_config(network());
  EXPECT_EQ(quantized_model_from_json(config.dump()), network());
  EXPECT_EQ(quantized_model_from_json(to_keras2(config).dump()).layer("c"), network().layer("c"));
  EXPECT_THROW(quantized_model_from_json("{"), CorruptFile);
  EXPECT_THROW(quantized_model_from_json("{}"), Error);
}

TEST(QKerasNames, LoadQmodelReadsAnyFile) {
  graph::Model model = network();
  graph::initialize_weights(model, 1);
  for (const char* name : {"m.h5", "m.keras", "m.json"}) {
    const auto path = testing::scratch_dir("qkeras_names") / name;
    save_model(model, path);
    EXPECT_EQ(load_qmodel(path), model) << name;
  }
}

}  // namespace
}  // namespace nibble::formats::keras
