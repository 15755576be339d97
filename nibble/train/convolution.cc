#include "nibble/train/convolution.h"

#include <algorithm>
#include <dnnl.hpp>
#include <span>
#include <unordered_map>
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

// With oneDNN's own scratchpads a primitive must run in the thread that made it; ours are made in one
// thread and run in others.
dnnl::primitive_attr caller_has_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

memory without_data(const memory::desc& desc) { return memory(desc, cpu_engine(), nullptr); }

void point_at(memory& m, const float* data) { m.set_data_handle(const_cast<float*>(data)); }

// values[i] joins sum[i].
void accumulate(const float* values, std::span<double> sum) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
}

// The sum joins `total`, and starts again.
void move_sum(std::span<double> sum, double* total) {
  for (size_t i = 0; i < sum.size(); ++i) total[i] += sum[i];
  std::fill(sum.begin(), sum.end(), 0.0);
}

}  // namespace

struct Convolution::Method {
  virtual ~Method() = default;
  virtual void set_weights(const float* weights, const float* bias) = 0;
  virtual void forward(const float* x, float* y) = 0;
  virtual void set_weights_for_gradient(const float* weights) = 0;
  virtual void gradient_input(const float* upstream, float* dx) = 0;
  virtual void gradient_weights(const float* x, const float* upstream) = 0;
  virtual const float* slice_gradient() const = 0;
  virtual const float* slice_bias_gradient() const = 0;
  virtual void move_gradient_sums(double* dweights, double* dbias) = 0;

  std::vector<double> sum, bias_sum;  // over slices; as slice_gradient() lies in memory. Without a bias: none
};

class Convolution::Direct : public Convolution::Method {
 public:
  Direct(const ConvolutionGeometry& g, bool needs_gradient)
      : geometry_(g),
        x_desc_({g.batch, g.in_channels, g.in_height, g.in_width}, kFloat, Format::nhwc),
        y_desc_({g.batch, g.out_channels, g.out_height, g.out_width}, kFloat, Format::nhwc),
        any_weights_(weight_dims(g), kFloat, Format::any),
        bias_desc_(g.has_bias ? memory::desc({g.out_channels}, kFloat, Format::x) : memory::desc()),
        strides_{g.stride_height, g.stride_width},
        dilations_{g.dilation_height - 1, g.dilation_width - 1},
        pad_before_{g.pad_top, g.pad_left},
        pad_after_{g.pad_bottom, g.pad_right},
        forward_desc_({dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, x_desc_, any_weights_,
                       bias_desc_, y_desc_, strides_, dilations_, pad_before_, pad_after_},
                      caller_has_scratchpad(), cpu_engine()),
        forward_(forward_desc_),
        weights_(keras_weights(g), forward_desc_.weights_desc()),
        x_(without_data(x_desc_)),
        y_(without_data(y_desc_)),
        bias_(g.has_bias ? without_data(bias_desc_) : memory()),
        forward_scratchpad_(forward_desc_.scratchpad_desc(), cpu_engine()) {
    if (needs_gradient) make_gradients();
  }

  void set_weights(const float* weights, const float* bias) override {
    weights_.load(weights);
    if (geometry_.has_bias) point_at(bias_, bias);
  }

  void forward(const float* x, float* y) override {
    point_at(x_, x);
    point_at(y_, y);
    Arguments arguments = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, weights_.get()}, {DNNL_ARG_DST, y_}};
    arguments.insert({DNNL_ARG_SCRATCHPAD, forward_scratchpad_});
    if (geometry_.has_bias) arguments.insert({DNNL_ARG_BIAS, bias_});
    forward_.execute(cpu_stream(), arguments);
  }

  void set_weights_for_gradient(const float* weights) override { gradient_weights_->load(weights); }

  void gradient_input(const float* upstream, float* dx) override {
    point_at(y_, upstream);
    point_at(x_, dx);
    backward_data_.execute(cpu_stream(), {{DNNL_ARG_DIFF_DST, y_},
                                          {DNNL_ARG_WEIGHTS, gradient_weights_->get()},
                                          {DNNL_ARG_DIFF_SRC, x_},
                                          {DNNL_ARG_SCRATCHPAD, data_scratchpad_}});
  }

  void gradient_weights(const float* x, const float* upstream) override {
    point_at(x_, x);
    point_at(y_, upstream);
    Arguments arguments = {{DNNL_ARG_SRC, x_}, {DNNL_ARG_DIFF_DST, y_}, {DNNL_ARG_DIFF_WEIGHTS, slice_gradient_}};
    arguments.insert({DNNL_ARG_SCRATCHPAD, weights_scratchpad_});
    if (geometry_.has_bias) arguments.insert({DNNL_ARG_DIFF_BIAS, slice_bias_gradient_});
    backward_weights_.execute(cpu_stream(), arguments);
  }

  const float* slice_gradient() const override { return floats(slice_gradient_); }
  const float* slice_bias_gradient() const override { return floats(slice_bias_gradient_); }

  void move_gradient_sums(double* dweights, double* dbias) override {
    // oneDNN reorders no float64: what a float32 holds of the sum goes first, the rest in a second round.
    for (int round = 0; round < 2; ++round) {
      float* part = floats(slice_gradient_);
      for (size_t i = 0; i < sum.size(); ++i) {
        part[i] = static_cast<float>(sum[i]);
        sum[i] -= part[i];
      }
      to_keras_.execute(cpu_stream(), slice_gradient_, keras_gradient_);
      const float* values = floats(keras_gradient_);
      for (int64_t i = 0; i < geometry_.weight_elements(); ++i) dweights[i] += values[i];
    }
    std::fill(sum.begin(), sum.end(), 0.0);
    if (geometry_.has_bias) move_sum(bias_sum, dbias);
  }

 private:
  using Arguments = std::unordered_map<int, memory>;

  static float* floats(const memory& m) { return static_cast<float*>(m.get_data_handle()); }

  void make_gradients() {
    const dnnl::convolution_backward_data::primitive_desc data_desc(
        {dnnl::algorithm::convolution_direct, x_desc_, any_weights_, y_desc_, strides_, dilations_, pad_before_,
         pad_after_},
        caller_has_scratchpad(), cpu_engine(), forward_desc_);
    backward_data_ = dnnl::convolution_backward_data(data_desc);
    data_scratchpad_ = memory(data_desc.scratchpad_desc(), cpu_engine());
    gradient_weights_ = std::make_unique<ReorderedWeights>(keras_weights(geometry_), data_desc.weights_desc());

    const dnnl::convolution_backward_weights::primitive_desc weights_desc(
        {dnnl::algorithm::convolution_direct, x_desc_, any_weights_, bias_desc_, y_desc_, strides_, dilations_,
         pad_before_, pad_after_},
        caller_has_scratchpad(), cpu_engine(), forward_desc_);
    backward_weights_ = dnnl::convolution_backward_weights(weights_desc);
    weights_scratchpad_ = memory(weights_desc.scratchpad_desc(), cpu_engine());
    const memory::desc own_layout = weights_desc.diff_weights_desc();
    slice_gradient_ = memory(own_layout, cpu_engine());
    sum.assign(own_layout.get_size() / sizeof(float), 0.0);
    keras_gradient_ = memory(keras_weights(geometry_), cpu_engine());
    to_keras_ = dnnl::reorder(slice_gradient_, keras_gradient_);
    if (!geometry_.has_bias) return;
    slice_bias_gradient_ = memory(bias_desc_, cpu_engine());
    bias_sum.assign(static_cast<size_t>(geometry_.out_channels), 0.0);
  }

  ConvolutionGeometry geometry_;
  memory::desc x_desc_, y_desc_, any_weights_, bias_desc_;
  memory::dims strides_, dilations_, pad_before_, pad_after_;
  dnnl::convolution_forward::primitive_desc forward_desc_;
  dnnl::convolution_forward forward_;
  ReorderedWeights weights_;
  memory x_, y_, bias_, forward_scratchpad_, data_scratchpad_, weights_scratchpad_;

  dnnl::convolution_backward_data backward_data_;
  std::unique_ptr<ReorderedWeights> gradient_weights_;
  dnnl::convolution_backward_weights backward_weights_;
  memory slice_gradient_, slice_bias_gradient_, keras_gradient_;
  dnnl::reorder to_keras_;
};

// y[n, out] = sum over pixels p inside the image  x[n, p, in] * W[tap of p, in, out]
// A row of the image lies in one piece in x, and its taps in one piece in Keras' kernel.
class Convolution::SinglePixel : public Convolution::Method {
 public:
  explicit SinglePixel(const ConvolutionGeometry& g) : geometry_(g) {
    for (int64_t ky = 0; ky < g.kernel_height; ++ky) {
      const int64_t row = ky * g.dilation_height - g.pad_top;
      if (row < 0 || row >= g.in_height) continue;
      const int64_t first = std::max<int64_t>(0, g.pad_left);
      const int64_t last = std::min(g.kernel_width, g.in_width + g.pad_left);
      if (first >= last) continue;
      pieces_.push_back({(row * g.in_width + first - g.pad_left) * g.in_channels,
                         (ky * g.kernel_width + first) * g.in_channels * g.out_channels,
                         (last - first) * g.in_channels});
    }
    sum.assign(static_cast<size_t>(g.weight_elements()), 0.0);
    slice_gradient_.assign(sum.size(), 0.0f);  // where no tap reaches, it stays
    if (!g.has_bias) return;
    bias_sum.assign(static_cast<size_t>(g.out_channels), 0.0);
    slice_bias_gradient_.assign(bias_sum.size(), 0.0f);
  }

  static bool applies_to(const ConvolutionGeometry& g) {
    return g.out_height == 1 && g.out_width == 1 && g.groups == 1 && g.dilation_width == 1;
  }

  void set_weights(const float* weights, const float* bias) override {
    weights_ = weights;
    bias_ = bias;
  }

  void forward(const float* x, float* y) override {
    const ConvolutionGeometry& g = geometry_;
    float beta = 0.0f;
    if (g.has_bias) {
      for (int64_t n = 0; n < g.batch; ++n) std::copy(bias_, bias_ + g.out_channels, y + n * g.out_channels);
      beta = 1.0f;
    }
    for (const Piece& p : pieces_) {
      check(dnnl_sgemm('N', 'N', g.batch, g.out_channels, p.count, 1.0f, x + p.x, g.in_elements(), weights_ + p.weight,
                       g.out_channels, beta, y, g.out_channels));
      beta = 1.0f;
    }
  }

  void set_weights_for_gradient(const float* weights) override { weights_ = weights; }

  void gradient_input(const float* upstream, float* dx) override {
    const ConvolutionGeometry& g = geometry_;
    std::fill(dx, dx + g.batch * g.in_elements(), 0.0f);  // pixels that no tap reaches
    for (const Piece& p : pieces_) {
      check(dnnl_sgemm('N', 'T', g.batch, p.count, g.out_channels, 1.0f, upstream, g.out_channels, weights_ + p.weight,
                       g.out_channels, 0.0f, dx + p.x, g.in_elements()));
    }
  }

  void gradient_weights(const float* x, const float* upstream) override {
    const ConvolutionGeometry& g = geometry_;
    for (const Piece& p : pieces_) {
      check(dnnl_sgemm('T', 'N', p.count, g.out_channels, g.batch, 1.0f, x + p.x, g.in_elements(), upstream,
                       g.out_channels, 0.0f, slice_gradient_.data() + p.weight, g.out_channels));
    }
    if (!g.has_bias) return;
    std::fill(slice_bias_gradient_.begin(), slice_bias_gradient_.end(), 0.0f);
    for (int64_t n = 0; n < g.batch; ++n) {
      const float* sample = upstream + n * g.out_channels;
      for (size_t c = 0; c < slice_bias_gradient_.size(); ++c) slice_bias_gradient_[c] += sample[c];
    }
  }

  const float* slice_gradient() const override { return slice_gradient_.data(); }
  const float* slice_bias_gradient() const override { return slice_bias_gradient_.data(); }

  void move_gradient_sums(double* dweights, double* dbias) override {
    move_sum(sum, dweights);
    if (geometry_.has_bias) move_sum(bias_sum, dbias);
  }

 private:
  struct Piece {
    int64_t x, weight, count;  // offsets in a sample and in the kernel; values of x
  };
  static void check(dnnl_status_t status) { dnnl::error::wrap_c_api(status, "matrix product"); }

  ConvolutionGeometry geometry_;
  std::vector<Piece> pieces_;
  const float* weights_ = nullptr;
  const float* bias_ = nullptr;
  std::vector<float> slice_gradient_, slice_bias_gradient_;
};

Convolution::Convolution(const ConvolutionGeometry& geometry, bool needs_gradient) {
  if (SinglePixel::applies_to(geometry)) {
    method_ = std::make_unique<SinglePixel>(geometry);
    return;
  }
  try {
    method_ = std::make_unique<Direct>(geometry, needs_gradient);
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

void Convolution::set_weights(const float* weights, const float* bias) { method_->set_weights(weights, bias); }
void Convolution::forward(const float* x, float* y) { method_->forward(x, y); }
void Convolution::set_weights_for_gradient(const float* weights) { method_->set_weights_for_gradient(weights); }
void Convolution::gradient_input(const float* upstream, float* dx) { method_->gradient_input(upstream, dx); }
void Convolution::gradient_weights(const float* x, const float* upstream) { method_->gradient_weights(x, upstream); }
void Convolution::add_slice(const Convolution& of) {
  accumulate(of.method_->slice_gradient(), method_->sum);
  if (!method_->bias_sum.empty()) accumulate(of.method_->slice_bias_gradient(), method_->bias_sum);
}
void Convolution::move_gradient_sums(double* dweights, double* dbias) { method_->move_gradient_sums(dweights, dbias); }

}  // namespace nibble::train
