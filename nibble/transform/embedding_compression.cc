#include "nibble/transform/embedding_compression.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/transform/codebook.h"

namespace nibble::transform {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows of a matrix and the centroids among them.
class RowClustering {
 public:
  RowClustering(const Tensor& rows, int count) : rows_(rows), count_(count), width_(rows.shape()[1]) {}

  // Lloyd's algorithm from one start. Returns the sum of squared distances.
  double run(RandomStream& random) {
    start(random);
    constexpr int kMostRounds = 100;
    double cost = assign();
    for (int round = 0; round < kMostRounds; ++round) {
      const std::vector<int32_t> before = assigned_;
      const std::vector<double> centroids = centroids_;
      move_to_means();
      const double next = assign();
      if (next < cost) {
        cost = next;
        continue;
      }
      assigned_ = before, centroids_ = centroids;
      break;
    }
    return cost;
  }
  const std::vector<int32_t>& assigned() const { return assigned_; }

 private:
  int64_t row_count() const { return rows_.shape()[0]; }
  size_t centroid_count() const { return centroids_.size() / static_cast<size_t>(width_); }

  double distance(int64_t row, size_t centroid) const {
    const float* x = rows_.data().data() + row * width_;
    const double* c = centroids_.data() + centroid * static_cast<size_t>(width_);
    double sum = 0;
    for (int64_t i = 0; i < width_; ++i) sum += (x[i] - c[i]) * (x[i] - c[i]);
    return sum;
  }

  void add_centroid(int64_t row) {
    const float* x = rows_.data().data() + row * width_;
    centroids_.insert(centroids_.end(), x, x + width_);
  }

  // k-means++ (codebook.cc); fewer where all rows are centroids already.
  void start(RandomStream& random) {
    centroids_.clear();
    add_centroid(random.below(static_cast<uint32_t>(row_count())));
    std::vector<double> nearest(static_cast<size_t>(row_count()), kInfinity);
    while (static_cast<int>(centroid_count()) < count_) {
      double sum = 0;
      for (int64_t row = 0; row < row_count(); ++row) {
        double& d = nearest[static_cast<size_t>(row)];
        d = std::min(d, distance(row, centroid_count() - 1));
        sum += d;
      }
      if (sum == 0) break;
      double left = random.uniform_double() * sum;
      int64_t chosen = 0;
      for (int64_t row = 0; row < row_count(); ++row) {
        const double d = nearest[static_cast<size_t>(row)];
        if (d > 0) chosen = row;
        left -= d;
        if (left <= 0 && d > 0) break;
      }
      add_centroid(chosen);
    }
  }

  // Every row to its nearest centroid.
  double assign() {
    assigned_.assign(static_cast<size_t>(row_count()), 0);
    double cost = 0;
    for (int64_t row = 0; row < row_count(); ++row) {
      double best = kInfinity;
      for (size_t c = 0; c < centroid_count(); ++c) {
        const double d = distance(row, c);
        if (d >= best) continue;
        best = d;
        assigned_[static_cast<size_t>(row)] = static_cast<int32_t>(c);
      }
      cost += best;
    }
    return cost;
  }

  // A centroid without rows stays where it is.
  void move_to_means() {
    std::vector<double> sums(centroids_.size(), 0.0);
    std::vector<int64_t> counts(centroid_count(), 0);
    for (int64_t row = 0; row < row_count(); ++row) {
      const auto c = static_cast<size_t>(assigned_[static_cast<size_t>(row)]);
      ++counts[c];
      for (int64_t i = 0; i < width_; ++i)
        sums[c * static_cast<size_t>(width_) + static_cast<size_t>(i)] += rows_[row * width_ + i];
    }
    for (size_t i = 0; i < centroids_.size(); ++i) {
      const int64_t count = counts[i / static_cast<size_t>(width_)];
      if (count > 0) centroids_[i] = sums[i] / static_cast<double>(count);
    }
  }

  const Tensor& rows_;
  const int count_;
  const int64_t width_;
  std::vector<double> centroids_;  // one after the other
  std::vector<int32_t> assigned_;
};

std::vector<float> quantized(const std::vector<float>& values, const quant::QuantizerPtr& quantizer) {
  if (quantizer == nullptr) return values;
  const Tensor real = quantizer->quantize(Tensor(Shape{static_cast<int64_t>(values.size())}, values)).real;
  std::vector<float> result(real.data().begin(), real.data().end());
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace

std::vector<int32_t> cluster_rows(const Tensor& rows, int count, uint64_t seed, int restarts) {
  if (rows.shape().rank() != 2 || rows.size() == 0 || count < 1 || restarts < 1) {
    throw InvalidArgument(
        "[cluster_rows] rows of shape {}, {} clusters, {} restarts; there must be two axes, and at least one of each.",
        rows.shape().str(), count, restarts);
  }
  for (const float value : rows.data()) {
    if (!std::isfinite(value)) throw InvalidArgument("[cluster_rows] a value is {}; all must be finite.", value);
  }
  double best = kInfinity;
  std::vector<int32_t> result;
  for (int restart = 0; restart < restarts; ++restart) {
    RandomStream random({seed, RandomPurpose::kSampler, 1, static_cast<uint32_t>(restart)});
    RowClustering clustering(rows, count);
    const double cost = clustering.run(random);
    if (cost >= best) continue;
    best = cost;
    result = clustering.assigned();
  }
  return result;
}

EmbeddingCompression two_tier_embedding_compression(const Tensor& weights, int bits,
                                                    const quant::QuantizerPtr& quantizer, uint64_t seed) {
  if (bits < 1 || bits > 8) {
    throw InvalidArgument("[two_tier_embedding_compression] bits is {}; it must lie between 1 and 8.", bits);
  }
  const int places = 1 << bits;
  EmbeddingCompression result{
      cluster_rows(weights, places, seed), {}, Tensor(Shape{places, places}), Tensor(weights.shape())};
  result.indices.resize(static_cast<size_t>(weights.size()));
  const int64_t width = weights.shape()[1];
  for (int block = 0; block < places; ++block) {
    std::vector<int64_t> elements;
    std::vector<float> values;
    for (int64_t i = 0; i < weights.size(); ++i) {
      if (result.blocks[static_cast<size_t>(i / width)] != block) continue;
      elements.push_back(i);
      values.push_back(weights[i]);
    }
    if (values.empty()) continue;
    const std::vector<float> codebook = quantized(k_means(values, places, seed), quantizer);
    for (int place = 0; place < places; ++place) {
      result.codebooks[int64_t{block} * places + place] =
          codebook[std::min(static_cast<size_t>(place), codebook.size() - 1)];
    }
    for (const int64_t i : elements) {
      const int32_t index = nearest_centroid(weights[i], codebook);
      result.indices[static_cast<size_t>(i)] = index;
      result.restored[i] = codebook[static_cast<size_t>(index)];
    }
  }
  return result;
}

}  // namespace nibble::transform
