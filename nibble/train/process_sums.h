// nibble/train/process_sums.h
// Sums over the shares of all processes, within a step (torch inside train/ only).
#pragma once

#include <vector>

#include "nibble/train/fused_ops.h"
#include "nibble/train/process_group.h"

namespace nibble::train {

// sums of this process's share -> of the whole batch, differentiable: what comes back is summed as well, since every
// process's loss depends on the sums. `count` becomes that of the whole batch.
ChannelSums sum_over(ProcessGroup& processes, const ChannelSums& sums, double& count);

// Gradients [..] double of this process's share -> of the whole batch in the first process, zeros in the others; in
// place. What is computed from them and linear in them may then be rounded to float32 and summed over the processes: it
// is what one process alone has, bit for bit.
//   gradients  undefined ones are left alone; all processes give the same ones
void sum_into_first(ProcessGroup& processes, const std::vector<at::Tensor>& gradients);

}  // namespace nibble::train
