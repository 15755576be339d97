#include "nibble/autoq/block_scheduler.h"

#include <algorithm>

#include "nibble/autoq/config_paths.h"
#include "nibble/autoq/search_inputs.h"
#include "nibble/autoq/search_space.h"
#include "nibble/autoq/training_runner.h"
#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/models/builtin.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_url.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kLargestConfig = uint64_t{16} << 20;

void keep_progress(const fs::path& directory, int next_block) {
  write_file(directory / "scheduler.json", Json({{"next_block", next_block}}).dump() + "\n");
}

// 0 where nothing is done yet.
int read_progress(const fs::path& directory, int block_count) {
  const fs::path file = directory / "scheduler.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return 0;
  const Json state = Json::parse(read_file(file, kLargestConfig), nullptr, /*allow_exceptions=*/false);
  const bool is_valid = state.is_object() && state.contains("next_block") &&
                        state.at("next_block").is_number_integer() && state.at("next_block").get<int64_t>() >= 0 &&
                        state.at("next_block").get<int64_t>() <= block_count;
  if (!is_valid) {
    throw CorruptFile("[autoq] '{}' holds {}; it must be {{\"next_block\": K}} with K from 0 to {}.", file.string(),
                      excerpt(state), block_count);
  }
  const int next = state.at("next_block").get<int>();
  if (next > 0 && !fs::exists(model_of_block(directory, next - 1), ignored)) {
    throw CorruptFile("[autoq] '{}' says that block {} is done, but '{}' is not there.", file.string(), next - 1,
                      model_of_block(directory, next - 1).string());
  }
  return next;
}

// The text to work by: written at the start, and on --resume compared with what is given now.
std::string settled_config(const std::string& given, const SearchOptions& options) {
  const fs::path file = options.directory / "run_config.json";
  std::error_code ignored;
  const bool is_there = fs::exists(file, ignored);
  if (!options.resume) {
    // A file that a first try left whose block never began is no search.
    const auto holds_study = [&](const fs::path& folder) {
      return search::Storage::holds_study((folder / "study.db").string());
    };
    const bool is_started =
        is_there && (holds_study(options.directory / "0") || fs::exists(options.directory / "scheduler.json", ignored));
    if (is_started || holds_study(options.directory)) {
      throw InvalidArgument(
          "[autoq] there already is a search in '{}'. Go on with it by --resume, or choose another --output.",
          options.directory.string());
    }
    return with_absolute_paths(given);
  }
  if (!is_there) {
    throw IoError("[autoq] there is no search by blocks in '{}' to go on with; leave --resume out to start one.",
                  options.directory.string());
  }
  const std::string kept = read_file(file, kLargestConfig);
  if (given.empty()) return kept;
  // The trials of a block follow from max_trials, so it stays as well.
  const RunConfig before = parse_run_config(kept), now = parse_run_config(given);
  const bool same_trials = before.max_trials == now.max_trials && before.runs_all_rounds == now.runs_all_rounds;
  const std::string ours = with_absolute_paths(kept), theirs = with_absolute_paths(given);
  if (const std::string path = differing_path(ours, theirs); same_trials && !path.empty()) {
    throw InvalidArgument("[autoq] the search in '{}' was made with other files: {}", options.directory.string(), path);
  }
  if (!same_trials || !same_search(ours, theirs)) {
    throw InvalidArgument(
        "[autoq] the search in '{}' was made with another configuration. Only workers and output_dir may change on "
        "--resume by blocks; start a new search in another directory.",
        options.directory.string());
  }
  return kept;
}

// The order of the blocks follows from the files too, and each block keeps digests of what it began with: the first one
// of what the search did.
void check_files(const RunConfig& config, const SearchOptions& options) {
  const std::string first = study_of(options_of_block(options, 0));
  if (options.resume && search::Storage::holds_study(first)) {
    check_inputs(search::Storage::open(first).info(), file_inputs(config));
  }
}

// On a server, other searches' studies may have the names that ours would have.
void refuse_others_studies(const BlockSchedule& schedule, const SearchOptions& options) {
  if (options.study.empty() || options.resume) return;
  for (size_t k = 0; k < schedule.blocks.size(); ++k) {
    const std::string url = study_of(options_of_block(options, static_cast<int>(k)));
    if (!search::Storage::holds_study(url)) continue;
    throw InvalidArgument(
        "[autoq] there already is a study '{}'. Go on with its search by --resume in its directory, or give --study "
        "another name.",
        search::parse_server_url(url).display);
  }
}

// But for where the network lies that the block begins with: the directory may have been moved.
bool same_block(const std::string& kept, const std::string& text) {
  Json a = Json::parse(kept), b = Json::parse(text);
  a.erase("model"), b.erase("model");
  return same_search(a.dump(), b.dump());
}

SearchResult search_block(const std::string& text, const SearchOptions& options, int k) {
  SearchOptions of_block = options_of_block(options, k);
  const std::string url = study_of(of_block);
  of_block.resume = search::Storage::holds_study(url);
  if (of_block.resume && !same_block(search::Storage::open(url).info().run_config, text)) {
    throw InvalidArgument(
        "[autoq] the study '{}' is not that of block {} of this search: it was made with another configuration. Give "
        "--study another name, or start in another directory.",
        search::is_server_url(url) ? search::parse_server_url(url).display : url, k);
  }
  return run_search(of_block.resume ? "" : text, of_block);
}

// What the study of a block that is done holds; nothing where it was removed.
SearchResult found_in(const SearchOptions& of_block, const RunConfig& config) {
  SearchResult result;
  result.is_over = true;
  const std::string url = study_of(of_block);
  if (!search::Storage::holds_study(url)) return result;
  result.trials = search::Storage::open(url).trials();
  const search::Trial* best = search::best_trial(result.trials);
  if (best == nullptr) return result;
  result.best = *best;
  const fs::path model = of_block.directory / "best" / "model.keras";
  std::error_code ignored;
  if (fs::exists(model, ignored)) result.best_model = model;
  result.missed_bound = missed_bound(config, best);
  return result;
}

// Of the layers that blocks after k quantize.
Json later_limit(const BlockSchedule& schedule, int k) {
  Json limit = Json::object();
  for (size_t i = static_cast<size_t>(k) + 1; i < schedule.blocks.size(); ++i) limit.update(schedule.blocks[i].limit);
  return limit;
}

// Layers of blocks before k learn slower, where block_learning_rates says so; what the file says of a layer comes
// first.
Json done_block_rates(const RunConfig& config, const BlockSchedule& schedule, int k) {
  Json rates = Json::object();
  for (const auto& [pattern, factor] : config.layer_learning_rates) rates.emplace(pattern, factor);
  if (config.block_learning_rates.empty()) return rates;
  for (int i = 0; i < k; ++i) {
    const Block& done = schedule.blocks[static_cast<size_t>(i)];
    // Factors stand in the order of `blocks`, which schedule_block may have changed.
    const auto listed = std::find(config.blocks.begin(), config.blocks.end(), done.pattern);
    const auto place = static_cast<size_t>(listed - config.blocks.begin());
    const auto& factors = config.block_learning_rates;
    const double factor = factors.size() == 1 ? factors[0] : factors[place];
    for (const std::string& layer : done.layers) rates.emplace(exact_pattern(layer), factor);
  }
  return rates;
}

[[noreturn]] void refuse_settled(const BlockSchedule& schedule, size_t k) {
  const Block& block = schedule.blocks[k];
  std::string advice = "Add layers with choices to it.";
  if (schedule.blocks.size() > 1) {
    advice = fmt::format("Join it with another block, such as '{}|{}', or remove it.",
                         schedule.blocks[k == 0 ? 1 : k - 1].pattern, block.pattern);
  }
  throw InvalidArgument(
      "[run_config] blocks: '{}' ({}) leaves nothing to choose: limit only converts its layers, or blocks before it "
      "have them. {}",
      block.pattern, fmt::join(block.layers, ", "), advice);
}

// What is quantized after a block, whatever its trials choose. Filters stay as they are.
graph::Model after_block(const graph::Model& model, const RunConfig& config, const search::SearchSpace& space) {
  search::Assignment values;
  for (const search::Parameter& parameter : space) values[parameter.name] = parameter.candidates.front();
  const bool compat = config.compat != Compat::kNone;
  return transform::model_quantize(
      model, plan_trial(model, config, values).quantizers,
      {.activation_bits = config.activation_bits,
       .compat = compat ? transform::Compatibility::kQkeras : transform::Compatibility::kNibble});
}

}  // namespace

void check_blocks(const std::string& run_config, const graph::Model& model, const BlockSchedule& schedule) {
  const RunConfig whole = parse_run_config(run_config);
  // Its messages name the keys as they stand in the file. AutoQKeras sees no more than the blocks.
  if (whole.compat == Compat::kNone) build_space(model, whole);
  graph::Model network = model;
  for (graph::Layer& layer : network.layers) layer.weights.clear();
  for (int k = 0; k < static_cast<int>(schedule.blocks.size()); ++k) {
    const RunConfig config = parse_run_config(block_config(run_config, schedule, k, model_of_block(".", k - 1)));
    const search::SearchSpace space = build_space(network, config);
    if (space.empty()) refuse_settled(schedule, static_cast<size_t>(k));
    network = after_block(network, config, space);
  }
}

std::string block_config(const std::string& run_config, const BlockSchedule& schedule, int k, const fs::path& start) {
  const RunConfig parsed = parse_run_config(run_config);
  const Block& block = schedule.blocks[static_cast<size_t>(k)];
  Json config = Json::parse(run_config, nullptr, true, /*ignore_comments=*/true);
  for (const char* key : {"blocks", "schedule_block", "output_dir", "block_learning_rates"}) config.erase(key);
  config["limit"] = block.limit;
  config["max_trials"] = block.trials;
  if (parsed.budget.bounds_costs()) config["later_limit"] = later_limit(schedule, k);
  if (const Json rates = done_block_rates(parsed, schedule, k); !rates.empty()) config["layer_learning_rates"] = rates;
  if (k == 0) return config.dump(2);
  config["model"] = fs::absolute(start).string();
  config["reference_model"] = models::is_builtin(parsed.model) ? parsed.model : fs::absolute(parsed.model).string();
  // A built-in network names its data by its own name.
  if (parsed.data.empty() && models::is_builtin(parsed.model)) config["data"] = parsed.model;
  // transfer_weights wants all shapes to agree, and they do where no filters are tuned; this takes what agrees.
  if (!parsed.inherit_from_nearest) config["transfer_weights"] = false;
  config["inherit_weights"] = true;
  return config.dump(2);
}

SearchOptions options_of_block(const SearchOptions& options, int k) {
  SearchOptions of_block = options;
  of_block.directory = options.directory / std::to_string(k);
  if (!options.study.empty()) {
    const std::string name = search::parse_server_url(options.study).study;
    of_block.study = search::with_study(options.study, fmt::format("{}-{}", name, k));
  }
  return of_block;
}

ScheduleResult run_schedule(const std::string& run_config, const SearchOptions& options, BlockObserver* blocks) {
  const std::string text = settled_config(run_config, options);
  const RunConfig config = parse_run_config(text);
  check_files(config, options);
  ScheduleResult result;
  const graph::Model model = load_search_model(config);
  result.schedule = schedule_blocks(model, config);
  if (!options.resume) check_blocks(text, model, result.schedule);
  const int count = static_cast<int>(result.schedule.blocks.size());
  refuse_others_studies(result.schedule, options);
  make_directories(options.directory / "best");
  if (!options.resume) write_file(options.directory / "run_config.json", text);
  result.blocks_done = read_progress(options.directory, count);
  const fs::path best = options.directory / "best" / "model.keras";
  for (int k = result.blocks_done; k < count; ++k) {
    const Block& block = result.schedule.blocks[static_cast<size_t>(k)];
    if (blocks != nullptr) blocks->on_block(k, count, block);
    const fs::path directory = options.directory / std::to_string(k);
    result.last =
        search_block(block_config(text, result.schedule, k, model_of_block(options.directory, k - 1)), options, k);
    if (!result.last.is_over) return result;
    if (result.last.best && result.last.best_model.empty()) {
      throw IoError(
          "[autoq] block {} '{}': the weights of trial {}, its best, are not in '{}', so there is no network to go on "
          "from. Its worker wrote them on another machine: bring '{}' here, or let all workers share the directory, "
          "and "
          "--resume.",
          k, block.pattern, result.last.best->number, directory.string(), result.last.best->artifact);
    }
    if (result.last.best_model.empty()) {
      throw Error(fmt::format(
          "[autoq] block {} '{}': no trial was completed, so there is no network to go on from; 'nibble study "
          "trials {}' shows the reasons.",
          k, block.pattern, directory.string()));
    }
    const std::string bytes = read_file(result.last.best_model);
    write_file(model_of_block(options.directory, k), bytes);
    write_file(best, bytes);
    // Last: a search that is ended before this line looks at block k again, whose study is over then.
    keep_progress(options.directory, k + 1);
    result.blocks_done = k + 1;
    result.best_model = best;
  }
  result.is_over = true;
  result.best_model = best;
  if (result.last.trials.empty()) result.last = found_in(options_of_block(options, count - 1), config);
  return result;
}

}  // namespace nibble::autoq
