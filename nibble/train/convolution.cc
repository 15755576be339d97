#include "nibble/train/convolution.h"

#include <dnnl.hpp>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::train {
namespace {

using dnnl::memory;
using Format = memory::format_tag;
constexpr auto kFloat = memory::data_type::f32;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& cpu_stream() {
  static thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

memory::dims weight_dims(const ConvolutionGeometry& g) {
  if (g.groups == 1) return {g.out_channels, g.in_channels, g.kernel_height, g.kernel_width};
  return {g.groups, g.out_channels / g.groups, g.in_channels / g.groups, g.kernel_height, g.kernel_width};
}

// Keras' (h, w, in/groups, out), where out = group * (out/groups) + index, seen in oneDNN's order of axes.
memory::desc keras_weights(const ConvolutionGeometry& g) {
  const int64_t in = g.in_channels / g.groups, out = g.out_channels;
  const int64_t row = g.kernel_width * in * out, column = in * out;
  if (g.groups == 1) return {weight_dims(g), kFloat, memory::dims{1, out, row, column}};
  return {weight_dims(g), kFloat, memory::dims{out / g.groups, 1, out, row, column}};
}

// Where both layouts are one, oneDNN may be handed the caller's memory; else it is reordered.
class ReorderedWeights {
 public:
  ReorderedWeights(const memory::desc& from, const memory::desc& to)
      : from_(from, cpu_engine(), nullptr), to_(to, cpu_engine()), reorder_(from_, to_) {}

  void load(const float* weights) {
    from_.set_data_handle(const_cast<float*>(weights));
    reorder_.execute(cpu_stream(), from_, to_);
  }
  memory& get() { return to_; }

 private:
  memory from_, to_;
  dnnl::reorder reorder_;
};

memory without_data(const memory::desc& desc) { return memory(desc, cpu_engine(), nullptr); }

void point_at(memory& m, const float* data) { m.set_data_handle(const_cast<float*>(data)); }

}  // namespace

struct Convolution::Impl {
  explicit Impl(const ConvolutionGeometry& g)
      : geometry(g),
        x_desc({g.batch, g.in_channels, g.in_height, g.in_width}, kFloat, Format::nhwc),
        y_desc({g.batch, g.out_channels, g.out_height, g.out_width}, kFloat, Format::nhwc),
        any_weights(weight_dims(g), kFloat, Format::any),
        bias_desc(g.has_bias ? memory::desc({g.out_channels}, kFloat, Format::x) : memory::desc()),
        strides{g.stride_height, g.stride_width},
        dilations{g.dilation_height - 1, g.dilation_width - 1},
        pad_before{g.pad_top, g.pad_left},
        pad_after{g.pad_bottom, g.pad_right},
        forward_desc({dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, x_desc, any_weights,
                      bias_desc, y_desc, strides, dilations, pad_before, pad_after},
                     cpu_engine()),
        forward(forward_desc),
        weights(keras_weights(g), forward_desc.weights_desc()),
        x(without_data(x_desc)),
        y(without_data(y_desc)),
        bias(g.has_bias ? without_data(bias_desc) : memory()) {}

  void make_gradients() {
    dnnl::convolution_backward_data::primitive_desc data_desc(
        {dnnl::algorithm::convolution_direct, x_desc, any_weights, y_desc, strides, dilations, pad_before, pad_after},
        cpu_engine(), forward_desc);
    backward_data = dnnl::convolution_backward_data(data_desc);
    gradient_weights = std::make_unique<ReorderedWeights>(keras_weights(geometry), data_desc.weights_desc());

    dnnl::convolution_backward_weights::primitive_desc weights_desc(
        {dnnl::algorithm::convolution_direct, x_desc, any_weights, bias_desc, y_desc, strides, dilations, pad_before,
         pad_after},
        cpu_engine(), forward_desc);
    backward_weights = dnnl::convolution_backward_weights(weights_desc);
    slice_gradient = memory(weights_desc.diff_weights_desc(), cpu_engine());
    const size_t count = weights_desc.diff_weights_desc().get_size() / sizeof(float);
    sum.assign(count, 0.0f);
    sum_memory = memory(weights_desc.diff_weights_desc(), cpu_engine(), sum.data());
    keras_gradient = without_data(keras_weights(geometry));
    to_keras = dnnl::reorder(sum_memory, keras_gradient);
    if (geometry.has_bias) {
      slice_bias_gradient = memory(bias_desc, cpu_engine());
      bias_sum.assign(static_cast<size_t>(geometry.out_channels), 0.0f);
    }
  }

  ConvolutionGeometry geometry;
  memory::desc x_desc, y_desc, any_weights, bias_desc;
  memory::dims strides, dilations, pad_before, pad_after;
  dnnl::convolution_forward::primitive_desc forward_desc;
  dnnl::convolution_forward forward;
  ReorderedWeights weights;
  memory x, y, bias;

  dnnl::convolution_backward_data backward_data;
  std::unique_ptr<ReorderedWeights> gradient_weights;
  dnnl::convolution_backward_weights backward_weights;
  memory slice_gradient, slice_bias_gradient, sum_memory, keras_gradient;
  dnnl::reorder to_keras;
  std::vector<float> sum, bias_sum;  // sum is in oneDNN's own layout
};

Convolution::Convolution(const ConvolutionGeometry& geometry, bool needs_gradient) {
  try {
    impl_ = std::make_unique<Impl>(geometry);
    if (needs_gradient) impl_->make_gradients();
  } catch (const dnnl::error& error) {
    throw Unsupported(
        "[convolution] oneDNN has no implementation for input {}x{}x{}, kernel {}x{}, stride {}x{}, dilation {}x{}, {} "
        "groups: {}.",
        geometry.in_height, geometry.in_width, geometry.in_channels, geometry.kernel_height, geometry.kernel_width,
        geometry.stride_height, geometry.stride_width, geometry.dilation_height, geometry.dilation_width,
        geometry.groups, error.what());
  }
}

Convolution::~Convolution() = default;
Convolution::Convolution(Convolution&&) noexcept = default;

const ConvolutionGeometry& Convolution::geometry() const { return impl_->geometry; }

void Convolution::set_weights(const float* weights, const float* bias) {
  impl_->weights.load(weights);
  if (impl_->geometry.has_bias) point_at(impl_->bias, bias);
}

void Convolution::forward(const float* x, float* y) {
  point_at(impl_->x, x);
  point_at(impl_->y, y);
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, impl_->x}, {DNNL_ARG_WEIGHTS, impl_->weights.get()}, {DNNL_ARG_DST, impl_->y}};
  if (impl_->geometry.has_bias) arguments.insert({DNNL_ARG_BIAS, impl_->bias});
  impl_->forward.execute(cpu_stream(), arguments);
}

void Convolution::set_weights_for_gradient(const float* weights) { impl_->gradient_weights->load(weights); }

void Convolution::gradient_input(const float* upstream, float* dx) {
  point_at(impl_->y, upstream);
  point_at(impl_->x, dx);
  impl_->backward_data.execute(cpu_stream(), {{DNNL_ARG_DIFF_DST, impl_->y},
                                              {DNNL_ARG_WEIGHTS, impl_->gradient_weights->get()},
                                              {DNNL_ARG_DIFF_SRC, impl_->x}});
}

void Convolution::accumulate_gradient_weights(const float* x, const float* upstream) {
  point_at(impl_->x, x);
  point_at(impl_->y, upstream);
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, impl_->x}, {DNNL_ARG_DIFF_DST, impl_->y}, {DNNL_ARG_DIFF_WEIGHTS, impl_->slice_gradient}};
  if (impl_->geometry.has_bias) arguments.insert({DNNL_ARG_DIFF_BIAS, impl_->slice_bias_gradient});
  impl_->backward_weights.execute(cpu_stream(), arguments);

  const auto* slice = static_cast<const float*>(impl_->slice_gradient.get_data_handle());
  for (size_t i = 0; i < impl_->sum.size(); ++i) impl_->sum[i] += slice[i];
  if (!impl_->geometry.has_bias) return;
  const auto* bias = static_cast<const float*>(impl_->slice_bias_gradient.get_data_handle());
  for (size_t i = 0; i < impl_->bias_sum.size(); ++i) impl_->bias_sum[i] += bias[i];
}

void Convolution::take_gradient_weights(float* dweights, float* dbias) {
  point_at(impl_->keras_gradient, dweights);
  impl_->to_keras.execute(cpu_stream(), impl_->sum_memory, impl_->keras_gradient);
  std::fill(impl_->sum.begin(), impl_->sum.end(), 0.0f);
  if (!impl_->geometry.has_bias) return;
  std::copy(impl_->bias_sum.begin(), impl_->bias_sum.end(), dbias);
  std::fill(impl_->bias_sum.begin(), impl_->bias_sum.end(), 0.0f);
}

}  // namespace nibble::train
