// The example of QKeras' README, in C++: a convolution with random ternary weights, a separable one, a dense layer.
//
//   build/release/bin/qkeras_readme [EPOCHS]     trains it on MNIST, writes qkeras_readme.keras and .json
#include <fmt/format.h>

#include <cstdlib>

#include "nibble/data/catalog.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/train/trainer.h"

namespace {

nibble::graph::Model network(const nibble::Shape& shape, int64_t classes) {
  using namespace nibble::graph::build;
  const auto in = Input({.shape = shape.extents(), .name = "x_in"});
  auto x = QConv2D({.filters = 18,
                    .kernel_size = {3, 3},
                    .kernel_quantizer = "stochastic_ternary",
                    .bias_quantizer = "ternary",
                    .name = "first_conv2d"})(in);
  x = QActivation({.activation = "quantized_relu(3)"})(x);
  x = layer("QSeparableConv2D", "",
            {{"filters", int64_t{32}},
             {"kernel_size", std::vector<int64_t>{3, 3}},
             {"depthwise_quantizer", "quantized_bits(4,0,1)"},
             {"pointwise_quantizer", "quantized_bits(3,0,1)"},
             {"bias_quantizer", "quantized_bits(3)"}})(x);
  x = QActivation({.activation = "quantized_relu(3)"})(x);
  x = QDense({.units = classes, .kernel_quantizer = "quantized_bits(3)", .bias_quantizer = "quantized_bits(3)"})(
      Flatten({})(x));
  x = QActivation({.activation = "quantized_bits(20,5)"})(x);
  return build_model({in}, {Activation({.activation = "softmax"})(x)}, "qkeras_readme");
}

}  // namespace

int main(int argc, char** argv) {
  const int epochs = argc > 1 ? std::atoi(argv[1]) : 10;
  nibble::data::Dataset dataset = nibble::data::load_dataset("mnist");
  nibble::data::apply_preprocessing(dataset, nibble::data::Preprocessing::kUnit);
  nibble::train::Trainer trainer(network(dataset.train.shape(), dataset.num_classes),
                                 {.learning_rate = 0.003, .seed = 1});
  nibble::train::FitOptions fit;
  fit.epochs = epochs;
  fit.batch_size = 128;
  for (const auto& epoch : trainer.fit(dataset, fit)) {
    fmt::print("epoch {:2}  loss {:.4f}  test accuracy {:.4f}\n", epoch.epoch, epoch.loss, *epoch.val_accuracy);
  }
  nibble::formats::keras::save_model(trainer.model(), "qkeras_readme.keras");
  nibble::formats::keras::save_model(trainer.model(), "qkeras_readme.json");
}
