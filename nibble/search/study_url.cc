#include "nibble/search/study_url.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

using Parameters = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kSchemes[] = {"postgresql://", "postgres://"};
constexpr size_t kLongestStudy = 50;  // a schema's name holds 63 bytes, of which some are a prefix
// Without them a machine that vanished, or its cable, would be noticed after two hours.
constexpr std::pair<const char*, const char*> kDefaults[] = {{"connect_timeout", "10"},
                                                             {"keepalives_idle", "30"},
                                                             {"tcp_user_timeout", "60000"},
                                                             {"application_name", "nibble"}};

Parameters parameters_of(std::string_view query) {
  Parameters result;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view part = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(part.find('='), part.size());
    result.emplace_back(part.substr(0, equals), part.substr(std::min(equals + 1, part.size())));
  }
  return result;
}

std::string joined(const std::string& base, const Parameters& parameters) {
  std::string url = base;
  for (const auto& [name, value] : parameters) url += (url.size() == base.size() ? "?" : "&") + name + "=" + value;
  return url;
}

// "user:password@" becomes "user@". `base` ends before the parameters.
std::string hide_password(const std::string& base) {
  const size_t scheme = base.find("://"), begin = scheme == std::string::npos ? 0 : scheme + 3;
  // The last one: a password may hold '@' and '/', though it should not.
  const size_t at = base.rfind('@'), colon = base.find(':', begin);
  const bool has_password = at != std::string::npos && at > begin && colon < at;
  return has_password ? base.substr(0, colon) + base.substr(at) : base;
}

void check_study(const std::string& study, const std::string& display) {
  const bool is_name =
      !study.empty() && study.size() <= kLongestStudy && std::all_of(study.begin(), study.end(), [](unsigned char c) {
        return c < 128 && (std::isalnum(c) != 0 || c == '_' || c == '-');
      });
  if (is_name) return;
  throw InvalidArgument(
      "[study] '{}': the study's name '{}' must be 1 to {} letters, digits, '_' or '-', as in ?study=mnist_11nj.",
      display, study, kLongestStudy);
}

struct Parts {
  std::string base = {};
  Parameters parameters = {};
};

Parts parts_of(const std::string& url) {
  const bool is_known = std::any_of(std::begin(kSchemes), std::end(kSchemes),
                                    [&](std::string_view scheme) { return url.rfind(scheme, 0) == 0; });
  if (!is_known) {
    throw InvalidArgument("[study] '{}' is no URL of a server; write postgresql://USER@HOST/DATABASE?study=NAME.",
                          without_password(url));
  }
  const size_t question = std::min(url.find('?'), url.size());
  return {url.substr(0, question), parameters_of(std::string_view(url).substr(std::min(question + 1, url.size())))};
}

// "mysql" of mysql://...; empty for a path.
std::string_view scheme_of(std::string_view url) {
  const size_t end = url.find("://");
  if (end == std::string_view::npos || end == 0) return {};
  const std::string_view scheme = url.substr(0, end);
  const bool is_word = std::all_of(scheme.begin(), scheme.end(), [](unsigned char c) {
    return c < 128 && (std::isalnum(c) != 0 || c == '+' || c == '-' || c == '.');
  });
  return is_word ? scheme : std::string_view();
}

}  // namespace

bool is_server_url(std::string_view url) { return url.rfind("postgresql:", 0) == 0 || url.rfind("postgres:", 0) == 0; }

ServerUrl parse_server_url(const std::string& url) {
  Parts parts = parts_of(url);
  ServerUrl result{.study = "study"};
  Parameters shown;
  std::erase_if(parts.parameters, [&](const auto& parameter) {
    if (parameter.first == "study") result.study = parameter.second;
    return parameter.first == "study";
  });
  for (const auto& parameter : parts.parameters) {
    if (parameter.first != "password") shown.push_back(parameter);
  }
  shown.emplace_back("study", result.study);
  result.display = joined(hide_password(parts.base), shown);
  check_study(result.study, result.display);
  for (const auto& [name, value] : kDefaults) {
    const bool given = std::any_of(parts.parameters.begin(), parts.parameters.end(),
                                   [&, key = name](const auto& parameter) { return parameter.first == key; });
    if (!given) parts.parameters.emplace_back(name, value);
  }
  result.connection = joined(parts.base, parts.parameters);
  return result;
}

std::string without_password(const std::string& url) {
  const size_t question = std::min(url.find('?'), url.size());
  Parameters shown = parameters_of(std::string_view(url).substr(std::min(question + 1, url.size())));
  std::erase_if(shown, [](const auto& parameter) { return parameter.first == "password"; });
  return joined(hide_password(url.substr(0, question)), shown);
}

std::string with_study(const std::string& url, const std::string& study) {
  Parts parts = parts_of(url);
  std::erase_if(parts.parameters, [](const auto& parameter) { return parameter.first == "study"; });
  parts.parameters.emplace_back("study", study);
  return joined(parts.base, parts.parameters);
}

std::string sqlite_path(const std::string& url) {
  if (const std::string_view scheme = scheme_of(url); !scheme.empty() && scheme != "sqlite") {
    throw InvalidArgument(
        "[study] '{}' begins with '{}://', which is unknown here. A study is kept in a SQLite file (its path, or "
        "sqlite:PATH) or on PostgreSQL (postgresql://USER@HOST/DATABASE?study=NAME).",
        without_password(url), scheme);
  }
  std::string path = url.rfind("sqlite:", 0) == 0 ? url.substr(7) : url;
  if (path.empty() || path.find('"') != std::string::npos) {
    throw InvalidArgument("[study] '{}' is no path of a database; it must not be empty or hold a quotation mark.", url);
  }
  return path;
}

}  // namespace nibble::search
