#include "nibble/cli/data_options.h"

#include <CLI/CLI.hpp>

#include "nibble/cli/choices.h"
#include "nibble/cli/progress.h"
#include "nibble/cli/stop_signal.h"
#include "nibble/data/npy_folder.h"

namespace nibble::cli {
namespace {

data::Preprocessing preprocessing_of(const DataOptions& options) {
  return choose<data::Preprocessing>("--preprocessing", options.preprocessing,
                                     {{"tutorial", data::Preprocessing::kTutorial},
                                      {"unit", data::Preprocessing::kUnit},
                                      {"none", data::Preprocessing::kNone}});
}

}  // namespace

void add_data_options(CLI::App& app, DataOptions& options) {
  app.add_option("--data", options.name,
                 "Data set ('nibble data list' shows them), or a folder with x_train.npy, y_train.npy, x_test.npy and "
                 "y_test.npy, or an .npz archive of them")
      ->required()
      ->type_name("NAME");
  app.add_option("--holdout", options.holdout, "Evaluate on another part: batch5 (cifar10's data_batch_5)")
      ->type_name("PART");
  app.add_option("--preprocessing", options.preprocessing,
                 "tutorial: x/256 minus the mean training image; unit: 0 to 1; none")
      ->type_name("KIND")
      ->capture_default_str();
  app.add_option("--data-dir", options.data_dir, "Look for the data in this folder only")->type_name("DIR");
  app.add_flag("--offline", options.offline, "Never download");
}

void check_data_name(const std::string& name) {
  const auto names = data::dataset_names();
  if (std::find(names.begin(), names.end(), name) != names.end() || data::names_a_path(name)) return;
  throw UsageError("there is no data set '{}'. {}", name, suggest(name, names));
}

data::LoadOptions load_options(const DataOptions& options, ProgressBar& bar) {
  data::LoadOptions load;
  load.holdout = options.holdout;
  load.data_dir = options.data_dir;
  load.allow_download = !options.offline;
  load.stop = &stop_requested();
  load.progress = [&bar](std::string_view file, uint64_t done, uint64_t total) {
    const double fraction = total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
    bar.update(fraction, fmt::format("downloading {}", file),
               fmt::format("{:.1f} of {:.1f} MB", static_cast<double>(done) / 1e6, static_cast<double>(total) / 1e6));
  };
  return load;
}

data::Dataset load(const DataOptions& options, Streams& streams) {
  const data::Preprocessing preprocessing = preprocessing_of(options);
  check_data_name(options.name);
  ProgressBar bar(streams.err, streams.err_is_terminal);
  data::Dataset dataset = data::load_dataset(options.name, load_options(options, bar));
  bar.clear();
  data::apply_preprocessing(dataset, preprocessing);
  streams.err << fmt::format("data: {} from {}: {} training and {} test samples\n", dataset.name, dataset.source,
                             dataset.train.count(), dataset.test.count());
  if (!dataset.notice.empty()) streams.err << "note: " << dataset.notice << "\n";
  return dataset;
}

}  // namespace nibble::cli
