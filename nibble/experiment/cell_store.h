// nibble/experiment/cell_store.h
// Finished cells, one JSON file each, so that an experiment that was stopped goes on where it was.
#pragma once

#include <filesystem>
#include <optional>

#include "nibble/experiment/cell.h"

namespace nibble::experiment {

class CellStore {
 public:
  // Makes DIR/cells and DIR/models.
  explicit CellStore(std::filesystem::path directory);

  // Nothing if the cell is not finished.
  //   throws  CorruptFile naming the file; InvalidArgument if it was computed with other settings
  std::optional<CellResult> find(const Cell& cell, const PtqQatOptions& options) const;
  void save(const Cell& cell, const PtqQatOptions& options, const CellResult& result) const;

  // DIR/models/KEY-e8.keras, or KEY-e8-n1000.keras: epochs, and training samples if not all
  std::filesystem::path model_path(const Cell& cell, const PtqQatOptions& options) const;
  std::filesystem::path checkpoint_path(const Cell& cell) const;

 private:
  std::filesystem::path path_of(const Cell& cell) const;
  std::filesystem::path directory_;
};

}  // namespace nibble::experiment
