// Quantized recurrent layers against recorded rows: one step from given states, and the last output of a sequence.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/train/fused_ops.h"
#include "nibble/train/golden_layer.h"
#include "nibble/train/layers/recurrent_cell.h"
#include "nibble/train/network.h"
#include "nibble/train/plain_ops.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using layers::RecurrentCell;
using nlohmann::json;

json cases() {
  const json document = testing::golden_json("layers/recurrent");
  return document.is_null() ? json::array() : document.at("cases");
}

at::Tensor through(const graph::Layer& layer, const std::string& attribute, const at::Tensor& x) {
  if (!layer.attributes.contains(attribute)) return x;
  const auto quantizer = graph::effective_quantizer(layer, attribute);
  return quantizer == nullptr ? x : quantize(x, quantizer, {});
}

at::Tensor activate(const graph::Layer& layer, const std::string& attribute, const at::Tensor& x) {
  if (layer.get_quantizer(attribute) != nullptr) return through(layer, attribute, x);
  Activation activation;
  activation.function = graph::plain_function_name(layer, layer.activation_function(attribute));
  return plain_activation(x, activation, layer.name);
}

// The layer's cell, outside any network.
RecurrentCell cell_of(const graph::Layer& layer) {
  RecurrentCell cell;
  layers::choose_step(cell, layer.class_name);
  const auto weight = [&](const std::string& name, const std::string& quantizer) {
    const Tensor& value = layer.find_weight(name)->value;
    at::Tensor x = at::empty(value.shape().extents(), at::kFloat);
    std::copy(value.data().begin(), value.data().end(), x.data_ptr<float>());
    return through(layer, quantizer, x);
  };
  cell.kernel = weight("kernel", "kernel_quantizer");
  cell.recurrent_kernel = weight("recurrent_kernel", "recurrent_quantizer");
  cell.bias = weight("bias", "bias_quantizer");
  cell.reset_after = layer.attributes.contains("reset_after") && layer.get_bool("reset_after");
  cell.activation = [&layer](const at::Tensor& x) { return activate(layer, "activation", x); };
  cell.recurrent_activation = [&layer](const at::Tensor& x) { return activate(layer, "recurrent_activation", x); };
  cell.quantize_state = [&layer](const at::Tensor& x) { return through(layer, "state_quantizer", x); };
  return cell;
}

TEST(RecurrentGolden, StepsAndSequences) {
  const json rows = cases();
  for (const json& row : rows) {
    SCOPED_TRACE(row.at("id").get<std::string>());
    graph::Model model = golden_model(row);
    set_golden_weights(model, row.at("weights"));

    const graph::Layer& layer = model.layers.back();
    const RecurrentCell cell = cell_of(layer);
    const json& single = row.at("single_step");
    layers::States states;
    for (const json& state : single.at("states")) states.push_back(golden_torch(state));
    states = cell.step(cell, golden_torch(single.at("x_t")), states);
    expect_golden(states[0], single.at("output"), "output");
    ASSERT_EQ(states.size(), single.at("new_states").size());
    for (size_t i = 0; i < states.size(); ++i) expect_golden(states[i], single.at("new_states")[i], "new state");

    Network network(model, true, 1);
    const at::Tensor y = network.forward(golden_torch(row.at("x")), Pass::kInference, 0, false);
    expect_golden(y, row.at("full_sequence_from_zero_state_last_output"), "last output");
  }
  std::cout << rows.size() << " rows\n";
}

}  // namespace
}  // namespace nibble::train
