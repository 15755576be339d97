// The dashboard's server, asked without a browser.
#include "nibble/report/dashboard.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/report/sample_study.h"
#include "nibble/search/random_sampler.h"
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
  const auto result = client.Get(path, headers);
  if (!result) return {};
  return {result->status, json::parse(result->body, nullptr, false)};
}

TEST(Dashboard, AnswersWithThePageTheStudyAndItsTrials) {
  const Dashboard dashboard(options_of(make_sample_study(testing::scratch_dir("dashboard"), 300)));
  EXPECT_EQ(dashboard.url(), fmt::format("http://127.0.0.1:{}/", dashboard.port()));
  httplib::Client client("127.0.0.1", dashboard.port());
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
  std::atomic<bool> enough = false;
  std::string heard;
  std::thread page([&] {
    httplib::Client client("127.0.0.1", dashboard.port());
    client.Get(fmt::format("/api/events?since={}", version), [&](const char* data, size_t size) {
      heard.append(data, size);
      const size_t begin = heard.find("data: "), end = heard.find("\n\n", begin);
      if (begin == std::string::npos || end == std::string::npos) return true;
      enough = true;
      return false;
    });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(enough) << heard;
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

TEST(Dashboard, EndsWhilePagesAreOpen) {
  std::thread page;
  {
    const Dashboard dashboard(options_of(make_sample_study(testing::scratch_dir("dashboard_end"), 5)));
    page = std::thread([port = dashboard.port()] {
      httplib::Client client("127.0.0.1", port);
      client.Get("/api/events", [](const char*, size_t) { return true; });
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  page.join();
}

}  // namespace
}  // namespace nibble::report
