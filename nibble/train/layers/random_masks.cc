#include "nibble/train/layers/random_masks.h"

#include <ATen/ATen.h>

namespace nibble::train::layers {

at::Tensor normal_like(const at::Tensor& x, const RandomKey& key) {
  at::Tensor noise = at::empty(x.sizes(), at::kFloat);
  RandomStream random(key);
  auto* out = noise.data_ptr<float>();
  for (int64_t i = 0; i < noise.numel(); ++i) out[i] = random.normal();
  return noise;
}

at::Tensor keep_mask(at::IntArrayRef shape, double rate, const RandomKey& key) {
  at::Tensor mask = at::empty(shape, at::kFloat);
  RandomStream random(key);
  auto* out = mask.data_ptr<float>();
  for (int64_t i = 0; i < mask.numel(); ++i) out[i] = random.uniform() >= static_cast<float>(rate) ? 1.0f : 0.0f;
  return mask;
}

}  // namespace nibble::train::layers
