#include "nibble/train/process_group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <numeric>

#include "nibble/train/process_join.h"

namespace nibble::train {
namespace {

// The variables in which a launcher tells rank and size.
struct Launcher {
  const char* rank;
  const char* size;
  bool scripts_have_rank = false;  // and no size: one process, which the launcher did not start
};
constexpr Launcher kLaunchers[] = {{"RANK", "WORLD_SIZE"},
                                   {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                   {"PMI_RANK", "PMI_SIZE"},
                                   {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", true}};

// Where no launcher set both: one of the two alone is a mistake, not a process alone.
void refuse_half_given(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    const auto rank = environment(launcher.rank), size = environment(launcher.size);
    if (rank.has_value() == size.has_value() || (rank && launcher.scripts_have_rank)) continue;
    throw InvalidArgument(
        "[data-parallel] the variable {} is '{}', but {} is not set. Start nibble by torchrun, mpirun or srun, which "
        "set both; to train in one process, unset {}.",
        rank ? launcher.rank : launcher.size, rank ? *rank : *size, rank ? launcher.size : launcher.rank,
        rank ? launcher.rank : launcher.size);
  }
}

std::optional<int> number(const Environment& environment, const std::string& name, int lowest, int highest) {
  const auto text = environment(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc() && end == text->data() + text->size() && value >= lowest && value <= highest) return value;
  throw InvalidArgument("[data-parallel] the variable {} is '{}'; it must be a whole number from {} to {}.", name,
                        *text, lowest, highest);
}

// Jobs side by side on one host must not meet: the port comes from the job's name where the launcher gives one.
uint16_t port_of_job(const Environment& environment) {
  constexpr uint32_t kFirst = 20000, kCount = 12000;
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_JOB_ID", "PMI_JOBID"}) {
    const auto text = environment(name);
    if (!text) continue;
    uint32_t hash = 2166136261u;  // FNV-1a
    for (const char c : *text + "/" + environment("SLURM_STEP_ID").value_or("")) {
      hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
    }
    return static_cast<uint16_t>(kFirst + hash % kCount);
  }
  return ProcessPlace{}.port;
}

bool all_on_this_host(const Environment& environment, int size) {
  if (number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1, 1 << 20) == size) return true;
  if (number(environment, "MPI_LOCALNRANKS", 1, 1 << 20) == size) return true;
  return number(environment, "SLURM_STEP_NUM_NODES", 1, 1 << 20) == 1;
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
  };
}

std::optional<ProcessPlace> place_of_process(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    const auto size = number(environment, launcher.size, 1, 1 << 20);
    if (!size) continue;
    const auto rank = number(environment, launcher.rank, 0, *size - 1);
    if (!rank || *size == 1) continue;
    ProcessPlace place{*rank, *size, {}, 0};
    const auto address = environment("MASTER_ADDR");
    if (!address && !all_on_this_host(environment, *size)) {
      throw InvalidArgument(
          "[data-parallel] {} processes on several hosts need the variable MASTER_ADDR: the name of the host of "
          "process 0.",
          *size);
    }
    place.address = address.value_or("127.0.0.1");
    const auto port = number(environment, "MASTER_PORT", 1, 65535);
    place.port = port ? static_cast<uint16_t>(*port) : port_of_job(environment);
    return place;
  }
  refuse_half_given(environment);
  return std::nullopt;
}

std::chrono::milliseconds join_deadline(const Environment& environment) {
  const auto seconds = number(environment, "NIBBLE_JOIN_TIMEOUT", 1, 86400);
  return seconds ? std::chrono::seconds(*seconds) : JoinOptions{}.deadline;
}

struct ProcessGroup::Impl {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;

  void sum(at::Tensor values) {
    std::vector<at::Tensor> tensors = {std::move(values)};
    group->allreduce(tensors, c10d::AllreduceOptions())->wait();
  }
};

ProcessGroup::ProcessGroup(const ProcessPlace& place, std::chrono::seconds timeout, const JoinOptions& join)
    : place_(place), timeout_(timeout), impl_(std::make_unique<Impl>()) {
  if (place.size < 1 || place.rank < 0 || place.rank >= place.size) {
    throw InvalidArgument("[data-parallel] there is no process {} of {}.", place.rank, place.size);
  }
  const JoinedGroup joined = join_group(place, timeout, join);
  impl_->store = joined.store;
  impl_->group = joined.group;
}

ProcessGroup::~ProcessGroup() = default;

namespace {

template <class Call>
void or_lost(const ProcessPlace& place, std::chrono::seconds timeout, const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    throw ProcessLost(fmt::format(
        "[data-parallel] process {} of {}: another process ended, or did not answer for {} s. Start the job again "
        "with --resume: it goes on after the last finished epoch. ({})",
        place.rank, place.size, timeout.count(), first_line(error.what())));
  }
}

}  // namespace

void ProcessGroup::sum(std::span<double> values) {
  or_lost(place_, timeout_,
          [&] { impl_->sum(at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kDouble)); });
}

void ProcessGroup::sum(std::span<float> values) {
  or_lost(place_, timeout_,
          [&] { impl_->sum(at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat)); });
}

std::vector<std::string> ProcessGroup::gather(const std::string& own) {
  // Each adds its text to the zeros of the others.
  std::vector<double> lengths(static_cast<size_t>(size()));
  const auto me = lengths.begin() + rank();
  *me = static_cast<double>(own.size());
  sum(lengths);
  const auto begin = static_cast<size_t>(std::accumulate(lengths.begin(), me, 0.0));
  std::vector<float> all(static_cast<size_t>(std::accumulate(me, lengths.end(), static_cast<double>(begin))));
  for (size_t i = 0; i < own.size(); ++i) all[begin + i] = static_cast<float>(static_cast<uint8_t>(own[i]));
  if (!all.empty()) sum(all);
  std::vector<std::string> texts;
  auto next = all.begin();
  for (const double length : lengths) {
    std::string& text = texts.emplace_back(static_cast<size_t>(length), '\0');
    for (char& c : text) c = static_cast<char>(static_cast<uint8_t>(*next++));
  }
  return texts;
}

Share share_of(int64_t batch, int rank, int size, int64_t unit) {
  const int64_t units = (batch + unit - 1) / unit;
  if (units < size) {
    throw InvalidArgument(
        "[data-parallel] a batch of {} samples is too small for {} processes: each takes at least {}. Give a batch "
        "size "
        "of {} or more, or start fewer processes.",
        batch, size, unit, size * unit);
  }
  const int64_t first = units * rank / size * unit, end = std::min(batch, units * (rank + 1) / size * unit);
  return {first, end - first};
}

int64_t unit_of_shares(int64_t batch, int size, int64_t smallest, int64_t largest) {
  int64_t unit = smallest;
  for (int64_t candidate = smallest; candidate <= largest && candidate * size <= batch; candidate *= 2) {
    int64_t busiest = 0;
    for (int rank = 0; rank < size; ++rank) busiest = std::max(busiest, share_of(batch, rank, size, candidate).count);
    if (busiest * size * 4 <= batch * 5) unit = candidate;
  }
  return unit;
}

}  // namespace nibble::train
