#include "nibble/train/layers/recurrent_cell.h"

#include <ATen/ATen.h>

#include "nibble/core/error.h"

namespace nibble::train::layers {
namespace {

at::Tensor plus_bias(const at::Tensor& x, const at::Tensor& bias) { return bias.defined() ? x + bias : x; }

at::Tensor entering(const RecurrentCell& cell, const at::Tensor& h) {
  const at::Tensor quantized = cell.quantize_state(h);
  return cell.state_mask.defined() ? quantized * cell.state_mask : quantized;
}

States simple_step(const RecurrentCell& cell, const at::Tensor& x, const States& states) {
  const at::Tensor h = entering(cell, states[0]);
  const at::Tensor input = plus_bias(at::matmul(x, cell.kernel), cell.bias);
  return {cell.activation(input + at::matmul(h, cell.recurrent_kernel))};
}

States lstm_step(const RecurrentCell& cell, const at::Tensor& x, const States& states) {
  const at::Tensor h = entering(cell, states[0]), c = cell.quantize_state(states[1]);
  const at::Tensor all = plus_bias(at::matmul(x, cell.kernel) + at::matmul(h, cell.recurrent_kernel), cell.bias);
  const std::vector<at::Tensor> gates = at::chunk(all, 4, -1);
  const at::Tensor i = cell.recurrent_activation(gates[0]), f = cell.recurrent_activation(gates[1]);
  const at::Tensor next = f * c + i * cell.activation(gates[2]);
  return {cell.recurrent_activation(gates[3]) * cell.activation(next), next};
}

States gru_step(const RecurrentCell& cell, const at::Tensor& x, const States& states) {
  const at::Tensor h = entering(cell, states[0]);
  const int64_t units = h.size(-1);
  const bool two_rows = cell.bias.defined() && cell.bias.dim() == 2;
  const at::Tensor input_bias = two_rows ? cell.bias[0] : cell.bias;
  const std::vector<at::Tensor> in = at::chunk(plus_bias(at::matmul(x, cell.kernel), input_bias), 3, -1);
  if (cell.reset_after) {
    const at::Tensor product = at::matmul(h, cell.recurrent_kernel);
    const std::vector<at::Tensor> from_state = at::chunk(two_rows ? product + cell.bias[1] : product, 3, -1);
    const at::Tensor z = cell.recurrent_activation(in[0] + from_state[0]);
    const at::Tensor r = cell.recurrent_activation(in[1] + from_state[1]);
    return {z * h + (1 - z) * cell.activation(in[2] + r * from_state[2])};
  }
  const at::Tensor& u = cell.recurrent_kernel;
  const at::Tensor z = cell.recurrent_activation(in[0] + at::matmul(h, u.slice(1, 0, units)));
  const at::Tensor r = cell.recurrent_activation(in[1] + at::matmul(h, u.slice(1, units, 2 * units)));
  return {z * h + (1 - z) * cell.activation(in[2] + at::matmul(r * h, u.slice(1, 2 * units)))};
}

}  // namespace

void choose_step(RecurrentCell& cell, std::string_view class_name) {
  if (class_name.ends_with("SimpleRNN")) {
    cell.step = simple_step;
  } else if (class_name.ends_with("LSTM")) {
    cell.step = lstm_step;
    cell.state_count = 2;
  } else if (class_name.ends_with("GRU")) {
    cell.step = gru_step;
  } else {
    throw Unsupported("[train] there is no recurrent cell for {}.", class_name);
  }
}

}  // namespace nibble::train::layers
