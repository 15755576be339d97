// nibble/cli/study_argument.h
// STUDY on the command line: a folder that 'nibble autoq' wrote, its study.db, or the URL of a server.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::cli {

inline constexpr const char* kStudyHelp =
    "Folder of 'nibble autoq', its study.db, or postgresql://USER@HOST/DATABASE?study=NAME";

inline constexpr const char* kAnyVersionHelp =
    "Go on with a study that another version or commit of nibble made; its trials may come out otherwise";

// What Storage::open() takes.
//   throws  IoError if a folder holds no study.db; of a search by blocks, it names the folders that do
std::string study_url(const std::string& argument);

struct BlockStudy {
  int block = 0;
  std::string study;  // as study_url() takes it
};

// The studies of a search by blocks that are there: of its folder FOLDER/0, FOLDER/1, ..., of its URL on a server the
// studies NAME-0, NAME-1, ...; by number, of which some may be missing. None where `argument` is no such search.
//   throws  as Storage::holds_study
std::vector<BlockStudy> block_studies(const std::string& argument);

// True for the folder of a search by blocks, also where its studies are on a server or were deleted.
bool is_schedule(const std::string& folder);

// The study.db files in these folders and the folders right inside them, where those are searches by blocks of each
// block, and the studies on these servers (their URLs); sorted.
//   throws  IoError for a folder that cannot be read, or a server
std::vector<std::string> find_studies(const std::vector<std::string>& places);

// For people: the path, or the URL without its password.
std::string shown_study(const std::string& url);

}  // namespace nibble::cli
