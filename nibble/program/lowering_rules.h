// nibble/program/lowering_rules.h
// The rules of lowering, layer by layer; lowering.h is what others need.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "nibble/program/integer_weights.h"
#include "nibble/program/lowering.h"
#include "nibble/quant/affine/common_grid.h"
#include "nibble/quant/affine/sum_quantizer.h"

namespace nibble::program {

using graph::Layer;

// A layer's value: an operation's integers, and what float arithmetic is still to be done to them.
struct Signal {
  int operation = -1;  // -1: the float input itself
  ChannelFunction pending;
  // Set where the network has integer * scale / divisor with exact integers, and gives them to the next affine
  // quantizer as such (quant/affine/sum_quantizer.h, train/input_points.cc).
  std::optional<double> sum_divisor = std::nullopt;
};

// The layer's integers, once its sums and the point before its activation are done, are its value: no float function
// follows them, but for the softmax that ends a network.
inline bool ends_in_integers(const Layer& layer) {
  const std::string function = layer.activation_function();
  return function == "linear" || function == "softmax";
}

//   throws  Unsupported for a quantizer that draws its values at inference too
void refuse_draws(const std::string& layer, const quant::Quantizer& quantizer);

class Lowering {
 public:
  Lowering(const graph::Model& model, const LoweringOptions& options)
      : model_(model), options_(options), shapes_(graph::infer_shapes(model)) {}

  Program run();

  void add_input(const Layer& layer);
  void add_accumulate(const Layer& layer, bool depthwise, bool dense);
  void add_transposed(const Layer& layer);
  void add_batch_norm(const Layer& layer);
  void add_activation(const Layer& layer);
  void add_rectifier(const Layer& layer);
  void add_elu(const Layer& layer);
  void add_prelu(const Layer& layer);
  void add_softmax(const Layer& layer);
  void add_max_pool(const Layer& layer);
  void add_average_pool(const Layer& layer);
  void add_add(const Layer& layer);
  void add_concatenate(const Layer& layer);
  void add_pad(const Layer& layer);
  void add_crop(const Layer& layer);
  void add_upsampling(const Layer& layer);
  void add_permute(const Layer& layer);
  void add_extremum(const Layer& layer);
  void add_reshape(const Layer& layer);
  //   throws  Unsupported where others of the model have affine quantizers and this weight has none
  void require_weight_point(const Layer& layer, std::string_view weight) const;
  void add_alias(const Layer& layer) { signals_[layer.name] = signals_.at(layer.inputs.at(0)); }

 private:
  const Value& value_of(int operation) const { return program_.operations[static_cast<size_t>(operation)].result; }
  const Shape& input_shape(const Layer& layer) const { return shapes_.at(layer.inputs.at(0)); }

  //   throws  Unsupported, naming layer and bits, if its results do not fit the program's integers
  int push(Operation operation) {
    // Accumulators have been looked at.
    const bool may_be_wide = std::holds_alternative<Accumulate>(operation.action) || moves_integers(operation.action);
    if (is_wide(operation.result) && !may_be_wide) {
      throw Unsupported(
          "[compile] layer '{}' gives integers of {} bits in its step '{}'; 32 are there. Use fewer bits for the "
          "values "
          "that enter it, or scales that lie closer together.",
          operation.layer, operation.result.bits(), name_of(operation.action));
    }
    program_.operations.push_back(std::move(operation));
    return static_cast<int>(program_.operations.size()) - 1;
  }

  bool has_affine_points() const;
  // What makes integers of a layer's real numbers, as a sentence.
  std::string how_to_quantize(const std::string& source) const;
  int quantize_input(const quant::QuantizerPtr& quantizer, const std::string& layer, bool is_layer_output);
  // The integers that a layer reads; all channels of one scale if `one_scale`.
  int integers(const Layer& layer, size_t input, bool one_scale);
  int with_one_scale(const Layer& layer, int operation);
  //   throws  Unsupported for sums that need more bits than what is summed or multiplied may have
  void require_narrow(const Layer& layer, int operation) const;
  SumPool sums_of_windows(const Layer& layer, const Value& in) const;
  // Pixels that change their place, and the function still to be done to them.
  void push_move(const Layer& layer, Action action);
  // The integers on a grid whose step their scale is a multiple of.
  int on_grid(const Layer& layer, int operation, float step, int64_t factor);
  // Inputs of one scale each, where need be by the layer's own quantizer.
  std::vector<int> on_one_grid(const Layer& layer, std::vector<int> inputs);
  const Layer& quantizer_of_joined(const Layer& layer) const;
  // Codes of the layer's input, whatever is still to be done to it.
  int quantized_input(const Layer& layer, size_t input, const quant::QuantizerPtr& quantizer);
  affine::CommonGrid grid_of_add(const Layer& layer, const std::vector<int>& inputs) const;
  // The affine quantizer that gave the values, which were moved at most; empty where none did.
  std::string affine_source(int input) const;
  bool comes_from_affine_point(int input) const { return !affine_source(input).empty(); }
  // True where the float network adds codes too (exact_add in train/exact_sums.h).
  bool network_adds_codes(const std::vector<int>& inputs) const;
  void apply_quantizer(const Layer& layer, Signal signal, const quant::QuantizerPtr& quantizer,
                       bool is_layer_output = true);
  // How the network gives such sums to an affine quantizer; nothing where what is pending, or the quantizer, is
  // another.
  std::optional<affine::SumQuantizer> sum_quantizer(const Signal& signal, const quant::Quantizer& quantizer) const;
  // The layer's affine quantizer at that point, if it has one, on what the layer has given so far.
  void apply_point(const Layer& layer, std::string_view point);
  // An activation layer begins with its input's values.
  Signal begin_activation(const Layer& layer);
  void end_in_softmax(const Layer& layer);
  void push_softmax(const Layer& layer);
  void apply_function(const Layer& layer, Signal signal, const std::string& name);
  void apply_fused_activation(const Layer& layer);
  // True where the float network sums the layer's codes too, exactly (train/exact_sums.h).
  bool network_sums_codes(const graph::QuantizedPoint& weights, int input) const;
  //   is_exact  the float network is known to round nowhere in this sum
  void push_accumulate(const Layer& layer, Accumulate action, const IntegerWeights& weights,
                       const std::vector<float>& bias, int input, bool is_exact);

  const graph::Model& model_;
  const LoweringOptions& options_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, Signal> signals_;
  std::set<std::string> has_output_point_;  // layers whose rule has applied it
  Program program_;
};

}  // namespace nibble::program
