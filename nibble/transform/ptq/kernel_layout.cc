#include "nibble/transform/ptq/kernel_layout.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/padding.h"

namespace nibble::ptq {
namespace {

constexpr std::array<std::string_view, 4> kClasses = {"Conv1D", "Conv2D", "DepthwiseConv2D", "Dense"};

bool is_transposed(const graph::Layer& layer) { return layer.class_name == "Conv2DTranspose"; }

const char* kernel_name(const graph::Layer& layer) {
  return layer.class_name == "DepthwiseConv2D" ? "depthwise_kernel" : "kernel";
}

// The windows of a layer on its input, as if it had two spatial axes.
struct Geometry {
  int64_t in_height = 1, in_width = 1, in_channels = 0;
  int64_t out_height = 1, out_width = 1;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;
};

Geometry dense_geometry(const Shape& input) {
  Geometry g;
  g.in_channels = input[-1];
  for (int axis = 0; axis + 1 < input.rank(); ++axis) g.in_height *= input[axis];
  g.out_height = g.in_height;
  return g;
}

Geometry geometry_of(const graph::Layer& layer, const Shape& input) {
  if (layer.class_name == "Dense") return dense_geometry(input);
  const auto &kernel = layer.get_ints("kernel_size"), &strides = layer.get_ints("strides"),
             &dilation = layer.get_ints("dilation_rate");
  const bool is_image = kernel.size() == 2;
  const std::string& padding = layer.get_string("padding");
  Geometry g;
  g.in_height = input[0], g.in_channels = input[-1];
  g.kernel_height = kernel[0], g.stride_height = strides[0], g.dilation_height = dilation[0];
  const graph::Window rows = graph::window(padding, g.in_height, kernel[0], strides[0], dilation[0]);
  g.out_height = rows.out, g.pad_top = rows.before;
  if (!is_image) return g;
  g.in_width = input[1];
  g.kernel_width = kernel[1], g.stride_width = strides[1], g.dilation_width = dilation[1];
  const graph::Window columns = graph::window(padding, g.in_width, kernel[1], strides[1], dilation[1]);
  g.out_width = columns.out, g.pad_left = columns.before;
  return g;
}

Shape sample_shape(const Tensor& x) {
  const auto& extents = x.shape().extents();
  return Shape(std::vector<int64_t>(extents.begin() + 1, extents.end()));
}

// One row of patches, zeros outside the input.
void copy_patch(const Geometry& g, const KernelMatrix& m, std::span<const float> sample, int64_t position,
                std::span<float> row) {
  const int64_t y0 = position / g.out_width * g.stride_height - g.pad_top;
  const int64_t x0 = position % g.out_width * g.stride_width - g.pad_left;
  const int64_t per_group = g.in_channels / m.groups;
  for (int64_t ky = 0; ky < g.kernel_height; ++ky) {
    for (int64_t kx = 0; kx < g.kernel_width; ++kx) {
      const int64_t y = y0 + ky * g.dilation_height, x = x0 + kx * g.dilation_width;
      if (y < 0 || y >= g.in_height || x < 0 || x >= g.in_width) continue;
      const auto from = sample.begin() + (y * g.in_width + x) * g.in_channels;
      const int64_t at = (ky * g.kernel_width + kx) * per_group;
      for (int64_t group = 0; group < m.groups; ++group) {
        std::copy_n(from + group * per_group, per_group, row.begin() + group * m.fan_in + at);
      }
    }
  }
}

}  // namespace

bool has_plain_kernel(const graph::Layer& layer) {
  const bool is_known = std::find(kClasses.begin(), kClasses.end(), layer.class_name) != kClasses.end();
  return is_known && !graph::is_channels_first(layer);
}

bool has_kernel(const graph::Layer& layer) {
  return has_plain_kernel(layer) || (is_transposed(layer) && !graph::is_channels_first(layer));
}

const Tensor& kernel_of(const graph::Layer& layer) {
  const graph::Weight* weight = layer.find_weight(kernel_name(layer));
  if (weight != nullptr) return weight->value;
  throw InvalidArgument("[ptq] layer '{}' ({}) has no weights yet. Train the model or load its weights first.",
                        layer.name, layer.class_name);
}

Tensor& kernel_of(graph::Layer& layer) {
  return const_cast<Tensor&>(kernel_of(static_cast<const graph::Layer&>(layer)));
}

int64_t output_channels(const graph::Layer& layer) {
  const Shape& shape = kernel_of(layer).shape();
  if (layer.class_name == "DepthwiseConv2D") return shape[-2] * shape[-1];
  return is_transposed(layer) ? shape[-2] : shape[-1];
}

affine::ChannelLayout scale_layout(const graph::Layer& layer, bool per_axis) {
  const Shape& shape = kernel_of(layer).shape();
  if (!per_axis) return affine::per_tensor(shape);
  if (layer.class_name == "DepthwiseConv2D") return affine::per_depthwise_channel(shape);
  return affine::per_axis(shape, is_transposed(layer) ? -2 : -1);
}

affine::ChannelLayout input_layout(const graph::Layer& layer, int64_t channels) {
  const Shape& shape = kernel_of(layer).shape();
  const int64_t own = shape[-2];
  if (channels < 1 || own % channels != 0 || (own != channels && layer.class_name != "Dense")) {
    throw InvalidArgument("[ptq] layer '{}': a kernel of shape {} does not read {} channels.", layer.name, shape.str(),
                          channels);
  }
  const int64_t inner = shape[-1];
  return {.outer = shape.elements() / (channels * inner), .channels = channels, .inner = inner};
}

KernelMatrix kernel_matrix(const graph::Layer& layer, const Shape& input) {
  KernelMatrix m;
  m.outputs = output_channels(layer);
  m.fan_in = kernel_of(layer).size() / m.outputs;
  if (layer.class_name == "DepthwiseConv2D") m.groups = input[-1];
  if (layer.has("groups")) m.groups = layer.get_int("groups");
  return m;
}

int64_t patch_count(const graph::Layer& layer, const Tensor& x) {
  const Geometry g = geometry_of(layer, sample_shape(x));
  return x.shape()[0] * g.out_height * g.out_width;
}

Patches patches_at(const graph::Layer& layer, const Tensor& x, std::span<const int64_t> positions) {
  const Shape input = sample_shape(x);
  const Geometry g = geometry_of(layer, input);
  Patches patches{.matrix = kernel_matrix(layer, input), .rows = static_cast<int64_t>(positions.size()), .values = {}};
  const int64_t length = patches.matrix.row_length(), per_sample = g.out_height * g.out_width;
  const auto sample_size = static_cast<size_t>(input.elements());
  patches.values.assign(static_cast<size_t>(patches.rows * length), 0.0f);
  for (size_t r = 0; r < positions.size(); ++r) {
    const auto sample = x.data().subspan(static_cast<size_t>(positions[r] / per_sample) * sample_size, sample_size);
    copy_patch(g, patches.matrix, sample, positions[r] % per_sample,
               std::span(patches.values).subspan(r * static_cast<size_t>(length), static_cast<size_t>(length)));
  }
  return patches;
}

std::vector<int64_t> sampled_positions(int64_t count, int64_t limit, uint64_t seed) {
  std::vector<int64_t> positions(static_cast<size_t>(std::min(count, limit)));
  if (count <= limit) {
    std::iota(positions.begin(), positions.end(), int64_t{0});
    return positions;
  }
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kQuantizer, .layer = 1});
  for (int64_t& position : positions) {
    position = static_cast<int64_t>(random.uniform_double() * static_cast<double>(count));
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

std::vector<float> multiply(const Patches& patches, std::span<const float> kernel, std::span<const float> bias) {
  const KernelMatrix& m = patches.matrix;
  const int64_t per_group = m.outputs_per_group();
  std::vector<float> y(static_cast<size_t>(patches.rows * m.outputs));
  for (int64_t r = 0; r < patches.rows; ++r) {
    float* out = y.data() + r * m.outputs;
    if (!bias.empty()) std::copy(bias.begin(), bias.end(), out);
    for (int64_t g = 0; g < m.groups; ++g) {
      const float* patch = patches.values.data() + r * m.row_length() + g * m.fan_in;
      for (int64_t k = 0; k < m.fan_in; ++k) {
        if (patch[k] == 0.0f) continue;
        const float* weights = kernel.data() + k * m.outputs + g * per_group;
        for (int64_t o = 0; o < per_group; ++o) out[g * per_group + o] += patch[k] * weights[o];
      }
    }
  }
  return y;
}

}  // namespace nibble::ptq
