#include "nibble/cli/study_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "nibble/cli/study_metric.h"
#include "nibble/cli/table.h"
#include "nibble/cli/trial_columns.h"
#include "nibble/core/atomic_file.h"
#include "nibble/search/storage.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

// Keys keep their order. Null where the text is none of ours.
ordered_json parsed(const std::string& text) {
  ordered_json value = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false, /*ignore_comments=*/true);
  return value.is_object() ? value : ordered_json();
}

// Keys of its limit: patterns of the layers that the block quantizes.
std::vector<std::string> patterns_of(const search::StudyInfo& info) {
  const ordered_json config = parsed(info.run_config);
  std::vector<std::string> patterns;
  if (!config.contains("limit") || !config.at("limit").is_object()) return patterns;
  for (const auto& [pattern, sizes] : config.at("limit").items()) patterns.push_back(pattern);
  return patterns;
}

// How many there will be; nothing where the search's own configuration does not say, or is not beside its studies.
std::optional<size_t> planned_blocks(const fs::path& folder) {
  if (std::error_code ignored; !fs::exists(folder / "run_config.json", ignored)) return std::nullopt;
  const ordered_json config = parsed(read_file(folder / "run_config.json", uint64_t{16} << 20));
  if (!config.contains("blocks") || !config.at("blocks").is_array()) return std::nullopt;
  std::set<std::string> patterns;  // one that stands twice is one block
  for (const auto& pattern : config.at("blocks")) patterns.insert(pattern.dump());
  return patterns.size();
}

json best_json(const search::Trial* best, const search::StudyInfo& info) {
  if (best == nullptr) return {};
  return {{"number", best->number},
          {"score", *best->score},
          {"metrics", best->metrics},
          {"quantizers", best->values},
          {"keeps_budget", missed_bound_of(info.run_config, best).empty()}};
}

}  // namespace

int show_blocks(const std::string& place, const std::vector<BlockStudy>& blocks, bool as_json, Streams& streams) {
  Table table{.headers = {"block", "layers", "completed", "failed", "of", "best trial", "score", "result"}, .rows = {}};
  json rows = json::array();
  for (const BlockStudy& block : blocks) {
    const search::Storage storage = search::Storage::open(study_url(block.study));
    const search::StudyInfo info = storage.info();
    const auto trials = storage.trials();
    const search::Trial* best = search::best_trial(trials);
    const auto count = [&](search::TrialState state) {
      return std::count_if(trials.begin(), trials.end(), [&](const auto& t) { return t.state == state; });
    };
    const auto completed = count(search::TrialState::kCompleted), failed = count(search::TrialState::kFailed);
    const std::vector<std::string> patterns = patterns_of(info);
    rows.push_back({{"block", block.block},
                    {"study", shown_study(block.study)},
                    {"layers", patterns},
                    {"max_trials", info.max_trials},
                    {"completed", completed},
                    {"failed", failed},
                    {"is_over", storage.is_over()},
                    {"best", best_json(best, info)}});
    const TrialColumns columns = columns_of(metric_of(info.run_config, trials), trials);
    table.rows.push_back(
        {std::to_string(block.block), fmt::format("{}", fmt::join(patterns, " ")), std::to_string(completed),
         std::to_string(failed), std::to_string(info.max_trials), best == nullptr ? "-" : std::to_string(best->number),
         best == nullptr ? "-" : columns.score_of(*best), best == nullptr ? "-" : columns.describe(*best)});
  }
  const std::optional<size_t> planned = planned_blocks(place);
  if (as_json) {
    print_json({{"blocks", rows}, {"planned_blocks", planned ? json(*planned) : json()}}, streams.out);
    return kOk;
  }
  const int begun = blocks.back().block + 1;
  streams.out << fmt::format("a search by blocks: {}{} begun, each a study of its own\n", begun,
                             planned ? fmt::format(" of {}", *planned) : "");
  if (const int missing = begun - static_cast<int>(blocks.size()); missing > 0) {
    streams.out << fmt::format("{} of them {} no study here any more\n", missing, missing == 1 ? "has" : "have");
  }
  streams.out << "\n";
  print(table, streams.out);
  streams.out << fmt::format("\nmore of a block: 'nibble study trials {}'\n", shown_study(blocks.back().study));
  return kOk;
}

}  // namespace nibble::cli
