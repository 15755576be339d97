// nibble/search/study_url.h
// Where a study is kept.
//
//   PATH, sqlite:PATH                                    a SQLite file
//   postgresql://[user@]host[:port]/database?study=NAME  one of many studies on a server; NAME is "study" if left out
//
// All that libpq allows in a URL stays allowed: several hosts, ?sslmode=..., ?host=/socket/folder.
#pragma once

#include <string>
#include <string_view>

namespace nibble::search {

// True for postgresql:... and postgres:..., well-formed or not.
bool is_server_url(std::string_view url);

struct ServerUrl {
  std::string connection = {};  // for libpq: without the study; waits are bounded where the URL leaves them open
  std::string study = {};       // letters, digits, '_' and '-'; up to 50
  std::string display = {};     // for people: without the password
};

//   throws  InvalidArgument
ServerUrl parse_server_url(const std::string& url);

// For people: what may be a URL, of any database and well-formed or not, without the password.
std::string without_password(const std::string& url);

// The same server, another study.
std::string with_study(const std::string& url, const std::string& study);

// The file behind PATH or sqlite:PATH.
//   throws  InvalidArgument if there is none, and for URLs of other databases, with those that are known
std::string sqlite_path(const std::string& url);

}  // namespace nibble::search
