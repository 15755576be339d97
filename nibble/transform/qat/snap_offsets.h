// nibble/transform/qat/snap_offsets.h
// LSQ+ learns an offset that is no multiple of its step, so that real 0 has no code: zero padding could not be written
// down, and a zero point would not be a whole number. After training it is moved to the nearest multiple.
// Source: spec/ptq-qat-experiments.md 5.2.
#pragma once

#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::qat {

struct SnappedOffset {
  std::string layer, point;
  float offset = 0.0f, step = 0.0f;
  int32_t steps = 0;  // the offset is now so many steps; at most half a step away, unless real 0 was out of reach
};

// Each LSQ+ point of an activation that has an offset other than 0 becomes a Fixed one with the codes
// [-qn + steps, qp + steps] * step; others stay. Points whose step was never found stay too.
std::vector<SnappedOffset> snap_offsets(graph::Model& model);

}  // namespace nibble::qat
