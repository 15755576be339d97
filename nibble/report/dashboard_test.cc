// The dashboard's server, asked without a browser.
#include "nibble/report/dashboard.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/report/sample_study.h"
#include "nibble/search/random_sampler.h"
#include "support/busy_machine.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

using nlohmann::json;

DashboardOptions options_of(const std::string& study) {
  DashboardOptions options{.study = study, .cost = "energy_nj", .cost_name = "Energy (nJ)", .layers = sample_layers};
  options.facts.title = "AutoQKeras search on mnist";
  options.facts.references.push_back({.name = "int8", .energy_nj = 574.175});
  options.poll_ms = 20;
  return options;
}

struct Asked {
  int status = 0;
  json body;
};
Asked ask(int port, const std::string& path, const httplib::Headers& headers = {}) {
  httplib::Client client("127.0.0.1", port);
  client.set_read_timeout(testing::kPatience);
  const auto result = client.Get(path, headers);
  if (!result) return {};
  return {result->status, json::parse(result->body, nullptr, false)};
}

TEST(Dashboard, AnswersWithThePageTheStudyAndItsTrials) {
  const Dashboard dashboard(options_of(make_sample_study(testing::scratch_dir("dashboard"), 300)));
  EXPECT_EQ(dashboard.url(), fmt::format("http://127.0.0.1:{}/", dashboard.port()));
  httplib::Client client("127.0.0.1", dashboard.port());
  client.set_read_timeout(testing::kPatience);
  const auto page = client.Get("/");
  ASSERT_TRUE(page);
  EXPECT_NE(page->body.find("<title>nibble dashboard</title>"), std::string::npos);
  EXPECT_NE(page->get_header_value("Content-Type").find("text/html"), std::string::npos);

  const Asked study = ask(dashboard.port(), "/api/study");
  EXPECT_EQ(study.body.at("name"), "mnist energy");
  EXPECT_EQ(study.body.at("parameters").size(), sample_space().size());
  EXPECT_EQ(study.body.at("facts").at("references")[0].at("name"), "int8");
  EXPECT_EQ(study.body.at("facts").at("metric"), json::parse(R"({"name": "accuracy", "direction": "maximise"})"));
  const Asked trials = ask(dashboard.port(), "/api/trials");
  EXPECT_EQ(trials.body.at("rows").size(), 300u);

  const Asked trial = ask(dashboard.port(), "/api/trials/290");
  EXPECT_EQ(trial.body.at("number"), 290);
  EXPECT_EQ(trial.body.at("steps").size(), 10u);
  EXPECT_EQ(trial.body.at("layers").size(), 5u);
  EXPECT_EQ(trial.body.at("values").size(), sample_space().size());
}

TEST(Dashboard, SaysWhatTrialsAreJudgedBy) {
  DashboardOptions options = options_of(make_sample_study(testing::scratch_dir("dashboard_metric"), 3));
  options.facts.metric = {.metric = "mse", .maximise = false};
  const Dashboard dashboard(options);
  EXPECT_EQ(ask(dashboard.port(), "/api/study").body.at("facts").at("metric"),
            json::parse(R"({"name": "mse", "direction": "minimise"})"));
}

TEST(Dashboard, RefusesWhatItDoesNotHave) {
  DashboardOptions options = options_of(make_sample_study(testing::scratch_dir("dashboard_refusals"), 3));
  options.layers = [](const search::Trial&) -> std::vector<LayerRow> { throw InvalidArgument("no such network"); };
  const Dashboard dashboard(options);
  ask(dashboard.port(), "/api/trials");
  const Asked absent = ask(dashboard.port(), "/api/trials/99999999999999999999");
  EXPECT_EQ(absent.status, 404);
  EXPECT_EQ(ask(dashboard.port(), "/api/trials/3").status, 404);
  EXPECT_EQ(ask(dashboard.port(), "/etc/passwd").status, 404);
  EXPECT_EQ(ask(dashboard.port(), "/api/trials/0").body.at("layers_trouble"), "no such network");
  // Another site's page that had its name point here.
  EXPECT_EQ(ask(dashboard.port(), "/api/study", {{"Host", "evil.example"}}).status, 403);
  EXPECT_EQ(ask(dashboard.port(), "/api/study", {{"Host", "localhost:9000"}}).status, 200);
  options.port = dashboard.port();
  try {
    const Dashboard second(options);
    ADD_FAILURE() << "two dashboards on one port";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos) << error.what();
  }
  options.study = testing::scratch_dir("no_study") / "study.db";
  EXPECT_THROW(Dashboard{options}, IoError);
}

TEST(Dashboard, SendsWhatChangesWhileTheStudyGoesOn) {
  const std::string url = make_sample_study(testing::scratch_dir("dashboard_live"), 20);
  const Dashboard dashboard(options_of(url));
  const int64_t version = ask(dashboard.port(), "/api/trials").body.at("version");
  std::atomic<bool> is_open = false, enough = false;
  std::string heard;
  std::thread page([&] {
    httplib::Client client("127.0.0.1", dashboard.port());
    client.set_read_timeout(testing::kPatience);
    client.Get(fmt::format("/api/events?since={}", version), [&](const char* data, size_t size) {
      is_open = true;
      heard.append(data, size);
      const size_t begin = heard.find("data: "), end = heard.find("\n\n", begin);
      if (begin == std::string::npos || end == std::string::npos) return true;
      enough = true;
      return false;
    });
  });
  // Nothing is told while nothing happens.
  EXPECT_TRUE(testing::eventually([&] { return is_open.load(); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(enough);
  search::Storage storage = search::Storage::open(url);
  const auto claim = storage.claim("w", sample_space(), search::RandomSampler(1));
  storage.complete(*claim, 1.25, {{"accuracy", 0.9}}, "");
  page.join();
  ASSERT_TRUE(enough);
  const size_t begin = heard.find("data: ") + 6;
  const json message = json::parse(heard.substr(begin, heard.find('\n', begin) - begin));
  ASSERT_EQ(message.at("rows").size(), 1u);
  EXPECT_EQ(message.at("rows")[0][0], claim->number);
  EXPECT_NE(heard.find("event: trials"), std::string::npos);
}

// Listens to events until one of them says what is waited for; its message. Null if none does.
json first_message(int port, const std::function<bool(const json&)>& is_it) {
  httplib::Client client("127.0.0.1", port);
  client.set_read_timeout(testing::kPatience);
  const auto give_up = std::chrono::steady_clock::now() + testing::kPatience;
  std::string text;
  json found;
  client.Get("/api/events", [&](const char* data, size_t size) {
    text.append(data, size);
    for (size_t end; (end = text.find("\n\n")) != std::string::npos; text.erase(0, end + 2)) {
      const size_t begin = text.find("data: ");
      if (begin >= end) continue;  // a sign of life
      const json message = json::parse(text.substr(begin + 6, end - begin - 6));
      if (is_it(message)) found = message;
    }
    return found.is_null() && std::chrono::steady_clock::now() < give_up;
  });
  return found;
}

bool is_gone(const json& message) {
  return message.at("trouble").get<std::string>().starts_with("the study is gone: '");
}

// While pages are open: removed, and made again with the same configuration and other trials.
TEST(Dashboard, SaysThatTheStudyIsGoneAndGoesOnWhenItIsBack) {
  const std::filesystem::path folder = testing::scratch_dir("dashboard_gone");
  const std::string url = make_sample_study(folder, 20);
  const Dashboard dashboard(options_of(url));
  EXPECT_EQ(dashboard.trouble(), "");
  std::atomic<bool> is_listening = false;
  json gone;
  std::thread page([&] {
    gone = first_message(dashboard.port(), [&](const json& message) {
      is_listening = true;
      return is_gone(message);
    });
  });
  EXPECT_TRUE(testing::eventually([&] { return is_listening.load(); }));
  search::Storage::remove(url);
  page.join();
  ASSERT_FALSE(gone.is_null());
  EXPECT_EQ(gone.at("count"), 20);  // what was seen last
  EXPECT_NE(dashboard.trouble().find(url), std::string::npos) << dashboard.trouble();
  EXPECT_EQ(ask(dashboard.port(), "/api/trials").status, 200);

  make_sample_study(folder, 5);
  const json back = first_message(
      dashboard.port(), [](const json& message) { return message.at("count") == 5 && message.at("trouble") == ""; });
  EXPECT_FALSE(back.is_null());
  EXPECT_EQ(ask(dashboard.port(), "/api/trials").body.at("rows").size(), 5u);
  EXPECT_EQ(dashboard.trouble(), "");
}

TEST(Dashboard, SaysThatAStudyIsGoneWithoutAPage) {
  const std::string url = make_sample_study(testing::scratch_dir("dashboard_gone_unseen"), 3);
  const Dashboard dashboard(options_of(url));
  search::Storage::remove(url);
  EXPECT_TRUE(testing::eventually([&] { return !dashboard.trouble().empty(); }));
  EXPECT_TRUE(dashboard.trouble().starts_with("the study is gone: '" + url)) << dashboard.trouble();
}

// Files that took its place: bytes that are no database, then a study of another space.
TEST(Dashboard, SaysWhyTheStudyCannotBeRead) {
  const std::filesystem::path folder = testing::scratch_dir("dashboard_unreadable");
  const std::string url = make_sample_study(folder, 3);
  const Dashboard dashboard(options_of(url));
  search::Storage::remove(url);
  write_file(url, std::string(8192, 'x'));
  const json damaged = ask(dashboard.port(), "/api/trials").body;
  EXPECT_TRUE(damaged.at("trouble").get<std::string>().starts_with("the study cannot be read: [study] ")) << damaged;
  EXPECT_EQ(damaged.at("rows").size(), 3u);
  std::filesystem::remove(url);
  search::Storage::create(url, {.name = "another", .run_config = "{}", .space = "[]", .seed = 1, .max_trials = 1});
  const json other = ask(dashboard.port(), "/api/trials").body;
  EXPECT_TRUE(other.at("trouble").get<std::string>().starts_with("another study took the place")) << other;
  EXPECT_EQ(other.at("rows").size(), 3u);
}

TEST(Dashboard, EndsWhilePagesAreOpen) {
  std::atomic<bool> is_open = false;
  std::thread page;
  {
    const Dashboard dashboard(options_of(make_sample_study(testing::scratch_dir("dashboard_end"), 5)));
    page = std::thread([&is_open, port = dashboard.port()] {
      httplib::Client client("127.0.0.1", port);
      client.set_read_timeout(testing::kPatience);
      client.Get("/api/events", [&](const char*, size_t) { return is_open = true; });
    });
    EXPECT_TRUE(testing::eventually([&] { return is_open.load(); }));
  }
  page.join();
}

TEST(Dashboard, MayEndAtOnce) {
  const DashboardOptions options = options_of(make_sample_study(testing::scratch_dir("dashboard_at_once"), 3));
  for (int i = 0; i < 50; ++i) Dashboard{options};
}

}  // namespace
}  // namespace nibble::report
