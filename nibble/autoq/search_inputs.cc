#include "nibble/autoq/search_inputs.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "nibble/core/error.h"
#include "nibble/data/checksum.h"
#include "nibble/formats/keras/keras_file.h"
#include "nibble/models/builtin.h"

namespace nibble::autoq {
namespace fs = std::filesystem;
namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Of a network, the weights too that lie beside a .json.
std::string digest_of_file(const fs::path& path) {
  std::string digest = data::sha256_of_file(path);
  const bool is_configuration = path.extension() == ".json";
  if (!is_configuration || !is_file(formats::keras::weights_beside(path))) return digest;
  return digest + data::sha256_of_file(formats::keras::weights_beside(path));
}

void add_file(const char* key, const std::string& name, std::vector<SearchInput>& inputs) {
  std::error_code ignored;
  fs::path path = name;
  if (fs::is_directory(path, ignored)) path /= "model.keras";  // as 'nibble train' leaves it
  if (name.empty() || !is_file(path)) return;
  inputs.push_back({.key = key, .place = fmt::format("'{}'", path.string()), .digest = digest_of_file(path)});
}

template <class T>
void add(std::span<const T> values, data::Sha256& sum) {
  sum.add(std::as_bytes(values));
}

void add(const data::Samples& samples, data::Sha256& sum) {
  // The sizes come first, so that no value can pass for one of another part.
  const std::string sizes =
      fmt::format("{} {} {};", samples.count(), samples.shape().str(), samples.target_shape().str());
  add(std::span<const char>(sizes), sum);
  add(samples.bytes(), sum);
  add(samples.floats(), sum);
  add(samples.labels(), sum);
  if (samples.has_targets()) add(samples.targets().data(), sum);
}

}  // namespace

std::vector<SearchInput> file_inputs(const RunConfig& config) {
  std::vector<SearchInput> inputs;
  if (!models::is_builtin(config.model)) add_file("model", config.model, inputs);
  if (!models::is_builtin(config.reference_model)) add_file("reference_model", config.reference_model, inputs);
  add_file("teacher", config.teacher, inputs);
  const bool has_table = config.goal.kind == GoalKind::kEnergy && config.goal.energy.process != "horowitz";
  if (has_table) add_file("goal.params.process", config.goal.energy.process, inputs);
  return inputs;
}

SearchInput data_input(const RunConfig& config, const data::Dataset& dataset) {
  data::Sha256 sum;
  add(dataset.train, sum);
  add(dataset.test, sum);
  const std::string& name = config.data.empty() ? config.model : config.data;
  const bool says_more = !dataset.source.empty() && dataset.source != name;
  return {.key = "data",
          .place = fmt::format("'{}'", name) + (says_more ? fmt::format(" ({})", dataset.source) : ""),
          .digest = sum.digest()};
}

std::string digests_json(const std::vector<SearchInput>& inputs) {
  Json digests = Json::object();
  for (const SearchInput& input : inputs) digests[input.key] = input.digest;
  return digests.dump();
}

void check_inputs(const search::StudyInfo& info, const std::vector<SearchInput>& inputs) {
  if (info.inputs.empty()) return;
  const Json kept = Json::parse(info.inputs, nullptr, /*allow_exceptions=*/false);
  if (!kept.is_object()) {
    throw CorruptFile("[autoq] the inputs of the study '{}' are {}; they must be an object of SHA-256 sums.", info.name,
                      excerpt(kept));
  }
  for (const SearchInput& input : inputs) {
    if (!kept.contains(input.key) || kept.at(input.key) == input.digest) continue;
    throw InvalidArgument(
        "[autoq] {} {} holds something else than when the study '{}' was made, so new trials would not compare with "
        "those that are there. Put back what it was, or start a new search in another directory.",
        input.key, input.place, info.name);
  }
}

}  // namespace nibble::autoq
