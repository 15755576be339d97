#include "nibble/graph/builder_recurrent.h"

#include "nibble/graph/builder_attributes.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph::build {

LayerCall SimpleRNN(const SimpleRNNOptions& o) {
  return {"SimpleRNN", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards}})};
}

LayerCall QSimpleRNN(const QSimpleRNNOptions& o) {
  return {"QSimpleRNN", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"recurrent_quantizer", or_none(o.recurrent_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"state_quantizer", or_none(o.state_quantizer)},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards}})};
}

LayerCall LSTM(const LSTMOptions& o) {
  return {"LSTM", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"recurrent_activation", or_none(o.recurrent_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"unit_forget_bias", o.unit_forget_bias},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards}})};
}

LayerCall QLSTM(const QLSTMOptions& o) {
  return {"QLSTM", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"recurrent_activation", or_none(o.recurrent_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"unit_forget_bias", o.unit_forget_bias},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"recurrent_quantizer", or_none(o.recurrent_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"state_quantizer", or_none(o.state_quantizer)},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards}})};
}

LayerCall GRU(const GRUOptions& o) {
  return {"GRU", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"recurrent_activation", or_none(o.recurrent_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards},
                        {"reset_after", o.reset_after}})};
}

LayerCall QGRU(const QGRUOptions& o) {
  return {"QGRU", o.name,
          with(o.more, {{"units", o.units},
                        {"activation", or_none(o.activation)},
                        {"recurrent_activation", or_none(o.recurrent_activation)},
                        {"use_bias", o.use_bias},
                        {"kernel_initializer", o.kernel_initializer},
                        {"recurrent_initializer", o.recurrent_initializer},
                        {"bias_initializer", o.bias_initializer},
                        {"kernel_quantizer", or_none(o.kernel_quantizer)},
                        {"recurrent_quantizer", or_none(o.recurrent_quantizer)},
                        {"bias_quantizer", or_none(o.bias_quantizer)},
                        {"state_quantizer", or_none(o.state_quantizer)},
                        {"dropout", o.dropout},
                        {"recurrent_dropout", o.recurrent_dropout},
                        {"return_sequences", o.return_sequences},
                        {"go_backwards", o.go_backwards},
                        {"reset_after", o.reset_after}})};
}

LayerCall Embedding(const EmbeddingOptions& o) {
  return {"Embedding", o.name,
          with(o.more, {{"input_dim", o.input_dim},
                        {"output_dim", o.output_dim},
                        {"embeddings_initializer", o.embeddings_initializer}})};
}

namespace {

// Keras names the layer inside after its class.
Layer named(const std::optional<LayerCall>& call) {
  Layer inner = call->layer();
  if (inner.name.empty()) inner.name = snake_case(inner.class_name);
  return inner;
}

Attribute inside(const std::optional<LayerCall>& call) {
  return call ? as_inner_layer(named(call)) : Attribute(None{});
}

LayerCall bidirectional(const char* class_name, const BidirectionalOptions& o) {
  return {class_name,
          o.name,
          {{"layer", inside(o.layer)}, {"backward_layer", inside(o.backward_layer)}, {"merge_mode", o.merge_mode}}};
}

}  // namespace

LayerCall RNN(const RNNOptions& o) {
  return {"RNN",
          o.name,
          {{"cell", o.cell ? as_cell(named(o.cell)) : Attribute(None{})},
           {"return_sequences", o.return_sequences},
           {"go_backwards", o.go_backwards}}};
}

LayerCall Bidirectional(const BidirectionalOptions& options) { return bidirectional("Bidirectional", options); }
LayerCall QBidirectional(const BidirectionalOptions& options) { return bidirectional("QBidirectional", options); }

}  // namespace nibble::graph::build
