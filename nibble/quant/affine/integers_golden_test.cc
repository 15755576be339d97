// Every recorded row of multipliers and of scale and zero-point choices.
#include "nibble/quant/affine/affine_params.h"
#include "nibble/quant/affine/fixed_point.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::affine {
namespace {

using nlohmann::json;
using testing::first_difference;
using testing::floats;

json rows(const char* file, const char* key) {
  return testing::member(testing::golden_json(std::string("tflite/") + file), key);
}

std::string differs(const char* what, int64_t actual, const json& wanted) {
  return actual == wanted.get<int64_t>() ? "" : fmt::format("{} is {}, not {}", what, actual, wanted.dump());
}

TEST(MultipliersGolden, QuantizeMultiplier) {
  testing::each_row("multipliers quantize_multiplier", rows("multipliers", "quantize_multiplier"), [](const json& row) {
    const double real = std::stod(row["real_hex"].get<std::string>());
    const auto twice = quantize_multiplier(real), once = quantize_multiplier(real, Rounding::kSingle);
    return differs("multiplier", twice.multiplier, row["multiplier"]) + differs("shift", twice.shift, row["shift"]) +
           differs("single multiplier", once.multiplier, row["multiplier_single"]) +
           differs("single shift", once.shift, row["shift_single"]);
  });
}

TEST(MultipliersGolden, Multiply) {
  testing::each_row("multipliers mbqm", rows("multipliers", "mbqm"), [](const json& row) {
    const FixedPointMultiplier factor{row[1].get<int32_t>(), row[2].get<int>()};
    const auto x = row[0].get<int64_t>();
    const std::string wrong = differs("double", multiply(x, factor, Rounding::kGemmlowpDouble), row[3]);
    return row[4].is_null() ? wrong : wrong + differs("single", multiply(x, factor, Rounding::kSingle), row[4]);
  });
}

TEST(MultipliersGolden, MultiplyInt64) {
  testing::each_row("multipliers mbqm_int64", rows("multipliers", "mbqm_int64"), [](const json& row) {
    return differs("y", multiply_int64(row[0].get<int64_t>(), {row[1].get<int32_t>(), row[2].get<int>()}), row[3]);
  });
}

TEST(MultipliersGolden, Parts) {
  testing::each_row("multipliers srdhm", rows("multipliers", "srdhm"), [](const json& row) {
    return differs("y", doubling_high_multiply(row[0].get<int32_t>(), row[1].get<int32_t>()), row[2]);
  });
  testing::each_row("multipliers rounding_divide_by_pot", rows("multipliers", "rounding_divide_by_pot"),
                    [](const json& row) {
                      return differs("y", rounding_divide_by_power(row[0].get<int32_t>(), row[1].get<int>()), row[2]);
                    });
}

TEST(QparamsGolden, ChosenFromRanges) {
  testing::each_row("qparams choose_qparams", rows("qparams", "choose_qparams"), [](const json& row) {
    const auto got = choose_scale_and_zero_point(row["rmin"], row["rmax"], row["qmin"], row["qmax"]);
    const double wanted = row["scale"];
    const bool is_close = testing::close(got.scale, wanted, 1e-15, 0.0);  // recorded so
    return differs("zero_point", got.zero_point, row["zero_point"]) +
           (is_close ? "" : fmt::format("scale {}", got.scale));
  });
}

TEST(QparamsGolden, OfFakeQuantizedTensors) {
  testing::each_row("qparams fake_quant_to_int8", rows("qparams", "fake_quant_to_int8"), [](const json& row) {
    const NudgedRange range = nudge({floats(row["min"])[0], floats(row["max"])[0]}, {});
    const AffineParams params = params_of_nudged(range, {}, true);
    const std::vector<float> x = floats(row["x"]);
    std::vector<float> y(x.size());
    fake_quant(x, {1, 1, static_cast<int64_t>(x.size())}, {&range, 1}, StepRule::kDivide, y);
    std::vector<int32_t> codes(x.size());
    quantize(y, params, codes);
    return differs("uint8", range.zero_point, row["zero_point_uint8"]) +
           differs("int8", params.zero_point, row["zero_point_int8"]) +
           (params.scale == floats(row["scale"])[0] ? "" : "scale") +
           first_difference("fake_quant", y, floats(row["fake_quant"])) +
           first_difference("codes", codes, row["int8"].get<std::vector<int32_t>>());
  });
}

TEST(QparamsGolden, SymmetricWeights) {
  testing::each_row("qparams symmetric_weights", rows("qparams", "symmetric_weights"), [](const json& row) {
    const Shape shape(row["shape"].get<std::vector<int64_t>>());
    const ChannelLayout layout = row["axis"].is_null() ? per_tensor(shape) : per_axis(shape, row["axis"].get<int>());
    const WeightCodes weights = quantize_weights(floats(row["w"]), layout);
    std::string wrong = first_difference("scale", weights.scale, floats(row["scale"])) +
                        first_difference("q", weights.codes, row["q"].get<std::vector<int32_t>>());
    if (!row.contains("bias") || row["bias"].is_null()) return wrong;
    const BiasCodes bias = quantize_bias(floats(row["bias"]), floats(row["input_scale"])[0], weights.scale);
    return wrong + first_difference("bias", bias.codes, row["bias_q"].get<std::vector<int32_t>>());
  });
}

}  // namespace
}  // namespace nibble::affine
