// nibble/train/layers/recurrent_cell.h
// One step of SimpleRNN, LSTM and GRU, with QKeras' quantized state (spec/qkeras.md section 4).
//
//   SimpleRNN  h' = act(x K + b + s(h) U)
//   LSTM       gates i f c o:  c' = f * s(c) + i * act(.),  h' = o * act(c')
//   GRU        gates z r h:    h' = z * s(h) + (1 - z) * act(.)
// s quantizes a state on entry; the states that go out are not quantized.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>
#include <vector>

namespace nibble::train::layers {

using States = std::vector<at::Tensor>;  // h, and c of an LSTM; [N, units]

struct RecurrentCell {
  at::Tensor kernel, recurrent_kernel, bias;  // as the layer uses them; bias may be undefined
  std::function<at::Tensor(const at::Tensor&)> activation, recurrent_activation, quantize_state;
  at::Tensor state_mask;     // [N, units], what recurrent dropout leaves of a quantized h; undefined: everything
  bool reset_after = false;  // GRU: two rows of bias, and r multiplies the product with U

  // x [N, features] -> the new states; the first is the output
  using Step = States (*)(const RecurrentCell& cell, const at::Tensor& x, const States& states);
  Step step = nullptr;
  size_t state_count = 1;
};

// "SimpleRNN", "LSTM", "GRU", with or without Q; sets step and state_count.
void choose_step(RecurrentCell& cell, std::string_view class_name);

}  // namespace nibble::train::layers
