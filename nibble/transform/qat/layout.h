// nibble/transform/qat/layout.h
// Which fake quantizations of neighbouring layers are one too many, since an integer program computes the layers in
// one go.
//
//   layers (input first)                                  what is quantized
//   Conv, Depthwise, Dense (linear) -> BN -> rectifier    weights; nothing; output
//   Conv, Depthwise, Dense (linear) -> BN                 weights; output
//   Conv, Depthwise, Dense (linear, relu) -> rectifier    weights; output
//   Add, Subtract, Multiply, Average -> rectifier         nothing; output
//   ... -> Concatenate                                    outputs of the feeding layers are off, inputs pass through;
//                                                         in-layer activations stay; output
// A rectifier is ReLU, LeakyReLU, ELU, PReLU, or an Activation of that kind. A layer that something else reads too
// never matches, nor one with a configuration of the user's (but see below).
//
// TFMOT (spec/tfmot-tflite.md, A6), which LayoutRules::kTfmot follows: only ReLU layers and Activation("relu"); Dense
// -> BN -> ReLU is quantized behind both; a Conv2D, DepthwiseConv2D, Dense or Add before a rectifier loses all its
// quantization, its weights' and a user's configuration too; 2 to 6 inputs of a Concatenate, and a batch norm behind a
// Dense among them leaves all of them quantized. kTfmotBits (A7) is the same, but one model input among the inputs of a
// Concatenate leaves all of them quantized. (Its other order of transforms, 18 and 19 before 15 to 17, changes nothing:
// they never match the same layers.)
#pragma once

#include <map>
#include <set>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::qat {

enum class LayoutRules {
  kNibble,
  kTfmot,      // its scheme of 8 bits
  kTfmotBits,  // its experimental one of n bits
};

struct LayerLayout {
  bool drops_activation = false;   // no fake quantization around the layer's own activation
  bool drops_output = false;       // none of its output
  bool quantizes_nothing = false;  // none at all, whatever a configuration of the user's says
  bool quantizes_output = false;   // of a BN: its output
};

struct LayoutFacts {
  std::set<std::string> annotated = {};   // layers that are to be quantized
  std::set<std::string> configured = {};  // those with a configuration of the user's
  std::set<std::string> squeezes = {};    // Reshape layers behind convolutions that were SeparableConv1D
};

// Of the layers that have one.
std::map<std::string, LayerLayout> layout(const graph::Model& model, const LayoutFacts& facts, LayoutRules rules);

// True where no value of a layer's output is negative, as far as functions tell; by name.
std::map<std::string, bool> rectified_outputs(const graph::Model& model);

}  // namespace nibble::qat
