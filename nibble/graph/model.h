// nibble/graph/model.h
// A Keras-shaped network as plain data: layers, connections, attributes, weights.
//
// Layout is Keras': activations NHWC without the batch axis, kernels HWIO, depthwise
// kernels (h, w, in, multiplier), dense kernels in x out. Nothing here computes; see
// train/ and runtime/ for that.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/core/tensor.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/quant/quantizer.h"

namespace nibble::graph {

struct None {
  bool operator==(const None&) const = default;
};

// JSON of a Keras object that nibble carries but does not act on (initializer,
// regularizer, constraint): kept as text so that an export gives it back.
struct OpaqueJson {
  std::string text;
  bool operator==(const OpaqueJson&) const = default;
};

using Attribute =
    std::variant<None, bool, int64_t, double, std::string, std::vector<int64_t>, quant::QuantizerPtr, OpaqueJson>;
bool equal(const Attribute& a, const Attribute& b);  // quantizers by value

struct Weight {
  std::string name;  // "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "depthwise_kernel"
  Tensor value;
  bool operator==(const Weight&) const = default;
};

// One layer. Its attributes carry Keras' names and always are complete: make_layer()
// fills in the defaults of the class.
struct Layer {
  std::string name;
  std::string class_name;                       // "Conv2D", "QConv2D", ...
  std::map<std::string, Attribute> attributes;  // "filters", "kernel_quantizer", "activation", ...
  std::vector<std::string> inputs;              // names of the layers that feed it, in order
  std::vector<Weight> weights;                  // Keras' order; empty until built
  bool trainable = true;
  std::optional<LayerQuantization> quantization = std::nullopt;  // affine, of TFMOT's kind; see set_quantization()

  // Typed access; throws InvalidArgument naming layer, attribute and what it holds.
  bool has(std::string_view attribute) const;  // present and not None
  bool get_bool(std::string_view attribute) const;
  int64_t get_int(std::string_view attribute) const;
  double get_float(std::string_view attribute) const;  // integers convert
  const std::string& get_string(std::string_view attribute) const;
  const std::vector<int64_t>& get_ints(std::string_view attribute) const;
  // Null where the attribute is None or a plain function name.
  quant::QuantizerPtr get_quantizer(std::string_view attribute) const;
  // Name of a plain activation function; "linear" for None; "" where a quantizer stands.
  std::string activation_function(std::string_view attribute = "activation") const;

  const Weight* find_weight(std::string_view name) const;  // null if absent
  Weight* find_weight(std::string_view name);
};

// The plain function that a layer means by a name: in QKeras' layers hard_sigmoid is QKeras' (x / 2 + 1 / 2, clipped;
// "qkeras.hard_sigmoid" here), in others Keras 2's (x / 5 + 1 / 2, clipped).
std::string plain_function_name(const Layer& layer, const std::string& name);

struct Model {
  std::string name = "model";
  std::vector<Layer> layers;         // in an order where inputs come first
  std::vector<std::string> inputs;   // names of InputLayers
  std::vector<std::string> outputs;  // names of layers

  const Layer& layer(std::string_view name) const;  // throws InvalidArgument with the nearest name
  Layer& layer(std::string_view name);
  const Layer* find_layer(std::string_view name) const;             // null if absent
  int index_of(std::string_view name) const;                        // -1 if absent
  std::vector<std::string> consumers(std::string_view name) const;  // layers fed by `name`
};

bool operator==(const Layer& a, const Layer& b);
bool operator==(const Model& a, const Model& b);

// A layer of a known class with all attributes at their defaults, then `given` over them.
//   throws  InvalidArgument for an unknown class or attribute (nearest known ones named)
//           or a value of the wrong type
Layer make_layer(std::string class_name, std::string name, std::map<std::string, Attribute> given = {});

// The quantizer a layer computes with: the attribute's, with the rule for weights applied where it holds (kernel,
// depthwise, pointwise, gamma and variance quantizers: alpha None becomes "auto_po2", spec/qkeras.md section 4).
// Null where the attribute is None or a plain function. The attribute itself keeps what was given.
//   throws  InvalidArgument if the layer has no such attribute
quant::QuantizerPtr effective_quantizer(const Layer& layer, std::string_view attribute);

// Names of all layer classes, sorted.
std::vector<std::string> known_layers();

// Output shape of every layer by name, batch axis excluded.
//   throws  InvalidArgument naming the layer, the shapes and what would fit
std::map<std::string, Shape> infer_shapes(const Model& model);

// Shapes of a layer's inputs, out of infer_shapes().
std::vector<Shape> input_shapes(const Layer& layer, const std::map<std::string, Shape>& shapes);

// Names and shapes of the weights a layer has, in Keras' order, then the variables of its quantization.
std::vector<std::pair<std::string, Shape>> weight_shapes(const Layer& layer, const std::vector<Shape>& input_shapes);

// Checks the graph: names unique, inputs known, no cycles, shapes fit, weights (where
// present) of the right shapes. Reorders nothing.
void validate(const Model& model);

// Gives every layer without weights its initial values by Keras' initializers
// (he_normal, he_uniform, glorot_uniform, glorot_normal, lecun_*, zeros, ones, truncated/random normal/uniform).
// Layers with weights are left alone. Draws from (seed, kInitializer, layer index).
void initialize_weights(Model& model, uint64_t seed);

// ---- what a person sees ------------------------------------------------------

struct LayerSummary {
  std::string name, class_name;
  Shape output_shape;
  int64_t parameters = 0;  // weights' elements
  int64_t trainable_parameters = 0;
  std::string quantizers;  // "kernel quantized_bits(4,0,1,alpha=1.0)", ...
};
std::vector<LayerSummary> summarize(const Model& model);
std::string summary(const Model& model);  // Keras-like table with totals

// ---- config JSON -------------------------------------------------------------

// Keras 3 / qkerasV3 schema ("Functional", layers with module, class_name, config,
// registered_name, build_config, inbound_nodes). Deterministic.
nlohmann::json to_config(const Model& model);

// Reads Keras 2 and Keras 3 documents, Sequential and Functional.
//   throws  InvalidArgument / Unsupported naming layer, class, attribute and value
Model from_config(const nlohmann::json& config);

}  // namespace nibble::graph
