#include "nibble/graph/builder_blocks.h"

#include <algorithm>
#include <cctype>

#include "nibble/core/error.h"
#include "nibble/graph/builder_attributes.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"

namespace nibble::graph::build {
namespace {

using Ints = std::vector<int64_t>;

std::string part(const std::string& name, const std::string& suffix) {
  return name.empty() ? std::string() : name + suffix;
}

// Regularizers and constraints, where they are given.
Attributes given(std::initializer_list<std::pair<const char*, std::string>> texts) {
  Attributes attributes;
  for (const auto& [key, text] : texts) {
    if (!text.empty()) attributes[key] = text;
  }
  return attributes;
}

// How QKeras tells activations apart in names: "quantized_relu(4,2)" is "qr42", "quantized_po2(4)" is "q2".
std::string activation_suffix(const std::string& text) {
  if (text.empty()) return "linear";
  if (text.find("po2") != std::string::npos) return "q2";
  std::string suffix = text.find("quantized_relu") != std::string::npos   ? "qr"
                       : text.find("quantized_tanh") != std::string::npos ? "qt"
                                                                          : "qb";
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0) ++i;
    if (i > begin) suffix += text.substr(begin, i - begin) + (i - begin > 1 ? "_" : "");
    if (i == begin) ++i;
  }
  return suffix;
}

// ---- QMobileNetSeparableConv2D ------------------------------------------------------

Node mobilenet_middle(const QMobileNetSeparableConv2DOptions& o, Node x) {
  if (!o.depthwise_activation.empty()) {
    x = QActivation({.activation = o.depthwise_activation, .name = part(o.name, "_dw_act")})(x);
  }
  if (o.depthwise_dropout_rate > 0.0) {
    x = Dropout({.rate = o.depthwise_dropout_rate, .name = part(o.name, "_dw_dropout")})(x);
  }
  return x;
}

LayerCall mobilenet_depthwise(const QMobileNetSeparableConv2DOptions& o) {
  return QDepthwiseConv2D({.kernel_size = o.kernel_size,
                           .strides = o.strides,
                           .padding = o.padding,
                           .depth_multiplier = o.depth_multiplier,
                           .dilation_rate = o.dilation_rate,
                           .use_bias = false,
                           .depthwise_initializer = o.depthwise_initializer,
                           .depthwise_quantizer = o.depthwise_quantizer,
                           .name = part(o.name, "_dw"),
                           .more = given({{"depthwise_regularizer", o.depthwise_regularizer},
                                          {"depthwise_constraint", o.depthwise_constraint}})});
}

LayerCall mobilenet_pointwise(const QMobileNetSeparableConv2DOptions& o) {
  return QConv2D({.filters = o.filters,
                  .kernel_size = {1, 1},
                  .padding = "same",
                  .use_bias = o.use_bias,
                  .kernel_initializer = o.pointwise_initializer,
                  .bias_initializer = o.bias_initializer,
                  .kernel_quantizer = o.pointwise_quantizer,
                  .bias_quantizer = o.bias_quantizer,
                  .name = part(o.name, "_pw"),
                  .more = given({{"kernel_regularizer", o.pointwise_regularizer},
                                 {"bias_regularizer", o.bias_regularizer},
                                 {"activity_regularizer", o.activity_regularizer},
                                 {"kernel_constraint", o.pointwise_constraint},
                                 {"bias_constraint", o.bias_constraint}})});
}

Node mobilenet(const QMobileNetSeparableConv2DOptions& o, const Node& input) {
  Node x = o.pw_first ? mobilenet_depthwise(o)(mobilenet_middle(o, mobilenet_pointwise(o)(input)))
                      : mobilenet_pointwise(o)(mobilenet_middle(o, mobilenet_depthwise(o)(input)));
  if (o.activation.empty()) return x;
  return Activation({.activation = o.activation, .name = part(o.name, "_pw_act")})(x);
}

// ---- octaves ------------------------------------------------------------------------

// Builds the layers of one call; quantized ones or not.
class OctaveBuilder {
 public:
  OctaveBuilder(const QOctaveConv2DOptions& options, bool is_quantized) : o_(options), is_quantized_(is_quantized) {}

  Octaves operator()(const Octaves& in) const {
    if (!in.high && !in.low) {
      throw InvalidArgument("[OctaveConv2D] '{}' gets neither a high nor a low resolution; give one of them.", o_.name);
    }
    const bool merges = o_.alpha == -1.0;
    const auto high = merges ? o_.filters : static_cast<int64_t>(static_cast<double>(o_.filters) * (1.0 - o_.alpha));
    const int64_t low = o_.filters - high;
    Octaves out;
    if (high > 0) {
      out.high =
          sum("_a_h", in.high ? kept(*in.high, high, "_c_h_to_h") : none(), in.low ? raised(*in.low, high) : none());
    }
    if (low > 0) {
      out.low =
          sum("_a_l", in.low ? kept(*in.low, low, "_c_l_to_l") : none(), in.high ? lowered(*in.high, low) : none());
    }
    out.high = activated(out.high, merges ? "_c_h_to_h_act" : "_h_act");
    out.low = activated(out.low, "_l_act");
    return out;
  }

 private:
  static std::optional<Node> none() { return std::nullopt; }

  std::optional<Node> sum(const char* suffix, const std::optional<Node>& a, const std::optional<Node>& b) const {
    if (!a || !b) return a ? a : b;
    return Add({.name = part(o_.name, suffix)})({*a, *b});
  }

  // A convolution, then the quantizer of its sums.
  Node convolved(const Node& x, int64_t filters, const std::string& suffix, bool is_pixel = false) const {
    const Node y = (o_.use_separable && !is_pixel ? separable(filters, suffix) : plain(filters, suffix, is_pixel))(x);
    if (o_.acc_quantizer.empty()) return y;
    return activation(o_.acc_quantizer, suffix + "_act")(y);
  }

  std::optional<Node> kept(const Node& x, int64_t filters, const char* suffix) const {
    return convolved(x, filters, suffix);
  }

  std::optional<Node> lowered(const Node& x, int64_t filters) const {
    const Node pooled = is_quantized_ ? QAveragePooling2D({.pool_size = {2, 2},
                                                           .strides = {2, 2},
                                                           .average_quantizer = o_.pooling_quantizer,
                                                           .name = part(o_.name, "_avg_h_to_l")})(x)
                                      : AveragePooling2D({.strides = {2, 2}, .name = part(o_.name, "_p_h_to_l")})(x);
    return convolved(pooled, filters, "_c_h_to_l");
  }

  // A low resolution of one pixel is added to every pixel of the high one: it needs no larger kernel, nor upsampling.
  std::optional<Node> raised(const Node& x, int64_t filters) const {
    const Shape shape = output_shape(x);
    const bool is_pixel = shape.rank() == 3 && shape[0] == 1 && shape[1] == 1;
    const Node y = convolved(x, filters, "_c_l_to_h", is_pixel);
    return is_pixel ? y : UpSampling2D({.name = part(o_.name, "_u_l_to_h")})(y);
  }

  LayerCall plain(int64_t filters, const std::string& suffix, bool is_pixel) const {
    Attributes attributes = given({{"kernel_regularizer", o_.kernel_regularizer},
                                   {"bias_regularizer", o_.bias_regularizer},
                                   {"kernel_constraint", o_.kernel_constraint},
                                   {"bias_constraint", o_.bias_constraint}});
    attributes["kernel_initializer"] = o_.kernel_initializer;
    if (is_quantized_) attributes["kernel_quantizer"] = or_none(o_.kernel_quantizer);
    LayerCall call = convolution("Conv2D", filters, suffix, std::move(attributes));
    if (!is_pixel) return call;
    Layer layer = call.layer();
    return {layer.class_name, layer.name,
            with({{"kernel_size", int64_t{1}}, {"strides", int64_t{1}}, {"padding", std::string("same")}},
                 std::move(layer.attributes))};
  }

  LayerCall separable(int64_t filters, const std::string& suffix) const {
    Attributes attributes = given({{"depthwise_regularizer", o_.kernel_regularizer},
                                   {"pointwise_regularizer", o_.kernel_regularizer},
                                   {"bias_regularizer", o_.bias_regularizer},
                                   {"depthwise_constraint", o_.kernel_constraint},
                                   {"pointwise_constraint", o_.kernel_constraint},
                                   {"bias_constraint", o_.bias_constraint}});
    attributes["depthwise_initializer"] = o_.kernel_initializer;
    attributes["pointwise_initializer"] = o_.kernel_initializer;
    if (is_quantized_) {
      attributes["depthwise_quantizer"] = or_none(o_.depthwise_quantizer);
      attributes["pointwise_quantizer"] = or_none(o_.pointwise_quantizer);
    }
    return convolution("SeparableConv2D", filters, suffix, std::move(attributes));
  }

  LayerCall convolution(const std::string& class_name, int64_t filters, const std::string& suffix,
                        Attributes attributes) const {
    attributes["filters"] = filters;
    attributes["kernel_size"] = o_.kernel_size;
    attributes["strides"] = o_.strides;
    attributes["padding"] = o_.padding;
    attributes["bias_initializer"] = o_.bias_initializer;
    if (is_quantized_) attributes["bias_quantizer"] = or_none(o_.bias_quantizer);
    return {(is_quantized_ ? "Q" : "") + class_name, part(o_.name, suffix), std::move(attributes)};
  }

  LayerCall activation(const std::string& text, const std::string& suffix) const {
    if (!is_quantized_) return Activation({.activation = text, .name = part(o_.name, suffix)});
    return QActivation({.activation = text, .name = part(o_.name, suffix + "_" + activation_suffix(text))});
  }

  std::optional<Node> activated(const std::optional<Node>& x, const char* suffix) const {
    if (!x || o_.activation.empty()) return x;
    return activation(o_.activation, suffix)(*x);
  }

  QOctaveConv2DOptions o_;
  bool is_quantized_;
};

OctaveCall octave(const QOctaveConv2DOptions& options, bool is_quantized) {
  const bool is_share = options.alpha >= 0.0 && options.alpha <= 1.0;
  if (!is_share && options.alpha != -1.0) {
    throw InvalidArgument("[OctaveConv2D] '{}': alpha is {}; it must lie between 0 and 1, or be -1 to merge.",
                          options.name, options.alpha);
  }
  if (options.filters < 1) {
    throw InvalidArgument("[OctaveConv2D] '{}': filters is {}; it must be at least 1.", options.name, options.filters);
  }
  return OctaveBuilder(options, is_quantized);
}

}  // namespace

std::function<Node(const Node&)> QMobileNetSeparableConv2D(const QMobileNetSeparableConv2DOptions& options) {
  return [options](const Node& input) { return mobilenet(options, input); };
}

OctaveCall OctaveConv2D(const OctaveConv2DOptions& o) {
  return octave({.filters = o.filters,
                 .kernel_size = o.kernel_size,
                 .alpha = o.alpha,
                 .strides = o.strides,
                 .padding = o.padding,
                 .kernel_initializer = o.kernel_initializer,
                 .bias_initializer = o.bias_initializer,
                 .kernel_regularizer = o.kernel_regularizer,
                 .bias_regularizer = o.bias_regularizer,
                 .kernel_constraint = o.kernel_constraint,
                 .bias_constraint = o.bias_constraint,
                 .use_separable = o.use_separable,
                 .name = o.name,
                 .acc_quantizer = o.acc_quantizer,
                 .activation = o.activation},
                /*is_quantized=*/false);
}

OctaveCall QOctaveConv2D(const QOctaveConv2DOptions& options) { return octave(options, /*is_quantized=*/true); }

}  // namespace nibble::graph::build
