// nibble/runtime/code_tensor.h
// Tensors of integer codes, as the operators take them.
//
// Codes travel as int32, whatever their width: these operators are the definition that packed kernels are tested
// against. Activations are NHWC, row-major. Weights lie filter by filter: convolution [out, h, w, in / groups],
// depthwise [h, w, in * multiplier], dense [out, in].
// Source of all rules in this folder: spec/tfmot-tflite.md, part B (TFLite's reference kernels).
#pragma once

#include <cstdint>
#include <span>

#include "nibble/core/shape.h"

namespace nibble::runtime {

// Does not own its codes.
struct CodeTensor {
  Shape shape;
  std::span<const int32_t> codes;
};

//   where   begins the message
//   throws  InvalidArgument unless the tensor has `rank` axes and as many codes as its shape says
void check_tensor(const char* where, const CodeTensor& tensor, int rank);

// throws InvalidArgument unless `given` is `needed`
void check_length(const char* where, const char* what, size_t given, int64_t needed);

}  // namespace nibble::runtime
