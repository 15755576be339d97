// nibble/report/browser.h
// For tests of the pages: a headless browser. A script in the page plays the reader and writes to its console what it
// saw.
//
// In real time, and the script waits for what it wants to look at. Chromium's virtual time would be over in a moment
// where the page has nothing to do, and its charts wait for a frame, which a busy machine may draw later.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace nibble::report {

// $NIBBLE_CHROMIUM, or the one that was found when nibble was configured, or "" where neither is there.
std::string browser_program();
constexpr const char* kNoBrowser =
    "Chromium was not found; install it (Debian: apt-get install chromium) or name it in NIBBLE_CHROMIUM to test the "
    "page.";

// The page with a script that begins when the page's own is done. The script has until(condition), and say(word,
// object), whose object told() returns.
std::string page_with(std::string page, const std::string& script);

// A browser on one page, ended with this object.
class Browser {
 public:
  //   folder  of its log and its profile
  Browser(const std::string& url, const std::filesystem::path& folder);
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  // The object that the page said with this word; waits for it. The test fails if it never does.
  nlohmann::json told(const std::string& word) const;

  // What else was written to the console: complaints, line by line.
  std::string complaints() const;

 private:
  std::filesystem::path log_;
  pid_t pid_ = -1;
};

}  // namespace nibble::report
