// nibble/data/dataset.h
// Samples with their answers in memory, and how they become batches.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/core/tensor.h"

namespace nibble::data {

// How stored values become network input:  (value * scale) - mean
//   kTutorial  x/256 minus the mean image of the training set (AutoQKeras tutorial);
//              x/16 minus it where values end at 16 (the UCI digits)
//   kUnit      x/255 for bytes (x/16 for the UCI digits): 0 to 1
//   kNone      values as stored
// The mean image is summed exactly (integers) or in double, and rounded once to float.
enum class Preprocessing { kTutorial, kUnit, kNone };

// Samples of one split. Bytes stay bytes until a batch is made, so that a worker needs
// a quarter of the memory.
class Samples {
 public:
  Samples() = default;
  // values.size() must be count * shape.elements(); labels one per sample
  Samples(Shape shape, std::vector<uint8_t> values, std::vector<int32_t> labels);
  Samples(Shape shape, std::vector<float> values, std::vector<int32_t> labels);
  // Without classes: what is to be learned are numbers, targets [count, ...], of rank 2 at least.
  Samples(Shape shape, std::vector<uint8_t> values, Tensor targets);
  Samples(Shape shape, std::vector<float> values, Tensor targets);

  int64_t count() const { return has_targets() ? targets_.shape()[0] : static_cast<int64_t>(labels_.size()); }
  const Shape& shape() const { return shape_; }                // of one sample, NHWC without N
  std::span<const int32_t> labels() const { return labels_; }  // empty where there are targets
  bool has_targets() const { return targets_.shape().rank() > 0; }
  const Tensor& targets() const { return targets_; }  // a scalar where there are none
  Shape target_shape() const;                         // of one sample; of rank 0 where there are none

  // The targets of the samples at `indices`, in order.
  //   out     written; indices.size() * target_shape().elements()
  //   throws  as gather()
  void gather_targets(std::span<const int64_t> indices, std::span<float> out) const;

  // out[i] = value * scale - mean, for the samples at `indices`, in order.
  //   out     written; indices.size() * shape().elements()
  //   throws  InvalidArgument if out has another size or an index is not 0 .. count()-1
  void gather(std::span<const int64_t> indices, std::span<float> out) const;

  // Samples begin .. end-1 as a set of their own; same preprocessing.
  //   throws  InvalidArgument unless 0 <= begin <= end <= count()
  Samples slice(int64_t begin, int64_t end) const;

  // Sets the transform applied by gather. mean: one value per element of shape(), or empty.
  void set_transform(float scale, std::vector<float> mean);
  float scale() const { return scale_; }
  std::span<const float> mean() const { return mean_; }
  std::vector<float> mean_image(float scale) const;  // mean over the samples of value * scale

  // The values as stored: one of the two is empty.
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::span<const float> floats() const { return floats_; }

 private:
  Shape shape_;
  std::vector<uint8_t> bytes_;  // one of these two is used
  std::vector<float> floats_;
  std::vector<int32_t> labels_;  // one of these two too
  Tensor targets_;               // a scalar: none
  float scale_ = 1.0f;
  std::vector<float> mean_;
};

struct Dataset {
  std::string name = {};  // "mnist"
  int num_classes = 0;    // 0 where the samples have targets
  Samples train = {}, test = {};
  float max_value =
      255.0f;               // the largest value that the format can store; 16 for the UCI digits, 1 of a user's numbers
  std::string source = {};  // where it came from, for the log: a directory, "downloaded", "synthetic"
  std::string notice = {};  // a sentence for the user, or empty (e.g. synthetic data stands in)
};

// Applies a named preprocessing to both splits; statistics come from `train`.
void apply_preprocessing(Dataset& dataset, Preprocessing preprocessing);
Preprocessing parse_preprocessing(std::string_view name);  // throws InvalidArgument

// A permutation of 0..count-1 for one epoch, from (seed, kShuffle, epoch).
std::vector<int64_t> shuffled_indices(int64_t count, uint64_t seed, int64_t epoch);

// Cuts the indices of one epoch into batches of batch_size; the last one may be shorter.
//   returns  views into `indices`
//   throws   InvalidArgument if batch_size < 1
std::vector<std::span<const int64_t>> batches(std::span<const int64_t> indices, int64_t batch_size);

// labels -> [n, num_classes] of 0 and 1.  throws InvalidArgument if a label is out of range
Tensor one_hot(std::span<const int32_t> labels, int num_classes);

}  // namespace nibble::data
