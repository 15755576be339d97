// nibble/report/dashboard.h
// A web page that shows a study while it runs, served to browsers on this machine.
//
//   /                 the page (web/dashboard.html), embedded when nibble is built
//   /api/study        what is searched: facts, parameters and their candidates
//   /api/trials       all trials (trial_feed.h)
//   /api/events       the same as server-sent events: first what changed since ?since= (or Last-Event-ID), then what
//                     changes
//   /api/trials/17    one trial: values, epochs, layers
// It reads the study and writes nothing. The study is looked at only while a page is open; whether its file is there,
// always. A study that goes away, or cannot be read, is no end: pages say so until it is there again.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nibble/report/report.h"
#include "nibble/search/storage.h"

namespace nibble::report {

struct DashboardOptions {
  std::string study{};      // URL
  int port = 0;             // of 127.0.0.1; 0: any that is free
  ReportData facts{};       // title, metric, model, data set, goal, references, settings; the rest is not looked at
  std::string cost{};       // beside facts.metric: "energy_nj", "bits"; empty: none
  std::string cost_name{};  // "Energy (nJ)"
  // Layers of a trial's network with their energies; may be empty. What it throws is shown in their place.
  std::function<std::vector<LayerRow>(const search::Trial&)> layers{};
  int poll_ms = 500;   // how often the study is looked at, at most
  std::string page{};  // empty: the embedded one
};

class Dashboard {
 public:
  // Serves from now on, in threads of its own.
  //   throws  IoError if the port cannot be had; what Storage::open throws
  explicit Dashboard(DashboardOptions options);
  ~Dashboard();  // closes all connections
  Dashboard(const Dashboard&) = delete;
  Dashboard& operator=(const Dashboard&) = delete;

  int port() const;
  std::string url() const;  // "http://127.0.0.1:8420/"
  // What is wrong with the study just now: a sentence ("the study is gone: ..."), or nothing.
  std::string trouble() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::report
