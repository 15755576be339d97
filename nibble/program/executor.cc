#include "nibble/program/executor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nibble/core/error.h"
#include "nibble/program/integer_softmax.h"

namespace nibble::program {
namespace {

using Inputs = std::vector<const Integers*>;

// What one operation does to one sample.
struct Run {
  const Program& program;
  const Operation& operation;
  const Inputs& inputs;
  std::span<const float> sample;
  Integers& out;

  const Shape& shape_of_input(size_t i = 0) const {
    return program.operations[static_cast<size_t>(operation.inputs[i])].result.shape;
  }
  const Integers& x() const { return *inputs[0]; }

  void operator()(const QuantizeInput& action) const;
  void operator()(const Accumulate& action) const;
  void operator()(const Compare& action) const;
  void operator()(const MaxPool& action) const;
  void operator()(const SumPool& action) const;
  void operator()(const Scale& action) const;
  void operator()(const Add& action) const;
  void operator()(const Concatenate& action) const;
  void operator()(const Pad& action) const;
  void operator()(const Reshape& action) const;
  void operator()(const Softmax& action) const;
  void operator()(const Crop& action) const;
  void operator()(const Repeat& action) const;
  void operator()(const Permute& action) const;
  void operator()(const Extremum& action) const;
};

void Run::operator()(const QuantizeInput& action) const {
  const Tensor x(program.input_shape, std::vector<float>(sample.begin(), sample.end()));
  const Tensor real = action.quantizer->quantize(x).real;
  const float scale = operation.result.scale[0];
  const auto low = static_cast<double>(operation.result.hull().low);
  const auto high = static_cast<double>(operation.result.hull().high);
  for (size_t i = 0; i < out.size(); ++i) {
    const double code = std::round(static_cast<double>(real[static_cast<int64_t>(i)]) / scale);
    if (std::isnan(code)) throw NanInput(0, static_cast<int64_t>(i));
    out[i] = static_cast<int64_t>(std::clamp(code, low, high));
  }
}

// Where a place of the spread input stands in the input; -1: beside it, or a zero in between.
int64_t place_in(int64_t place, int64_t spread, int64_t extent) {
  if (place < 0 || place % spread != 0 || place / spread >= extent) return -1;
  return place / spread;
}

// Weights of a tap lie side by side for all output channels.
//   Sum  holds every partial sum
template <class Sum>
void accumulate(const Accumulate& a, const Integers& x, Integers& out) {
  const int64_t per_group_in = a.in_channels / a.groups, per_group_out = a.out_channels / a.groups;
  const Window& w = a.window;
  std::vector<Sum> sums(static_cast<size_t>(a.out_channels));
  for (int64_t oy = 0; oy < a.out_height; ++oy) {
    for (int64_t ox = 0; ox < a.out_width; ++ox) {
      for (size_t c = 0; c < sums.size(); ++c) sums[c] = a.bias.empty() ? 0 : static_cast<Sum>(a.bias[c]);
      for (int64_t ky = 0; ky < w.height; ++ky) {
        const int64_t iy =
            place_in(oy * w.stride_height + ky * w.dilation_height - w.pad_top, a.spread_height, a.in_height);
        if (iy < 0) continue;
        for (int64_t kx = 0; kx < w.width; ++kx) {
          const int64_t ix =
              place_in(ox * w.stride_width + kx * w.dilation_width - w.pad_left, a.spread_width, a.in_width);
          if (ix < 0) continue;
          const int64_t* pixel = x.data() + (iy * a.in_width + ix) * a.in_channels;
          const int32_t* tap = a.weights.data() + (ky * w.width + kx) * per_group_in * a.out_channels;
          for (int64_t group = 0; group < a.groups; ++group) {
            for (int64_t i = 0; i < per_group_in; ++i) {
              const auto value = static_cast<Sum>(pixel[group * per_group_in + i]);
              if (value == 0) continue;
              const int32_t* row = tap + i * a.out_channels + group * per_group_out;
              Sum* sum = sums.data() + group * per_group_out;
              for (int64_t o = 0; o < per_group_out; ++o) sum[o] += value * row[o];
            }
          }
        }
      }
      std::copy(sums.begin(), sums.end(), out.begin() + (oy * a.out_width + ox) * a.out_channels);
    }
  }
}

void Run::operator()(const Accumulate& a) const {
  if (a.accumulator_bits() <= kNarrowBits) {
    accumulate<int32_t>(a, x(), out);
  } else {
    accumulate<int64_t>(a, x(), out);
  }
}

void Run::operator()(const Compare& action) const {
  const auto channels = static_cast<size_t>(operation.result.channels());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t c = action.first.size() == 2 ? 0 : i % channels;
    const auto begin = action.thresholds.begin() + action.first[c],
               end = action.thresholds.begin() + action.first[c + 1];
    const auto passed = std::upper_bound(begin, end, x()[i]) - begin;
    out[i] = action.values[static_cast<size_t>(action.first[c] + passed) + c];
  }
}

// Calls visit(output element, channel, input element) for every cell of every window that lies inside. Others are not
// gone through: a file's windows may be much larger than its images.
template <class Visit>
void for_each_cell(const Window& w, const Shape& in, const Shape& out, const Visit& visit) {
  const int64_t channels = in[2];
  for (int64_t oy = 0; oy < out[0]; ++oy) {
    for (int64_t ox = 0; ox < out[1]; ++ox) {
      const int64_t top = oy * w.stride_height - w.pad_top, left = ox * w.stride_width - w.pad_left;
      const int64_t bottom = std::min(top + w.height, in[0]), right = std::min(left + w.width, in[1]);
      for (int64_t iy = std::max<int64_t>(top, 0); iy < bottom; ++iy) {
        for (int64_t ix = std::max<int64_t>(left, 0); ix < right; ++ix) {
          for (int64_t c = 0; c < channels; ++c) {
            visit(static_cast<size_t>((oy * out[1] + ox) * channels + c), static_cast<size_t>(c),
                  static_cast<size_t>((iy * in[1] + ix) * channels + c));
          }
        }
      }
    }
  }
}

void Run::operator()(const MaxPool& action) const {
  const Shape& in = shape_of_input();
  const Shape& shape = operation.result.shape;
  for (size_t i = 0; i < out.size(); ++i) {
    const bool minimum = action.takes_minimum[i % static_cast<size_t>(in[2])] != 0;
    out[i] = minimum ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
  }
  for_each_cell(action.window, in, shape, [&](size_t o, size_t c, size_t i) {
    out[o] = action.takes_minimum[c] != 0 ? std::min(out[o], x()[i]) : std::max(out[o], x()[i]);
  });
}

void Run::operator()(const SumPool& action) const {
  const Shape& in = shape_of_input();
  const Shape& result = operation.result.shape;
  const Shape shape = result.rank() == 3 ? result : Shape{1, 1, in[2]};
  std::fill(out.begin(), out.end(), 0);
  Integers cells(out.size(), 0);
  for_each_cell(action.window, in, shape, [&](size_t o, size_t, size_t i) { out[o] += x()[i], ++cells[o]; });
  if (action.common == 0) return;
  for (size_t i = 0; i < out.size(); ++i) out[i] *= action.common / cells[i];
}

void Run::operator()(const Scale& action) const {
  const size_t channels = action.factors.size();
  for (size_t i = 0; i < out.size(); ++i) out[i] = x()[i] * action.factors[i % channels];
}

void Run::operator()(const Add&) const {
  std::fill(out.begin(), out.end(), 0);
  for (const Integers* input : inputs) {
    for (size_t i = 0; i < out.size(); ++i) out[i] += (*input)[i];
  }
}

void Run::operator()(const Concatenate&) const {
  auto position = out.begin();
  const auto rows = static_cast<int64_t>(out.size()) / operation.result.channels();
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t channels = shape_of_input(i)[-1];
      position = std::copy_n(inputs[i]->begin() + row * channels, channels, position);
    }
  }
}

void Run::operator()(const Pad& action) const {
  const Shape& in = shape_of_input();
  const int64_t width = operation.result.shape[1], row = in[1] * in[2];
  std::fill(out.begin(), out.end(), 0);
  for (int64_t y = 0; y < in[0]; ++y) {
    std::copy_n(x().begin() + y * row, row, out.begin() + ((y + action.top) * width + action.left) * in[2]);
  }
}

void Run::operator()(const Reshape&) const { std::copy(x().begin(), x().end(), out.begin()); }

void Run::operator()(const Softmax& action) const {
  const auto channels = static_cast<size_t>(operation.result.channels());
  const std::vector<int32_t> logits(x().begin(), x().end());
  std::vector<int32_t> probabilities(out.size());
  for (size_t row = 0; row < out.size(); row += channels) {
    integer_softmax(action, std::span(logits).subspan(row, channels), std::span(probabilities).subspan(row, channels));
  }
  std::copy(probabilities.begin(), probabilities.end(), out.begin());
}

void Run::operator()(const Crop& action) const {
  const Shape& in = shape_of_input();
  const Shape& shape = operation.result.shape;
  const int64_t row = shape[1] * shape[2];
  for (int64_t y = 0; y < shape[0]; ++y) {
    std::copy_n(x().begin() + ((y + action.top) * in[1] + action.left) * in[2], row, out.begin() + y * row);
  }
}

void Run::operator()(const Repeat& action) const {
  const Shape& in = shape_of_input();
  auto position = out.begin();
  for (int64_t y = 0; y < in[0] * action.height; ++y) {
    for (int64_t column = 0; column < in[1] * action.width; ++column) {
      const int64_t pixel = y / action.height * in[1] + column / action.width;
      position = std::copy_n(x().begin() + pixel * in[2], in[2], position);
    }
  }
}

void Run::operator()(const Permute& action) const {
  const Shape& in = shape_of_input();
  const Shape& shape = operation.result.shape;
  const int rank = in.rank();
  std::vector<int64_t> strides(static_cast<size_t>(rank)), index(static_cast<size_t>(rank), 0);
  for (int axis = 0; axis < rank; ++axis) {
    int64_t& stride = strides[static_cast<size_t>(axis)] = 1;
    const auto from = static_cast<int>(action.order[static_cast<size_t>(axis)]);
    for (int behind = from + 1; behind < rank; ++behind) stride *= in[behind];
  }
  int64_t from = 0;
  for (int64_t& integer : out) {
    integer = x()[static_cast<size_t>(from)];
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      from += strides[a];
      if (++index[a] < shape[axis]) break;
      from -= strides[a] * shape[axis];
      index[a] = 0;
    }
  }
}

void Run::operator()(const Extremum& action) const {
  out = x();
  for (const Integers* input : inputs) {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = action.takes_minimum ? std::min(out[i], (*input)[i]) : std::max(out[i], (*input)[i]);
    }
  }
}

void softmax(std::span<float> values) {
  const float highest = *std::max_element(values.begin(), values.end());
  float sum = 0;
  for (float& value : values) sum += value = std::exp(value - highest);
  for (float& value : values) value /= sum;
}

}  // namespace

Executor::Executor(const Program& program) : program_(program) {
  for (const Operation& operation : program.operations) {
    results_.emplace_back(static_cast<size_t>(operation.result.shape.elements()));
  }
}

void run_operation(const Program& program, const Operation& operation, const Inputs& inputs,
                   std::span<const float> sample, Integers& out) {
  std::visit(Run{program, operation, inputs, sample, out}, operation.action);
}

void finish_output(const Program& program, std::span<const int64_t> integers, std::span<float> output) {
  const Value& last = program.operations[static_cast<size_t>(program.output)].result;
  const int64_t channels = last.channels();
  for (size_t i = 0; i < output.size(); ++i) {
    const int64_t c = static_cast<int64_t>(i) % channels;
    output[i] = program.to_real(static_cast<float>(integers[i]) * at(last.scale, c), c);
  }
  if (!program.softmax) return;
  for (size_t row = 0; row < output.size(); row += static_cast<size_t>(channels)) {
    softmax(output.subspan(row, static_cast<size_t>(channels)));
  }
}

void Executor::run(std::span<const float> sample, std::span<float> output) {
  Inputs inputs;
  for (size_t i = 0; i < program_.operations.size(); ++i) {
    const Operation& operation = program_.operations[i];
    inputs.clear();
    for (int input : operation.inputs) inputs.push_back(&results_[static_cast<size_t>(input)]);
    run_operation(program_, operation, inputs, sample, results_[i]);
  }
  finish_output(program_, results_[static_cast<size_t>(program_.output)], output);
}

void Executor::run(std::span<const float> x, int64_t count, std::span<float> outputs) {
  const auto in = static_cast<size_t>(program_.input_shape.elements());
  const auto out = static_cast<size_t>(program_.output_shape().elements());
  for (size_t n = 0; n < static_cast<size_t>(count); ++n) {
    count_samples_from(static_cast<int64_t>(n), [&] { run(x.subspan(n * in, in), outputs.subspan(n * out, out)); });
  }
}

Tensor run(const Program& program, Runner& runner, const Tensor& x) {
  std::vector<int64_t> expected = {x.shape().rank() > 0 ? x.shape()[0] : 0};
  for (const int64_t extent : program.input_shape) expected.push_back(extent);
  if (x.shape() != Shape(expected)) {
    throw InvalidArgument("[run] program '{}' takes samples of shape {}, but x has shape {}.", program.name,
                          program.input_shape.str(), x.shape().str());
  }
  std::vector<int64_t> extents = {expected[0]};
  for (const int64_t extent : program.output_shape()) extents.push_back(extent);
  Tensor result{Shape(extents)};
  runner.run(x.data(), expected[0], result.data());
  return result;
}

Tensor run(const Program& program, const Tensor& x) {
  Executor executor(program);
  return run(program, executor, x);
}

}  // namespace nibble::program
