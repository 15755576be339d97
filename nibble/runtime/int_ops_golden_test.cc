// Every recorded row of TFLite's integer kernels, bit for bit, with both roundings where recorded.
#include <algorithm>
#include <functional>
#include <map>

#include "nibble/graph/padding.h"
#include "nibble/runtime/curves.h"
#include "nibble/runtime/elementwise.h"
#include "nibble/runtime/pooling.h"
#include "nibble/runtime/weighted_sums.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::runtime {
namespace {

using affine::AffineParams;
using affine::Rounding;
using nlohmann::json;
using testing::first_difference;
using testing::floats;
using Ints = std::vector<int32_t>;

Shape shape_of(const json& tensor) { return Shape(tensor["shape"].get<std::vector<int64_t>>()); }
Ints ints(const json& list) { return list.is_null() ? Ints{} : list.get<Ints>(); }

AffineParams params_of(const json& tensor) {
  return {.scale = floats(tensor["scale"])[0], .zero_point = tensor["zero_point"].get<int32_t>()};
}

Activation activation_of(const json& row) {
  static const std::map<std::string, Activation> known = {{"NONE", Activation::kNone},
                                                          {"RELU", Activation::kRelu},
                                                          {"RELU6", Activation::kRelu6},
                                                          {"RELU_N1_TO_1", Activation::kReluN1To1}};
  const auto found = known.find(row.value("activation", "NONE"));
  if (found == known.end()) throw Unsupported("[test] no activation {}", row["activation"].dump());
  return found->second;
}

std::array<int64_t, 2> pair_of(const json& list) { return {list[0].get<int64_t>(), list[1].get<int64_t>()}; }

Window window_of(const json& row, std::array<int64_t, 2> size) {
  Window w;
  w.size = size;
  w.stride = pair_of(row["stride"]);
  if (row.contains("dilation")) w.dilation = pair_of(row["dilation"]);
  const std::string padding = row["padding"] == "SAME" ? "same" : "valid";
  for (size_t a = 0; a < 2; ++a) {
    const auto placed =
        graph::window(padding, row["input"]["shape"][a + 1].get<int64_t>(), w.size[a], w.stride[a], w.dilation[a]);
    w.before[a] = placed.before;
    w.after[a] = placed.after;
  }
  return w;
}

Ints weighted_sum(const json& row, Rounding rounding) {
  const json& weight = row["weight"];
  const AffineParams input = params_of(row["input"]), output = params_of(row["output"]);
  const Ints x = ints(row["input"]["q"]), w = ints(weight["q"]), bias = ints(row["bias"]);
  WeightedSum sum{{shape_of(weight), w}, bias, input.zero_point, {}};
  sum.requantizer = make_requantizer(input.scale, floats(weight["scale"]), output, activation_of(row), rounding);
  const CodeTensor codes{shape_of(row["input"]), x};
  Ints y(static_cast<size_t>(shape_of(row["output"]).elements()));
  if (row["op"] == "FULLY_CONNECTED") {
    dense(codes, sum, y);
    return y;
  }
  const Shape& shape = sum.weights.shape;
  const Window window = window_of(row, {shape[1], shape[2]});
  if (row["op"] == "CONV_2D") {
    convolution(codes, sum, window, y);
  } else {
    sum.weights.shape = {shape[1], shape[2], shape[3]};
    depthwise_convolution(codes, sum, window, y);
  }
  return y;
}

Ints pooled(const json& row, Rounding) {
  const Ints x = ints(row["input"]["q"]);
  const CodeTensor codes{shape_of(row["input"]), x};
  Ints y(static_cast<size_t>(shape_of(row["output"]).elements()));
  const Window window = window_of(row, pair_of(row["filter"]));
  const CodeLimits limits = activation_limits(params_of(row["output"]), activation_of(row));
  row["op"] == "MAX_POOL_2D" ? max_pool(codes, window, limits, y) : average_pool(codes, window, limits, y);
  return y;
}

Ints binary(const json& row, Rounding rounding) {
  const Ints a = ints(row["input1"]["q"]), b = ints(row["input2"]["q"]);
  const BinaryParams params{params_of(row["input1"]), params_of(row["input2"]), params_of(row["output"]),
                            activation_of(row), rounding};
  Ints y(a.size());
  row["op"] == "ADD"   ? add(a, b, params, y)
  : row["op"] == "SUB" ? subtract(a, b, params, y)
                       : multiply(a, b, params, y);
  return y;
}

Ints unary(const json& row, Rounding rounding) {
  const Ints x = ints(row["input"]["q"]);
  const UnaryParams params{params_of(row["input"]), params_of(row["output"]), Activation::kNone, rounding};
  Ints y(x.size());
  if (row["op"] == "REQUANTIZE") requantize(x, params, y);
  if (row["op"] == "LEAKY_RELU") leaky_relu(x, params, floats(row["alpha"])[0], y);
  if (row["op"] == "LOGISTIC") logistic(x, params.input, y);
  if (row["op"] == "TANH") tanh(x, params.input, y);
  return y;
}

Ints softmax_of_rows(const json& row, Rounding) {
  const Ints x = ints(row["input"]["q"]);
  Ints y(x.size());
  softmax({shape_of(row["input"]), x}, floats(row["input"]["scale"])[0], floats(row["beta"])[0], y);
  return y;
}

// Neighbouring axes, whichever they are, as the height of an image that mean() takes.
Shape as_image(const Shape& shape, const std::vector<int>& axes) {
  std::array<int64_t, 3> extents = {1, 1, 1};  // before, of and behind the axes
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool is_one = std::find(axes.begin(), axes.end(), axis) != axes.end();
    extents[is_one ? 1 : axis < axes.front() ? 0 : 2] *= shape[axis];
    if (!is_one && axis > axes.front() && axis < axes.back()) throw Unsupported("[test] axes that are no neighbours");
  }
  return Shape{extents[0], extents[1], 1, extents[2]};
}

Ints mean_over_axes(const json& row, Rounding rounding) {
  const Ints x = ints(row["input"]["q"]);
  const Shape shape = shape_of(row["input"]);
  std::vector<int> axes = row["axes"];
  for (int& axis : axes) axis += axis < 0 ? shape.rank() : 0;
  std::sort(axes.begin(), axes.end());
  const AffineParams input = params_of(row["input"]);
  Ints y(static_cast<size_t>(shape_of(row["output"]).elements()));
  mean({as_image(shape, axes), x}, {input.scale, input.zero_point, params_of(row["output"]), rounding}, y);
  return y;
}

Ints bordered(const json& row, Rounding) {
  const std::vector<float> x = floats(row["x"]);
  Ints y(x.size());
  affine::quantize(x, params_of(row), y);
  std::vector<float> back(x.size());
  affine::dequantize(y, params_of(row), back);
  EXPECT_EQ(first_difference("dequantized", back, floats(row["dequantized"])), "") << row["id"];
  return y;
}

using Operator = std::function<Ints(const json&, Rounding)>;

Operator operator_of(const std::string& op) {
  static const std::map<std::string, Operator> known = {{"CONV_2D", weighted_sum},
                                                        {"DEPTHWISE_CONV_2D", weighted_sum},
                                                        {"FULLY_CONNECTED", weighted_sum},
                                                        {"AVERAGE_POOL_2D", pooled},
                                                        {"MAX_POOL_2D", pooled},
                                                        {"ADD", binary},
                                                        {"SUB", binary},
                                                        {"MUL", binary},
                                                        {"REQUANTIZE", unary},
                                                        {"LEAKY_RELU", unary},
                                                        {"LOGISTIC", unary},
                                                        {"TANH", unary},
                                                        {"SOFTMAX", softmax_of_rows},
                                                        {"MEAN", mean_over_axes},
                                                        {"QUANTIZE", bordered}};
  const auto found = known.find(op);
  if (found == known.end()) throw Unsupported("[test] no operator {}", op);
  return found->second;
}

TEST(IntOpsGolden, Rows) {
  const json cases = testing::member(testing::golden_json("tflite/int_ops"), "cases");
  testing::each_row("int_ops", cases, [](const json& row) {
    const Operator compute = operator_of(row["op"]);
    const std::string wrong = first_difference("y", compute(row, Rounding::kGemmlowpDouble), ints(row["y"]));
    if (!wrong.empty() || !row.contains("y_single_rounding")) return wrong;
    return first_difference("y_single_rounding", compute(row, Rounding::kSingle), ints(row["y_single_rounding"]));
  });
}

TEST(IntOpsGolden, ActivationRanges) {
  const json ranges = testing::member(testing::golden_json("tflite/int_ops"), "activation_ranges");
  testing::each_row("int_ops activation_ranges", ranges, [](const json& row) -> std::string {
    const CodeLimits got = activation_limits(params_of(row), activation_of(row));
    const CodeLimits wanted{row["act_min"].get<int32_t>(), row["act_max"].get<int32_t>()};
    return got == wanted ? "" : fmt::format("[{}, {}] for {}", got.lowest, got.highest, row.dump());
  });
}

std::string factors_differ(const Requantizer& requantizer, const json& row) {
  for (size_t c = 0; c < row["multiplier"].size(); ++c) {
    const auto& factor = requantizer.factors[requantizer.factors.size() == 1 ? 0 : c];
    const affine::FixedPointMultiplier wanted{row["multiplier"][c].get<int32_t>(), row["shift"][c].get<int>()};
    if (factor == wanted) continue;
    return fmt::format("multiplier {} and shift {} of channel {}", factor.multiplier, factor.shift, c);
  }
  const CodeLimits wanted{row["act_min"].get<int32_t>(), row["act_max"].get<int32_t>()};
  return requantizer.limits == wanted ? "" : "limits of the activation";
}

// The integers in between, so that a failure can be located.
TEST(IntOpsGolden, DerivedIntegers) {
  const json cases = testing::member(testing::golden_json("tflite/int_ops"), "cases");
  testing::each_row("int_ops derived integers", cases, [](const json& row) -> std::string {
    const std::string op = row["op"];
    if (row.contains("weight")) {
      return factors_differ(make_requantizer(params_of(row["input"]).scale, floats(row["weight"]["scale"]),
                                             params_of(row["output"]), activation_of(row), Rounding::kGemmlowpDouble),
                            row);
    }
    if (row.contains("input_range_radius")) {
      const CurveInput curve = curve_input(floats(row["input"]["scale"])[0]);
      return curve.factor.multiplier == row["multiplier"].get<int32_t>() &&
                     curve.factor.shift == row["shift"].get<int>() &&
                     curve.radius == row["input_range_radius"].get<int64_t>()
                 ? ""
                 : "curve input";
    }
    if (op == "SOFTMAX") {
      const CurveInput curve = softmax_input(floats(row["input"]["scale"])[0], floats(row["beta"])[0]);
      return curve.factor.multiplier == row["multiplier"].get<int32_t>() &&
                     -curve.radius == row["diff_min"].get<int64_t>()
                 ? ""
                 : "softmax input";
    }
    return "";
  });
}

}  // namespace
}  // namespace nibble::runtime
