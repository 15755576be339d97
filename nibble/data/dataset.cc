#include "nibble/data/dataset.h"

#include <algorithm>
#include <numeric>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::data {
namespace {

void check_sizes(const Shape& shape, size_t values, int64_t count) {
  const int64_t wanted = count * shape.elements();
  if (static_cast<int64_t>(values) != wanted) {
    throw InvalidArgument("[Samples] {} values were given for {} samples of shape {}; {} are needed.", values, count,
                          shape.str(), wanted);
  }
}

void check_targets(const Tensor& targets) {
  if (targets.shape().rank() >= 2) return;
  throw InvalidArgument("[Samples] the targets have shape {}; it must be (samples, ...), such as (n, 1).",
                        targets.shape().str());
}

void check_index(int64_t index, int64_t count) {
  if (index >= 0 && index < count) return;
  throw InvalidArgument("[gather] sample {} was asked for; there are {}, numbered from 0.", index, count);
}

// One sample into one row of the batch. Plain loops over restrict pointers: the compiler turns
// them into SIMD, and widening a byte is exact.
template <class T>
void transform_row(const T* __restrict source, float scale, const float* __restrict mean, size_t size,
                   float* __restrict out) {
  if (mean == nullptr) {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<float>(source[i]) * scale;
  } else {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<float>(source[i]) * scale - mean[i];
  }
}

template <class T>
std::vector<T> copy_range(const std::vector<T>& values, size_t begin, size_t end) {
  if (values.empty()) return {};
  return {values.begin() + static_cast<std::ptrdiff_t>(begin), values.begin() + static_cast<std::ptrdiff_t>(end)};
}

// Sum is uint64_t for bytes, where every sum is exact, and double for floats.
template <class Sum, class T>
std::vector<float> mean_over_samples(const std::vector<T>& values, size_t size, int64_t count, float scale) {
  std::vector<Sum> sums(size, Sum{0});
  for (size_t at = 0; at < values.size(); at += size) {
    for (size_t i = 0; i < size; ++i) sums[i] += values[at + i];
  }
  std::vector<float> mean(size);
  for (size_t i = 0; i < size; ++i) {
    mean[i] =
        static_cast<float>(static_cast<double>(sums[i]) / static_cast<double>(count) * static_cast<double>(scale));
  }
  return mean;
}

}  // namespace

Samples::Samples(Shape shape, std::vector<uint8_t> values, std::vector<int32_t> labels)
    : shape_(std::move(shape)), bytes_(std::move(values)), labels_(std::move(labels)) {
  check_sizes(shape_, bytes_.size(), std::ssize(labels_));
}

Samples::Samples(Shape shape, std::vector<float> values, std::vector<int32_t> labels)
    : shape_(std::move(shape)), floats_(std::move(values)), labels_(std::move(labels)) {
  check_sizes(shape_, floats_.size(), std::ssize(labels_));
}

Samples::Samples(Shape shape, std::vector<uint8_t> values, Tensor targets)
    : shape_(std::move(shape)), bytes_(std::move(values)), targets_(std::move(targets)) {
  check_targets(targets_);
  check_sizes(shape_, bytes_.size(), count());
}

Samples::Samples(Shape shape, std::vector<float> values, Tensor targets)
    : shape_(std::move(shape)), floats_(std::move(values)), targets_(std::move(targets)) {
  check_targets(targets_);
  check_sizes(shape_, floats_.size(), count());
}

Shape Samples::target_shape() const {
  if (!has_targets()) return Shape{};
  const std::vector<int64_t> extents(targets_.shape().begin() + 1, targets_.shape().end());
  return Shape(extents);
}

void Samples::gather_targets(std::span<const int64_t> indices, std::span<float> out) const {
  const auto size = static_cast<size_t>(has_targets() ? target_shape().elements() : 0);
  if (out.size() != indices.size() * size) {
    throw InvalidArgument("[gather_targets] the output holds {} values; the targets of {} samples are {}.", out.size(),
                          indices.size(), indices.size() * size);
  }
  for (size_t row = 0; row < indices.size(); ++row) {
    check_index(indices[row], count());
    const auto from = targets_.data().subspan(static_cast<size_t>(indices[row]) * size, size);
    std::copy(from.begin(), from.end(), out.begin() + static_cast<std::ptrdiff_t>(row * size));
  }
}

void Samples::gather(std::span<const int64_t> indices, std::span<float> out) const {
  const auto size = static_cast<size_t>(shape_.elements());
  if (out.size() != indices.size() * size) {
    throw InvalidArgument("[gather] the output holds {} values; {} samples of shape {} need {}.", out.size(),
                          indices.size(), shape_.str(), indices.size() * size);
  }
  const float* mean = mean_.empty() ? nullptr : mean_.data();
  for (size_t row = 0; row < indices.size(); ++row) {
    const int64_t index = indices[row];
    check_index(index, count());
    const size_t from = static_cast<size_t>(index) * size;
    if (!bytes_.empty()) {
      transform_row(bytes_.data() + from, scale_, mean, size, out.data() + row * size);
    } else {
      transform_row(floats_.data() + from, scale_, mean, size, out.data() + row * size);
    }
  }
}

Samples Samples::slice(int64_t begin, int64_t end) const {
  if (begin < 0 || begin > end || end > count()) {
    throw InvalidArgument("[slice] samples {} to {} were asked for; there are {}.", begin, end, count());
  }
  const auto size = static_cast<size_t>(shape_.elements());
  const auto first = static_cast<size_t>(begin), last = static_cast<size_t>(end);
  Samples part;
  part.shape_ = shape_;
  part.bytes_ = copy_range(bytes_, first * size, last * size);
  part.floats_ = copy_range(floats_, first * size, last * size);
  part.labels_ = copy_range(labels_, first, last);
  if (has_targets()) {
    std::vector<int64_t> extents = targets_.shape().extents();
    const int64_t row = target_shape().elements();
    extents[0] = end - begin;
    const auto rows =
        targets_.data().subspan(static_cast<size_t>(begin * row), static_cast<size_t>((end - begin) * row));
    part.targets_ = Tensor(Shape(extents), {rows.begin(), rows.end()});
  }
  part.scale_ = scale_;
  part.mean_ = mean_;
  return part;
}

void Samples::set_transform(float scale, std::vector<float> mean) {
  if (!mean.empty() && static_cast<int64_t>(mean.size()) != shape_.elements()) {
    throw InvalidArgument("[set_transform] the mean has {} values; samples of shape {} need {} (or none).", mean.size(),
                          shape_.str(), shape_.elements());
  }
  scale_ = scale;
  mean_ = std::move(mean);
}

std::vector<float> Samples::mean_image(float scale) const {
  const auto size = static_cast<size_t>(shape_.elements());
  if (count() == 0) return std::vector<float>(size, 0.0f);
  if (!bytes_.empty()) return mean_over_samples<uint64_t>(bytes_, size, count(), scale);
  return mean_over_samples<double>(floats_, size, count(), scale);
}

void apply_preprocessing(Dataset& dataset, Preprocessing preprocessing) {
  float scale = 1.0f;
  std::vector<float> mean;
  switch (preprocessing) {
    case Preprocessing::kTutorial:
      // 256 and not 255 for bytes: the tutorial's own divisor, exact in binary.
      scale = dataset.max_value == 255.0f ? 1.0f / 256.0f : 1.0f / dataset.max_value;
      mean = dataset.train.mean_image(scale);
      break;
    case Preprocessing::kUnit:
      scale = 1.0f / dataset.max_value;
      break;
    case Preprocessing::kNone:
      break;
  }
  dataset.train.set_transform(scale, mean);
  dataset.test.set_transform(scale, std::move(mean));
}

Preprocessing parse_preprocessing(std::string_view name) {
  if (name == "tutorial") return Preprocessing::kTutorial;
  if (name == "unit") return Preprocessing::kUnit;
  if (name == "none") return Preprocessing::kNone;
  throw InvalidArgument(
      "[preprocessing] '{}' is unknown. Use 'tutorial' (x/256 minus the training mean image), 'unit' (0 to 1) or "
      "'none' (values as stored).",
      name);
}

std::vector<int64_t> shuffled_indices(int64_t count, uint64_t seed, int64_t epoch) {
  if (count < 0 || count > (int64_t{1} << 32) - 1) {
    throw InvalidArgument("[shuffled_indices] {} samples were given; 0 to 2^32 - 1 are allowed.", count);
  }
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kShuffle, .step = static_cast<uint32_t>(epoch)});
  for (size_t i = indices.size(); i > 1; --i) {  // Fisher and Yates, from the end
    std::swap(indices[i - 1], indices[random.below(static_cast<uint32_t>(i))]);
  }
  return indices;
}

std::vector<std::span<const int64_t>> batches(std::span<const int64_t> indices, int64_t batch_size) {
  if (batch_size < 1) throw InvalidArgument("[batches] batch_size is {}; it must be at least 1.", batch_size);
  std::vector<std::span<const int64_t>> parts;
  for (size_t at = 0; at < indices.size(); at += static_cast<size_t>(batch_size)) {
    parts.push_back(indices.subspan(at, std::min(static_cast<size_t>(batch_size), indices.size() - at)));
  }
  return parts;
}

Tensor one_hot(std::span<const int32_t> labels, int num_classes) {
  if (num_classes < 1) throw InvalidArgument("[one_hot] num_classes is {}; it must be at least 1.", num_classes);
  Tensor result(Shape{static_cast<int64_t>(labels.size()), num_classes});
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= num_classes) {
      throw InvalidArgument("[one_hot] label {} of sample {} is not in 0 .. {}.", labels[i], i, num_classes - 1);
    }
    result[static_cast<int64_t>(i) * num_classes + labels[i]] = 1.0f;
  }
  return result;
}

}  // namespace nibble::data
