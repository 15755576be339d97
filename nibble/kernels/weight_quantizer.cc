#include "nibble/kernels/weight_quantizer.h"

#include <algorithm>

namespace nibble::kernels {
struct WeightQuantizer::Impl {
  quant::QuantizerPtr q;
};
WeightQuantizer::WeightQuantizer(quant::QuantizerPtr q) : impl_(std::make_unique<Impl>(Impl{std::move(q)})) {}
WeightQuantizer::~WeightQuantizer() = default;
WeightQuantizer::WeightQuantizer(WeightQuantizer&&) noexcept = default;
void WeightQuantizer::quantize(const float* w, const Shape& s, const quant::QuantizeOptions& o, float* r) const {
  auto t = impl_->q->quantize(Tensor(s, std::vector<float>(w, w + s.elements())), o).real;
  std::copy(t.data().begin(), t.data().end(), r);
}
bool WeightQuantizer::has_unit_gradient(quant::Phase) const { return false; }
void WeightQuantizer::gradient(const float* w, const float* g, const Shape& s, const quant::QuantizeOptions& o,
                               float* d) const {
  auto t = impl_->q->gradient(Tensor(s, std::vector<float>(w, w + s.elements())),
                              Tensor(s, std::vector<float>(g, g + s.elements())), o);
  std::copy(t.data().begin(), t.data().end(), d);
}
bool WeightQuantizer::is_vectorized() const { return false; }
}  // namespace nibble::kernels
