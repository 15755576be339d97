// Convolutions and dense layers of values that are -1 or 1 with weights of -1, 0 and 1: bits are compared and counted.
//   M. Rastegari et al., "XNOR-Net", ECCV 2016.
#include <algorithm>

#include "nibble/kernels/integer/integer_sums.h"
#include "nibble/kernels/integer/sign_bits.h"
#include "nibble/program/fast/step.h"

namespace nibble::program {
namespace {

using kernels::Terms;

constexpr int64_t kFewChannels = 32;  // with fewer, words are mostly empty and bytes as quick
constexpr int64_t kMostBytes = int64_t{1} << 30;

int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

class BinarySums final : public Step {
 public:
  BinarySums(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
             RequantizationPlan requantization)
      : layer_(operation.layer),
        a_(std::get<Accumulate>(operation.action)),
        in_(in),
        out_(out),
        requantization_(std::move(requantization)) {
    words_.channels = kernels::sign_words(a_.in_channels);
    words_.height = a_.in_height, words_.width = a_.in_width;
    words_.border = border_for(operation.action);
    words_.format = {kernels::CodeType::kInt32, 0};
    bits_ = {a_.in_height, a_.in_width,    a_.in_channels, static_cast<uint8_t>(in.layout.format.zero_point),
             codes(),      words_.pixels()};
    const bool ternary = std::find(a_.weights.begin(), a_.weights.end(), 0) != a_.weights.end();
    sums_.terms = ternary ? Terms::kTernaryBits : Terms::kBits;
    place();
    add_biases();
    weights_ = kernels::pack_weights(sums_.terms, a_.weights, a_.window.height * a_.window.width, a_.in_channels,
                                     a_.out_channels);
    sums_.steps = static_cast<int64_t>(offsets_.size()), sums_.step_offsets = offsets_.data();
    sums_.weights = weights_.data(), sums_.bias = bias_.data(), sums_.channels = a_.out_channels;
    sums_.requantization = requantization_.view(), sums_.format = out.layout.format;
    sums_.pixel_offsets = starts_, sums_.result_offsets = places_, sums_.bias_offsets = bias_offsets_;
    sums_.sample_stride = words_.sample_bytes(), sums_.result_stride = out.layout.sample_stride();
  }

  void run(std::span<const float>, int64_t samples) override {
    const auto needed = static_cast<size_t>(samples * words_.sample_stride()) + kernels::kReadAhead / 4;
    if (memory_.size() < needed) memory_.assign(needed, 0);
    kernels::sign_bits(bits_, in_.data(), samples, memory_.data());
    kernels::integer_sums(sums_, memory_.data(), samples, out_.data());
  }
  std::string describe() const override {
    return layer_ + (sums_.terms == Terms::kBits ? ": sums of bits, " : ": sums of ternary bits, ") +
           std::string(name_of(requantization_.kind()));
  }
  int64_t prepared_bytes() const override {
    const size_t integers = weights_.size() + bias_.size() + starts_.size() + places_.size() + bias_offsets_.size();
    return static_cast<int64_t>(integers * sizeof(int32_t));
  }

 private:
  // The input's pixels as the sum counts them; a dense layer after a flatten sees one.
  kernels::PixelLayout codes() const {
    kernels::PixelLayout pixels = in_.layout.pixels();
    if (a_.in_width != in_.layout.width) pixels.row_stride = a_.in_width * a_.in_channels;
    return pixels;
  }

  void place() {
    const Window& w = a_.window;
    for (int64_t y = 0; y < a_.out_height; ++y) {
      for (int64_t x = 0; x < a_.out_width; ++x) {
        const int64_t row = y * w.stride_height - w.pad_top, column = x * w.stride_width - w.pad_left;
        const int64_t word = words_.first() + row * words_.row_stride() + column * words_.channels;
        starts_.push_back(static_cast<int32_t>(word * 4));
        places_.push_back(static_cast<int32_t>(out_.layout.pixel(y * a_.out_width + x)));
      }
    }
    for (int64_t y = 0; y < w.height; ++y) {
      for (int64_t x = 0; x < w.width; ++x) {
        const int64_t tap = y * w.dilation_height * words_.row_stride() + x * w.dilation_width * words_.channels;
        for (int64_t k = 0; k < words_.channels; ++k) offsets_.push_back(static_cast<int32_t>((tap + k) * 4));
      }
    }
  }

  // Borders hold bits of 0, which stand for -1, but have to count 0. Pixels that miss the same taps share a bias that
  // takes their products back.
  void add_biases() {
    std::vector<std::vector<uint8_t>> kinds;
    for (int64_t y = 0; y < a_.out_height; ++y) {
      for (int64_t x = 0; x < a_.out_width; ++x) {
        const std::vector<uint8_t> missing = missing_taps(y, x);
        auto kind = std::find(kinds.begin(), kinds.end(), missing);
        const auto offset = static_cast<int32_t>((kind - kinds.begin()) * rounded_up(a_.out_channels, kernels::kPanel));
        if (kind == kinds.end()) {
          kinds.push_back(missing);
          add_bias(missing);
        }
        bias_offsets_.push_back(offset);
      }
    }
  }

  std::vector<uint8_t> missing_taps(int64_t y, int64_t x) const {
    const Window& w = a_.window;
    std::vector<uint8_t> missing;
    for (int64_t ky = 0; ky < w.height; ++ky) {
      const int64_t row = y * w.stride_height + ky * w.dilation_height - w.pad_top;
      for (int64_t kx = 0; kx < w.width; ++kx) {
        const int64_t column = x * w.stride_width + kx * w.dilation_width - w.pad_left;
        const bool inside = row >= 0 && row < a_.in_height && column >= 0 && column < a_.in_width;
        missing.push_back(inside ? 0 : 1);
      }
    }
    return missing;
  }

  void add_bias(const std::vector<uint8_t>& missing) {
    for (int64_t c = 0; c < rounded_up(a_.out_channels, kernels::kPanel); ++c) {
      bias_.push_back(c < a_.out_channels ? bias_of(missing, c) : 0);
    }
  }
  int32_t bias_of(const std::vector<uint8_t>& missing, int64_t c) const {
    int64_t bias = a_.bias.empty() ? 0 : a_.bias[static_cast<size_t>(c)];
    size_t i = static_cast<size_t>(c);
    for (const uint8_t is_missing : missing) {
      for (int64_t k = 0; k < a_.in_channels; ++k, i += static_cast<size_t>(a_.out_channels)) {
        bias += (a_.weights[i] != 0 ? 1 : 0) + (is_missing != 0 ? a_.weights[i] : 0);
      }
    }
    return static_cast<int32_t>(bias);
  }

  std::string layer_;
  const Accumulate& a_;
  const TensorMemory &in_, &out_;
  RequantizationPlan requantization_;
  TensorLayout words_;
  kernels::SignBits bits_;
  kernels::AlignedVector<uint32_t> memory_;
  kernels::AlignedVector<int32_t> weights_, bias_;
  std::vector<int32_t> offsets_, starts_, places_, bias_offsets_;
  kernels::IntegerSums sums_;
};

bool has_ternary_weights(const Accumulate& a) {
  return std::all_of(a.weights.begin(), a.weights.end(), [](int32_t w) { return w >= -1 && w <= 1; });
}

}  // namespace

StepPtr binary_step(const Operation& operation, const TensorMemory& in, const TensorMemory& out,
                    RequantizationPlan requantization) {
  const auto& a = std::get<Accumulate>(operation.action);
  if (a.groups != 1 || a.in_channels < kFewChannels || !has_ternary_weights(a)) return nullptr;
  const TensorLayout& l = in.layout;
  const bool same_rows = l.height == a.in_height && l.width == a.in_width;
  const bool fits = l.format.type == kernels::CodeType::kUint8 && l.channels == a.in_channels &&
                    (same_rows || l.border.is_empty()) && l.elements() == a.in_height * a.in_width * a.in_channels &&
                    out.layout.elements() == a.out_height * a.out_width * a.out_channels &&
                    out.layout.channels == a.out_channels && out.layout.sample_bytes() <= kMostBytes;
  const Border border = border_for(operation.action);
  const int64_t rows = a.in_height + border.top + border.bottom, columns = a.in_width + border.left + border.right;
  // Their product need not fit 64 bits, whatever a file says of strides.
  const int64_t most_pixels = kMostBytes / (4 * kernels::sign_words(a.in_channels));
  if (!fits || rows > most_pixels || columns > most_pixels / rows) return nullptr;
  return std::make_unique<BinarySums>(operation, in, out, std::move(requantization));
}

}  // namespace nibble::program
