#include "nibble/transform/ptq/plain_layers.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {
namespace {

void softmax(std::span<float> row) {
  float sum = 0.0f;
  const float largest = *std::max_element(row.begin(), row.end());
  for (float& v : row) sum += v = std::exp(v - largest);
  for (float& v : row) v /= sum;
}

Tensor activated(Tensor x, const std::string& function) {
  if (function == "relu") {
    for (float& v : x.data()) v = std::max(v, 0.0f);
  } else if (function == "softmax") {
    const auto size = static_cast<size_t>(x.shape()[-1]);
    for (size_t i = 0; i < x.data().size(); i += size) softmax(x.data().subspan(i, size));
  } else if (function != "linear") {
    throw Unsupported("plain_layer: activation {}", function);
  }
  return x;
}

// [n, output of the layer]
Shape output_shape(const graph::Layer& layer, const Tensor& x) {
  graph::Model model;
  const auto& extents = x.shape().extents();
  model.layers = {
      graph::make_layer("InputLayer", "x", {{"shape", std::vector<int64_t>(extents.begin() + 1, extents.end())}}),
      layer};
  model.layers[1].inputs = {"x"};
  std::vector<int64_t> shape = {extents[0]};
  const Shape output = graph::infer_shapes(model).at(layer.name);
  shape.insert(shape.end(), output.begin(), output.end());
  return Shape(shape);
}

Tensor weighted_sum(const graph::Layer& layer, const Tensor& x) {
  const int64_t count = patch_count(layer, x);
  const graph::Weight* bias = layer.find_weight("bias");
  return Tensor(output_shape(layer, x),
                multiply(patches_at(layer, x, sampled_positions(count, count, 0)), kernel_of(layer).data(),
                         bias == nullptr ? std::span<const float>() : std::as_const(bias->value).data()));
}

// Every pixel adds its window; the kernel is (h, w, out, in).
Tensor transposed_sum(const graph::Layer& layer, const Tensor& x) {
  Tensor y(output_shape(layer, x));
  const Tensor& kernel = kernel_of(layer);
  const Shape &in = x.shape(), &out = y.shape(), &k = kernel.shape();
  const auto& strides = layer.get_ints("strides");
  if (const graph::Weight* bias = layer.find_weight("bias")) {
    for (int64_t i = 0; i < y.size(); ++i) y[i] = bias->value[i % out[3]];
  }
  for (int64_t pixel = 0; pixel < in[0] * in[1] * in[2]; ++pixel) {
    const int64_t n = pixel / (in[1] * in[2]), iy = pixel / in[2] % in[1], ix = pixel % in[2];
    for (int64_t w = 0; w < kernel.size(); ++w) {
      const int64_t i = w % k[3], o = w / k[3] % k[2], kx = w / (k[3] * k[2]) % k[1], ky = w / (k[3] * k[2] * k[1]);
      const int64_t place = ((n * out[1] + iy * strides[0] + ky) * out[2] + ix * strides[1] + kx) * out[3] + o;
      y[place] += x[pixel * in[3] + i] * kernel[w];
    }
  }
  return y;
}

Tensor max_pool(const Tensor& x) {
  const Shape& s = x.shape();
  Tensor y(Shape{s[0], s[1] / 2, s[2] / 2, s[3]}, -HUGE_VALF);
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t c = i % s[3], w = i / s[3] % s[2] / 2, h = i / (s[3] * s[2]) % s[1] / 2, n = i / (s[3] * s[2] * s[1]);
    if (h >= y.shape()[1] || w >= y.shape()[2]) continue;
    float& out = y[((n * y.shape()[1] + h) * y.shape()[2] + w) * s[3] + c];
    out = std::max(out, x[i]);
  }
  return y;
}

Tensor normalized(const graph::Layer& layer, Tensor x) {
  const auto value = [&](const char* name, int64_t c) { return layer.find_weight(name)->value[c]; };
  const int64_t channels = x.shape()[-1];
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t c = i % channels;
    const float deviation = std::sqrt(value("moving_variance", c) + static_cast<float>(layer.get_float("epsilon")));
    x[i] = (x[i] - value("moving_mean", c)) / deviation * value("gamma", c) + value("beta", c);
  }
  return x;
}

}  // namespace

Tensor plain_layer(const graph::Layer& layer, std::span<const Tensor> inputs) {
  const Tensor& x = inputs[0];
  if (has_plain_kernel(layer)) return activated(weighted_sum(layer, x), layer.activation_function());
  if (layer.class_name == "Conv2DTranspose") {
    return activated(transposed_sum(layer, x), layer.activation_function());
  }
  if (layer.class_name == "Activation") return activated(x, layer.activation_function());
  if (layer.class_name == "MaxPooling2D") return max_pool(x);
  if (layer.class_name == "Flatten") return x.reshaped(Shape{x.shape()[0], x.size() / x.shape()[0]});
  if (layer.class_name == "BatchNormalization") return normalized(layer, x);
  if (layer.class_name != "Add") throw Unsupported("plain_layer: {}", layer.class_name);
  Tensor y = x;
  for (int64_t i = 0; i < y.size(); ++i) y[i] += inputs[1][i];
  return y;
}

std::map<std::string, Tensor> plain_values(const graph::Model& model, const Tensor& x) {
  std::map<std::string, Tensor> values;
  for (const graph::Layer& layer : model.layers) {
    std::vector<Tensor> inputs;
    for (const std::string& input : layer.inputs) inputs.push_back(values.at(input));
    values.emplace(layer.name, layer.inputs.empty() ? x : plain_layer(layer, inputs));
  }
  return values;
}

Tensor plain_output(const graph::Model& model, const Tensor& x) {
  return plain_values(model, x).at(model.outputs.at(0));
}

Tensor random_samples(Shape shape, uint64_t seed) {
  Tensor x(std::move(shape));
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  for (float& v : x.data()) v = random.normal();
  return x;
}

}  // namespace nibble::ptq
