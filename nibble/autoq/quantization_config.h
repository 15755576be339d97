// nibble/autoq/quantization_config.h
// The quantizers that a search may choose from: seven ordered tables, each quantizer with its
// "size", an integer that limits are compared with (a label, never checked against the bits).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nibble/autoq/json_fields.h"

namespace nibble::autoq {

// Quantizer text and size, in the order in which choices are offered.
using QuantizerTable = std::vector<std::pair<std::string, int>>;

struct QuantizationConfig {
  QuantizerTable kernel, bias, activation, linear;
  // Tables of their own for these; empty: the kernel's table serves.
  QuantizerTable pointwise_kernel, recurrent_kernel, recurrent_activation;
  bool operator==(const QuantizationConfig&) const = default;
};

// AutoQKeras' own tables, used where a run_config has none.
QuantizationConfig default_quantization_config();

// {"kernel": {"binary": 1, ...}, "bias": {...}, "activation": {...}, "linear": {...}}
//   throws  InvalidArgument: unknown table (nearest named), a text that is no quantizer, a size that is no integer >= 1
QuantizationConfig parse_quantization_config(const Json& tables);

}  // namespace nibble::autoq
