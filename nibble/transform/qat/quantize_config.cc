#include "nibble/transform/qat/quantize_config.h"

#include <string_view>
#include <utility>

#include "nibble/core/error.h"

namespace nibble::qat {
namespace {

using graph::AffineQuantizer;
using graph::Layer;
using graph::LayerQuantization;

class Always : public QuantizeConfig {
 public:
  explicit Always(LayerQuantization quantization) : quantization_(std::move(quantization)) {}
  LayerQuantization quantization(const Layer&) const override { return quantization_; }

 private:
  LayerQuantization quantization_;
};

class OutputOnly : public QuantizeConfig {
 public:
  explicit OutputOnly(QuantizeConfigPtr inner) : inner_(std::move(inner)) {}
  LayerQuantization quantization(const Layer& layer) const override {
    LayerQuantization result = inner_->quantization(layer);
    result.weights.clear();
    result.bias_bits = 0;
    return result;
  }

 private:
  QuantizeConfigPtr inner_;
};

class FixedRange : public QuantizeConfig {
 public:
  FixedRange(QuantizeConfigPtr inner, AffineQuantizer quantizer) : inner_(std::move(inner)), quantizer_(quantizer) {}
  LayerQuantization quantization(const Layer& layer) const override {
    LayerQuantization result = inner_->quantization(layer);
    for (AffineQuantizer* quantizer : {&result.pre_activation, &result.post_activation, &result.output}) {
      if (!quantizer->is_none()) *quantizer = quantizer_;
    }
    return result;
  }

 private:
  QuantizeConfigPtr inner_;
  AffineQuantizer quantizer_;
};

QuantizeConfigPtr given(std::string_view where, QuantizeConfigPtr inner) {
  if (inner != nullptr) return inner;
  throw InvalidArgument("[{}] there is no configuration to begin with. Give the one whose activations it is about.",
                        where);
}

}  // namespace

QuantizeConfigPtr always(LayerQuantization quantization) { return std::make_shared<Always>(std::move(quantization)); }

QuantizeConfigPtr quantize_nothing() { return always({}); }

QuantizeConfigPtr output_only(QuantizeConfigPtr inner) {
  return std::make_shared<OutputOnly>(given("output_only", std::move(inner)));
}

QuantizeConfigPtr fixed_range(QuantizeConfigPtr inner, int num_bits, float min, float max, bool narrow_range) {
  return std::make_shared<FixedRange>(
      given("fixed_range", std::move(inner)),
      AffineQuantizer{
          .kind = graph::AffineKind::kFixed, .num_bits = num_bits, .narrow_range = narrow_range, .fixed = {min, max}});
}

}  // namespace nibble::qat
