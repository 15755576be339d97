// nibble/train/checkpoint.h
// Everything that fit() needs to go on exactly where it stopped, in one CBOR file.
//
// The file is written atomically and carries a CRC-32 of its content. It is bound to a model (its
// configuration) and to the options that the result depends on: another model or other options are
// refused with a sentence, since going on would not give the undisturbed result.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nibble/train/optimizer.h"

namespace nibble::train {

struct Checkpoint {
  std::string fingerprint;  // of model configuration and options
  int epochs_done = 0;
  int64_t steps_done = 0;
  int epochs_asked = 0;
  bool finished = false;                    // a callback ended the training before its last epoch
  std::vector<std::vector<float>> weights;  // in the order of the network's parameters
  // Those from which training goes on, where `weights` are their mean (weight_average.h); else empty.
  std::vector<std::vector<float>> trained_weights;
  Optimizer::State optimizer;
  History history;
  nlohmann::json callbacks;  // state of each callback by name
};

//   throws  IoError
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path);

//   throws  IoError, CorruptFile; InvalidArgument if the fingerprint is another
Checkpoint load_checkpoint(const std::filesystem::path& path, const std::string& fingerprint);

}  // namespace nibble::train
