// Searches small enough for tests: a network of 2,000 multiplications and data that it learns in an epoch. A
// test program with run_as_worker_or_tests() as its main() is its own worker.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "nibble/autoq/auto_qkeras.h"
#include "nibble/graph/model.h"

namespace nibble::autoq {

// input -> conv 5x5/2 -> bn -> relu -> flatten -> dense -> softmax, with weights; in a file.
std::filesystem::path small_model_file();
// input -> flatten -> hidden -> act -> last -> 28x28x1, with weights.
graph::Model autoencoder();
// small_model_file()'s network with a second output "other" that branches off after "act".
graph::Model two_heads();

// A run_config of that network by its keys, all on MNIST's files of run_as_worker_or_tests(); no filters are tuned.
//   more  further keys: "\"epochs\": 1, \"mode\": \"tpe\""
std::string small_config(const std::string& more);

// Four trials of 3 epochs of it, whose filters are tuned.
//   more  further keys: ", \"mode\": \"tpe\""
std::string searched_config(const std::string& more = "");

// The first occurrence, which must be there.
std::string replaced(std::string text, const std::string& from, const std::string& to);

// All that must not depend on the number of workers or on what was killed.
struct Outcome {
  std::vector<search::Assignment> values;
  std::vector<std::optional<double>> scores;
  std::vector<search::Metrics> metrics;
  std::vector<std::string> models;  // bytes
  int best = -1;
  bool operator==(const Outcome&) const = default;
};
Outcome outcome_of(const SearchResult& result, const std::filesystem::path& directory);

int run_as_worker_or_tests(int argc, char** argv);

}  // namespace nibble::autoq
