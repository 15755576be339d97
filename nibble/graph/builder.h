// nibble/graph/builder.h
// Builds a graph as one writes it in Keras' functional API:
//
//   using namespace nibble::graph::build;
//   auto in = Input({.shape = {28, 28, 1}, .name = "input"});
//   auto x = Conv2D({.filters = 16, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same"})(in);
//   x = BatchNormalization()(x);
//   x = QActivation({.activation = "quantized_relu(4)"})(x);
//   x = QDense({.units = 10, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)"})(Flatten()(x));
//   Model model = build_model({in}, {x}, "tiny");
//
// Option structs carry Keras' names and defaults; quantizers and activations are given as text, "" being None. Further
// attributes (regularizers, constraints, ...) go into `more`: {.more = {{"kernel_regularizer", "l2"}}}.
// Families of their own: builder_convolution.h, builder_recurrent.h, builder_activation.h, builder_shape.h and
// builder_blocks.h.
// Layers without a name get Keras' automatic one when the model is built: conv2d, conv2d_1, ... in the order of the
// model's layers. Each application of a LayerCall is a layer of its own: nibble's graphs share none.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::graph::build {

// The output of a layer in the making. Copies name the same output.
class Node {
 public:
  struct Data;
  explicit Node(std::shared_ptr<Data> data) : data_(std::move(data)) {}
  const std::shared_ptr<Data>& data() const { return data_; }

 private:
  std::shared_ptr<Data> data_;
};

using Attributes = std::map<std::string, Attribute>;

// A configured layer; call it with its inputs.
class LayerCall {
 public:
  //   throws  InvalidArgument as make_layer() does
  LayerCall(const std::string& class_name, const std::string& name, Attributes attributes);
  Node operator()(const Node& input) const;
  Node operator()(const std::vector<Node>& inputs) const;  // merge layers
  const Layer& layer() const { return layer_; }            // without inputs, weights and an automatic name

 private:
  Layer layer_;
};

// Any known layer class, by name: layer("LeakyReLU", "act", {{"negative_slope", 0.1}})(x).
LayerCall layer(const std::string& class_name, const std::string& name = "", Attributes attributes = {});

// Collects what leads from the inputs to the outputs; inputs first, then every layer after those that feed it.
//   throws  InvalidArgument if an output depends on an Input that is not named in `inputs`, if a name is used twice,
//           or if shapes do not fit
Model build_model(const std::vector<Node>& inputs, const std::vector<Node>& outputs, std::string name = "model");

// The shape of a value in the making, without the batch axis.
//   throws  InvalidArgument if shapes do not fit on the way to it
Shape output_shape(const Node& node);

// "MaxPooling2D" -> "max_pooling2d", "QDense" -> "q_dense": Keras' stem of automatic names and file paths.
std::string snake_case(const std::string& class_name);

struct InputOptions {
  std::vector<int64_t> shape = {};  // without the batch axis; -1 is free
  std::string name = "";
};
Node Input(const InputOptions& options);

struct Conv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  int64_t groups = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall Conv2D(const Conv2DOptions& options);

struct DepthwiseConv2DOptions {
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  int64_t depth_multiplier = 1;
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall DepthwiseConv2D(const DepthwiseConv2DOptions& options);

struct DenseOptions {
  int64_t units = 0;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string bias_initializer = "zeros";
  std::string name = "";
  Attributes more = {};
};
LayerCall Dense(const DenseOptions& options);

struct BatchNormalizationOptions {
  int64_t axis = -1;
  double momentum = 0.99;  // share of the old value
  double epsilon = 1e-3;
  bool center = true, scale = true;
  std::string beta_initializer = "zeros", gamma_initializer = "ones";
  std::string name = "";
  Attributes more = {};
};
LayerCall BatchNormalization(const BatchNormalizationOptions& options = {});

struct ActivationOptions {
  std::string activation = "linear";  // a function's name or a quantizer's text
  std::string name = "";
};
LayerCall Activation(const ActivationOptions& options);
LayerCall QActivation(const ActivationOptions& options);

struct ReLUOptions {
  std::optional<double> max_value = {};
  double negative_slope = 0.0, threshold = 0.0;
  std::string name = "";
};
LayerCall ReLU(const ReLUOptions& options = {});

struct Pooling2DOptions {
  std::vector<int64_t> pool_size = {2, 2};
  std::vector<int64_t> strides = {};  // empty: pool_size
  std::string padding = "valid";
  std::string name = "";
};
LayerCall MaxPooling2D(const Pooling2DOptions& options = {});
LayerCall AveragePooling2D(const Pooling2DOptions& options = {});

struct GlobalPoolingOptions {
  bool keepdims = false;
  std::string name = "";
};
LayerCall GlobalAveragePooling2D(const GlobalPoolingOptions& options = {});

struct NameOptions {
  std::string name = "";
};
LayerCall Flatten(const NameOptions& options = {});
LayerCall Add(const NameOptions& options = {});
LayerCall Multiply(const NameOptions& options = {});

struct ConcatenateOptions {
  int64_t axis = -1;
  std::string name = "";
};
LayerCall Concatenate(const ConcatenateOptions& options = {});

struct DropoutOptions {
  double rate = 0.0;  // share of values set to 0 in training
  std::string name = "";
};
LayerCall Dropout(const DropoutOptions& options);

struct QConv2DOptions {
  int64_t filters = 0;
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  std::vector<int64_t> dilation_rate = {1, 1};
  int64_t groups = 1;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "", bias_quantizer = "";
  std::vector<std::vector<double>> mask = {};  // (height, width), multiplies the quantized kernel
  std::string name = "";
  Attributes more = {};
};
LayerCall QConv2D(const QConv2DOptions& options);

struct QDepthwiseConv2DOptions {
  std::vector<int64_t> kernel_size = {};
  std::vector<int64_t> strides = {1, 1};
  std::string padding = "valid";
  int64_t depth_multiplier = 1;
  std::vector<int64_t> dilation_rate = {1, 1};
  std::string activation = "linear";
  bool use_bias = true;
  std::string depthwise_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string depthwise_quantizer = "", bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QDepthwiseConv2D(const QDepthwiseConv2DOptions& options);

struct QDenseOptions {
  int64_t units = 0;
  std::string activation = "linear";
  bool use_bias = true;
  std::string kernel_initializer = "he_normal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "", bias_quantizer = "";
  std::string name = "";
  Attributes more = {};
};
LayerCall QDense(const QDenseOptions& options);

struct QBatchNormalizationOptions {
  int64_t axis = -1;
  double momentum = 0.99;
  double epsilon = 1e-3;
  bool center = true, scale = true;
  std::string beta_initializer = "zeros", gamma_initializer = "ones";
  std::string beta_quantizer = "quantized_po2(5)";
  std::string gamma_quantizer = "quantized_relu_po2(6,2048)";
  std::string mean_quantizer = "quantized_po2(5)";
  std::string variance_quantizer = "quantized_relu_po2(6,quadratic_approximation=True)";
  std::string inverse_quantizer = "";  // needs gamma_quantizer and variance_quantizer to be ""
  std::string name = "";
  Attributes more = {};
};
LayerCall QBatchNormalization(const QBatchNormalizationOptions& options = {});

}  // namespace nibble::graph::build
