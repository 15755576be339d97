// Convolutions and dense layers.
#include <algorithm>
#include <optional>

#include "nibble/kernels/integer/depthwise_sums.h"
#include "nibble/kernels/integer/integer_sums.h"
#include "nibble/program/fast/step.h"

namespace nibble::program {
namespace {

using kernels::CodeType;
using kernels::IntegerSums;
using kernels::Terms;

constexpr int64_t kMostBytes = int64_t{1} << 30;  // of a sample: offsets are 32 bits wide

// How the windows move over the input as it lies in memory, in elements.
struct InputGrid {
  int64_t row_stride = 0, first = 0, sample_stride = 0;
};

// Null where rows of the window are not rows in memory.
std::optional<InputGrid> grid_of(const Accumulate& a, const TensorLayout& in) {
  if (in.elements() != a.in_height * a.in_width * a.in_channels || in.channels != a.in_channels) return std::nullopt;
  const bool same_rows = in.height == a.in_height && in.width == a.in_width;
  if (!same_rows && !in.border.is_empty()) return std::nullopt;
  if (in.sample_bytes() > kMostBytes) return std::nullopt;
  const Border needs = border_for(Action(a));
  const bool covered = needs.top <= in.border.top && needs.left <= in.border.left && needs.bottom <= in.border.bottom &&
                       needs.right <= in.border.right;
  if (!covered) return std::nullopt;
  return InputGrid{same_rows ? in.row_stride() : a.in_width * a.in_channels, in.first(), in.sample_stride()};
}

// Where each output pixel's window begins.
std::vector<int32_t> window_starts(const Accumulate& a, const InputGrid& grid) {
  std::vector<int32_t> starts;
  const Window& w = a.window;
  for (int64_t y = 0; y < a.out_height; ++y) {
    for (int64_t x = 0; x < a.out_width; ++x) {
      const int64_t row = y * w.stride_height - w.pad_top, column = x * w.stride_width - w.pad_left;
      starts.push_back(static_cast<int32_t>(grid.first + row * grid.row_stride + column * a.in_channels));
    }
  }
  return starts;
}

std::vector<int32_t> result_places(const Accumulate& a, const TensorLayout& out) {
  std::vector<int32_t> places;
  for (int64_t p = 0; p < a.out_height * a.out_width; ++p) places.push_back(static_cast<int32_t>(out.pixel(p)));
  return places;
}

// bias - zero_point * (sum of the channel's weights), modulo 2^32.
int32_t folded_bias(const Accumulate& a, int64_t channel, int32_t zero_point) {
  uint32_t sum = 0;
  for (size_t i = static_cast<size_t>(channel); i < a.weights.size(); i += static_cast<size_t>(a.out_channels)) {
    sum += static_cast<uint32_t>(a.weights[i]);
  }
  const auto bias = a.bias.empty() ? 0u : static_cast<uint32_t>(a.bias[static_cast<size_t>(channel)]);
  return static_cast<int32_t>(bias - static_cast<uint32_t>(zero_point) * sum);
}

int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// A row of the window lies in one piece if nothing is between its taps.
bool has_whole_rows(const Accumulate& a) { return a.groups == 1 && a.window.dilation_width == 1; }

// Terms that lie side by side.
int64_t row_terms(const Accumulate& a) { return (has_whole_rows(a) ? a.window.width : 1) * (a.in_channels / a.groups); }

Terms terms_of(const Accumulate& a, CodeType type) {
  if (type == CodeType::kUint8) return kernels::byte_terms(a.out_channels / a.groups, row_terms(a));
  return type == CodeType::kInt16 ? Terms::kWords : Terms::kInts;
}

std::string_view name_of(Terms terms) {
  if (terms == Terms::kBytePairs) return "pairs of bytes";
  return terms == Terms::kBytes ? "bytes" : (terms == Terms::kWords ? "16 bits" : "32 bits");
}

// One group of a convolution; most have one.
struct Group {
  kernels::AlignedVector<int32_t> weights, bias;
  std::vector<int32_t> offsets;  // of the steps
  IntegerSums sums;
};

class Sums final : public Step {
 public:
  Sums(const Operation& operation, const TensorMemory& in, const TensorMemory& out, RequantizationPlan requantization,
       const InputGrid& grid)
      : layer_(operation.layer), in_(in), out_(out), requantization_(std::move(requantization)) {
    const auto& a = std::get<Accumulate>(operation.action);
    const auto size = static_cast<int32_t>(kernels::size_of(in.layout.format.type));
    starts_ = window_starts(a, grid);
    for (int32_t& start : starts_) start *= size;
    places_ = result_places(a, out.layout);
    for (int64_t g = 0; g < a.groups; ++g) groups_.push_back(make_group(a, grid, g));
  }

  void run(std::span<const float>, int64_t samples) override {
    for (const auto& group : groups_) kernels::integer_sums(group->sums, in_.data(), samples, out_.data());
  }

  std::string describe() const override {
    return layer_ + ": sums of " + std::string(name_of(groups_[0]->sums.terms)) + ", " +
           std::string(program::name_of(requantization_.kind()));
  }
  int64_t prepared_bytes() const override {
    size_t integers = starts_.size() + places_.size();
    for (const auto& group : groups_) integers += group->weights.size() + group->bias.size() + group->offsets.size();
    return static_cast<int64_t>(integers * sizeof(int32_t));
  }

 private:
  std::unique_ptr<Group> make_group(const Accumulate& a, const InputGrid& grid, int64_t g) const {
    const int64_t channels = a.out_channels / a.groups;
    auto group = std::make_unique<Group>();
    IntegerSums& s = group->sums;
    s.terms = terms_of(a, in_.layout.format.type);
    pack(a, g, *group);
    place(a, grid, g, *group);
    group->bias.assign(static_cast<size_t>(rounded_up(channels, kernels::kPanel)), 0);
    for (int64_t c = 0; c < channels; ++c) {
      group->bias[static_cast<size_t>(c)] = folded_bias(a, g * channels + c, in_.layout.format.zero_point);
    }
    s.steps = static_cast<int64_t>(group->offsets.size()), s.step_offsets = group->offsets.data();
    s.weights = group->weights.data(), s.bias = group->bias.data();
    s.channels = channels, s.first_channel = g * channels;
    s.requantization = requantization_.view(), s.format = out_.layout.format;
    s.pixel_offsets = starts_, s.result_offsets = places_;
    s.sample_stride = grid.sample_stride * static_cast<int64_t>(kernels::size_of(in_.layout.format.type));
    s.result_stride = out_.layout.sample_stride();
    return group;
  }

  // The group's columns of the weights.
  static void pack(const Accumulate& a, int64_t g, Group& group) {
    const int64_t taps = a.window.height * a.window.width, ins = a.in_channels / a.groups;
    const int64_t channels = a.out_channels / a.groups;
    std::vector<int32_t> weights;
    for (int64_t row = 0; row < taps * ins; ++row) {
      const auto begin = a.weights.begin() + row * a.out_channels + g * channels;
      weights.insert(weights.end(), begin, begin + channels);
    }
    group.weights = kernels::pack_weights(group.sums.terms, weights, taps * ins / row_terms(a), row_terms(a), channels);
  }

  void place(const Accumulate& a, const InputGrid& grid, int64_t g, Group& group) const {
    const auto size = static_cast<int64_t>(kernels::size_of(in_.layout.format.type));
    const int64_t per_step = kernels::terms_in_a_step(group.sums.terms), ins = a.in_channels / a.groups;
    const int64_t pieces = has_whole_rows(a) ? 1 : a.window.width;
    for (int64_t y = 0; y < a.window.height; ++y) {
      for (int64_t x = 0; x < pieces; ++x) {
        const int64_t tap =
            y * a.window.dilation_height * grid.row_stride + x * a.window.dilation_width * a.in_channels + g * ins;
        for (int64_t t = 0; t < row_terms(a); t += per_step) {
          group.offsets.push_back(static_cast<int32_t>((tap + t) * size));
        }
      }
    }
  }

  std::string layer_;
  const TensorMemory &in_, &out_;
  RequantizationPlan requantization_;
  std::vector<int32_t> starts_, places_;
  std::vector<std::unique_ptr<Group>> groups_;
};

class Depthwise final : public Step {
 public:
  Depthwise(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
            RequantizationPlan requantization, const InputGrid& grid)
      : layer_(operation.layer), in_(in), out_(out), requantization_(std::move(requantization)) {
    const auto& a = std::get<Accumulate>(operation.action);
    starts_ = window_starts(a, grid);
    places_ = result_places(a, out.layout);
    const int64_t padded = rounded_up(a.out_channels, 16);
    bias_.assign(static_cast<size_t>(padded), 0);
    for (int64_t c = 0; c < a.out_channels; ++c) {
      bias_[static_cast<size_t>(c)] = folded_bias(a, c, in.layout.format.zero_point);
    }
    for (int64_t y = 0; y < a.window.height; ++y) {
      for (int64_t x = 0; x < a.window.width; ++x) {
        taps_.push_back(static_cast<int32_t>(y * a.window.dilation_height * grid.row_stride +
                                             x * a.window.dilation_width * a.in_channels));
        const auto begin = a.weights.begin() + (y * a.window.width + x) * a.out_channels;
        weights_.insert(weights_.end(), begin, begin + a.out_channels);
        weights_.resize(taps_.size() * static_cast<size_t>(padded), 0);
      }
    }
    sums_ = {taps_,
             weights_.data(),
             bias_.data(),
             a.out_channels,
             requantization_.view(),
             in.layout.format.type,
             out.layout.format,
             starts_,
             places_,
             grid.sample_stride,
             out.layout.sample_stride()};
    if (in.layout.format.type == CodeType::kUint8) quads_ = kernels::pack_tap_quads(weights_, padded);
    if (!quads_.empty()) sums_.quads = quads_.data();
  }

  void run(std::span<const float>, int64_t samples) override {
    kernels::depthwise_sums(sums_, in_.data(), samples, out_.data());
  }
  std::string describe() const override {
    return layer_ + ": depthwise sums, " + std::string(program::name_of(requantization_.kind()));
  }
  int64_t prepared_bytes() const override {
    const size_t integers = weights_.size() + quads_.size() + bias_.size() + starts_.size() + places_.size();
    return static_cast<int64_t>(integers * sizeof(int32_t));
  }

 private:
  std::string layer_;
  const TensorMemory &in_, &out_;
  RequantizationPlan requantization_;
  std::vector<int32_t> starts_, places_, taps_;
  kernels::AlignedVector<int32_t> weights_, quads_, bias_;
  kernels::DepthwiseSums sums_;
};

bool fits(const TensorLayout& out, const Accumulate& a) {
  return out.channels == a.out_channels && out.elements() == a.out_height * a.out_width * a.out_channels &&
         out.sample_bytes() <= kMostBytes;
}

}  // namespace

StepPtr sums_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                  RequantizationPlan requantization) {
  const auto& a = std::get<Accumulate>(operation.action);
  const std::optional<InputGrid> grid = grid_of(a, in.layout);
  if (!grid || !fits(out.layout, a)) return nullptr;
  // Codes that are wider than the weights allow bytes for are asked for by type_for(); what is narrower is a mistake.
  if (in.layout.format.type < type_for(operation.action)) return nullptr;
  return std::make_unique<Sums>(operation, in, out, std::move(requantization), *grid);
}

StepPtr depthwise_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                       RequantizationPlan requantization) {
  const auto& a = std::get<Accumulate>(operation.action);
  if (a.groups != a.in_channels || a.out_channels != a.in_channels || a.groups == 1) return nullptr;
  const std::optional<InputGrid> grid = grid_of(a, in.layout);
  if (!grid || !fits(out.layout, a) || in.layout.format.type < type_for(operation.action)) return nullptr;
  return std::make_unique<Depthwise>(operation, in, out, std::move(requantization), *grid);
}

}  // namespace nibble::program
