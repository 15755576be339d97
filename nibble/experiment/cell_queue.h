// nibble/experiment/cell_queue.h
// Computes the cells of an experiment, together with any other processes that do so in the same directory: each cell,
// and each float network, is computed by one of them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <span>

#include "nibble/experiment/cell_store.h"
#include "nibble/experiment/claims.h"

namespace nibble::experiment {

struct QueueHooks {
  std::function<CellResult(const Cell& cell)> compute;  // may throw Stopped
  //   done  how many cells are finished, by any process
  std::function<void(const Cell& cell, size_t done)> before_cell = {};
  std::function<void(const Cell& cell, const CellResult& result)> after_cell = {};  // it is saved
  // All that is left is being computed by other processes; called once until one is free again.
  std::function<void(size_t left)> on_wait = {};
  const std::atomic<bool>* stop = nullptr;
  std::chrono::milliseconds poll{500};  // while others are waited for
};

// Cells that are finished, in their order.
//   throws  as CellStore::find()
std::vector<FinishedCell> finished_cells(std::span<const Cell> cells, const PtqQatOptions& options,
                                         const CellStore& store);

//   returns  true when all cells are finished; false where it was stopped
//   throws   what compute throws; as CellStore::find() and try_lock()
bool compute_cells(std::span<const Cell> cells, const PtqQatOptions& options, const CellStore& store,
                   const QueueHooks& hooks);

}  // namespace nibble::experiment
