// nibble/train/prologue_node.h
// From a prologue's torch inputs to the torch-free object that runs it.
#pragma once

#include "nibble/train/fused_ops.h"

namespace nibble::train {

std::shared_ptr<const BoundPrologue> bind_prologue(const PrologueInputs& inputs, int64_t sample_elements);

}  // namespace nibble::train
