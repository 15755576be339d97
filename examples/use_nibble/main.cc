// From a float network to integer codes in one program: build, quantize, weigh, train, finalize, save.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/cost/energy.h"
#include "nibble/data/synthetic_digits.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/model.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/finalize.h"
#include "nibble/transform/model_quantize.h"

namespace {

using namespace nibble;

graph::Model float_network() {
  using namespace graph::build;
  auto in = Input({.shape = {28, 28, 1}, .name = "image"});
  auto x = Conv2D({.filters = 16, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "conv_0"})(in);
  x = BatchNormalization({.name = "bn_0"})(x);
  x = Activation({.activation = "relu", .name = "act_0"})(x);
  x = Conv2D({.filters = 32, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "conv_1"})(x);
  x = BatchNormalization({.name = "bn_1"})(x);
  x = Activation({.activation = "relu", .name = "act_1"})(x);
  x = Dense({.units = 10, .name = "dense"})(Flatten({.name = "flatten"})(x));
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  return build_model({in}, {x}, "digits");
}

graph::Model quantized(const graph::Model& model) {
  const nlohmann::json quantizers = {
      {"QConv2D",
       {{"kernel_quantizer", "quantized_bits(4,0,1,alpha='auto_po2')"}, {"bias_quantizer", "quantized_bits(8,3,1)"}}},
      {"QDense", {{"kernel_quantizer", "ternary(alpha='auto')"}, {"bias_quantizer", "quantized_bits(8,3,1)"}}},
      {"QActivation", {{"relu", "quantized_relu(4,2)"}}}};
  return transform::model_quantize(model, quantizers);
}

double energy_nj(const graph::Model& model, cost::Reference reference) {
  return static_cast<double>(cost::estimate(model, cost::energy_query(reference)).total_pj) / 1000.0;
}

double train_on_digits(graph::Model& model) {
  data::Dataset digits = data::synthetic_digits({.train_count = 4000, .test_count = 1000});
  data::apply_preprocessing(digits, data::Preprocessing::kTutorial);
  train::Trainer trainer(model, {.learning_rate = 0.01});
  const train::History history = trainer.fit(digits, {.epochs = 2, .batch_size = 100});
  model = trainer.model();
  return history.back().val_accuracy.value_or(NAN);
}

}  // namespace

int main() {
  try {
    const graph::Model network = float_network();
    graph::Model small = quantized(network);
    fmt::print("{}\n", graph::summary(small));
    fmt::print("energy of one inference: {:.1f} nJ with float numbers, {:.1f} nJ with int8, {:.1f} nJ quantized\n",
               energy_nj(network, cost::Reference::kFp32), energy_nj(network, cost::Reference::kInt8),
               energy_nj(small, cost::Reference::kNone));
    fmt::print("accuracy after two epochs: {:.3f}\n", train_on_digits(small));

    const transform::Finalized result = transform::finalize(std::move(small));
    for (const transform::FinalizedLayer& layer : result.layers) {
      for (const transform::FinalizedWeight& weight : layer.weights) {
        if (weight.encoded) fmt::print("{} {}: {} integer codes\n", layer.name, weight.name, weight.value.size());
      }
    }
    formats::keras::save_model(result.model, "digits.keras");
    fmt::print("wrote digits.keras\n");
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
