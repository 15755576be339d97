// nibble/train/convolution.h
// Float 2-D convolution and its gradients on oneDNN, for one batch size. A convolution whose output is a
// single pixel is a matrix product, and is computed as one: oneDNN's direct kernels are slow there.
//
// Activations are NHWC, kernels in Keras' layout: (h, w, in/groups, out); a depthwise kernel
// (h, w, in, multiplier) is the case groups = in, and its memory reads the same way. Padding may
// differ between the sides, as TensorFlow's "same" does when the stride does not divide the input.
// Holds no weights of the caller; calls are not thread-safe on one object.
#pragma once

#include <cstdint>
#include <memory>

namespace nibble::train {

struct ConvolutionGeometry {
  int64_t batch = 1;
  int64_t in_height = 1, in_width = 1, in_channels = 1;
  int64_t out_height = 1, out_width = 1, out_channels = 1;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t groups = 1;
  bool has_bias = false;

  int64_t in_elements() const { return in_height * in_width * in_channels; }  // of one sample
  int64_t out_elements() const { return out_height * out_width * out_channels; }
  int64_t weight_elements() const { return kernel_height * kernel_width * in_channels / groups * out_channels; }
  bool operator==(const ConvolutionGeometry&) const = default;
};

class Convolution {
 public:
  // needs_gradient: also makes the two backward primitives.
  //   throws  Unsupported with oneDNN's reason if the geometry has no implementation
  Convolution(const ConvolutionGeometry& geometry, bool needs_gradient);
  ~Convolution();
  Convolution(Convolution&&) noexcept;

  // Takes over new weights (and bias) in Keras' layout: call before forward, once per step.
  void set_weights(const float* weights, const float* bias);
  void forward(const float* x, float* y);

  // Takes over the weights for gradient_input: call once per backward pass.
  void set_weights_for_gradient(const float* weights);
  void gradient_input(const float* upstream, float* dx);

  // The gradient of the weights for one slice, float32, is kept inside until the next. add_slice() adds that of another
  // convolution of the same geometry, or this one, to float64 sums inside; move_gradient_sums() adds those to sums in
  // Keras' layout (bias' may be null without one) and clears them.
  void gradient_weights(const float* x, const float* upstream);
  void add_slice(const Convolution& of);
  void move_gradient_sums(double* dweights, double* dbias);

 private:
  struct Method;      // how it is computed
  class Direct;       // oneDNN's convolution primitives
  class SinglePixel;  // matrix products
  std::unique_ptr<Method> method_;
};

}  // namespace nibble::train
