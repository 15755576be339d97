// nibble/graph/builder_recurrent.h
// Recurrent layers, those that hold them, and Embedding; see builder.h.
//
//   auto x = Bidirectional({.layer = QLSTM({.units = 16, .kernel_quantizer = "quantized_bits(4,0,1)"})})(in);
#pragma once

#include "nibble/graph/builder.h"

namespace nibble::graph::build {

struct SimpleRNNOptions {
  int64_t units = 0;
  std::string activation = "tanh";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  std::string name = "";
  Attributes more = {};
};
LayerCall SimpleRNN(const SimpleRNNOptions& options);

struct QSimpleRNNOptions {
  int64_t units = 0;
  std::string activation = "quantized_tanh";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string recurrent_quantizer = "";
  std::string bias_quantizer = "";
  std::string state_quantizer = "";
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  std::string name = "";
  Attributes more = {};
};
LayerCall QSimpleRNN(const QSimpleRNNOptions& options);

struct LSTMOptions {
  int64_t units = 0;
  std::string activation = "tanh";
  std::string recurrent_activation = "sigmoid";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  bool unit_forget_bias = true;
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  std::string name = "";
  Attributes more = {};
};
LayerCall LSTM(const LSTMOptions& options);

struct QLSTMOptions {
  int64_t units = 0;
  std::string activation = "quantized_tanh";
  std::string recurrent_activation = "hard_sigmoid";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  bool unit_forget_bias = true;
  std::string kernel_quantizer = "";
  std::string recurrent_quantizer = "";
  std::string bias_quantizer = "";
  std::string state_quantizer = "";
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  std::string name = "";
  Attributes more = {};
};
LayerCall QLSTM(const QLSTMOptions& options);

struct GRUOptions {
  int64_t units = 0;
  std::string activation = "tanh";
  std::string recurrent_activation = "sigmoid";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  bool reset_after = true;
  std::string name = "";
  Attributes more = {};
};
LayerCall GRU(const GRUOptions& options);

struct QGRUOptions {
  int64_t units = 0;
  std::string activation = "quantized_tanh";
  std::string recurrent_activation = "hard_sigmoid";
  bool use_bias = true;
  std::string kernel_initializer = "glorot_uniform";
  std::string recurrent_initializer = "orthogonal";
  std::string bias_initializer = "zeros";
  std::string kernel_quantizer = "";
  std::string recurrent_quantizer = "";
  std::string bias_quantizer = "";
  std::string state_quantizer = "";
  double dropout = 0.0;
  double recurrent_dropout = 0.0;
  bool return_sequences = false;
  bool go_backwards = false;
  bool reset_after = false;
  std::string name = "";
  Attributes more = {};
};
LayerCall QGRU(const QGRUOptions& options);

struct EmbeddingOptions {
  int64_t input_dim = 0;
  int64_t output_dim = 0;
  std::string embeddings_initializer = "random_uniform";
  std::string name = "";
  Attributes more = {};
};
LayerCall Embedding(const EmbeddingOptions& options);

// Runs the cell of a SimpleRNN, LSTM or GRU, quantized or not: RNN({.cell = QGRU({.units = 8})}).
struct RNNOptions {
  std::optional<LayerCall> cell = {};
  bool return_sequences = false;
  bool go_backwards = false;
  std::string name = "";
};
//   throws  InvalidArgument without a cell
LayerCall RNN(const RNNOptions& options);

struct BidirectionalOptions {
  std::optional<LayerCall> layer = {};
  std::optional<LayerCall> backward_layer = {};  // nothing: `layer`, turned round
  std::string merge_mode = "concat";             // "sum", "mul", "ave"
  std::string name = "";
};
//   throws  InvalidArgument without a layer
LayerCall Bidirectional(const BidirectionalOptions& options);
LayerCall QBidirectional(const BidirectionalOptions& options);

}  // namespace nibble::graph::build
