// nibble/formats/keras/tfmot_config.h
// The configuration of a model that went through TFMOT's quantize_model(), in nibble's form.
//
//   in the file                                     here
//   QuantizeWrapper, QuantizeWrapperV2 "quant_x"    the layer x inside it, with its quantization as data
//   QuantizeLayer behind an input                   point `output` of the input
//   QuantizeLayer elsewhere                         Activation "linear" of its name, with the point `output`
//   QuantizeLayer without a quantizer               nothing
//   QuantizeAnnotate (before quantize_apply())      the layer inside it, not quantized
// Sources: spec/tfmot-tflite.md A3 and A4; names and keys of the configurations: TFMOT's public sources.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace nibble::formats::keras {

enum class TfmotStorage {
  kNothing,     // no numbers, or none that nibble has
  kPlain,       // a layer's own weights, under its name
  kAnnotation,  // the same of the layer inside
  kWrapper,     // the inner layer's weights and its ranges
  kQuantizer,   // the ranges of one point, `output`
};

// A layer of the file, in the order of its configuration, which counts the groups of an archive.
struct TfmotLayer {
  std::string name;        // in the file
  std::string class_name;  // there, without its package
  TfmotStorage storage = TfmotStorage::kNothing;
  std::string layer = {};  // of nibble's model; "" where storage is kNothing
};

// True if one of the layers is TFMOT's. Never throws.
bool is_tfmot(const nlohmann::json& document);

//   document  a model's configuration, of Keras 2 or 3, for which is_tfmot()
//   layers    written
//   returns   what graph::from_config() reads
//   throws    Unsupported or InvalidArgument naming the layer; nlohmann::json's exceptions where it is no configuration
nlohmann::json from_tfmot(const nlohmann::json& document, std::vector<TfmotLayer>& layers);

}  // namespace nibble::formats::keras
