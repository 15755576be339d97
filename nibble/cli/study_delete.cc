#include "nibble/cli/study_delete.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "nibble/cli/study_argument.h"
#include "nibble/cli/table.h"
#include "nibble/cli/wording.h"
#include "nibble/core/error.h"
#include "nibble/search/storage.h"
#include "nibble/search/study_lock.h"
#include "nibble/search/study_url.h"
#include "nibble/search/worker_id.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

// The lock of a folder tells of launchers; of workers, here and elsewhere, the leases do.
void refuse_while_held(const std::string& url) {
  search::Storage storage = search::Storage::open(url);
  storage.release_dead(search::is_alive);
  if (const int held = storage.held_trials(); held > 0) {
    throw InvalidArgument(
        "workers are at {} of '{}'. Stop them first; a trial of a worker that died on another machine is free "
        "when its lease is over, after a minute.",
        counted(held, "trial"), shown_study(url));
  }
}

void remove_part(const fs::path& part) {
  std::error_code error;
  fs::remove_all(part, error);
  if (error) throw IoError("cannot remove '{}': {}.", part.string(), error.message());
}

void delete_in_folder(const fs::path& file) {
  const fs::path folder = file.parent_path().empty() ? fs::path(".") : file.parent_path();
  const search::StudyLock lock(folder);  // refused while a search runs
  refuse_while_held(file.string());
  search::Storage::remove(file.string());
  // Beside a study.db lie what nibble itself put there; a file of another name shares its folder with strangers.
  if (file.filename() != "study.db") return;
  for (const char* name : {"trials", "best", "logs", "report.html", "sensitivity.json", "notices.txt"})
    remove_part(folder / name);
}

void delete_study(const std::string& url) {
  if (!search::is_server_url(url)) {
    delete_in_folder(search::sqlite_path(url));
    return;
  }
  refuse_while_held(url);
  search::Storage::remove(url);
}

// Of all blocks before the first is deleted: a refusal leaves everything as it was.
void refuse_while_worked_on(const std::vector<BlockStudy>& blocks) {
  for (const BlockStudy& block : blocks) {
    const search::StudyLock lock(block.study);
    refuse_while_held(study_url(block.study));
  }
}

// What run_schedule leaves beside the folders of its blocks (autoq/block_scheduler.h); and those where nothing else is
// in them.
void delete_schedule(const fs::path& folder, const std::vector<BlockStudy>& blocks) {
  for (const BlockStudy& block : blocks) {
    const fs::path own(block.study);
    std::error_code ignored;
    const auto count = std::distance(fs::directory_iterator(own, ignored), fs::directory_iterator());
    if (count == 1 && fs::exists(own / "study.lock", ignored)) remove_part(own);
  }
  std::vector<fs::path> models;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model_block_") && name.ends_with(".keras")) models.push_back(entry.path());
  }
  for (const fs::path& model : models) remove_part(model);
  for (const char* name : {"best", "run_config.json", "scheduler.json"}) remove_part(folder / name);
}

void need_yes(const DeleteOptions& o, const std::string& what) {
  if (!o.yes) throw UsageError("this removes {}; say --yes if you mean it.", what);
}

int say_deleted(const DeleteOptions& o, const std::string& shown, Streams& streams) {
  if (o.json) {
    print_json({{"deleted", shown}}, streams.out);
  } else {
    streams.out << fmt::format("deleted {}\n", shown);
  }
  return kOk;
}

}  // namespace

int run_delete(const DeleteOptions& o, Streams& streams) {
  // On a server nothing but names tells which studies are one search: there each is deleted by its own.
  if (!search::is_server_url(o.study) && is_schedule(o.study)) {
    const std::vector<BlockStudy> blocks = block_studies(o.study);
    need_yes(o, fmt::format("the search by blocks '{}' with the trials of {}", o.study,
                            counted(std::ssize(blocks), "study", "studies")));
    refuse_while_worked_on(blocks);
    for (const BlockStudy& block : blocks) delete_study(study_url(block.study));
    delete_schedule(o.study, blocks);
    return say_deleted(o, o.study, streams);
  }
  const std::string url = study_url(o.study), shown = shown_study(url);
  search::Storage::open(url);  // what is no study is not deleted
  need_yes(o, fmt::format("the study '{}' {}", shown,
                          search::is_server_url(url) ? "from the server (its trials' files stay in their folders)"
                                                     : "with the weights of its trials"));
  delete_study(url);
  return say_deleted(o, shown, streams);
}

}  // namespace nibble::cli
