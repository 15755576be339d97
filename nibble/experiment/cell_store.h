// nibble/experiment/cell_store.h
// Finished cells, one JSON file each, so that an experiment that was stopped goes on where it was.
#pragma once

#include <filesystem>
#include <optional>
#include <utility>

#include "nibble/experiment/cell.h"

namespace nibble::experiment {

// Holds a cell. The kernel gives it back when the process ends, however it ends.
class CellLock {
 public:
  explicit CellLock(int descriptor) : descriptor_(descriptor) {}
  ~CellLock();
  CellLock(CellLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  CellLock& operator=(CellLock&&) = delete;

 private:
  int descriptor_;
};

class CellStore {
 public:
  // Makes DIR/cells, DIR/models and DIR/locks.
  explicit CellStore(std::filesystem::path directory);

  // Nothing if the cell is not finished.
  //   throws  CorruptFile naming the file; InvalidArgument if it was computed with other settings
  std::optional<CellResult> find(const Cell& cell, const PtqQatOptions& options) const;
  void save(const Cell& cell, const PtqQatOptions& options, const CellResult& result) const;

  // Who computes a cell, its checkpoint and, of a float one, its model, holds DIR/locks/KEY.lock.
  //   returns  nothing where someone else has it, in this process or another
  //   throws   IoError if there are no locks in that directory
  std::optional<CellLock> try_lock(const Cell& cell) const;

  // DIR/models/KEY-e8.keras, or KEY-e8-n1000.keras: epochs, and training samples if not all
  std::filesystem::path model_path(const Cell& cell, const PtqQatOptions& options) const;
  // Named likewise: a float training of fewer epochs must not go on from one of more.
  std::filesystem::path checkpoint_path(const Cell& cell, const PtqQatOptions& options) const;

 private:
  std::filesystem::path path_of(const Cell& cell) const;
  std::filesystem::path directory_;
};

}  // namespace nibble::experiment
