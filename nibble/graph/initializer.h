// nibble/graph/initializer.h
// Initial values of weights by Keras' rules.
//
// Variance scaling draws with variance scale / fan, fan being fan_in, fan_out or their mean:
//   shape (n)             fan_in = fan_out = n
//   shape (k..., i, o)    fan_in = i * prod(k), fan_out = o * prod(k), depthwise kernels included
//   uniform               in [-l, l), l = sqrt(3 scale / fan)
//   truncated normal      redrawn beyond two standard deviations, sqrt(scale / fan) / 0.87962566103423978,
//                         so that the variance after cutting is the wanted one
//   [Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998]
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/graph/model.h"

namespace nibble::graph {

// "glorot_normal", "he_uniform", ..., sorted.
std::vector<std::string> known_initializers();

// Values for a weight of a given shape.
//   initializer  a name, or Keras' {"class_name", "config"} as OpaqueJson
//   throws  InvalidArgument or Unsupported naming the initializer
Tensor draw_initial(const Attribute& initializer, const Shape& shape, RandomStream& random);

// As QKeras' QInitializer: where the quantizer's step exceeds the standard deviation of the draw, a scaled draw that
// the quantizer does not lose; then a clip to +-max of the quantizer. spec/qkeras.md section 4.
Tensor draw_quantized_initial(const Attribute& initializer, const Shape& shape, const quant::Quantizer& quantizer,
                              RandomStream& random);

// True where QKeras wraps the initializer so: not for zeros and ones, and not where the quantizer's scale comes from
// the data ("auto"), since any draw then fits.
bool wraps_initializer(const Attribute& initializer, const quant::Quantizer& quantizer);

// Keras' object form of a named initializer: "he_normal" gives class HeNormal.
nlohmann::json initializer_config(const std::string& name);

// The name whose object form this is, "" if parameters differ from the defaults or the class is not known.
std::string initializer_name(const nlohmann::json& object);

}  // namespace nibble::graph
