#include "nibble/report/report.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/report/report_template.h"
#include "nibble/report/sample_report.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPayloadStart = R"(<script type="application/json" id="nibble-data">)";

// The payload of a page, as a browser would cut it out.
std::string payload(const std::string& html) {
  const size_t start = html.find(kPayloadStart);
  if (start == std::string::npos) return "";
  const size_t begin = start + kPayloadStart.size();
  return html.substr(begin, html.find("</script", begin) - begin);
}

TEST(ReportTemplate, HoldsTheMarkerOnce) {
  const std::string_view page = report_template();
  const size_t first = page.find(kPayloadMarker);
  ASSERT_NE(first, std::string_view::npos);
  EXPECT_EQ(page.find(kPayloadMarker, first + 1), std::string_view::npos);
  EXPECT_EQ(page.substr(first - kPayloadStart.size(), kPayloadStart.size()), kPayloadStart);
}

// Names of XML namespaces are not addresses to fetch.
TEST(ReportTemplate, AsksForNothingFromOutside) {
  std::string page(report_template());
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  for (const char* scheme : {"http://", "https://", "ws://", "wss://", "//cdn"}) {
    for (size_t at = page.find(scheme); at != std::string::npos; at = page.find(scheme, at + 1)) {
      EXPECT_EQ(page.substr(at, 18), "http://www.w3.org/") << page.substr(at > 40 ? at - 40 : 0, 90);
    }
  }
  for (const char* pattern : {"<script[^>]*\\ssrc", "<link\\b", "<img\\b", "<iframe\\b", "@import", "\\burl\\((?!#)"}) {
    const std::regex outside(pattern, std::regex::icase);
    for (std::sregex_iterator match(page.begin(), page.end(), outside), end; match != end; ++match) {
      const size_t at = static_cast<size_t>(match->position());
      // ECharts builds references to parts of its own drawing: "url(#" + id.
      EXPECT_EQ(page.substr(at, 5), "url(#") << page.substr(at, 60);
    }
  }
}

TEST(Report, PayloadReadsBackAsTheSameJson) {
  for (const ReportData& data : {sample_search_report(), sample_training_report(), ReportData{}}) {
    EXPECT_EQ(nlohmann::json::parse(payload(render_report(data))), to_json(data));
  }
}

TEST(Report, ThePartsOfALayersEnergyAddUp) {
  const nlohmann::json report = to_json(sample_search_report());  // its members are looked at below
  for (const nlohmann::json& layer : report.at("layers")) {
    const nlohmann::json& parts = layer.at("energy_parts_nj");
    double sum = 0;
    for (const char* part : {"operations", "parameters", "inputs", "outputs"}) sum += parts.at(part).get<double>();
    EXPECT_NEAR(sum, layer.at("energy_nj").get<double>(), 1e-9) << layer.at("name");
  }
  ReportData bare;
  bare.layers.push_back({.name = "dense", .type = "Dense"});
  EXPECT_FALSE(to_json(bare).at("layers")[0].contains("energy_parts_nj"));
}

TEST(Report, TextsCannotEndTheScriptElement) {
  ReportData data{.title = "</script><script>alert(1)</script><!-- \" \\ \u2028"};
  data.dataset.note = "<!--<script>";
  const std::string html = render_report(data);
  const std::string text = payload(html);
  EXPECT_EQ(text.find('<'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json.at("title"), data.title);
  EXPECT_EQ(json.at("dataset").at("note"), data.dataset.note);
}

TEST(Report, BytesThatAreNotUtf8AreReplaced) {
  ReportData data{.title = "broken \xff\xfe name"};
  EXPECT_EQ(nlohmann::json::parse(payload(render_report(data))).at("title"), "broken \ufffd\ufffd name");
}

TEST(Report, SameDataGivesTheSameBytes) {
  EXPECT_EQ(render_report(sample_search_report()), render_report(sample_search_report()));
}

TEST(Report, EmptyMembersStayAway) {
  const auto json = to_json(sample_training_report());
  EXPECT_FALSE(json.contains("goal"));
  EXPECT_FALSE(json.contains("hypervolume"));
  EXPECT_FALSE(json.at("outcome").contains("trial"));
  EXPECT_FALSE(json.at("outcome").contains("energy_nj"));
  EXPECT_TRUE(json.at("trials").empty());
  EXPECT_TRUE(json.at("references").empty());
}

TEST(Report, TheHypervolumeIsATable) {
  const auto json = to_json(sample_search_report()).at("hypervolume");
  EXPECT_EQ(json.at("trials"), 19);
  EXPECT_EQ(json.at("axes"), nlohmann::json::parse(R"([{"metric": "accuracy", "maximise": true, "reference": 0.91},
                                                       {"metric": "cost", "maximise": false, "reference": 212400.0}])"));
  EXPECT_EQ(json.at("steps").size(), 4u);
  EXPECT_EQ(json.at("steps")[1], nlohmann::json::parse(R"({"trials": 3, "trial": 2, "hypervolume": 9120.25})"));
}

TEST(Report, ValuesStandUnderTheNameOfTheirMetric) {
  const auto named = [](const search::Objective& metric) {
    ReportData data = sample_error_report();
    data.metric = metric;
    return to_json(data);
  };
  const auto json = named({.metric = "mae", .maximise = false});
  EXPECT_EQ(json.at("metric"), nlohmann::json::parse(R"({"name": "mae", "direction": "minimise"})"));
  EXPECT_EQ(json.at("trials")[1].at("mae"), 0.04);
  EXPECT_FALSE(json.at("trials")[1].contains("accuracy"));
  EXPECT_EQ(json.at("outcome").at("mae"), 0.02);
  const auto& point = json.at("curves")[0].at("points")[1];
  EXPECT_EQ(point.at("mae"), 0.03);
  EXPECT_EQ(point.at("val_mae"), 0.02);
  EXPECT_FALSE(point.contains("mse"));
  // A search by accuracy has its members as ever.
  EXPECT_EQ(to_json(sample_search_report()).at("metric"),
            nlohmann::json::parse(R"({"name": "accuracy", "direction": "maximise"})"));
  EXPECT_TRUE(to_json(sample_search_report()).at("trials")[0].contains("accuracy"));
}

TEST(Report, BitsStandBesideTheEnergyOrInItsPlace) {
  ReportData data;
  data.trials = {{.number = 0, .accuracy = 0.9, .bits = 1024}};
  data.outcome = Outcome{.trial = 0, .bits = 1024};
  const auto json = to_json(data);
  for (const auto& object : {json.at("trials")[0], json.at("outcome")}) {
    EXPECT_EQ(object.at("bits"), 1024);
    EXPECT_FALSE(object.contains("energy_nj"));
  }
  EXPECT_FALSE(to_json(sample_search_report()).at("trials")[0].contains("bits"));
}

// The trials' loss is the mean over their trainings, the outcome's that of one epoch: the first is what is judged.
TEST(Report, ALossThatTrialsAreJudgedByTakesTheOutcomesPlace) {
  ReportData data{.metric = {.metric = "loss", .maximise = false}};
  data.outcome = Outcome{.loss = 0.5, .value = 0.4};
  EXPECT_EQ(to_json(data).at("outcome").at("loss"), 0.4);
}

TEST(Report, NumbersThatAreNotFiniteAreNull) {
  ReportData data;
  data.outcome = Outcome{.loss = std::numeric_limits<double>::quiet_NaN()};
  data.curves.push_back({.name = "run", .points = {{.epoch = 1, .loss = std::numeric_limits<double>::infinity()}}});
  const auto json = to_json(data);
  EXPECT_TRUE(json.at("outcome").at("loss").is_null());
  EXPECT_TRUE(json.at("curves")[0].at("points")[0].at("loss").is_null());
}

struct BadCase {
  const char* name;
  void (*spoil)(ReportData&);
  const char* says;
};

void PrintTo(const BadCase& row, std::ostream* out) { *out << row.name; }

const BadCase kBadCases[] = {
    {"AccuracyInPerCent", [](ReportData& d) { d.outcome->accuracy = 98.2; }, "accuracy is 98.2"},
    {"NegativeEnergy", [](ReportData& d) { d.trials[3].energy_nj = -1; }, "trial 3: energy is -1 nJ"},
    {"ReferenceWithoutEnergy", [](ReportData& d) { d.references[0].energy_nj = 0; },
     "reference 'int8': energy is 0 nJ"},
    {"TrialListedTwice", [](ReportData& d) { d.trials[1].number = 0; }, "trial 0 is listed twice"},
    {"OutcomeIsNoTrial", [](ReportData& d) { d.outcome->trial = 99; }, "the outcome is trial 99"},
};

class BadReport : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadReport, IsRefusedWithASentence) {
  ReportData data = sample_search_report();
  GetParam().spoil(data);
  try {
    to_json(data);
    FAIL() << "was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().says), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, BadReport, ::testing::ValuesIn(kBadCases),
                         [](const auto& row) { return row.param.name; });

TEST(WriteReport, WritesTheWholePage) {
  const fs::path path = nibble::testing::scratch_dir("write_report") / "report.html";
  write_report(sample_training_report(), path);
  EXPECT_EQ(read_file(path), render_report(sample_training_report()));
}

TEST(WriteReport, LeavesNothingBehindWhenItCannotWrite) {
  const fs::path folder = nibble::testing::scratch_dir("write_report_missing");
  EXPECT_THROW(write_report(sample_training_report(), folder / "missing" / "report.html"), IoError);
  ReportData bad = sample_search_report();
  bad.outcome->accuracy = 2;
  EXPECT_THROW(write_report(bad, folder / "report.html"), InvalidArgument);
  EXPECT_TRUE(fs::is_empty(folder));
}

}  // namespace
}  // namespace nibble::report
