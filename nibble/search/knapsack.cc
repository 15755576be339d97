#include "nibble/search/knapsack.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

// A sum over the first layers: its last option and the sum it extends.
struct Partial {
  double cost = 0, loss = 0;
  int option = -1;
  size_t before = 0;  // index into the previous layer's sums
};

void check(const std::vector<std::vector<KnapsackOption>>& layers) {
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].empty()) throw InvalidArgument("[knapsack] layer {} has no options; give it at least one.", i);
    for (const KnapsackOption& option : layers[i]) {
      if (std::isfinite(option.cost) && option.cost >= 0 && std::isfinite(option.loss)) continue;
      throw InvalidArgument(
          "[knapsack] layer {} has an option of cost {} and loss {}; costs are finite and at least 0, "
          "losses finite.",
          i, option.cost, option.loss);
    }
  }
}

// The least that layers i, i+1, ... can cost.
std::vector<double> least_costs(const std::vector<std::vector<KnapsackOption>>& layers) {
  std::vector<double> least(layers.size() + 1, 0.0);
  for (size_t i = layers.size(); i-- > 0;) {
    const auto cheapest = std::min_element(layers[i].begin(), layers[i].end(),
                                           [](const auto& a, const auto& b) { return a.cost < b.cost; });
    least[i] = least[i + 1] + cheapest->cost;
  }
  return least;
}

// Sorted by cost, without those that a cheaper or equal one beats or equals in loss.
void drop_beaten(std::vector<Partial>& sums) {
  std::stable_sort(sums.begin(), sums.end(), [](const Partial& a, const Partial& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  double lowest = HUGE_VAL;
  std::erase_if(sums, [&](const Partial& sum) {
    if (sum.loss >= lowest) return true;
    lowest = sum.loss;
    return false;
  });
}

}  // namespace

std::vector<KnapsackChoice> knapsack_front(const std::vector<std::vector<KnapsackOption>>& layers, double budget) {
  check(layers);
  const std::vector<double> least = least_costs(layers);
  std::vector<std::vector<Partial>> steps = {{Partial{}}};
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<Partial> next;
    for (size_t s = 0; s < steps.back().size(); ++s) {
      for (size_t option = 0; option < layers[i].size(); ++option) {
        const Partial& before = steps.back()[s];
        const double cost = before.cost + layers[i][option].cost;
        // What the remaining layers need at least counts, so that sums without a future are not kept.
        if (cost + least[i + 1] > budget) continue;
        next.push_back({cost, before.loss + layers[i][option].loss, static_cast<int>(option), s});
      }
    }
    drop_beaten(next);
    if (next.size() > kMostPartial) {
      throw InvalidArgument("[knapsack] {} partial sums after {} layers; round the costs to coarser steps.",
                            next.size(), i + 1);
    }
    steps.push_back(std::move(next));
  }
  std::vector<KnapsackChoice> front;
  for (const Partial& sum : steps.back()) {
    KnapsackChoice choice{.options = std::vector<int>(layers.size()), .cost = sum.cost, .loss = sum.loss};
    const Partial* at = &sum;
    for (size_t i = layers.size(); i-- > 0;) {
      choice.options[i] = at->option;
      at = &steps[i][at->before];
    }
    front.push_back(std::move(choice));
  }
  return front;
}

std::optional<KnapsackChoice> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& layers, double budget) {
  std::vector<KnapsackChoice> front = knapsack_front(layers, budget);
  if (front.empty()) return std::nullopt;
  return std::move(front.back());  // losses fall as costs rise
}

}  // namespace nibble::search
