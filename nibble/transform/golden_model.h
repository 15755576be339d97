// nibble/transform/golden_model.h
// Models of the recorded rows utils/model_statistics. Tests only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::transform {

// The rows do not name the quantizer of a QActivation. One explains what came out of each network;
// model_debug_golden_test sees that none of kOtherActivations does.
std::string activation_of(const nlohmann::json& row);
inline constexpr const char* kOtherActivations[] = {
    "quantized_relu(4,2)", "quantized_relu(6,2)", "quantized_bits(4,0,1)", "quantized_relu_po2(4)", "binary",
    "quantized_tanh(4)",   "quantized_relu(3)",   "quantized_relu(8,2)",   "quantized_bits(8,0,1)", "bernoulli",
    "stochastic_binary"};

//   activation  of every QActivation
graph::Model model_of(const nlohmann::json& row, const std::string& activation);

}  // namespace nibble::transform
