#include "nibble/cost/bias_quantizers.h"

#include "nibble/quant/quantized_bits.h"

namespace nibble::cost {

graph::Model populate_bias_quantizer_from_accumulator(graph::Model model, const std::vector<QuantizerType>& sources) {
  DataTypeOptions options;
  options.sources = sources;
  const DataTypeMap map = data_type_map(model, options);
  for (graph::Layer& layer : model.layers) {
    const LayerTypes* types = map.find(layer.name);
    if (types == nullptr || !is_folded(types->kind) || layer.has("bias_quantizer")) continue;
    const QuantizerType& accumulator = types->macs.back().accumulator;
    if (accumulator.is_float()) continue;
    layer.attributes["bias_quantizer"] =
        std::make_shared<quant::QuantizedBits>(quant::QuantizedBitsParams{.bits = accumulator.bit_width,
                                                                          .integer = accumulator.int_bits,
                                                                          .symmetric = true,
                                                                          .keep_negative = accumulator.is_signed});
  }
  return model;
}

}  // namespace nibble::cost
