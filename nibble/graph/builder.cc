#include "nibble/graph/builder.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/builder_attributes.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph::build {

struct Node::Data {
  Layer layer;
  std::vector<Node> inputs;
};

namespace {

// The rows of a mask as JSON.
Attribute rows_of(const std::vector<std::vector<double>>& mask) {
  return mask.empty() ? Attribute(None{}) : Attribute(OpaqueJson{nlohmann::json(mask).dump()});
}

Node make_node(Layer layer, std::vector<Node> inputs) {
  return Node(std::make_shared<Node::Data>(Node::Data{std::move(layer), std::move(inputs)}));
}

// Depth first from the outputs, inputs before the layers they feed. Iterative: networks can be deeper than the stack.
std::vector<Node::Data*> collect(const std::vector<Node>& inputs, const std::vector<Node>& outputs) {
  std::vector<Node::Data*> ordered;
  std::set<Node::Data*> seen;
  const auto visit = [&](Node::Data* root) {
    std::vector<std::pair<Node::Data*, size_t>> stack;
    if (seen.insert(root).second) stack.emplace_back(root, 0);
    while (!stack.empty()) {
      auto& [data, next] = stack.back();
      if (next < data->inputs.size()) {
        Node::Data* input = data->inputs[next++].data().get();
        if (seen.insert(input).second) stack.emplace_back(input, 0);
      } else {
        ordered.push_back(data);
        stack.pop_back();
      }
    }
  };
  for (const Node& input : inputs) visit(input.data().get());
  for (const Node& output : outputs) visit(output.data().get());
  return ordered;
}

// Keras' automatic names, skipping those that a person gave.
class Namer {
 public:
  explicit Namer(const std::vector<Node::Data*>& nodes) {
    for (const Node::Data* node : nodes) {
      const std::string& name = node->layer.name;
      if (!name.empty() && !taken_.insert(name).second) {
        throw InvalidArgument("[build_model] two layers have the name '{}'. Rename one.", name);
      }
    }
  }

  std::string name_for(const Layer& layer) {
    if (!layer.name.empty()) return layer.name;
    const std::string stem = snake_case(layer.class_name);
    for (;;) {
      const int number = next_[stem]++;
      std::string name = number == 0 ? stem : fmt::format("{}_{}", stem, number);
      if (taken_.insert(name).second) return name;
    }
  }

 private:
  std::set<std::string> taken_;
  std::map<std::string, int> next_;
};

// Returns their names.
std::map<const Node::Data*, std::string> add_layers(const std::vector<Node::Data*>& nodes, Model& model) {
  Namer namer(nodes);
  std::map<const Node::Data*, std::string> names;
  for (const Node::Data* node : nodes) {
    Layer layer = node->layer;
    layer.name = names[node] = namer.name_for(layer);
    for (const Node& input : node->inputs) layer.inputs.push_back(names.at(input.data().get()));
    model.layers.push_back(std::move(layer));
  }
  return names;
}

}  // namespace

LayerCall::LayerCall(const std::string& class_name, const std::string& name, Attributes attributes)
    : layer_(make_layer(class_name, name, std::move(attributes))) {}

Node LayerCall::operator()(const Node& input) const { return make_node(layer_, {input}); }
Node LayerCall::operator()(const std::vector<Node>& inputs) const { return make_node(layer_, inputs); }

LayerCall layer(const std::string& class_name, const std::string& name, Attributes attributes) {
  return LayerCall(class_name, name, std::move(attributes));
}

Shape output_shape(const Node& node) {
  Model model;
  const auto names = add_layers(collect({}, {node}), model);
  return infer_shapes(model).at(names.at(node.data().get()));
}

Model build_model(const std::vector<Node>& inputs, const std::vector<Node>& outputs, std::string name) {
  Model model;
  model.name = std::move(name);
  const auto names = add_layers(collect(inputs, outputs), model);
  for (const Node& input : inputs) model.inputs.push_back(names.at(input.data().get()));
  for (const Node& output : outputs) model.outputs.push_back(names.at(output.data().get()));
  for (const Layer& layer : model.layers) {
    const bool is_input = layer.class_name == "InputLayer";
    if (is_input && std::find(model.inputs.begin(), model.inputs.end(), layer.name) == model.inputs.end()) {
      throw InvalidArgument("[build_model] an output depends on the Input '{}', which is not among the inputs.",
                            layer.name);
    }
  }
  validate(model);
  return model;
}

std::string snake_case(const std::string& class_name) {
  const auto upper = [](char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; };
  const auto lower = [](char c) { return std::islower(static_cast<unsigned char>(c)) != 0; };
  std::string result;
  for (size_t i = 0; i < class_name.size(); ++i) {
    const char c = class_name[i];
    // Before an upper-case letter that starts a word ("QDense"), and between lower and upper case.
    const bool starts_word = i + 1 < class_name.size() && lower(class_name[i + 1]);
    const bool after_word = i > 0 && lower(class_name[i - 1]);
    if (i > 0 && upper(c) && (starts_word || after_word)) result += '_';
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

Node Input(const InputOptions& options) {
  return make_node(make_layer("InputLayer", options.name, {{"shape", options.shape}}), {});
}

LayerCall Conv2D(const Conv2DOptions& o) {
  return {"Conv2D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"groups", o.groups},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall DepthwiseConv2D(const DepthwiseConv2DOptions& o) {
  return {"DepthwiseConv2D", o.name,
          with(o.more, {{"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"depth_multiplier", o.depth_multiplier},
                        {"dilation_rate", o.dilation_rate},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall Dense(const DenseOptions& o) {
  return {"Dense", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer}})};
}

LayerCall BatchNormalization(const BatchNormalizationOptions& o) {
  return {"BatchNormalization", o.name,
          with(o.more, {{"axis", o.axis},
                        {"momentum", o.momentum},
                        {"epsilon", o.epsilon},
                        {"center", o.center},
                        {"scale", o.scale},
                        {"beta_initializer", o.beta_initializer},
                        {"gamma_initializer", o.gamma_initializer}})};
}

LayerCall Activation(const ActivationOptions& o) { return {"Activation", o.name, {{"activation", o.activation}}}; }
LayerCall QActivation(const ActivationOptions& o) { return {"QActivation", o.name, {{"activation", o.activation}}}; }

LayerCall ReLU(const ReLUOptions& o) {
  return {"ReLU",
          o.name,
          {{"max_value", o.max_value ? Attribute(*o.max_value) : Attribute(None{})},
           {"negative_slope", o.negative_slope},
           {"threshold", o.threshold}}};
}

namespace {
LayerCall pooling(const char* class_name, const Pooling2DOptions& o) {
  return {class_name,
          o.name,
          {{"pool_size", o.pool_size},
           {"strides", o.strides.empty() ? Attribute(None{}) : Attribute(o.strides)},
           {"padding", o.padding}}};
}
}  // namespace

LayerCall MaxPooling2D(const Pooling2DOptions& options) { return pooling("MaxPooling2D", options); }
LayerCall AveragePooling2D(const Pooling2DOptions& options) { return pooling("AveragePooling2D", options); }

LayerCall Flatten(const NameOptions& o) { return {"Flatten", o.name, {}}; }
LayerCall GlobalAveragePooling2D(const GlobalPoolingOptions& o) {
  return {"GlobalAveragePooling2D", o.name, {{"keepdims", o.keepdims}}};
}
LayerCall Add(const NameOptions& o) { return {"Add", o.name, {}}; }
LayerCall Multiply(const NameOptions& o) { return {"Multiply", o.name, {}}; }
LayerCall Concatenate(const ConcatenateOptions& o) { return {"Concatenate", o.name, {{"axis", o.axis}}}; }
LayerCall Dropout(const DropoutOptions& o) { return {"Dropout", o.name, {{"rate", o.rate}}}; }

LayerCall QConv2D(const QConv2DOptions& o) {
  return {"QConv2D", o.name,
          with(o.more, {{"filters", o.filters},
                        {"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"dilation_rate", o.dilation_rate},
                        {"groups", o.groups},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"mask", rows_of(o.mask)}})};
}

LayerCall QDepthwiseConv2D(const QDepthwiseConv2DOptions& o) {
  return {"QDepthwiseConv2D", o.name,
          with(o.more, {{"kernel_size", o.kernel_size},
                        {"strides", o.strides},
                        {"padding", o.padding},
                        {"depth_multiplier", o.depth_multiplier},
                        {"dilation_rate", o.dilation_rate},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"depthwise_initializer", o.depthwise_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"depthwise_quantizer", or_none(o.depthwise_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall QDense(const QDenseOptions& o) {
  return {"QDense", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)}})};
}

LayerCall QBatchNormalization(const QBatchNormalizationOptions& o) {
  return {"QBatchNormalization", o.name,
          with(o.more, {{"axis", o.axis},
                        {"momentum", o.momentum},
                        {"epsilon", o.epsilon},
                        {"center", o.center},
                        {"scale", o.scale},
                        {"beta_initializer", o.beta_initializer},
                        {"gamma_initializer", o.gamma_initializer},
                        {"beta_quantizer", or_none(o.beta_quantizer)},
                        {"gamma_quantizer", or_none(o.gamma_quantizer)},
                        {"mean_quantizer", or_none(o.mean_quantizer)},
                        {"variance_quantizer", or_none(o.variance_quantizer)},
                        {"inverse_quantizer", or_none(o.inverse_quantizer)}})};
}

}  // namespace nibble::graph::build
