// nibble data: which data sets there are, where they lie, what is in them.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "nibble/cli/command.h"
#include "nibble/cli/data_options.h"
#include "nibble/cli/limits.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/cli/table.h"
#include "nibble/core/nearest_name.h"
#include "nibble/data/search_path.h"

namespace nibble::cli {
namespace {

struct DataCommandOptions {
  DataOptions data;
  bool json = false;
  int sample = 0;
};

int run_list(const DataCommandOptions& o, Streams& streams) {
  nlohmann::json rows = nlohmann::json::array();
  Table table{.headers = {"name", "shape", "classes", "train", "test", "where", "what"}, .rows = {}};
  for (const data::DatasetInfo& info : data::list_datasets()) {
    rows.push_back({{"name", info.name},
                    {"description", info.description},
                    {"shape", info.shape.extents()},
                    {"classes", info.num_classes},
                    {"train", info.train_count},
                    {"test", info.test_count},
                    {"location", info.location}});
    table.rows.push_back({info.name, info.shape.str(), std::to_string(info.num_classes),
                          std::to_string(info.train_count), std::to_string(info.test_count),
                          info.location.empty() ? "(would be downloaded)" : info.location, info.description});
  }
  if (o.json) {
    print_json({{"datasets", rows}}, streams.out);
  } else {
    print(table, streams.out);
  }
  return kOk;
}

data::Dataset fetch(const DataCommandOptions& o, bool allow_synthetic, Streams& streams) {
  check_data_name(o.data.name);
  listen_for_stop();
  ProgressBar bar(streams.err, streams.err_is_terminal);
  data::LoadOptions options = load_options(o.data, bar);
  options.allow_synthetic = allow_synthetic;
  return data::load_dataset(o.data.name, options);
}

int run_fetch(const DataCommandOptions& o, Streams& streams) {
  const data::Dataset dataset = fetch(o, false, streams);
  if (o.json) {
    print_json({{"name", dataset.name},
                {"source", dataset.source},
                {"train", dataset.train.count()},
                {"test", dataset.test.count()}},
               streams.out);
  } else {
    streams.out << fmt::format("{}: {} training and {} test samples, {}\n", dataset.name, dataset.train.count(),
                               dataset.test.count(), dataset.source);
  }
  return kOk;
}

std::vector<int64_t> label_counts(const data::Samples& samples, int num_classes) {
  std::vector<int64_t> counts(static_cast<size_t>(num_classes));
  for (int32_t label : samples.labels()) ++counts.at(static_cast<size_t>(label));
  return counts;
}

// One sample as characters, so that a person sees at once whether it is the right way up.
void draw_sample(const data::Samples& samples, int index, std::ostream& out) {
  const Shape& shape = samples.shape();
  if (shape.rank() != 3 || index >= samples.count()) return;
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  const int64_t at = index;
  samples.gather(std::span(&at, 1), values);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float span = std::max(*high - *low, 1e-9f);
  constexpr std::string_view kInk = " .:-=+*#%@";
  out << "test sample " << index;
  if (!samples.has_targets()) out << ", label " << samples.labels()[static_cast<size_t>(index)];
  out << '\n';
  for (int64_t y = 0; y < shape[0]; ++y) {
    for (int64_t x = 0; x < shape[1]; ++x) {
      float sum = 0;
      for (int64_t c = 0; c < shape[2]; ++c) sum += values[static_cast<size_t>((y * shape[1] + x) * shape[2] + c)];
      const float level = (sum / static_cast<float>(shape[2]) - *low) / span;
      const char ink = kInk[static_cast<size_t>(level * 9.0f + 0.5f)];
      out << ink << ink;
    }
    out << '\n';
  }
}

int run_show(const DataCommandOptions& o, Streams& streams) {
  const data::Dataset dataset = fetch(o, true, streams);
  if (!dataset.notice.empty()) streams.err << "note: " << dataset.notice << "\n";
  const auto train = label_counts(dataset.train, dataset.num_classes);
  const auto test = label_counts(dataset.test, dataset.num_classes);
  if (o.json) {
    nlohmann::json result = {
        {"name", dataset.name},           {"source", dataset.source},       {"shape", dataset.train.shape().extents()},
        {"classes", dataset.num_classes}, {"train", dataset.train.count()}, {"test", dataset.test.count()},
        {"train_per_class", train},       {"test_per_class", test}};
    if (dataset.train.has_targets()) result["target_shape"] = dataset.train.target_shape().extents();
    print_json(result, streams.out);
    return kOk;
  }
  streams.out << fmt::format("{} from {}\nsamples of shape {}", dataset.name, dataset.source,
                             dataset.train.shape().str());
  if (dataset.train.has_targets()) streams.out << ", real targets of shape " << dataset.train.target_shape().str();
  streams.out << "\n\n";
  Table table{.headers = {"class", "train", "test"}, .rows = {}};
  for (size_t c = 0; c < train.size(); ++c) {
    table.rows.push_back({std::to_string(c), std::to_string(train[c]), std::to_string(test[c])});
  }
  table.rows.push_back({"all", std::to_string(dataset.train.count()), std::to_string(dataset.test.count())});
  print(table, streams.out);
  streams.out << '\n';
  draw_sample(dataset.test, o.sample, streams.out);
  return kOk;
}

void add_name(CLI::App& app, DataCommandOptions& o) {
  app.add_option("NAME", o.data.name, "A name of 'nibble data list', or a folder or .npz as --data takes it")
      ->required();
  app.add_option("--holdout", o.data.holdout, "batch5: cifar10's data_batch_5 is the test part")->type_name("PART");
  app.add_option("--data-dir", o.data.data_dir, "Look in this folder only")->type_name("DIR");
}

}  // namespace

Run declare_data(CLI::App& app) {
  auto o = std::make_shared<DataCommandOptions>();
  app.require_subcommand(1);
  CLI::App* list = app.add_subcommand("list", "The data sets, and where they lie");
  CLI::App* fetch = app.add_subcommand("fetch", "Download a data set into the cache, unless it is there");
  CLI::App* show = app.add_subcommand("show", "Samples, classes and a picture");
  add_name(*fetch, *o);
  add_name(*show, *o);
  show->add_flag("--offline", o->data.offline, "Never download");
  show->add_option("--sample", o->sample, "Which test sample to draw")->check(not_negative());
  for (CLI::App* sub : {list, fetch, show}) sub->add_flag("--json", o->json, "Print as JSON");
  return [=](Streams& streams) {
    if (list->parsed()) return run_list(*o, streams);
    return fetch->parsed() ? run_fetch(*o, streams) : run_show(*o, streams);
  };
}

}  // namespace nibble::cli
