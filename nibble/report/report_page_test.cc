// Opens reports in a headless browser and looks at what it drew.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "nibble/core/atomic_file.h"
#include "nibble/report/browser.h"
#include "nibble/report/sample_report.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Around the script of a test: waits until the charts are drawn, and says what is there in the end.
constexpr const char* kBefore = R"(
  const all = (selector) => [...document.querySelectorAll(selector)];
  const text = (selector) => document.querySelector(selector)?.textContent ?? '';
  const facts = {};
  await until(() => document.documentElement.dataset.state !== undefined);
  await until(() => all('.chart').every((chart) => chart.querySelector('svg')));
)";
constexpr const char* kAfter = R"(
  facts.state = document.documentElement.dataset.state;
  facts.sections = all('section[id]').map((section) => section.id).join(' ');
  facts.charts = all('.chart').length;
  facts.drawings = all('svg').length;
  facts.paths = all('path').length;
  say('SEEN', facts);
)";

class ReportPage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (browser_program().empty()) GTEST_SKIP() << kNoBrowser;
  }

  // What the report of `data` shows when `script` has played the reader, who may add to `facts`. Nothing is complained
  // of.
  json seen_in(const ReportData& data, const std::string& name, const std::string& script = "") {
    const fs::path folder = nibble::testing::scratch_dir(name);
    write_file(folder / "report.html", page_with(render_report(data), kBefore + script + kAfter));
    const Browser browser("file://" + (folder / "report.html").string(), folder);
    const json facts = browser.told("SEEN");
    EXPECT_EQ(browser.complaints(), "");
    return facts.is_null() ? json::object() : facts;
  }
};

TEST_F(ReportPage, SearchShowsEverySectionAndChart) {
  const ReportData data = sample_search_report();
  const json facts = seen_in(data, "search_page", R"(
    facts.picks = all('[aria-label^="Show trial "]').length;
    facts.title = document.title;)");
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(facts.at("state"), "ready");
  EXPECT_EQ(facts.at("sections"),
            "tradeoff hypervolume layer-energy energy-parts quantizers weight-codes training trials settings");
  // One scatter, two bar charts, three line charts and a histogram for each kernel; each is drawn.
  const size_t charts = 6 + data.histograms.size();
  EXPECT_EQ(facts.at("charts"), charts);
  EXPECT_EQ(facts.at("drawings"), charts);
  EXPECT_GE(facts.at("paths"), 100);
  EXPECT_EQ(facts.at("picks"), data.trials.size());
  EXPECT_EQ(facts.at("title"), "AutoQKeras search on mnist");
}

TEST_F(ReportPage, ASearchByAnErrorNamesItEverywhere) {
  const json facts = seen_in(sample_error_report(), "error_page", R"(
    const heads = all('#trials .sort'), names = heads.slice(3).map((head) => head.textContent);
    heads[3].click();
    facts.seen = {
      title: text('#tradeoff h2'),
      down: text('#tradeoff .lead').includes('Down is better'),
      heads: names.join(' '),
      lowest: all('#trials tbody th').map((cell) => cell.textContent).join(' '),
      front: all('#trials [title="on the Pareto front"]').length,
      headline: text('.headline').includes('validation MAE of 0.02'),
      axis: all('#tradeoff svg text').some((node) => node.textContent.startsWith('MAE')),
      training: text('#training .lead').startsWith('Loss and MAE after'),
      reference: text('#hypervolume .lead').includes('mae from 0.06 down'),
      accuracy: document.getElementById('report').textContent.includes('ccuracy'),
    };)");
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(facts.at("seen"), json({{"title", "MAE and energy"},
                                    {"down", true},
                                    {"heads", "MAE Energy (nJ) Against int8"},
                                    {"lowest", "0 1 2"},
                                    {"front", 2},
                                    {"headline", true},
                                    {"axis", true},
                                    {"training", true},
                                    {"reference", true},
                                    {"accuracy", false}}));
}

TEST_F(ReportPage, PlainTrainingLeavesOutWhatItDoesNotHave) {
  const json facts = seen_in(sample_training_report(), "training_page");
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(facts.at("sections"), "training settings");
  EXPECT_EQ(facts.at("drawings"), 2);
}

TEST_F(ReportPage, PickingATrialShowsItInChartTableAndCurves) {
  const json facts = seen_in(sample_search_report(), "picking_page", R"(
    document.querySelector('[aria-label="Show trial 5"]').click();
    all('#trials .sort').find((head) => head.textContent === 'Trial').click();
    facts.seen = {
      panel: text('.panel h3').trim(),
      current: text('#trials [aria-current] th'),
      compare: document.querySelector('#compare').selectedOptions[0].textContent,
      sorted: text('#trials [aria-sort]'),
      order: all('#trials tbody th').slice(0, 3).map((cell) => cell.textContent).join(' '),
    };)");
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(
      facts.at("seen"),
      json({{"panel", "Trial 5"}, {"current", "5"}, {"compare", "trial 5"}, {"sorted", "Trial"}, {"order", "0 1 2"}}));
}

TEST_F(ReportPage, PointingAtAPointTellsItsTrial) {
  const json facts = seen_in(sample_search_report(), "pointing_page", R"(
    const surface = document.querySelector('#tradeoff .chart svg').parentElement;
    const box = surface.getBoundingClientRect();
    // Passes over the whole chart until a point answers.
    for (let y = 0; y < box.height && !document.querySelector('.tip'); y += 4) {
      for (let x = 0; x < box.width && !document.querySelector('.tip'); x += 4) {
        const at = { bubbles: true, clientX: box.left + x, clientY: box.top + y };
        surface.dispatchEvent(new MouseEvent('mousemove', at));
      }
    }
    await until(() => text('.tip > strong') !== '');
    facts.tip = text('.tip > strong');)");
  ASSERT_FALSE(HasFailure());
  EXPECT_TRUE(facts.at("tip").get<std::string>().starts_with("Trial ")) << facts;
}

// The barest data that is allowed, and texts that look like markup.
TEST_F(ReportPage, OddDataStillMakesAPage) {
  ReportData data{.title = "</script><img src=x onerror=console.error('markup')>"};
  data.references.push_back({.name = "int8", .energy_nj = 1e-3});
  data.trials = {{.number = 3, .accuracy = 1.0, .energy_nj = 5e-7}, {.number = 4, .accuracy = 0.0, .energy_nj = 5e7}};
  data.curves.push_back({.name = "one point", .points = {{.epoch = 1, .loss = 0.0, .accuracy = 1.0}}});
  const json facts = seen_in(data, "odd_page");
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(facts.at("state"), "ready");
  EXPECT_EQ(facts.at("sections"), "tradeoff training trials");
}

}  // namespace
}  // namespace nibble::report
