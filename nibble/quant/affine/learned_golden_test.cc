// Every recorded row of learned quantizers, AdaRound and cross-layer equalization, in double.
#include "nibble/quant/affine/learned_step.h"
#include "nibble/quant/affine/pact_dorefa.h"
#include "nibble/quant/affine/rounding_and_scales.h"
#include "support/golden.h"
#include "support/golden_rows.h"

namespace nibble::affine {
namespace {

using nlohmann::json;
using Doubles = std::vector<double>;

constexpr double kRelative = 1e-9, kAbsolute = 1e-12;  // the note beside the rows; sums that cancel to 0

std::string differs(const json& row, const char* key, const Doubles& actual) {
  if (!row.contains(key)) return "";
  const Doubles wanted = row[key].is_array() ? row[key].get<Doubles>() : Doubles{row[key].get<double>()};
  if (wanted.size() != actual.size()) return fmt::format("{} has {} elements", key, actual.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (testing::close(actual[i], wanted[i], kRelative, kAbsolute)) continue;
    return fmt::format("{}[{}] is {}, not {}", key, i, actual[i], wanted[i]);
  }
  return "";
}

std::string learned_step(const json& row) {
  const Doubles x = row["x"], dy = row["dy"], step = {row["step"].get<double>()};
  const bool is_plus = row["method"] == "LSQ+";
  const Doubles offset = is_plus ? Doubles{row["offset"].get<double>()} : Doubles{};
  const StepLimits limits = step_limits(row["num_bits"], row["signed"]);
  if (limits.qn != row["qn"].get<int>() || limits.qp != row["qp"].get<int>()) return "limits";
  const LearnedStep<double> learned{step, offset, limits};
  const ChannelLayout layout{1, 1, static_cast<int64_t>(x.size())};
  Doubles y(x.size()), dx(x.size());
  learned_step_quantize<double>(x, layout, learned, y);
  const auto gradient = learned_step_gradient<double>(x, dy, layout, learned, dx);
  const double scale = learned_step_gradient_scale(layout.inner, limits.qp);
  const std::string start = is_plus ? "" : differs(row, "init_step", {initial_step<double>(x, limits.qp)});
  return differs(row, "y", y) + differs(row, "dx", dx) + differs(row, "grad_scale", {scale}) +
         differs(row, "dstep_unscaled", {gradient.step[0]}) + differs(row, "dstep", {gradient.step[0] * scale}) +
         differs(row, "doffset", {gradient.offset[0] * scale}) + start;
}

std::string pact(const json& row) {
  const Doubles x = row["x"], dy = row["dy"];
  Doubles y(x.size()), dx(x.size());
  pact_quantize<double>(x, row["alpha"].get<double>(), row["num_bits"], y);
  const double of_alpha = pact_gradient<double>(x, dy, row["alpha"].get<double>(), dx);
  return differs(row, "y", y) + differs(row, "dx", dx) + differs(row, "dalpha", {of_alpha});
}

std::string dorefa_weights(const json& row) {
  const Doubles w = row["w"], dy = row["dy"];
  Doubles y(w.size()), dw(w.size());
  dorefa_quantize_weights<double>(w, row["num_bits"], y);
  dorefa_weight_gradient<double>(w, dy, row["num_bits"], dw);
  return differs(row, "y", y) + differs(row, "dw_max_constant", dw);
}

std::string dorefa_activations(const json& row) {
  const Doubles x = row["x"], dy = row["dy"];
  Doubles y(x.size()), dx(x.size());
  dorefa_quantize_activations<double>(x, row["num_bits"], y);
  dorefa_activation_gradient<double>(x, dy, dx);
  return differs(row, "y", y) + differs(row, "dx", dx);
}

std::string ada_round(const json& row) {
  const AdaRound rule{row["zeta"].get<double>(), row["gamma"].get<double>()};
  const Doubles v = row["V"];
  Doubles share;
  for (const double value : v) share.push_back(rule.share(value));
  return differs(row, "h", share) + differs(row, "f_reg", {rule.regularizer(v, row["beta"].get<double>())});
}

std::string equalization(const json& row) {
  Doubles first = row["w1"], bias = row["b1"], second = row["w2"];
  const ChannelLayout of_first = per_axis(Shape(row["w1_shape"].get<std::vector<int64_t>>()), 0);
  const ChannelLayout of_second = per_axis(Shape(row["w2_shape"].get<std::vector<int64_t>>()), 1);
  const Doubles scale = equalize(first, of_first, bias, second, of_second);
  return differs(row, "scale", scale) + differs(row, "w1_eq", first) + differs(row, "b1_eq", bias) +
         differs(row, "w2_eq", second);
}

TEST(LearnedQuantizersGolden, Rows) {
  const json cases = testing::member(testing::golden_json("tflite/learned_quantizers"), "cases");
  testing::each_row("learned_quantizers", cases, [](const json& row) -> std::string {
    const std::string method = row["method"];
    if (method == "LSQ" || method == "LSQ+") return learned_step(row);
    if (method == "PACT") return pact(row);
    if (method == "DoReFa-W") return dorefa_weights(row);
    if (method == "DoReFa-A") return dorefa_activations(row);
    if (method == "AdaRound") return ada_round(row);
    return method == "CLE" ? equalization(row) : "no rule for " + method;
  });
}

TEST(AdaRound, StartsAtTheFraction) {
  const AdaRound rule;
  for (const double fraction : {0.0, 0.1, 0.5, 0.99}) {
    EXPECT_NEAR(rule.share(rule.start(fraction)), fraction, 1e-12);  // rounding of exp and log
  }
  EXPECT_THROW(rule.start(1.0), InvalidArgument);
  EXPECT_EQ(rule.share_gradient(10.0), 0.0);
}

TEST(LearnedStep, RefusesStepsThatAreNone) {
  const Doubles x = {1.0}, zero = {0.0};
  Doubles y(1);
  EXPECT_THROW(learned_step_quantize<double>(x, {}, {zero, {}, {}}, y), InvalidArgument);
  EXPECT_THROW(step_limits(1, true), InvalidArgument);
  EXPECT_GT(initial_step<double>(zero, 7), 0.0);
}

}  // namespace
}  // namespace nibble::affine
