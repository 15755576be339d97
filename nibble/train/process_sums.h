// nibble/train/process_sums.h
// The sums behind a batch norm, over the shares of all processes (torch inside train/ only).
#pragma once

#include "nibble/train/fused_ops.h"
#include "nibble/train/process_group.h"

namespace nibble::train {

// sums of this process's share -> of the whole batch, differentiable: what comes back is summed as well, since every
// process's loss depends on the sums. `count` becomes that of the whole batch.
ChannelSums sum_over(ProcessGroup& processes, const ChannelSums& sums, double& count);

}  // namespace nibble::train
