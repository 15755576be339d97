// nibble/graph/layer_schema.h
// What nibble knows about each layer class, as a table: attributes with their types and
// Keras' defaults, weights, output shape. A new layer is a new row in a layers_*.cc file.
//
// Attribute lists and weight layouts: spec/interop.md section 2.2; QKeras': spec/qkeras.md section 4.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::graph {

enum class AttributeKind {
  kBool,
  kInt,
  kFloat,
  kString,
  kInts,         // a list, or one integer that stands for `count` equal ones
  kActivation,   // name of a function, or a quantizer
  kQuantizer,    // a quantizer or None; text is parsed
  kInitializer,  // "he_uniform", or the object as opaque JSON
  kOpaque,       // carried, not acted on
};

struct AttributeSpec {
  std::string name;
  AttributeKind kind = AttributeKind::kOpaque;
  Attribute default_value = None{};       // what a layer has that was not told otherwise
  bool required = false;                  // no default: must be given
  bool optional = false;                  // None is a value of its own
  std::vector<std::string> choices = {};  // kString: allowed values, lower case; empty: any
  std::vector<std::string> not_yet = {};  // kString: values of Keras that nibble refuses as Unsupported
  int64_t minimum = 0;                    // kInt, kInts
  int count = 0;                          // kInts: length; 0: any
  bool weight_quantizer = false;          // kQuantizer: as_weight_quantizer() applies, spec/qkeras.md section 4
  bool only_if_changed = false;           // written to a config only when not at its default
  std::vector<std::string> aliases = {};  // the attribute's names in other versions of Keras
};

// One weight of a layer.
struct WeightSpec {
  std::string name;
  Shape shape;
  std::string initializer;  // attribute that holds its initializer; "": starts at `start`
  bool trainable = true;
  float start = 0.0f;
};

struct LayerSchema {
  std::string class_name;
  std::string module = "";      // "keras.layers" or "qkeras.qlayers"
  std::string registered = "";  // Keras 3's registered_name; "" where it is null
  std::vector<AttributeSpec> attributes = {};
  int min_inputs = 1, max_inputs = 1;
  // Both may assume the number of inputs and coerced attributes, not the inputs' ranks.
  std::vector<WeightSpec> (*weights)(const Layer& layer, std::span<const Shape> inputs) = nullptr;  // null: none
  Shape (*output_shape)(const Layer& layer, std::span<const Shape> inputs) = nullptr;               // null: the input's
  // Fills in attributes whose default depends on others, and checks pairs of attributes.
  void (*complete)(Layer& layer) = nullptr;

  const AttributeSpec* find(std::string_view attribute) const;  // also by alias; null if unknown
};

// Null for an unknown class.
const LayerSchema* find_schema(std::string_view class_name);
//   throws  Unsupported naming layer, class and the nearest known class
const LayerSchema& schema_of(const Layer& layer);

// The weights of the class, then the variables of the layer's quantization.
//   inputs  as many as the class takes
std::vector<WeightSpec> weight_specs(const Layer& layer, const std::vector<Shape>& inputs);

// "layer 'conv2d_0' (Conv2D)", as error messages begin.
std::string described(const Layer& layer);

// `given` in the spec's own type: integers to floats, text to quantizers, single numbers to lists.
//   throws  InvalidArgument (wrong type, not allowed) or Unsupported, naming layer, attribute and value
Attribute coerce(const AttributeSpec& spec, const Attribute& given, const Layer& layer);

// For messages and summaries.
std::string to_string(const Attribute& value);

// ---- short forms in which the tables are written ------------------------------------

namespace schema {
AttributeSpec boolean(std::string name, bool default_value);
AttributeSpec integer(std::string name, int64_t default_value, int64_t minimum);
AttributeSpec required_integer(std::string name, int64_t minimum);
AttributeSpec real(std::string name, double default_value);
AttributeSpec choice(std::string name, std::string default_value, std::vector<std::string> choices,
                     std::vector<std::string> not_yet = {});
AttributeSpec ints(std::string name, std::vector<int64_t> default_value, int64_t minimum);
AttributeSpec required_ints(std::string name, int count, int64_t minimum);
AttributeSpec activation(std::string default_value = "linear");
AttributeSpec quantizer(std::string name);
AttributeSpec weight_quantizer(std::string name);
AttributeSpec initializer(std::string name, std::string default_value);
AttributeSpec opaque(std::string name, bool only_if_changed = false);
AttributeSpec data_format();

// All of them one after the other.
std::vector<AttributeSpec> join(std::initializer_list<std::vector<AttributeSpec>> parts);
std::vector<AttributeSpec> opaques(std::initializer_list<const char*> names);  // only_if_changed is false
}  // namespace schema

// The families; each lives in the file of its name.
std::vector<LayerSchema> input_and_shape_layers();
std::vector<LayerSchema> dense_layers();
std::vector<LayerSchema> convolution_layers();
std::vector<LayerSchema> transposed_layers();
std::vector<LayerSchema> folded_layers();
std::vector<LayerSchema> normalization_layers();
std::vector<LayerSchema> activation_layers();
std::vector<LayerSchema> pooling_layers();
std::vector<LayerSchema> recurrent_layers();
std::vector<LayerSchema> dropout_layers();
std::vector<LayerSchema> merge_layers();

}  // namespace nibble::graph
