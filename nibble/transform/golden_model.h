// nibble/transform/golden_model.h
// Models of the recorded rows utils/model_statistics. Tests only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::transform {

//   activation  quantizer of every QActivation: the rows do not name it
graph::Model model_of(const nlohmann::json& row, const std::string& activation);

// The rows do not name the quantizer of a QActivation, but only what comes out: one of these has to.
inline constexpr const char* kActivations[] = {"quantized_relu(4,2)",
                                               "quantized_relu(6,2)",
                                               "quantized_bits(4,0,1)",
                                               "quantized_po2(4)",
                                               "quantized_relu_po2(4)",
                                               "ternary",
                                               "binary",
                                               "quantized_tanh(4)",
                                               "quantized_relu(3)",
                                               "quantized_relu(8,2)",
                                               "quantized_bits(8,0,1)",
                                               "bernoulli",
                                               "stochastic_binary"};

}  // namespace nibble::transform
