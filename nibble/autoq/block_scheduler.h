// AutoQKerasScheduler: searches a network block by block. Each block's search starts from the best
// network of the block before, with its trained weights wherever shapes agree, and is scored against the
// network before quantization.
//
// The directory then holds
//   run_config.json        what was asked for
//   scheduler.json         {"next_block": k}: blocks before k are done
//   K/                     the study of block K, as run_search leaves it
//   model_block_K.keras    the best network after block K
//   best/model.keras       that of the last block
#pragma once

#include <string>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/autoq/block_schedule.h"

namespace nibble::autoq {

// Says which block comes next.
class BlockObserver {
 public:
  virtual ~BlockObserver() = default;
  virtual void on_block(int k, int count, const Block& block) {}
};

struct ScheduleResult {
  BlockSchedule schedule;
  SearchResult last;  // of the last block that was searched; of a search that was over before, the last one's
  int blocks_done = 0;
  bool is_over = false;              // false: stopped before the end
  std::filesystem::path best_model;  // directory/best/model.keras; empty before the first block is done
};

// Order, costs and trials always are those of the network before quantization, after --resume too.
//   options     as of run_search; with resume, run_config may be empty
//   blocks      may be null
//   throws  as run_search, schedule_blocks and check_blocks; Error if no trial of a block is completed
ScheduleResult run_schedule(const std::string& run_config, const SearchOptions& options,
                            BlockObserver* blocks = nullptr);

// Goes through the blocks without training anything, so that a mistake in a later one comes out before the first is
// searched.
//   model   before quantization
//   throws  InvalidArgument for a key of the limit that fits no layer and for a limit that leaves no candidate (as
//           build_space), and for a block that leaves nothing to choose
void check_blocks(const std::string& run_config, const graph::Model& model, const BlockSchedule& schedule);

// Where block k is searched: directory/k, and on a server the study NAME-k.
SearchOptions options_of_block(const SearchOptions& options, int k);

// The configuration of block k's search, as JSON text.
//   start   network that it starts from: the text's own model for the first block
std::string block_config(const std::string& run_config, const BlockSchedule& schedule, int k,
                         const std::filesystem::path& start);

}  // namespace nibble::autoq
