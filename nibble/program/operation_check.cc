#include "nibble/program/operation_check.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/program/accumulator_proof.h"
#include "nibble/program/integer_softmax.h"
#include "nibble/program/window_cells.h"

namespace nibble::program {
namespace {

class Check {
 public:
  Check(const Program& program, size_t index) : program_(program), index_(index), op_(program.operations[index]) {}

  void run() const {
    const bool is_source = std::holds_alternative<QuantizeInput>(op_.action);
    if (is_source != op_.inputs.empty()) fail("has the wrong number of inputs");
    for (const int input : op_.inputs) {
      if (input < 0 || input >= static_cast<int>(index_)) fail("reads what comes after it");
    }
    check_value();
    check_widths();
    std::visit(*this, op_.action);
  }

  void operator()(const QuantizeInput& action) const {
    require(action.quantizer != nullptr && op_.result.shape == program_.input_shape && op_.result.scale.size() == 1);
    require(op_.result.intervals.size() == 1);
  }

  void operator()(const Accumulate& a) const {
    check_window(a.window);
    constexpr int64_t kMostSpread = int64_t{1} << 20;
    require(a.spread_height >= 1 && a.spread_height <= kMostSpread);
    require(a.spread_width >= 1 && a.spread_width <= kMostSpread);
    const bool positive = a.in_height > 0 && a.in_width > 0 && a.in_channels > 0 && a.out_height > 0 &&
                          a.out_width > 0 && a.out_channels > 0 && a.groups > 0;
    require(positive && a.in_channels % a.groups == 0 && a.out_channels % a.groups == 0);
    require(elements(Shape{a.in_height, a.in_width, a.in_channels}) == elements(input().shape));
    require(elements(Shape{a.out_height, a.out_width, a.out_channels}) == elements(op_.result.shape));
    const Shape weights{a.window.height, a.window.width, a.in_channels / a.groups, a.out_channels};
    require(elements(weights) == static_cast<int64_t>(a.weights.size()));
    require(a.bias.empty() || static_cast<int64_t>(a.bias.size()) == a.out_channels);
    require(op_.result.channels() == a.out_channels && input().channels() == a.in_channels);
    Accumulate proven = a;
    const auto intervals = prove_accumulator(proven, input().intervals);
    require(proven.accumulator_bits() <= kMostBits && proven.partial_sums == a.partial_sums);
    for (int64_t c = 0; c < a.out_channels; ++c) require_result(c, at(intervals, c));
  }

  void operator()(const Compare& c) const {
    require(input().shape == op_.result.shape);
    require(c.first.size() == 2 || static_cast<int64_t>(c.first.size()) == op_.result.channels() + 1);
    require(c.first.front() == 0 && c.first.back() == static_cast<int64_t>(c.thresholds.size()));
    require(c.values.size() == c.thresholds.size() + c.first.size() - 1);
    constexpr int64_t kFarthest = int64_t{1} << (kMostBits - 1);
    for (const int64_t t : c.thresholds) require(t >= -kFarthest && t <= kFarthest);
    require(c.multiplier.size() <= 1 || static_cast<int64_t>(c.multiplier.size()) == op_.result.channels());
    require(c.offset.size() == c.multiplier.size());
    for (size_t i = 0; i + 1 < c.first.size(); ++i) {
      require(c.first[i] <= c.first[i + 1] && c.first[i + 1] <= c.first.back());
      require(std::is_sorted(c.thresholds.begin() + c.first[i], c.thresholds.begin() + c.first[i + 1]));
    }
    require_reached(c);
    if (c.rule) require_rule(c, *c.rule);
  }

  void operator()(const MaxPool& action) const {
    check_window(action.window);
    require(input().shape.rank() == 3 && op_.result.shape.rank() == 3 && input().shape[2] == op_.result.shape[2]);
    require(static_cast<int64_t>(action.takes_minimum.size()) == input().shape[2]);
    check_windows_reach_inside(action.window, op_.result.shape);
    for (int64_t c = 0; c < distinct_channels(input()); ++c) require_result(c, at(input().intervals, c));
  }

  void operator()(const SumPool& action) const {
    check_window(action.window);
    require(input().shape.rank() == 3 && op_.result.channels() == input().shape[2]);
    require(op_.result.shape.rank() == 3 || op_.result.shape.elements() == input().shape[2]);
    const Window& w = action.window;
    const int64_t cells = w.height * w.width;
    require(cells <= (int64_t{1} << 31));
    const Shape& in = input().shape;
    const int64_t rows = op_.result.shape.rank() == 3 ? op_.result.shape[0] : 1;
    const int64_t columns = op_.result.shape.rank() == 3 ? op_.result.shape[1] : 1;
    if (action.common != 0) {
      require(action.common == common_cells(w, in[0], in[1], rows, columns));
    } else {
      require(w.pad_top == 0 && (rows - 1) * w.stride_height + (w.height - 1) * w.dilation_height < in[0]);
      require(w.pad_left == 0 && (columns - 1) * w.stride_width + (w.width - 1) * w.dilation_width < in[1]);
    }
    // An average times what divides it; on the way there is a sum, which is no larger.
    const int64_t factor = action.common != 0 ? action.common : cells;
    for (int64_t c = 0; c < distinct_channels(input()); ++c) {
      const Interval& one = at(input().intervals, c);
      require_result(c, {one.low * factor, one.high * factor});
    }
  }

  void operator()(const Scale& action) const {
    require(input().shape == op_.result.shape && !action.factors.empty());
    require(action.factors.size() == 1 || static_cast<int64_t>(action.factors.size()) == op_.result.channels());
    for (const int64_t factor : action.factors) require(factor >= 1 && factor <= (int64_t{1} << 24));
    const int64_t channels = action.factors.size() == 1 ? distinct_channels(input()) : op_.result.channels();
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t factor = action.factors[action.factors.size() == 1 ? 0 : static_cast<size_t>(c)];
      const Interval& in = at(input().intervals, c);
      require_result(c, {in.low * factor, in.high * factor});
    }
  }

  void operator()(const Add&) const {
    int64_t channels = 1;
    for (const int i : op_.inputs) channels = std::max(channels, distinct_channels(value(i)));
    for (int64_t c = 0; c < channels; ++c) {
      Interval sum;
      for (const int i : op_.inputs) {
        require(value(i).shape == op_.result.shape);
        sum.low += at(value(i).intervals, c).low, sum.high += at(value(i).intervals, c).high;
      }
      require_result(c, sum);
    }
  }

  void operator()(const Concatenate&) const {
    int64_t channels = 0;
    for (const int i : op_.inputs) {
      Shape shape = value(i).shape;
      require(shape.rank() == op_.result.shape.rank() && shape.rank() > 0);
      const int64_t first = channels, count = shape[-1];
      channels += count;
      require(channels <= op_.result.shape[-1]);
      const bool are_alike = value(i).intervals.size() == 1 && op_.result.intervals.size() == 1;
      for (int64_t c = 0; c < (are_alike ? 1 : count); ++c) require_result(first + c, at(value(i).intervals, c));
      shape[-1] = op_.result.shape[-1];
      require(shape == op_.result.shape);
    }
    require(channels == op_.result.shape[-1]);
  }

  void operator()(const Pad& pad) const {
    const Shape &in = input().shape, &out = op_.result.shape;
    require(in.rank() == 3 && out.rank() == 3);
    // No border is wider than the result, so that the sums below cannot wrap around.
    require(pad.top >= 0 && pad.bottom >= 0 && pad.left >= 0 && pad.right >= 0);
    require(pad.top <= out[0] && pad.bottom <= out[0] && pad.left <= out[1] && pad.right <= out[1]);
    require(out == Shape({in[0] + pad.top + pad.bottom, in[1] + pad.left + pad.right, in[2]}));
    for (int64_t c = 0; c < distinct_channels(input()); ++c) {
      require_result(c, at(input().intervals, c));
      require_result(c, {0, 0});
    }
  }

  void operator()(const Reshape&) const {
    const int64_t count = elements(input().shape), from = input().channels(), to = op_.result.channels();
    require(count == elements(op_.result.shape));
    if (op_.result.intervals.size() == 1) return require_result(0, input().hull());
    // An element is of the channel that its place has in either shape.
    const bool by_channel = input().intervals.size() > 1 && (from % to == 0 || to % from == 0);
    const Interval all = input().hull();
    for (int64_t i = 0; i < std::max(by_channel ? from : 0, to); ++i) {
      require_result(i % to, by_channel ? at(input().intervals, i % from) : all);
    }
  }

  void operator()(const Softmax& action) const {
    require(input().shape == op_.result.shape && input().scale.size() == 1 && input().channels() <= kMostLogits);
    require(action.multiplier >= 0 && action.shift >= 0 && action.shift < 64);
    for (int64_t c = 0; c < op_.result.channels(); ++c) require_result(c, kProbabilities);
  }

  void operator()(const Crop& crop) const {
    const Shape& in = input().shape;
    require(in.rank() == 3 && crop.top >= 0 && crop.bottom >= 0 && crop.left >= 0 && crop.right >= 0);
    require(crop.top <= in[0] && crop.bottom <= in[0] && crop.left <= in[1] && crop.right <= in[1]);
    require(op_.result.shape == Shape({in[0] - crop.top - crop.bottom, in[1] - crop.left - crop.right, in[2]}));
    require_the_same_channels();
  }

  void operator()(const Repeat& repeat) const {
    const Shape& in = input().shape;
    constexpr int64_t kMost = int64_t{1} << 20;
    require(in.rank() == 3 && repeat.height >= 1 && repeat.height <= kMost);
    require(repeat.width >= 1 && repeat.width <= kMost);
    require(op_.result.shape == Shape({in[0] * repeat.height, in[1] * repeat.width, in[2]}));
    require_the_same_channels();
  }

  void operator()(const Permute& permute) const {
    const Shape &in = input().shape, &out = op_.result.shape;
    require(in.rank() == out.rank() && static_cast<int>(permute.order.size()) == in.rank() && in.rank() > 0);
    std::vector<int64_t> axes = permute.order;
    std::sort(axes.begin(), axes.end());
    for (int axis = 0; axis < in.rank(); ++axis) require(axes[static_cast<size_t>(axis)] == axis);
    for (int axis = 0; axis < in.rank(); ++axis) {
      require(out[axis] == in[static_cast<int>(permute.order[static_cast<size_t>(axis)])]);
    }
    if (permute.order.back() == in.rank() - 1) return require_the_same_channels();
    const Interval all = input().hull();
    for (size_t c = 0; c < op_.result.intervals.size(); ++c) require_result(static_cast<int64_t>(c), all);
  }

  void operator()(const Extremum& extremum) const {
    int64_t channels = 1;
    for (const int i : op_.inputs) channels = std::max(channels, distinct_channels(value(i)));
    for (const int i : op_.inputs) require(value(i).shape == op_.result.shape);
    for (int64_t c = 0; c < channels; ++c) {
      Interval known = at(value(op_.inputs[0]).intervals, c);
      for (const int i : op_.inputs) {
        const Interval& in = at(value(i).intervals, c);
        known = extremum.takes_minimum ? Interval{std::min(known.low, in.low), std::min(known.high, in.high)}
                                       : Interval{std::max(known.low, in.low), std::max(known.high, in.high)};
      }
      require_result(c, known);
    }
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw CorruptFile("[program] operation {} ({}, layer '{}') {}.", index_, name_of(op_.action), op_.layer, what);
  }
  void require(bool holds) const {
    if (!holds) fail("has sizes that do not fit together");
  }

  // The thresholds are the rule's own steps.
  void require_rule(const Compare& c, const FixedPointRule& rule) const {
    const size_t channels = c.first.size() - 1;
    require(rule.factors.size() == channels && rule.bias.size() == channels && rule.lowest <= rule.highest);
    for (const affine::FixedPointMultiplier& factor : rule.factors) require(factor.shift >= -31 && factor.shift <= 31);
    for (const int64_t bias : rule.bias) require(bias >= -INT32_MAX && bias <= INT32_MAX);
    for (size_t i = 0; i < channels; ++i) {
      const Interval in = channels == 1 ? input().hull() : at(input().intervals, static_cast<int64_t>(i));
      const auto first = static_cast<size_t>(c.first[i]), count = static_cast<size_t>(c.first[i + 1]) - first;
      const int32_t* values = c.values.data() + first + i;
      bool holds = rule(in.low, i) == values[0];
      for (size_t k = 0; k < count; ++k) {
        const int64_t x = c.thresholds[first + k];
        holds = holds && rule(x - 1, i) == values[k] && rule(x, i) == values[k + 1];
      }
      const int64_t last = count == 0 ? in.low : c.thresholds[first + count - 1];
      holds = holds && rule(std::max(in.high, last), i) == values[count];  // both are monotonic: nothing is in between
      if (!holds) fail("has thresholds that are not its multiplier's");
    }
  }

  // Channels of which each may say something of its own, here or in the input: no more than a file can hold.
  int64_t distinct_channels(const Value& in) const {
    return in.intervals.size() == 1 && op_.result.intervals.size() == 1 ? 1 : op_.result.channels();
  }

  // What only moves pixels.
  void require_the_same_channels() const {
    for (int64_t c = 0; c < distinct_channels(input()); ++c) require_result(c, at(input().intervals, c));
  }

  // The values that a channel's input reaches. Channels that share a row of thresholds have one input for it, all that
  // any of them can be given: a file cannot make this longer than itself.
  void require_reached(const Compare& c) const {
    for (size_t row = 0; row + 1 < c.first.size(); ++row) {
      const bool is_shared = c.first.size() == 2;
      const Interval in = is_shared ? input().hull() : at(input().intervals, static_cast<int64_t>(row));
      const auto first = c.thresholds.begin() + c.first[row], last = c.thresholds.begin() + c.first[row + 1];
      // Value k stands between thresholds k - 1 and k.
      const auto values = c.values.begin() + c.first[row] + static_cast<int64_t>(row);
      const auto [low, high] = std::minmax_element(values + (std::upper_bound(first, last, in.low) - first),
                                                   values + (std::upper_bound(first, last, in.high) - first) + 1);
      const int64_t channels = is_shared ? static_cast<int64_t>(op_.result.intervals.size()) : 1;
      for (int64_t k = 0; k < channels; ++k) require_result(static_cast<int64_t>(row) + k, {*low, *high});
    }
  }

  // What is said of a channel of the result covers what is known of it.
  void require_result(int64_t channel, const Interval& known) const {
    const Interval& said = at(op_.result.intervals, channel);
    if (known.low < said.low || known.high > said.high) fail("can give integers outside the interval that it names");
  }

  void check_windows_reach_inside(const Window& w, const Shape& out) const {
    const Shape& in = input().shape;
    require(w.pad_top < w.height && (out[0] - 1) * w.stride_height - w.pad_top < in[0]);
    require(w.pad_left < w.width && (out[1] - 1) * w.stride_width - w.pad_left < in[1]);
  }

  const Value& value(int operation) const { return program_.operations[static_cast<size_t>(operation)].result; }
  const Value& input() const { return value(op_.inputs[0]); }

  // Extents are positive and their product is small enough to allocate.
  int64_t elements(const Shape& shape) const {
    constexpr int64_t kMost = int64_t{1} << 31;
    int64_t product = 1;
    for (const int64_t extent : shape) {
      if (extent < 1 || extent > kMost || product > kMost / extent) fail("has an extent that is not plausible");
      product *= extent;
    }
    return product;
  }

  void check_window(const Window& w) const {
    constexpr int64_t kMost = int64_t{1} << 20;
    for (const int64_t v : {w.height, w.width, w.stride_height, w.stride_width, w.dilation_height, w.dilation_width}) {
      require(v >= 1 && v <= kMost);
    }
    require(w.pad_top >= 0 && w.pad_top <= kMost && w.pad_left >= 0 && w.pad_left <= kMost);
  }

  void check_value() const {
    const Value& v = op_.result;
    constexpr int kMostAxes = 16;
    if (v.shape.rank() > kMostAxes) fail("has more axes than are plausible");
    elements(v.shape);
    const auto one_or_channels = [&](size_t size) { return size == 1 || static_cast<int64_t>(size) == v.channels(); };
    require(one_or_channels(v.scale.size()) && one_or_channels(v.intervals.size()));
    for (const float scale : v.scale) require(scale > 0.0f);
    for (const Interval& interval : v.intervals) require(interval.low <= interval.high);
  }

  // Products and sums of what is narrow stay within 64 bits.
  void check_widths() const {
    const bool moves = moves_integers(op_.action);
    const bool gives_wide = moves || std::holds_alternative<Accumulate>(op_.action);
    const Interval hull = op_.result.hull();
    const bool fits = hull.low >= kLowest && hull.high <= -(kLowest + 1);
    if (!fits || (is_wide(op_.result) && !gives_wide)) fail("gives integers of more bits than there are");
    const bool takes_wide = moves || std::holds_alternative<Compare>(op_.action);
    for (const int i : op_.inputs) {
      if (is_wide(value(i)) && !takes_wide) fail("reads integers of more bits than it takes");
    }
  }

  static constexpr int64_t kLowest = -(int64_t{1} << (kMostBits - 1));
  const Program& program_;
  size_t index_;
  const Operation& op_;
};

}  // namespace

void check_operation(const Program& program, size_t index) { Check(program, index).run(); }

}  // namespace nibble::program
