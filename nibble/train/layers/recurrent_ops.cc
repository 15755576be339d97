// SimpleRNN, LSTM, GRU, RNN of a cell, Bidirectional, Embedding.
#include <ATen/ATen.h>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/train/layers/families.h"
#include "nibble/train/layers/random_masks.h"
#include "nibble/train/layers/recurrent_cell.h"

namespace nibble::train::layers {
namespace {

// A layer inside another one: its own attributes, the outer one's weights by prefix.
class InnerContext : public LayerContext {
 public:
  InnerContext(LayerContext& outer, const graph::Layer& inner, std::string prefix, uint32_t first_draw)
      : outer_(outer), inner_(inner), prefix_(std::move(prefix)), first_draw_(first_draw) {}

  const graph::Layer& layer() const override { return inner_; }
  const Shape& output_shape() const override { return outer_.output_shape(); }
  Pass pass() const override { return outer_.pass(); }
  at::Tensor stored(std::string_view name) override { return outer_.stored(prefix_ + std::string(name)); }

  at::Tensor weight(std::string_view name) override { return outer_.weight(prefix_ + std::string(name)); }

  at::Tensor quantize(const at::Tensor& x, std::string_view attribute, uint32_t draw) override {
    if (!inner_.attributes.contains(std::string(attribute))) return x;
    const auto quantizer = graph::effective_quantizer(inner_, attribute);
    return quantizer == nullptr ? x : quantize(x, quantizer, draw);
  }
  at::Tensor quantize(const at::Tensor& x, const quant::QuantizerPtr& quantizer, uint32_t draw) override {
    return outer_.quantize(x, quantizer, first_draw_ + draw);
  }
  at::Tensor activate(const at::Tensor& x, std::string_view attribute, uint32_t draw) override {
    if (const auto quantizer = inner_.get_quantizer(attribute)) return quantize(x, quantizer, draw);
    return outer_.apply(x, inner_, attribute);
  }
  at::Tensor apply(const at::Tensor& x, const graph::Layer& layer, std::string_view attribute) override {
    return outer_.apply(x, layer, attribute);
  }
  // Affine quantization is of whole layers, not of what stands inside one.
  at::Tensor quantize_point(const at::Tensor& x, std::string_view) override { return x; }
  bool statistics_move() const override { return outer_.statistics_move(); }
  BatchStatistics batch_statistics(const at::Tensor& x) override { return outer_.batch_statistics(x); }
  RandomKey random_key(RandomPurpose purpose) const override {
    RandomKey key = outer_.random_key(purpose);
    key.seed = derive_seed(key.seed, purpose, first_draw_);
    return key;
  }

 private:
  LayerContext& outer_;
  const graph::Layer& inner_;
  std::string prefix_;
  uint32_t first_draw_;
};

// Draws of one step: states, activations.
constexpr uint32_t kDrawsPerStep = 8, kDistinctSteps = 64;

RecurrentCell cell_of(LayerContext& context, const uint32_t& step) {
  const graph::Layer& layer = context.layer();
  RecurrentCell cell;
  choose_step(cell, layer.class_name);
  cell.kernel = context.weight("kernel");
  cell.recurrent_kernel = context.weight("recurrent_kernel");
  cell.bias = context.weight("bias");
  cell.reset_after = layer.attributes.contains("reset_after") && layer.get_bool("reset_after");
  const auto draw = [&step](uint32_t which) { return step % kDistinctSteps * kDrawsPerStep + which; };
  cell.activation = [&context, draw](const at::Tensor& x) { return context.activate(x, "activation", draw(0)); };
  cell.recurrent_activation = [&context, draw](const at::Tensor& x) {
    return context.activate(x, "recurrent_activation", draw(1));
  };
  cell.quantize_state = [&context, draw](const at::Tensor& x) {
    return context.quantize(x, "state_quantizer", draw(2));
  };
  return cell;
}

// The same units are dropped at every step of a sequence.
at::Tensor dropout_mask(LayerContext& context, const char* attribute, at::IntArrayRef shape, uint32_t which) {
  const double rate = context.layer().get_float(attribute);
  if (!context.is_training() || rate == 0.0) return {};
  RandomKey key = context.random_key(RandomPurpose::kDropout);
  key.seed = derive_seed(key.seed, RandomPurpose::kDropout, which);
  return keep_mask(shape, rate, key) / (1.0 - rate);
}

// x [N, T, features] -> [N, T, units] or the last step's [N, units]
at::Tensor run_sequence(LayerContext& context, const at::Tensor& x) {
  const graph::Layer& layer = context.layer();
  uint32_t step = 0;
  RecurrentCell cell = cell_of(context, step);
  const at::Tensor in_mask = dropout_mask(context, "dropout", {x.size(0), x.size(2)}, 1);
  const int64_t units = layer.get_int("units");
  cell.state_mask = dropout_mask(context, "recurrent_dropout", {x.size(0), units}, 2);
  States states(cell.state_count, at::zeros({x.size(0), units}, at::kFloat));
  std::vector<at::Tensor> outputs;
  const bool backwards = layer.get_bool("go_backwards");
  for (int64_t t = 0; t < x.size(1); ++t, ++step) {
    at::Tensor now = x.select(1, backwards ? x.size(1) - 1 - t : t);
    if (in_mask.defined()) now = now * in_mask;
    states = cell.step(cell, now, states);
    outputs.push_back(states[0]);
  }
  return layer.get_bool("return_sequences") ? at::stack(outputs, 1) : outputs.back();
}

at::Tensor recurrent(LayerContext& context, std::span<const at::Tensor> inputs) {
  return run_sequence(context, inputs[0]);
}

at::Tensor rnn(LayerContext& context, std::span<const at::Tensor> inputs) {
  const graph::Layer inner = graph::inner_layer(context.layer(), "cell");
  InnerContext inner_context(context, inner, "", 0);
  return run_sequence(inner_context, inputs[0]);
}

// A plain layer's is refused before training; nobody else looks into the layers inside.
void refuse_activity_regularizer(const LayerContext& context, const graph::Layer& inner) {
  if (!context.is_training() || !inner.has("activity_regularizer")) return;
  throw Unsupported(
      "[train] layer '{}': the layer inside has an activity_regularizer, which training does not apply. Remove it.",
      context.layer().name);
}

// The backward layer's sequence is turned round, so that both speak of the same step.
at::Tensor bidirectional(LayerContext& context, std::span<const at::Tensor> inputs) {
  const graph::Layer forward = graph::inner_layer(context.layer(), "layer");
  const graph::Layer backward = graph::inner_layer(context.layer(), "backward_layer");
  for (const graph::Layer* inner : {&forward, &backward}) refuse_activity_regularizer(context, *inner);
  InnerContext forward_context(context, forward, "forward_", 0);
  InnerContext backward_context(context, backward, "backward_", 2000);
  const at::Tensor a = run_sequence(forward_context, inputs[0]);
  at::Tensor b = run_sequence(backward_context, inputs[0]);
  if (backward.get_bool("return_sequences")) b = b.flip({1});
  const std::string& mode = context.layer().get_string("merge_mode");
  if (mode == "sum") return a + b;
  if (mode == "mul") return a * b;
  if (mode == "ave") return (a + b) / 2;
  return at::cat({a, b}, -1);
}

at::Tensor embedding(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor table = context.weight("embeddings");
  const at::Tensor indices = inputs[0].detach().to(at::kLong);
  const int64_t low = indices.min().item<int64_t>(), high = indices.max().item<int64_t>();
  if (low < 0 || high >= table.size(0)) {
    throw InvalidArgument("[train] layer '{}': its input holds {}, but an embedding of {} rows takes 0 to {}.",
                          context.layer().name, low < 0 ? low : high, table.size(0), table.size(0) - 1);
  }
  return at::embedding(table, indices);
}

}  // namespace

std::vector<LayerOpRow> recurrent_ops() {
  return {{"SimpleRNN", recurrent},
          {"QSimpleRNN", recurrent},
          {"LSTM", recurrent},
          {"QLSTM", recurrent},
          {"GRU", recurrent},
          {"QGRU", recurrent},
          {"RNN", rnn},
          {"Bidirectional", bidirectional},
          {"QBidirectional", bidirectional},
          {"Embedding", embedding}};
}

}  // namespace nibble::train::layers
