#include "nibble/report/sample_study.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/search/database.h"
#include "nibble/search/storage.h"

namespace nibble::report {
namespace {

constexpr int kRunningTrials = 2;

struct SampleTrial {
  search::Assignment values;
  double accuracy = 0, energy_nj = 0, score = 0;
};

SampleTrial sample_trial(const search::SearchSpace& space, int number, int count) {
  RandomStream random({.seed = 11, .purpose = RandomPurpose::kTest, .layer = static_cast<uint32_t>(number)});
  SampleTrial trial;
  const double skill = static_cast<double>(number) / count;
  double price = 1;
  for (const search::Parameter& parameter : space) {
    const auto size = static_cast<uint32_t>(parameter.candidates.size());
    const uint32_t index = random.uniform_double() < 0.5 * skill ? 0 : random.below(size);
    trial.values[parameter.name] = parameter.candidates[index];
    price *= 0.9 + 0.12 * index;
  }
  trial.energy_nj = 14 * price * (1 + 0.2 * random.uniform_double());
  const double error = 0.011 + 0.05 * std::pow(random.uniform_double(), 3) * (1 - 0.6 * skill) +
                       (0.2 + 0.3 * random.uniform_double()) / trial.energy_nj;
  trial.accuracy = number % 97 == 5 ? 0.1135 : 1 - error;
  trial.score = trial.accuracy * (1 + 0.08 * std::log2(574.175 / trial.energy_nj));
  return trial;
}

void insert_trial(soci::session& sql, const search::SearchSpace& space, int number, int count) {
  const SampleTrial trial = sample_trial(space, number, count);
  const bool runs = number >= count - kRunningTrials, failed = number % 211 == 4;
  const int state = runs ? 1 : failed ? 3 : 2;
  const std::string assignment = search::to_json(trial.values);
  const std::string metrics =
      state == 2 ? nlohmann::json({{"accuracy", trial.accuracy}, {"energy_nj", trial.energy_nj}, {"epochs", 10}}).dump()
                 : "{}";
  const std::string reason = failed ? "[fit] the loss became nan in epoch 2, step 14." : "";
  const double score = trial.score;
  soci::indicator has_score = state == 2 ? soci::i_ok : soci::i_null;
  const long long start = 1'700'000'000'000 + 9'000LL * number, end = runs ? 0 : start + 8'400;
  sql << "INSERT INTO trial (number, state, assignment, score, metrics, reason, artifact, attempts, deaths, worker, "
         "heartbeat_ms, lease_ends_ms, started_ms, finished_ms) "
         "VALUES (:n, :s, :a, :sc, :m, :r, '', 1, 0, 'host/1/1', 0, 0, :st, :f)",
      soci::use(number), soci::use(state), soci::use(assignment), soci::use(score, has_score), soci::use(metrics),
      soci::use(reason), soci::use(start), soci::use(end);
  const int steps = runs ? 3 : number >= count - 50 ? 10 : 0;
  for (int step = 1; step <= steps; ++step) {
    const double accuracy = trial.accuracy * (1 - 0.3 * std::exp(-0.6 * step));
    const std::string text =
        nlohmann::json({{"val_accuracy", accuracy}, {"score", accuracy * 1.2}, {"loss", 1.0 / step}}).dump();
    sql << "INSERT INTO trial_step (trial, step, metrics) VALUES (:t, :s, :m)", soci::use(number), soci::use(step),
        soci::use(text);
  }
}

}  // namespace

search::SearchSpace sample_space() {
  search::SearchSpace space;
  for (int i = 0; i < 5; ++i) {
    space.push_back(
        {fmt::format("conv2d_{}_kernel_quantizer", i),
         {"binary", "stochastic_ternary", "quantized_bits(2,1,1,alpha=1.0)", "quantized_bits(4,0,1,alpha=1.0)"}});
    space.push_back({fmt::format("conv2d_{}_bias_quantizer", i),
                     {"quantized_bits(4,0,1)", "quantized_bits(8,3,1)", "quantized_po2(4,8)"}});
    space.push_back({fmt::format("act_{}_activation_quantizer", i), {"quantized_relu(3,1)", "quantized_relu(4,2)"}});
    space.push_back({fmt::format("network_filters_conv2d_{}", i), {"0.5", "0.75", "1.0", "1.5", "2.0"}});
  }
  space.push_back({"dense_kernel_quantizer", {"quantized_bits(4,0,1,alpha=1.0)"}});
  return space;
}

std::string make_sample_study(const std::filesystem::path& directory, int trials) {
  const std::string url = directory / "study.db";
  const search::SearchSpace space = sample_space();
  search::Storage::create(url, {.name = "mnist energy",
                                .code_version = "nibble 0.1.0",
                                .run_config = "{}",
                                .space = search::to_json(space),
                                .seed = 1,
                                .max_trials = trials + 100});
  search::Database database(url, false, 10);
  database.write("fill the study", [&](soci::session& sql) {
    for (int number = 0; number < trials; ++number) insert_trial(sql, space, number, trials);
    return 0;
  });
  return url;
}

std::vector<LayerRow> sample_layers(const search::Trial& trial) {
  std::vector<LayerRow> rows;
  for (int i = 0; i < 5; ++i) {
    rows.push_back({.name = fmt::format("conv2d_{}", i),
                    .type = "QConv2D",
                    .kernel = trial.values.at(fmt::format("conv2d_{}_kernel_quantizer", i)),
                    .reference_energy_nj = 100.0 - 10 * i,
                    .energy_nj = 12.0 - 2 * i});
  }
  return rows;
}

}  // namespace nibble::report
