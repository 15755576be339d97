#include "nibble/quant/quantizer.h"

#include <nlohmann/json.hpp>

namespace nibble::quant {

bool operator==(const Quantizer& a, const Quantizer& b) {
  return a.class_name() == b.class_name() && a.config() == b.config();
}

}  // namespace nibble::quant
