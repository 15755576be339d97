// nibble/formats/keras/tfmot_quantization.h
// What a QuantizeConfig of TFMOT's own quantizes in a layer, and how.
//
//   class (8Bit, or NBit with num_bits_weight and num_bits_activation)   weights           activation, output
//   Default8BitQuantizeConfig                                            per tensor        moving averages
//   Default8BitConvQuantizeConfig                                        per last axis     moving averages
//   Default8BitConvTransposeQuantizeConfig                               per tensor        moving averages
//   Default8BitActivationQuantizeConfig                                  -                 output, by the function
//   Default8BitOutputQuantizeConfig                                      -                 output
//   (the last two: only with quantize_output, which is true where it is not said)
//   NoOpQuantizeConfig                                                   -                 -
//   OutputOnlyConfig, FixedQuantizeConfig                                those of the config inside, or none, or fixed
// Sources: spec/tfmot-tflite.md A2 to A7; names and keys of the configurations: TFMOT's public sources.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "nibble/graph/layer_quantization.h"

namespace nibble::formats::keras {

// "tfmot>QuantizeLayer" -> "QuantizeLayer": the package that custom classes are registered under.
std::string without_package(const std::string& class_name);

// Replaces what TFMOT put in the place of a layer's `activation` by the plain function, "linear" for its marker.
//   config   of a layer; changed
//   returns  the function's name; "NoOpActivation" where the marker stood, around which nothing is quantized
std::string make_activation_plain(nlohmann::json& config);

//   quantize_config  {"class_name", "config"}
//   class_name       of the layer
//   function         make_activation_plain() of it
//   where            begins the message
//   throws           Unsupported for a class or key that is not TFMOT's own, an attribute other than `activation`, or
//                    a function that TFMOT does not quantize; InvalidArgument for a value that is not as TFMOT writes
//                    it
graph::LayerQuantization tfmot_quantization(const nlohmann::json& quantize_config, const std::string& class_name,
                                            const std::string& function, std::string_view where);

// Of a QuantizeLayer; null is none.
//   throws  as affine_quantizer_from_json()
graph::AffineQuantizer tfmot_input_quantizer(const nlohmann::json& quantizer, std::string_view where);

}  // namespace nibble::formats::keras
