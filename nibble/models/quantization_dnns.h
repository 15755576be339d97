// nibble/models/quantization_dnns.h
// The four networks of raywan-110/Quantization-DNNs: a small one for Fashion-MNIST and one for CIFAR-10, each plain and
// with batch normalization between convolution and ReLU. Source: spec/ptq-qat-experiments.md, 1.1.
//
//   fashion_mnist   conv 3x3x40, ReLU, pool, conv 3x3x40, ReLU, pool, dense 10
//   cifar10         conv 5x5x16, ReLU, pool, conv 5x5x32, ReLU, pool, dense 120, ReLU, dense 84, ReLU, dense 10
//
// No padding; the convolutions keep their bias beside a batch normalization. A softmax ends them, and activations are
// layers of their own. Flatten is Keras': height, width, channels.
#pragma once

#include "nibble/graph/model.h"

namespace nibble::models {

enum class QuantizationDnn { kFashionMnist, kCifar10 };

graph::Model quantization_dnn(QuantizationDnn network, bool with_batch_norm);

}  // namespace nibble::models
