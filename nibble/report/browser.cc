#include "nibble/report/browser.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "nibble/core/atomic_file.h"
#include "support/busy_machine.h"

namespace nibble::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSaid = "\"SAID ";  // as it stands in the log

// The log holds a line in double quotes.
constexpr const char* kTools = R"(
  const until = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done, 10)); };
  const say = (word, object) =>
    console.log(`SAID ${word} ` + JSON.stringify(object).replaceAll("'", '\\u0027').replaceAll('"', "'"));
)";

// The object that was said with the word; false where it was not, or is not all there yet.
bool find_said(const std::string& log, const std::string& word, json& object) {
  const std::string start = kSaid + word + " ";
  const size_t begin = log.find(start), end = log.find("\", source", begin);
  if (begin == std::string::npos || end == std::string::npos) return false;
  std::string text = log.substr(begin + start.size(), end - begin - start.size());
  std::replace(text.begin(), text.end(), '\'', '"');
  object = json::parse(text);
  return true;
}

std::vector<std::string> command_line(const std::string& url, const fs::path& profile) {
  return {browser_program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--window-size=1400,1700", "--enable-logging=stderr", "--user-data-dir=" + profile.string(),
          // A page without a window counts as one in the background, which gets less of the processor.
          "--disable-renderer-backgrounding", "--disable-background-timer-throttling",
          "--disable-backgrounding-occluded-windows",
          "--remote-debugging-port=0",  // else it would end when the page is loaded
          url};
}

}  // namespace

std::string browser_program() {
  const char* given = std::getenv("NIBBLE_CHROMIUM");
  const std::string program = given != nullptr ? given : NIBBLE_CHROMIUM;
  return fs::exists(program) ? program : "";
}

std::string page_with(std::string page, const std::string& script) {
  page.insert(page.rfind("</body>"), std::string("<script type=\"module\">") + kTools + script + "</script>");
  return page;
}

Browser::Browser(const std::string& url, const fs::path& folder) : log_(folder / "log") {
  std::vector<std::string> words = command_line(url, folder / "profile");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  write_file(log_, "");
  const std::string log = log_.string();
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    if (freopen(log.c_str(), "w", stderr) == nullptr || freopen("/dev/null", "w", stdout) == nullptr) _exit(126);
    execv(argv[0], argv.data());
    _exit(127);
  }
  setpgid(pid_, pid_);  // by both: whoever comes first
}

Browser::~Browser() {
  kill(-pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

json Browser::told(const std::string& word) const {
  json object;
  EXPECT_TRUE(testing::eventually([&] { return find_said(read_file(log_), word, object); }))
      << "the page did not say " << word << ":\n"
      << read_file(log_);
  return object;
}

std::string Browser::complaints() const {
  std::istringstream log(read_file(log_));
  std::string found;
  for (std::string line; std::getline(log, line);) {
    if (line.find("CONSOLE") != std::string::npos && line.find(kSaid) == std::string::npos) found += line + "\n";
  }
  return found;
}

}  // namespace nibble::report
