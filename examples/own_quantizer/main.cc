// A quantizer of one's own, used like those of nibble: in a layer, in training, in files, as integer codes.
//
//   toward_zero(bits=4)    code = trunc(x 2^(bits-1)), at most 2^(bits-1) - 1 in size;  value = code 2^(1-bits)
// Small weights fall to zero, as in a dead zone of twice the width. Gradient: 1 where |x| <= 1, else 0.
//
//   build/release/bin/own_quantizer
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/data/synthetic_digits.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/graph/builder.h"
#include "nibble/quant/arguments.h"
#include "nibble/quant/codes.h"
#include "nibble/quant/quantizer.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/finalize.h"

namespace {

using namespace nibble;

class TowardZero : public quant::Quantizer {
 public:
  explicit TowardZero(const CallExpression& call) {
    quant::read_call(kName, call, fields());
    quant::check_range(kName, "bits", bits_, 2, 16);
  }

  std::string_view class_name() const override { return kName; }

  quant::Quantized quantize(const Tensor& x, const quant::QuantizeOptions&) const override {
    Tensor real = x;
    for (float& value : real.data()) value = code(value) * step();
    return {std::move(real), Tensor::scalar(1.0f)};
  }

  Tensor gradient(const Tensor& x, const Tensor& upstream, const quant::QuantizeOptions&) const override {
    quant::check_upstream(kName, x, upstream);
    Tensor dx = upstream;
    for (int64_t i = 0; i < x.size(); ++i) {
      if (std::abs(x[i]) > 1.0f) dx[i] = 0.0f;
    }
    return dx;
  }

  quant::Encoded encode(const Tensor& x) const override {
    quant::check_encodable(kName, x, 1);
    std::vector<float> codes;
    for (float value : x.data()) codes.push_back(code(value));
    return quant::affine_codes(kName, codes, Tensor::scalar(step()), bits_, /*is_signed=*/true);
  }

  quant::NumericFormat format() const override {
    return {.kind = quant::NumericFormat::Kind::kFixedPoint, .bit_width = bits_, .integer_bits = 0};
  }
  double max() const override { return 1.0 - step(); }
  double min() const override { return -max(); }
  std::vector<float> range() const override { return quant::twos_complement_range(kName, bits_, step()); }

  std::string qkeras_str() const override { return str(); }
  std::string str() const override { return fmt::format("{}({})", kName, bits_); }
  nlohmann::json config() const override { return {{"bits", bits_}}; }
  quant::QuantizerPtr as_weight_quantizer() const override { return std::make_shared<TowardZero>(*this); }

 private:
  static constexpr std::string_view kName = "toward_zero";

  quant::Fields fields() { return {{"bits", &bits_}}; }
  float step() const { return std::ldexp(1.0f, 1 - bits_); }
  float code(float x) const {  // a NaN stays one
    const float largest = std::ldexp(1.0f, bits_ - 1) - 1.0f, steps = std::trunc(x / step());
    return steps < -largest ? -largest : (steps > largest ? largest : steps);
  }

  int bits_ = 4;
};

graph::Model network() {
  using namespace graph::build;
  const auto in = Input({.shape = {28, 28, 1}, .name = "image"});
  auto x = Flatten({.name = "flatten"})(in);
  x = QDense({.units = 32, .kernel_quantizer = "toward_zero(6)", .name = "hidden"})(x);
  x = QActivation({.activation = "quantized_relu(4,2)", .name = "relu"})(x);
  x = QDense({.units = 10, .kernel_quantizer = "toward_zero(bits=4)", .name = "digit"})(x);
  return build_model({in}, {Activation({.activation = "softmax", .name = "softmax"})(x)}, "own_quantizer");
}

}  // namespace

int main() {
  try {
    quant::register_quantizer("toward_zero", [](const CallExpression& call) -> quant::QuantizerPtr {
      return std::make_shared<TowardZero>(call);
    });

    data::Dataset digits = data::synthetic_digits({.train_count = 4000, .test_count = 1000});
    data::apply_preprocessing(digits, data::Preprocessing::kTutorial);
    train::Trainer trainer(network(), {.learning_rate = 0.01, .seed = 1});
    const train::History history = trainer.fit(digits, {.epochs = 3, .batch_size = 100});
    fmt::print("accuracy on drawn digits: {:.3f}\n", history.back().val_accuracy.value_or(NAN));

    const transform::Finalized result = transform::finalize(trainer.model());
    for (const transform::FinalizedLayer& layer : result.layers) {
      for (const transform::FinalizedWeight& weight : layer.weights) {
        if (!weight.encoded) continue;
        const auto zeros = std::count(weight.encoded->codes.begin(), weight.encoded->codes.end(), 0);
        fmt::print("{} {}: {} codes of {} bits, {} of them 0\n", layer.name, weight.name, weight.value.size(),
                   weight.encoded->bit_width, zeros);
      }
    }
    formats::keras::save_model(result.model, "own_quantizer.keras");
    formats::keras::load_model("own_quantizer.keras");  // needs the quantizer to be registered
    fmt::print("wrote own_quantizer.keras and read it again\n");
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
