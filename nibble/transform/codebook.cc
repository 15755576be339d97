#include "nibble/transform/codebook.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"

namespace nibble::transform {
namespace {

struct Clustering {
  std::vector<double> centroids;
  double cost = std::numeric_limits<double>::infinity();  // sum of squared distances
};

double squared_distance(double value, const std::vector<double>& centroids) {
  double best = std::numeric_limits<double>::infinity();
  for (const double centroid : centroids) best = std::min(best, (value - centroid) * (value - centroid));
  return best;
}

// k-means++: each start is drawn with a probability that grows with its squared distance from those before it.
//   D. Arthur, S. Vassilvitskii, "k-means++", SODA 2007
std::vector<double> starts(std::span<const float> values, int count, RandomStream& random) {
  std::vector<double> centroids = {values[random.below(static_cast<uint32_t>(values.size()))]};
  while (static_cast<int>(centroids.size()) < count) {
    double sum = 0;
    for (const float value : values) sum += squared_distance(value, centroids);
    if (sum == 0) break;
    double left = random.uniform_double() * sum;
    float chosen = values.back();
    for (const float value : values) {
      left -= squared_distance(value, centroids);
      if (left > 0) continue;
      chosen = value;
      break;
    }
    centroids.push_back(chosen);
  }
  std::sort(centroids.begin(), centroids.end());
  return centroids;
}

// One round of Lloyd's: means of the values nearest to each centroid. Values are sorted, so each centroid owns a run.
Clustering improved(std::span<const float> sorted, const std::vector<double>& centroids) {
  std::vector<double> sums(centroids.size(), 0.0);
  std::vector<int64_t> counts(centroids.size(), 0);
  Clustering result{centroids, 0.0};
  size_t nearest = 0;
  for (const float value : sorted) {
    const auto distance = [&](size_t c) { return std::abs(value - centroids[c]); };
    while (nearest + 1 < centroids.size() && distance(nearest + 1) < distance(nearest)) ++nearest;
    sums[nearest] += value;
    ++counts[nearest];
    result.cost += distance(nearest) * distance(nearest);
  }
  for (size_t c = 0; c < centroids.size(); ++c) {
    if (counts[c] > 0) result.centroids[c] = sums[c] / static_cast<double>(counts[c]);
  }
  return result;
}

Clustering cluster(std::span<const float> sorted, int count, RandomStream& random) {
  constexpr int kMostRounds = 300;
  Clustering best{starts(sorted, count, random)};
  for (int round = 0; round < kMostRounds; ++round) {
    Clustering next = improved(sorted, best.centroids);
    if (!(next.cost < best.cost)) break;
    best = std::move(next);
  }
  return best;
}

}  // namespace

int32_t nearest_centroid(float value, std::span<const float> centroids) {
  size_t best = 0;
  for (size_t c = 1; c < centroids.size(); ++c) {
    const float to_best = (value - centroids[best]) * (value - centroids[best]);
    if ((value - centroids[c]) * (value - centroids[c]) < to_best) best = c;
  }
  return static_cast<int32_t>(best);
}

InOutTable in_out_table(std::vector<float> centroids, const quant::Quantizer& quantizer) {
  std::sort(centroids.begin(), centroids.end());
  InOutTable table{std::move(centroids), {}};
  for (const float value : quantizer.range()) table.out.push_back(nearest_centroid(value, table.in));
  return table;
}

std::vector<float> k_means(std::span<const float> values, int count, uint64_t seed, int restarts) {
  if (values.empty() || count < 1 || restarts < 1) {
    throw InvalidArgument("[k_means] {} values, {} clusters and {} restarts; each must be at least 1.", values.size(),
                          count, restarts);
  }
  std::vector<float> sorted(values.begin(), values.end());
  for (const float value : sorted) {
    if (!std::isfinite(value)) throw InvalidArgument("[k_means] a value is {}; all must be finite.", value);
  }
  std::sort(sorted.begin(), sorted.end());
  Clustering best;
  for (int restart = 0; restart < restarts; ++restart) {
    RandomStream random({seed, RandomPurpose::kSampler, 0, static_cast<uint32_t>(restart)});
    Clustering found = cluster(sorted, count, random);
    if (found.cost < best.cost || best.centroids.empty()) best = std::move(found);
  }
  std::vector<float> centroids(best.centroids.begin(), best.centroids.end());
  std::sort(centroids.begin(), centroids.end());
  return centroids;
}

WeightCompression compress_weights(const Tensor& weights, int bits, int axis, const quant::QuantizerPtr& quantizer,
                                   uint64_t seed) {
  const int rank = weights.shape().rank(), position = axis < 0 ? axis + rank : axis;
  if (bits < 1 || bits > 8) throw InvalidArgument("[compress_weights] bits is {}; it must lie between 1 and 8.", bits);
  if (position < 0 || position >= rank) {
    throw InvalidArgument("[compress_weights] axis {} is not an axis of a weight of shape {}.", axis,
                          weights.shape().str());
  }
  int64_t inner = 1;
  for (int i = position + 1; i < rank; ++i) inner *= weights.shape()[i];
  const int64_t slices = weights.shape()[position];
  const auto slice_of = [&](int64_t element) { return element / inner % slices; };

  std::vector<std::vector<float>> values(static_cast<size_t>(slices)), codebooks;
  for (int64_t i = 0; i < weights.size(); ++i) values[static_cast<size_t>(slice_of(i))].push_back(weights[i]);
  const int places = 1 << bits;
  WeightCompression result{{}, Tensor(Shape{slices, places}), Tensor(weights.shape())};
  for (int64_t s = 0; s < slices; ++s) {
    std::vector<float> centroids = k_means(values[static_cast<size_t>(s)], places, seed);
    if (quantizer != nullptr) {
      const auto count = static_cast<int64_t>(centroids.size());
      const Tensor quantized = quantizer->quantize(Tensor(Shape{count}, centroids)).real;
      centroids.assign(quantized.data().begin(), quantized.data().end());
      std::sort(centroids.begin(), centroids.end());
    }
    for (int c = 0; c < places; ++c) {
      result.codebook[s * places + c] = centroids[std::min(static_cast<size_t>(c), centroids.size() - 1)];
    }
    codebooks.push_back(std::move(centroids));
  }
  for (int64_t i = 0; i < weights.size(); ++i) {
    const std::vector<float>& codebook = codebooks[static_cast<size_t>(slice_of(i))];
    result.indices.push_back(nearest_centroid(weights[i], codebook));
    result.restored[i] = codebook[static_cast<size_t>(result.indices.back())];
  }
  return result;
}

Tensor binary_to_thermometer(const Tensor& x, int classes, float range, bool with_residue) {
  if (classes < 2 || !(range > 0.0f)) {
    throw InvalidArgument(
        "[binary_to_thermometer] {} classes over a range of {}; there must be 2 or more, and a range "
        "above 0.",
        classes, range);
  }
  std::vector<int64_t> extents = x.shape().extents();
  extents.push_back(classes);
  Tensor result{Shape(extents)};
  for (int64_t i = 0; i < x.size(); ++i) {
    if (!(x[i] >= 0.0f && x[i] < range)) {
      throw InvalidArgument("[binary_to_thermometer] element {} is {}; it must lie in [0, {}).", i, x[i], range);
    }
    const float level = x[i] * static_cast<float>(classes) / range;
    const auto whole = std::min(static_cast<int64_t>(level), int64_t{classes} - 1);
    for (int64_t c = 0; c < whole; ++c) result[i * classes + c] = 1.0f;
    if (with_residue) result[i * classes + whole] = level - static_cast<float>(whole);
  }
  return result;
}

}  // namespace nibble::transform
