// Opens reports in a headless browser and looks at what it drew.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <regex>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/report/sample_report.h"
#include "support/golden.h"

namespace nibble::report {
namespace {

namespace fs = std::filesystem;

struct Page {
  std::string dom;      // after the scripts ran
  std::string console;  // lines that the page wrote to its console
};

std::string browser() {
  const char* given = std::getenv("NIBBLE_CHROMIUM");
  return given != nullptr ? given : NIBBLE_CHROMIUM;
}

std::string output_of(const std::string& command) {
  std::string output;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 1 << 16> buffer{};
  size_t count = 0;
  while (pipe && (count = fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0) output.append(buffer.data(), count);
  return output;
}

Page open_page(const fs::path& page) {
  const fs::path folder = page.parent_path();
  const fs::path log = folder / "browser.log";
  // A fresh profile, and nothing that would reach for the network.
  const std::string dom = output_of(fmt::format(
      "timeout 120 '{}' --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage "
      "--disable-background-networking --disable-component-update --disable-sync --user-data-dir='{}' "
      "--window-size=1280,1000 --virtual-time-budget=4000 --enable-logging=stderr --dump-dom 'file://{}' 2>'{}'",
      browser(), (folder / "profile").string(), page.string(), log.string()));
  std::string console;
  const std::string lines = read_file(log);
  const std::regex entry("[^\n]*CONSOLE[^\n]*");
  for (std::sregex_iterator match(lines.begin(), lines.end(), entry), end; match != end; ++match) {
    console += match->str() + "\n";
  }
  return {.dom = dom, .console = console};
}

int64_t count(const std::string& text, const std::string& part) {
  int64_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

std::vector<std::string> section_ids(const std::string& dom) {
  std::vector<std::string> ids;
  const std::regex section("<section id=\"([a-z-]+)\"");
  for (std::sregex_iterator match(dom.begin(), dom.end(), section), end; match != end; ++match)
    ids.push_back((*match)[1]);
  return ids;
}

class ReportPage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (browser().empty() || !fs::exists(browser())) {
      GTEST_SKIP() << "Chromium was not found; install it (Debian: apt-get install chromium) or name it in "
                      "NIBBLE_CHROMIUM to test the page.";
    }
  }

  // Opens the report of `data`; `script` then plays the reader.
  Page open(const ReportData& data, const std::string& name, const std::string& script = "") {
    const fs::path page = nibble::testing::scratch_dir(name) / "report.html";
    std::string html = render_report(data);
    html.insert(html.find("</body>"), "<script type=\"module\">" + script + "</script>");
    write_file(page, html);
    return open_page(page);
  }
};

TEST_F(ReportPage, SearchShowsEverySectionAndChart) {
  const ReportData data = sample_search_report();
  const Page page = open(data, "search_page");
  EXPECT_EQ(page.console, "");
  EXPECT_NE(page.dom.find("data-state=\"ready\""), std::string::npos);
  EXPECT_EQ(section_ids(page.dom),
            (std::vector<std::string>{"tradeoff", "hypervolume", "layer-energy", "energy-parts", "quantizers",
                                      "weight-codes", "training", "trials", "settings"}));
  // One scatter, two bar charts, three line charts and a histogram for each kernel; each is drawn.
  const auto charts = static_cast<int64_t>(6 + data.histograms.size());
  EXPECT_EQ(count(page.dom, "class=\"chart\""), charts);
  EXPECT_EQ(count(page.dom, "<svg"), charts);
  EXPECT_GE(count(page.dom, "<path"), 100);
  EXPECT_EQ(count(page.dom, "aria-label=\"Show trial "), static_cast<int64_t>(data.trials.size()));
  EXPECT_NE(page.dom.find("<title>AutoQKeras search on mnist</title>"), std::string::npos);
}

TEST_F(ReportPage, ASearchByAnErrorNamesItEverywhere) {
  // Once its charts are drawn.
  const Page page = open(sample_error_report(), "error_page", R"(
    setTimeout(() => {
      const text = (selector) => document.querySelector(selector)?.textContent ?? '';
      const heads = [...document.querySelectorAll('#trials .sort')].map((head) => head.textContent);
      document.querySelectorAll('#trials .sort')[3].click();
      const rows = [...document.querySelectorAll('#trials tbody th')].map((cell) => cell.textContent);
      const facts = {
        title: text('#tradeoff h2'),
        down: text('#tradeoff .lead').includes('Down is better'),
        heads: heads.slice(3).join(' '),
        lowest: rows.join(' '),
        front: document.querySelectorAll('#trials [title="on the Pareto front"]').length,
        headline: text('.headline').includes('validation MAE of 0.02'),
        axis: [...document.querySelectorAll('#tradeoff svg text')].some((node) => node.textContent.startsWith('MAE')),
        training: text('#training .lead').startsWith('Loss and MAE after'),
        reference: text('#hypervolume .lead').includes('mae from 0.06 down'),
        accuracy: document.getElementById('report').textContent.includes('ccuracy'),
      };
      document.body.append(Object.entries(facts).map(([name, value]) => `[${name}: ${value}]`).join(''));
    }, 100);)");
  EXPECT_EQ(page.console, "");
  EXPECT_NE(page.dom.find("[title: MAE and energy][down: true][heads: MAE Energy (nJ) Against int8][lowest: 0 1 2]"
                          "[front: 2][headline: true][axis: true][training: true][reference: true][accuracy: false]"),
            std::string::npos)
      << page.dom.substr(page.dom.size() > 600 ? page.dom.size() - 600 : 0);
}

TEST_F(ReportPage, PlainTrainingLeavesOutWhatItDoesNotHave) {
  const Page page = open(sample_training_report(), "training_page");
  EXPECT_EQ(page.console, "");
  EXPECT_EQ(section_ids(page.dom), (std::vector<std::string>{"training", "settings"}));
  EXPECT_EQ(count(page.dom, "<svg"), 2);
}

TEST_F(ReportPage, PickingATrialShowsItInChartTableAndCurves) {
  const Page page = open(sample_search_report(), "picking_page", R"(
    document.querySelector('[aria-label="Show trial 5"]').click();
    const heads = [...document.querySelectorAll('#trials .sort')];
    heads.find((head) => head.textContent === 'Trial').click();
    const rows = [...document.querySelectorAll('#trials tbody th')].map((cell) => cell.textContent);
    const facts = {
      panel: document.querySelector('.panel h3').textContent.trim(),
      current: document.querySelector('#trials [aria-current] th').textContent,
      compare: document.querySelector('#compare').selectedOptions[0].textContent,
      sorted: document.querySelector('#trials [aria-sort]').textContent,
      order: rows.slice(0, 3).join(' '),
    };
    document.body.append(Object.entries(facts).map(([name, value]) => `[${name}: ${value}]`).join(''));)");
  EXPECT_EQ(page.console, "");
  EXPECT_NE(page.dom.find("[panel: Trial 5][current: 5][compare: trial 5][sorted: Trial][order: 0 1 2]"),
            std::string::npos)
      << page.dom.substr(page.dom.size() > 400 ? page.dom.size() - 400 : 0);
}

TEST_F(ReportPage, PointingAtAPointTellsItsTrial) {
  const Page page = open(sample_search_report(), "pointing_page", R"(
    setTimeout(() => {
      const chart = document.querySelector('#tradeoff .chart');
      const surface = chart.querySelector('svg').parentElement;
      const box = surface.getBoundingClientRect();
      // Passes over the whole chart until a point answers.
      for (let y = 0; y < box.height && !document.querySelector('.tip'); y += 4) {
        for (let x = 0; x < box.width && !document.querySelector('.tip'); x += 4) {
          const at = { bubbles: true, clientX: box.left + x, clientY: box.top + y };
          surface.dispatchEvent(new MouseEvent('mousemove', at));
        }
      }
    }, 100);)");
  EXPECT_EQ(page.console, "");
  EXPECT_TRUE(std::regex_search(page.dom, std::regex("class=\"tip\"><strong>Trial [0-9]+</strong>")));
}

// The barest data that is allowed, and texts that look like markup.
TEST_F(ReportPage, OddDataStillMakesAPage) {
  ReportData data{.title = "</script><img src=x onerror=console.error('markup')>"};
  data.references.push_back({.name = "int8", .energy_nj = 1e-3});
  data.trials = {{.number = 3, .accuracy = 1.0, .energy_nj = 5e-7}, {.number = 4, .accuracy = 0.0, .energy_nj = 5e7}};
  data.curves.push_back({.name = "one point", .points = {{.epoch = 1, .loss = 0.0, .accuracy = 1.0}}});
  const Page page = open(data, "odd_page");
  EXPECT_EQ(page.console, "");
  EXPECT_NE(page.dom.find("data-state=\"ready\""), std::string::npos);
  EXPECT_EQ(section_ids(page.dom), (std::vector<std::string>{"tradeoff", "training", "trials"}));
}

}  // namespace
}  // namespace nibble::report
