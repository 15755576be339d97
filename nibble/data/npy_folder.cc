#include "nibble/data/npy_folder.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/data/npy.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr float kMostClasses = 1 << 20;  // more are a mistake: targets saved as integers

NpyArray read_array(const fs::path& file, int least_rank, std::string_view example) {
  NpyArray array = read_npy_array(file);
  const Shape& shape = array.values.shape();
  if (shape.rank() < least_rank || shape[0] == 0) {
    throw CorruptFile("[read_npy_folder] {}: the array has shape {}; expected is {}, with n of 1 or more.",
                      file.string(), shape.str(), example);
  }
  const int64_t row = shape.elements() / shape[0];
  if (row == 0) {
    throw CorruptFile("[read_npy_folder] {}: the array has shape {}, which holds no values.", file.string(),
                      shape.str());
  }
  const auto values = array.values.data();
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end()) {
    throw CorruptFile("[read_npy_folder] {}: sample {} holds {}; give finite numbers, none beyond 3e38.", file.string(),
                      (bad - values.begin()) / row, std::abs(*bad));
  }
  return array;
}

Shape row_shape(const Shape& shape) { return Shape(std::vector<int64_t>(shape.begin() + 1, shape.end())); }

// Whole numbers, one a sample.
bool holds_classes(const NpyArray& y) {
  const Shape& shape = y.values.shape();
  return y.elements != NpyElements::kFloat && (shape.rank() == 1 || (shape.rank() == 2 && shape[1] == 1));
}

std::vector<int32_t> labels_of(const NpyArray& y, const fs::path& file) {
  std::vector<int32_t> labels;
  for (const float value : y.values.data()) {
    if (!(value >= 0 && value < kMostClasses)) {
      throw CorruptFile(
          "[read_npy_folder] {}: sample {} has the label {}; classes are numbered from 0. Save numbers that are to be "
          "learned as array.astype('float32').",
          file.string(), labels.size(), value);
    }
    labels.push_back(static_cast<int32_t>(value));
  }
  return labels;
}

std::vector<uint8_t> bytes_of(const Tensor& values) {
  std::vector<uint8_t> bytes;
  bytes.reserve(values.data().size());
  for (const float value : values.data()) bytes.push_back(static_cast<uint8_t>(value));
  return bytes;
}

struct Split {
  Samples samples;
  bool is_bytes = false;
};

Split read_split(const fs::path& folder, std::string_view part) {
  const fs::path x_file = folder / fmt::format("x_{}.npy", part), y_file = folder / fmt::format("y_{}.npy", part);
  NpyArray x = read_array(x_file, 2, "(n, ...), such as (n, 28, 28, 1) or (n, 16)");
  NpyArray y = read_array(y_file, 1, "(n,) or (n, ...)");
  const int64_t count = x.values.shape()[0];
  if (y.values.shape()[0] != count) {
    throw CorruptFile("[read_npy_folder] {} holds {} samples, but {} has answers for {}.", x_file.string(), count,
                      y_file.string(), y.values.shape()[0]);
  }
  const bool is_bytes = x.elements == NpyElements::kByte;
  const Shape shape = row_shape(x.values.shape());
  const auto with = [&](auto answers) {
    if (is_bytes) return Samples(shape, bytes_of(x.values), std::move(answers));
    return Samples(shape, std::vector<float>(x.values.data().begin(), x.values.data().end()), std::move(answers));
  };
  if (holds_classes(y)) return {with(labels_of(y, y_file)), is_bytes};
  const Shape targets = y.values.shape().rank() == 1 ? Shape{count, 1} : y.values.shape();
  return {with(y.values.reshaped(targets)), is_bytes};
}

// `what` of both parts.
void check_same(const fs::path& folder, std::string_view what, const std::string& train, const std::string& test) {
  if (train == test) return;
  throw CorruptFile("[read_npy_folder] {}: {} of the training samples: {}; of the test samples: {}. They must agree.",
                    folder.string(), what, train, test);
}

std::string answers_of(const Samples& samples) {
  return samples.has_targets() ? "real, of shape " + samples.target_shape().str() : "classes";
}

void check_files(const fs::path& folder) {
  std::string missing;
  for (const char* name : {"x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"}) {
    std::error_code error;
    if (!fs::is_regular_file(folder / name, error)) missing += (missing.empty() ? "" : ", ") + std::string(name);
  }
  if (missing.empty()) return;
  throw IoError(
      "[read_npy_folder] the folder '{}' lacks {}. A data set of one's own is x_train.npy, y_train.npy, x_test.npy and "
      "y_test.npy (docs/data.md).",
      folder.string(), missing);
}

}  // namespace

bool names_a_folder(std::string_view name) {
  std::error_code error;
  return name.find('/') != std::string_view::npos || fs::is_directory(fs::path(name), error);
}

Dataset read_npy_folder(const fs::path& folder) {
  check_files(folder);
  Split train = read_split(folder, "train"), test = read_split(folder, "test");
  check_same(folder, "the shapes", train.samples.shape().str(), test.samples.shape().str());
  check_same(folder, "the answers", answers_of(train.samples), answers_of(test.samples));
  check_same(folder, "the values", train.is_bytes ? "bytes" : "numbers", test.is_bytes ? "bytes" : "numbers");
  Dataset dataset;
  const fs::path path = (folder / ".").lexically_normal();  // ends in a '/'
  dataset.name = path.parent_path().filename().string();
  if (dataset.name.empty() || dataset.name == "..") dataset.name = "data";
  for (const Samples* part : {&train.samples, &test.samples}) {
    for (const int32_t label : part->labels()) dataset.num_classes = std::max(dataset.num_classes, label + 1);
  }
  dataset.max_value = train.is_bytes ? 255.0f : 1.0f;
  dataset.source = folder.string();
  dataset.train = std::move(train.samples);
  dataset.test = std::move(test.samples);
  return dataset;
}

}  // namespace nibble::data
