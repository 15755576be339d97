// nibble/cost/kernel_parts.h
// The kernels of a layer, with the numbers that its geometry gives: terms per sum,
// multiplications per inference, biases.
#pragma once

#include <string>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/cost/layer_kind.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

struct KernelPart {
  std::string weight;       // name of the weight
  std::string prefix = "";  // of its keys in QTools' report
  std::string quantizer;    // attribute that quantizes it
  Shape shape;
  int64_t terms = 0;            // products in one sum, bias excluded
  int64_t operation_count = 0;  // multiplications per inference
  int64_t biases = 0;           // 0 where no bias follows
};

struct LayerGeometry {
  std::vector<Shape> inputs;
  Shape output;
};

// One part, or the depthwise and the pointwise one of a separable convolution, transposed or not.
//   layer   of a kind with kernels
//   throws  Unsupported under Compat::kQkeras* for a dense layer on more than one axis; InvalidArgument
//           for shapes that are not fixed
std::vector<KernelPart> kernel_parts(const graph::Layer& layer, LayerKind kind, const LayerGeometry& geometry,
                                     Compat compat);

// The two kernels of a SimpleRNN, LSTM or GRU; the bias belongs to the first.
//   throws  InvalidArgument for a sequence whose length is not fixed
std::vector<KernelPart> recurrent_parts(const graph::Layer& layer, const Shape& input);

// QTools' operation_count of the layers without kernels: elements of the input, or what pooling adds up.
int64_t elementwise_count(const graph::Layer& layer, LayerKind kind, const LayerGeometry& geometry, Compat compat);

// Values that one output of an average pooling sums up.
int64_t pool_area(const graph::Layer& layer, LayerKind kind, const LayerGeometry& geometry);

// Products that one output of a Dot sums up.
//   input  the first one's shape
int64_t contracted_extent(const graph::Layer& layer, const Shape& input);

// Elements of a shape of `layer`.
//   throws  InvalidArgument naming the layer if an extent is free
int64_t elements_of(const graph::Layer& layer, const Shape& shape);

}  // namespace nibble::cost
