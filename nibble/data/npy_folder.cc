#include "nibble/data/npy_folder.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "nibble/core/error.h"
#include "nibble/data/npy.h"
#include "nibble/data/npz.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr float kMostClasses = 1 << 20;  // more are a mistake: targets saved as integers

// Where the four arrays are.
struct Arrays {
  std::string place;                                             // all of them, for errors
  std::function<NpyArray(const std::string& name)> read;         // of "x_train"
  std::function<std::string(const std::string& name)> place_of;  // for errors
};

constexpr const char* kNames[] = {"x_train", "y_train", "x_test", "y_test"};

NpyArray read_array(const Arrays& arrays, const std::string& name, int least_rank, std::string_view example) {
  NpyArray array = arrays.read(name);
  const std::string place = arrays.place_of(name);
  const Shape& shape = array.values.shape();
  if (shape.rank() < least_rank || shape[0] == 0) {
    throw CorruptFile("[read_npy_folder] {}: the array has shape {}; expected is {}, with n of 1 or more.", place,
                      shape.str(), example);
  }
  const int64_t row = shape.elements() / shape[0];
  if (row == 0) {
    throw CorruptFile("[read_npy_folder] {}: the array has shape {}, which holds no values.", place, shape.str());
  }
  const auto values = array.values.data();
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end()) {
    throw CorruptFile("[read_npy_folder] {}: sample {} holds {}; give finite numbers, none beyond 3e38.", place,
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

std::vector<int32_t> labels_of(const NpyArray& y, const std::string& place) {
  std::vector<int32_t> labels;
  for (const float value : y.values.data()) {
    if (!(value >= 0 && value < kMostClasses)) {
      throw CorruptFile(
          "[read_npy_folder] {}: sample {} has the label {}; classes are numbered from 0. Save numbers that are to be "
          "learned as array.astype('float32').",
          place, labels.size(), value);
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

Split read_split(const Arrays& arrays, const std::string& part) {
  const std::string x_name = "x_" + part, y_name = "y_" + part;
  NpyArray x = read_array(arrays, x_name, 2, "(n, ...), such as (n, 28, 28, 1) or (n, 16)");
  NpyArray y = read_array(arrays, y_name, 1, "(n,) or (n, ...)");
  const int64_t count = x.values.shape()[0];
  if (y.values.shape()[0] != count) {
    throw CorruptFile("[read_npy_folder] {} holds {} samples, but {} has answers for {}.", arrays.place_of(x_name),
                      count, arrays.place_of(y_name), y.values.shape()[0]);
  }
  const bool is_bytes = x.elements == NpyElements::kByte;
  const Shape shape = row_shape(x.values.shape());
  const auto with = [&](auto answers) {
    if (is_bytes) return Samples(shape, bytes_of(x.values), std::move(answers));
    return Samples(shape, std::vector<float>(x.values.data().begin(), x.values.data().end()), std::move(answers));
  };
  if (holds_classes(y)) return {with(labels_of(y, arrays.place_of(y_name))), is_bytes};
  const Shape targets = y.values.shape().rank() == 1 ? Shape{count, 1} : y.values.shape();
  return {with(y.values.reshaped(targets)), is_bytes};
}

// `what` of both parts.
void check_same(const Arrays& arrays, std::string_view what, const std::string& train, const std::string& test) {
  if (train == test) return;
  throw CorruptFile("[read_npy_folder] {}: {} of the training samples: {}; of the test samples: {}. They must agree.",
                    arrays.place, what, train, test);
}

std::string answers_of(const Samples& samples) {
  return samples.has_targets() ? "real, of shape " + samples.target_shape().str() : "classes";
}

void check_files(const fs::path& folder) {
  std::string missing;
  for (const std::string name : kNames) {
    std::error_code error;
    if (!fs::is_regular_file(folder / (name + ".npy"), error)) missing += (missing.empty() ? "" : ", ") + name + ".npy";
  }
  if (missing.empty()) return;
  throw IoError(
      "[read_npy_folder] the folder '{}' lacks {}. A data set of one's own is x_train.npy, y_train.npy, x_test.npy and "
      "y_test.npy (docs/data.md).",
      folder.string(), missing);
}

void check_members(const NpzFile& archive, const fs::path& file) {
  std::string missing;
  for (const std::string name : kNames) {
    if (!archive.contains(name)) missing += (missing.empty() ? "" : ", ") + name;
  }
  if (missing.empty()) return;
  throw CorruptFile(
      "[read_npz] the archive '{}' lacks {}; it holds {}. A data set of one's own is written by "
      "numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...) (docs/data.md).",
      file.string(), missing,
      archive.names().empty() ? "no array" : fmt::format("{}", fmt::join(archive.names(), ", ")));
}

//   name  of the data set
Dataset dataset_of(const Arrays& arrays, std::string name) {
  Split train = read_split(arrays, "train"), test = read_split(arrays, "test");
  check_same(arrays, "the shapes", train.samples.shape().str(), test.samples.shape().str());
  check_same(arrays, "the answers", answers_of(train.samples), answers_of(test.samples));
  check_same(arrays, "the values", train.is_bytes ? "bytes" : "numbers", test.is_bytes ? "bytes" : "numbers");
  Dataset dataset;
  dataset.name = std::move(name);
  if (dataset.name.empty() || dataset.name == "..") dataset.name = "data";
  for (const Samples* part : {&train.samples, &test.samples}) {
    for (const int32_t label : part->labels()) dataset.num_classes = std::max(dataset.num_classes, label + 1);
  }
  dataset.max_value = train.is_bytes ? 255.0f : 1.0f;
  dataset.source = arrays.place;
  dataset.train = std::move(train.samples);
  dataset.test = std::move(test.samples);
  return dataset;
}

bool is_archive(const fs::path& path) {
  std::error_code error;
  return path.extension() == ".npz" && !fs::is_directory(path, error);
}

}  // namespace

bool names_a_path(std::string_view name) {
  std::error_code error;
  return name.find('/') != std::string_view::npos || is_archive(name) || fs::is_directory(fs::path(name), error);
}

Dataset read_npy_folder(const fs::path& folder) {
  check_files(folder);
  const auto file_of = [&](const std::string& name) { return folder / (name + ".npy"); };
  const fs::path path = (folder / ".").lexically_normal();  // ends in a '/'
  return dataset_of({.place = folder.string(),
                     .read = [&](const std::string& name) { return read_npy_array(file_of(name)); },
                     .place_of = [&](const std::string& name) { return file_of(name).string(); }},
                    path.parent_path().filename().string());
}

Dataset read_npz_file(const fs::path& file) {
  const NpzFile archive(file);
  check_members(archive, file);
  return dataset_of({.place = file.string(),
                     .read = [&](const std::string& name) { return archive.read(name); },
                     .place_of = [&](const std::string& name) { return archive.place(name); }},
                    file.stem().string());
}

Dataset read_own_arrays(const fs::path& path) { return is_archive(path) ? read_npz_file(path) : read_npy_folder(path); }

}  // namespace nibble::data
