#include "nibble/report/dashboard.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>
#include <thread>

#include "nibble/core/error.h"
#include "nibble/report/dashboard_page.h"
#include "nibble/report/watched_study.h"

namespace nibble::report {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr int kMostPages = 24;            // open at once; each holds a thread
constexpr milliseconds kHeartbeat{5000};  // a sign of life where nothing happens, so that a closed page is noticed

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// A page of another site that names this machine (DNS rebinding) must not read the study.
bool is_this_machine(const httplib::Request& request) {
  std::string host = request.get_header_value("Host");
  if (const size_t colon = host.rfind(':'); colon != std::string::npos && host.back() != ']') host.resize(colon);
  return host == "127.0.0.1" || host == "localhost" || host == "[::1]";
}

int64_t number_in(const std::string& text, int64_t otherwise) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? number : otherwise;
}

// Where a page goes on: a browser that lost the connection says the last event it saw.
int64_t version_of(const httplib::Request& request) {
  const std::string last = request.get_header_value("Last-Event-ID");
  return std::max<int64_t>(0, number_in(last.empty() ? request.get_param_value("since") : last, 0));
}

// As a provider, and not as content: httplib would compress that, with Brotli at its slowest, for ten seconds. Nothing
// here leaves the machine.
void send(httplib::Response& response, std::string text, const char* type = "application/json") {
  response.set_header("Cache-Control", "no-store");
  const auto kept = std::make_shared<const std::string>(std::move(text));
  response.set_content_provider(kept->size(), type, [kept](size_t offset, size_t length, httplib::DataSink& sink) {
    return sink.write(kept->data() + offset, length);
  });
}
void send(httplib::Response& response, const json& value) { send(response, dump(value)); }

json steps_json(const std::vector<search::Step>& steps) {
  json list = json::array();
  for (const search::Step& step : steps) list.push_back({{"step", step.step}, {"metrics", step.metrics}});
  return list;
}

}  // namespace

struct Dashboard::Impl {
  explicit Impl(DashboardOptions given) : options(std::move(given)), study(options.study), feed(study.feed()) {}

  ~Impl() {
    stopping = true;
    awake.notify_all();
    feed.end();
    server.stop();
    if (listening.joinable()) listening.join();
    if (watching.joinable()) watching.join();
  }

  void start() {
    add_routes();
    port = options.port == 0 ? server.bind_to_any_port("127.0.0.1")
                             : (server.bind_to_port("127.0.0.1", options.port) ? options.port : -1);
    if (port <= 0) {
      throw IoError(
          "[dashboard] port {} of 127.0.0.1 cannot be had: another program uses it, or it is not allowed. Give another "
          "one with --port, or 0 for any that is free.",
          options.port);
    }
    listening = std::thread([this] {
      server.listen_after_bind();
      has_listened = true;
    });
    // httplib takes no notice of a stop() that comes before it listens: a dashboard that ends at once would listen on,
    // and its end would wait for that of the thread.
    while (!server.is_running() && !has_listened) std::this_thread::sleep_for(milliseconds(1));
    watching = std::thread([this] { watch(); });
  }

  void add_routes() {
    // httplib's own options would let two dashboards share a port.
    server.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server.new_task_queue = [] { return new httplib::ThreadPool(kMostPages); };
    server.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
      if (is_this_machine(request)) return httplib::Server::HandlerResponse::Unhandled;
      response.status = 403;
      response.set_content("this dashboard answers to 127.0.0.1 and localhost only\n", "text/plain");
      return httplib::Server::HandlerResponse::Handled;
    });
    server.set_exception_handler([](const auto&, httplib::Response& response, std::exception_ptr thrown) {
      response.status = 500;
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        response.set_content(dump({{"error", error.what()}}), "application/json");
      }
    });
    server.Get("/", [this](const httplib::Request&, httplib::Response& response) {
      send(response, options.page.empty() ? std::string(dashboard_page()) : options.page, "text/html; charset=utf-8");
    });
    server.Get("/api/study",
               [this](const httplib::Request&, httplib::Response& response) { send(response, study_json()); });
    server.Get("/api/trials", [this](const httplib::Request&, httplib::Response& response) {
      study.look();
      send(response, feed.since(0));
    });
    server.Get(R"(/api/trials/(\d+))", [this](const httplib::Request& request, httplib::Response& response) {
      const auto trial = feed.trial(static_cast<int>(std::min<int64_t>(number_in(request.matches[1], -1), INT32_MAX)));
      if (!trial) {
        response.status = 404;
        return send(response, json{{"error", fmt::format("there is no trial {}", request.matches[1].str())}});
      }
      send(response, trial_json(*trial));
    });
    server.Get("/api/events", [this](const httplib::Request& request, httplib::Response& response) {
      send_events(version_of(request), response);
    });
  }

  json study_json() const {
    json parameters = json::array();
    for (const search::Parameter& parameter : study.space()) {
      parameters.push_back({{"name", parameter.name}, {"candidates", parameter.candidates}});
    }
    const search::StudyInfo& info = study.info();
    return {{"name", info.name},
            {"code_version", info.code_version},
            {"seed", std::to_string(info.seed)},
            {"cost", options.cost},
            {"cost_name", options.cost_name},
            {"parameters", parameters},
            {"facts", to_json(options.facts)}};
  }

  json trial_json(const search::Trial& trial) {
    json layers = json::array();
    std::string trouble;
    if (options.layers) {
      try {
        layers = to_json(ReportData{.layers = options.layers(trial)}).at("layers");
      } catch (const Error& error) {
        trouble = error.what();
      }
    }
    return {{"number", trial.number},
            {"values", trial.values},
            {"metrics", trial.metrics},
            {"worker", trial.worker},
            {"artifact", trial.artifact},
            {"reason", trial.reason},
            {"steps", steps_json(study.steps(trial.number))},
            {"layers", layers},
            {"layers_trouble", trouble}};
  }

  // One event for each version that the page lacks, until it is closed.
  void send_events(int64_t version, httplib::Response& response) {
    const auto page = std::shared_ptr<void>(nullptr, [this](void*) { --pages; });
    ++pages;
    study.look();
    response.set_header("Cache-Control", "no-store");
    response.set_chunked_content_provider(
        "text/event-stream", [this, page, seen = version](size_t offset, httplib::DataSink& sink) mutable {
          // The first word at once: it tells the page that it is connected.
          const int64_t now = feed.wait_beyond(seen, offset == 0 ? milliseconds(0) : kHeartbeat);
          if (stopping) return false;
          std::string text = ": alive\n\n";
          if (now != seen) text = fmt::format("id: {}\nevent: trials\ndata: {}\n\n", now, feed.since(seen));
          seen = now;
          return sink.write(text.data(), text.size());
        });
  }

  // Looks at the study while pages are open or something is wrong; rarely where a look takes long, so that the search
  // keeps the machine.
  void watch() {
    while (!stopping) {
      const auto begin = std::chrono::steady_clock::now();
      if (pages > 0 || study.is_file_gone() || !feed.trouble().empty()) study.look();
      const auto taken = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
      std::unique_lock lock(mutex);
      awake.wait_for(lock, std::max(milliseconds(options.poll_ms), 10 * taken), [this] { return stopping.load(); });
    }
  }

  DashboardOptions options;
  WatchedStudy study;
  TrialFeed& feed;
  httplib::Server server;
  int port = 0;
  std::atomic<bool> stopping = false, has_listened = false;
  std::atomic<int> pages = 0;
  std::mutex mutex;
  std::condition_variable awake;
  std::thread listening, watching;
};

Dashboard::Dashboard(DashboardOptions options) : impl_(std::make_unique<Impl>(std::move(options))) { impl_->start(); }
Dashboard::~Dashboard() = default;
int Dashboard::port() const { return impl_->port; }
std::string Dashboard::trouble() const { return impl_->feed.trouble(); }
std::string Dashboard::url() const { return fmt::format("http://127.0.0.1:{}/", impl_->port); }

}  // namespace nibble::report
