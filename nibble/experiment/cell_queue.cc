#include "nibble/experiment/cell_queue.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "nibble/experiment/cell_runner.h"

namespace nibble::experiment {
namespace {

// A cell, and the float network that it starts from while that is not trained yet.
struct Claimed {
  CellLock cell;
  std::optional<CellLock> base = std::nullopt;
};

// Nothing where another process has one of them.
std::optional<Claimed> claim(const Cell& cell, const PtqQatOptions& options, const CellStore& store) {
  std::optional<CellLock> own = store.try_lock(cell);
  if (!own) return std::nullopt;
  Claimed claimed{std::move(*own)};
  const Cell base = float_cell(cell);
  std::error_code ignored;
  if (base.key() == cell.key() || std::filesystem::exists(store.model_path(base, options), ignored)) return claimed;
  std::optional<CellLock> lock = store.try_lock(base);
  if (!lock) return std::nullopt;
  claimed.base.emplace(std::move(*lock));
  return claimed;
}

class Queue {
 public:
  Queue(std::span<const Cell> cells, const PtqQatOptions& options, const CellStore& store, const QueueHooks& hooks)
      : cells_(cells), options_(options), store_(store), hooks_(hooks), is_done_(cells.size()) {}

  // Every cell that is free, once; returns how many were computed here. Stopped is thrown.
  size_t compute_free() {
    size_t computed = 0;
    for (size_t i = 0; i < cells_.size(); ++i) {
      if (is_finished(i)) continue;
      if (hooks_.stop != nullptr && hooks_.stop->load()) throw Stopped{};
      const auto claimed = claim(cells_[i], options_, store_);
      if (!claimed || is_finished(i)) continue;  // another process has it, or has just finished it
      compute(i);
      ++computed;
    }
    return computed;
  }

  size_t left() {
    size_t count = 0;
    for (size_t i = 0; i < cells_.size(); ++i) count += is_finished(i) ? 0 : 1;
    return count;
  }

 private:
  bool is_finished(size_t i) {
    if (!is_done_[i]) is_done_[i] = store_.find(cells_[i], options_).has_value();
    return is_done_[i];
  }

  void compute(size_t i) {
    const Cell& cell = cells_[i];
    if (hooks_.before_cell) hooks_.before_cell(cell, cells_.size() - left());
    const CellResult result = hooks_.compute(cell);
    store_.save(cell, options_, result);
    is_done_[i] = true;
    if (hooks_.after_cell) hooks_.after_cell(cell, result);
  }

  std::span<const Cell> cells_;
  const PtqQatOptions& options_;
  const CellStore& store_;
  const QueueHooks& hooks_;
  std::vector<bool> is_done_;
};

}  // namespace

std::vector<FinishedCell> finished_cells(std::span<const Cell> cells, const PtqQatOptions& options,
                                         const CellStore& store) {
  std::vector<FinishedCell> finished;
  for (const Cell& cell : cells) {
    if (const auto result = store.find(cell, options)) finished.push_back({cell, *result});
  }
  return finished;
}

bool compute_cells(std::span<const Cell> cells, const PtqQatOptions& options, const CellStore& store,
                   const QueueHooks& hooks) {
  Queue queue(cells, options, store, hooks);
  bool is_waiting = false;
  try {
    while (const size_t left = queue.left()) {
      if (queue.compute_free() > 0) {
        is_waiting = false;
        continue;
      }
      if (!is_waiting && hooks.on_wait) hooks.on_wait(left);
      is_waiting = true;
      std::this_thread::sleep_for(hooks.poll);
    }
  } catch (const Stopped&) {
    return false;
  }
  return true;
}

}  // namespace nibble::experiment
