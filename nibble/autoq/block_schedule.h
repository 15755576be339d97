// Which blocks of a network are quantized in which order, with how many trials and under which
// limit: the plan of AutoQKerasScheduler. Source: spec/autoqkeras.md section 9.
//
//   trials = int(max(10, max_trials * block's cost / reference's cost))
//
// So B blocks of N choices each need about N * B trials instead of N ^ B. Hyperband without max_trials runs all of its
// rounds in each block.
#pragma once

#include <string>
#include <vector>

#include "nibble/autoq/run_config.h"
#include "nibble/graph/model.h"

namespace nibble::autoq {

struct Block {
  std::string pattern;
  std::vector<std::string> layers;  // in the model's order
  double cost = 0;                  // of these layers before quantization, pJ or bits
  int trials = 0;
  Json limit = Json::object();  // for these layers only
};

struct BlockSchedule {
  double reference = 0;  // cost of the network before quantization, times stress
  std::vector<Block> blocks;
};

// A layer of layer_indexes belongs to the blocks whose patterns match the start of its name; one that no pattern
// matches stays as it is. In a block's limit, layers that found their entry by class stand under their own names,
// those that found it by a pattern under one pattern of their names, so that they still share their choice.
//   model   before quantization
//   config  with blocks
//   throws  InvalidArgument for a block that matches no layer, one with nothing to quantize, and (but for compat,
//           where AutoQKeras quantizes it in the first of them) a layer in two blocks
BlockSchedule schedule_blocks(const graph::Model& model, const RunConfig& config);

// A pattern that matches a layer of this name and nothing else.
std::string exact_pattern(const std::string& name);

// The text that AutoQKerasScheduler prints for debug=True: each block's cost, trials, layers and limit.
std::string describe(const BlockSchedule& schedule);

}  // namespace nibble::autoq
