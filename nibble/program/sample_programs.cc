#include "nibble/program/sample_programs.h"

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"

namespace nibble::program {
namespace b = graph::build;

Program sample_program(SoftmaxForm form, std::optional<affine::Rounding> rounding) {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QConv2D(
      {.filters = 4, .kernel_size = {3, 3}, .padding = "same", .kernel_quantizer = "ternary", .name = "conv"})(in);
  x = b::MaxPooling2D({.name = "pool"})(b::BatchNormalization({.name = "bn"})(x));
  auto relu = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  auto bits = b::QActivation({.activation = "quantized_bits(4,1,1,alpha=1)", .name = "bits"})(x);
  auto sum = b::layer("Add", "add")(std::vector<b::Node>{relu, bits});
  auto both = b::layer("Concatenate", "join")(std::vector<b::Node>{sum, bits});
  both = b::layer("ZeroPadding2D", "pad")(both);
  auto y = b::QActivation({.activation = "quantized_relu(4,2)", .name = "mean_relu"})(
      b::layer("GlobalAveragePooling2D", "mean")(both));
  y = b::layer("Reshape", "reshape", {{"target_shape", std::vector<int64_t>{8}}})(y);
  y = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(y);
  y = b::Activation({.activation = "softmax", .name = "softmax"})(y);
  graph::Model model = b::build_model({in}, {y}, "all");
  graph::initialize_weights(model, 2);
  return lower(model, {.softmax = form, .rounding = rounding});
}

Program turning_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QActivation({.activation = "quantized_hswish(6,1,1)", .name = "first"})(in);
  x = b::QConv2D({.filters = 4, .kernel_size = {3, 3}, .kernel_quantizer = "ternary(alpha=1)", .name = "conv"})(x);
  x = b::QActivation({.activation = "quantized_bits(8,2,1,alpha=1)", .name = "wide"})(x);
  x = b::QActivation({.activation = "quantized_hswish(6,2,1)", .name = "shared"})(x);
  x = b::AveragePooling2D(
      {.pool_size = {3, 3}, .strides = std::vector<int64_t>{1, 1}, .padding = "same", .name = "mean"})(x);
  x = b::QActivation({.activation = "quantized_bits(8,1,1,alpha=1)", .name = "bits"})(x);
  x = b::BatchNormalization({.name = "bn"})(x);
  x = b::QActivation({.activation = "quantized_hswish(5,1,1)", .name = "own"})(x);
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "turning");
  graph::initialize_weights(model, 2);
  for (float& gamma : model.layer("bn").find_weight("gamma")->value.data()) gamma = -3.0f;
  return lower(model);
}

Program wide_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QActivation({.activation = "quantized_bits(16,0,1,alpha=1)", .name = "first"})(in);
  x = b::QConv2D({.filters = 3,
                  .kernel_size = {5, 5},
                  .use_bias = false,
                  .kernel_quantizer = "quantized_bits(20,0,1,alpha=1)",
                  .name = "conv"})(x);
  x = b::QActivation({.activation = "quantized_bits(6,2,1,alpha=1)", .name = "act"})(
      b::MaxPooling2D({.name = "pool"})(x));
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "wide");
  graph::initialize_weights(model, 2);
  return lower(model);
}

Program moving_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::Cropping2D({.cropping = {1, 2, 0, 1}, .name = "crop"})(in);
  x = b::Permute({.dims = {2, 1, 3}, .name = "turn"})(b::UpSampling2D({.size = {2, 1}, .name = "up"})(x));
  x = b::QConv2D({.filters = 4, .kernel_size = {3, 3}, .kernel_quantizer = "ternary", .name = "conv"})(x);
  auto relu = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  auto bits = b::QActivation({.activation = "quantized_bits(4,1,1,alpha=1)", .name = "bits"})(x);
  x = b::layer("Maximum", "largest")(std::vector<b::Node>{relu, bits});
  x = b::Permute({.dims = {3, 1, 2}, .name = "channels"})(
      b::layer("Minimum", "smallest")(std::vector<b::Node>{x, relu}));
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  x = b::ELU({.alpha = 0.5, .name = "elu"})(b::PReLU({.alpha_initializer = "ones", .name = "prelu"})(x));
  graph::Model model = b::build_model({in}, {x}, "moving");
  graph::initialize_weights(model, 2);
  model.layer("prelu").find_weight("alpha")->value = Tensor(Shape{3}, {0.5f, -0.25f, 0.0f});
  return lower(model);
}

Program transposed_program() {
  auto in = b::Input({.shape = {8, 8, 2}, .name = "input"});
  auto x = b::QConv2DTranspose({.filters = 3,
                                .kernel_size = {3, 2},
                                .strides = {2, 3},
                                .padding = "same",
                                .kernel_quantizer = "quantized_bits(4,0,1,alpha=1)",
                                .name = "up"})(in);
  x = b::QActivation({.activation = "quantized_relu(3,1)", .name = "relu"})(x);
  x = b::QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "dense"})(b::Flatten()(x));
  graph::Model model = b::build_model({in}, {x}, "transposed");
  graph::initialize_weights(model, 2);
  return lower(model);
}

Tensor samples(int64_t count) {
  Tensor x(Shape{count, 8, 8, 2});
  RandomStream random({1, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = random.uniform() * 2 - 1;
  return x;
}

}  // namespace nibble::program
